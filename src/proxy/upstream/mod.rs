//! Connections to backends: each has one task, from the dial to the close.

pub mod attempt;
mod connection;
mod http1;
mod http1_link;
mod http2;
mod http2_attempt;
mod shared_io;

use std::cell::Cell;
use std::rc::Rc;

use self::connection::{Context, Ended, ordered_end, report};
use super::backend_url::Scheme;
use super::backends::BackendEntry;
use super::channel::{Receiver, Sender, channel};
use super::dial::{BoxedIo, connect};
use super::pool_handle::PoolHandle;
use super::seams;
use crate::pool::ConnectionToken;

pub use self::connection::ConnectionOrder;
pub use self::http1_link::{Http1Attempt, Http1Body, Http1Sender, SendError};
pub use self::http2_attempt::{Http2Attempt, failure as http2_failure};

/// Starts a dial. Orders for the connection go into the returned channel; dropping the sender ends
/// the dial and the connection.
pub fn dial(
    pool: PoolHandle,
    backend: Rc<BackendEntry>,
    connection: ConnectionToken,
) -> Sender<ConnectionOrder> {
    let (sender, orders) = channel();
    pool.count_at(backend.token, |metrics| metrics.dials += 1);
    seams::spawn(run(Context { pool, connection, backend }, orders));
    sender
}

async fn run(context: Context, mut orders: Receiver<ConnectionOrder>) {
    let dialled = tokio::select! {
        biased;
        ended = ordered_end(&mut orders) => Err(ended),
        dialled = dialled(&context) => dialled,
    };
    match dialled {
        Ok((io, true)) => http2::run(&context, io, &mut orders).await,
        Ok((io, false)) => http1::run(&context, io, &mut orders).await,
        Err(ended) => report(&context, ended),
    }
}

/// Dials the backend, and measures how long that takes. Returns the stream, and true if the
/// connection uses HTTP/2.
async fn dialled(context: &Context) -> Result<(BoxedIo, bool), Ended> {
    let pool = &context.pool;
    let begun = pool.now();
    let connected = Cell::new(begun);
    let note_connected = || {
        connected.set(pool.now());
        pool.count(|metrics| metrics.connect.observe(connected.get().since(begun)));
    };
    let dialled = connect(&context.backend, note_connected).await;
    let dialled = dialled.map_err(|(failure, error)| Ended::Dial(failure, error))?;
    if context.backend.url.scheme == Scheme::Https {
        let taken = pool.now().since(connected.get());
        pool.count(|metrics| metrics.tls.observe(taken));
    }
    Ok(dialled)
}
