//! Connections to backends: each has one task, from the dial to the close.

mod http1;
mod http1_link;
mod http2;

use std::cell::Cell;
use std::rc::Rc;

use super::backend_url::Scheme;
use super::backends::BackendEntry;
use super::channel::{Receiver, Sender, channel};
use super::dial::{BoxedIo, connect};
use super::driver::Driver;
use super::exchange::{Exchange, Opened, RequestHead, RequestOrder};
use super::metrics::{self, BackendMetrics};
use super::seams;
use crate::pool::{CloseReason, ConnectFailure, ConnectionToken, Input, Protocol, StreamToken};

pub use http1_link::{Http1Body, Http1Exchange, Http1Sender, SendError};
pub use http2::{Http2Exchange, failure as http2_failure};

/// An attempt at a request, as the pool ordered it.
#[derive(Clone, Copy, Debug)]
pub struct AttemptOrder {
    /// The stream token to report facts under.
    pub stream: StreamToken,
    /// 1 for the first attempt.
    pub number: u8,
}

/// An attempt to start.
pub struct NewAttempt {
    /// The stream token and the number of the attempt.
    pub order: AttemptOrder,
    /// The request to send.
    pub head: Rc<RequestHead>,
    /// Receives the exchange.
    pub request: Sender<RequestOrder>,
}

/// An order of the pool for one connection.
pub enum ConnectionOrder {
    /// Send a request.
    Open(NewAttempt),
    /// Reset a stream.
    Reset {
        /// The stream to reset.
        stream: StreamToken,
        /// The error code to reset with (RFC 9113, 7).
        code: u32,
    },
    /// Send a PING frame.
    Ping,
    /// Close the connection, or give up its dial.
    Close {
        /// The pool's reason, for the log.
        reason: CloseReason,
    },
}

/// The end of a connection's task.
enum Ended {
    /// The dial failed.
    Dial(ConnectFailure, String),
    /// The peer or the network closed the connection.
    Closed { sent_through: u32, reason: String },
    /// The pool gave up the dial; nothing is reported to it.
    GivenUp(CloseReason),
    /// The pool closed the connection; nothing is reported to it.
    Ordered(CloseReason),
    /// The driver is gone.
    Dropped,
}

/// The context of a connection's task, for reports and logs.
struct Context {
    driver: Rc<Driver>,
    connection: ConnectionToken,
    /// The connection's backend, kept here because it may be removed before the connection closes.
    backend: Rc<BackendEntry>,
}

impl Context {
    /// Logs and reports that the connection is ready.
    fn connected(&self, protocol: Protocol, max_streams: Option<u32>) {
        let (backend, connection) = (&*self.backend.name, self.connection);
        let (cluster, worker) = (&**self.driver.cluster(), self.driver.worker());
        tracing::info!(target: "baton", cluster, worker, backend, %connection, %protocol, "connected");
        let _ = self.driver.tell(Input::Connected { connection, protocol, max_streams });
    }

    /// Updates the metrics of the connection's backend.
    fn count(&self, count: impl FnOnce(&mut BackendMetrics)) {
        self.driver.count(|metrics| metrics.count_at(self.backend.token, count));
    }

    /// Hands an exchange to its request: the attempt is now on a stream.
    fn hand_over(&self, attempt: &NewAttempt, stream_id: u32, mut exchange: Exchange) {
        let NewAttempt { order, head, request } = attempt;
        // An attempt without a body to send and without an earlier attempt to drop needs no wake-up
        // before its response arrives.
        let sleeps_on = order.number == 1
            && !head.has_body
            && request.waiting().is_some_and(|waker| exchange.will_wake(&waker));
        let at = self.driver.now();
        let backend = (self.backend.token, Rc::clone(&self.backend.name));
        let opened = Opened { order: *order, stream_id, at, backend };
        let opened = RequestOrder::Opened(opened, exchange);
        if sleeps_on { request.send_quietly(opened) } else { request.send(opened) }
    }
}

/// Starts a dial. Orders for the connection go into the returned channel; dropping the sender ends
/// the dial and the connection.
pub fn dial(driver: Rc<Driver>, connection: ConnectionToken) -> Sender<ConnectionOrder> {
    let (sender, orders) = channel();
    let backend = driver.backend(connection.backend);
    driver.count(|metrics| metrics.count_at(backend.token, |metrics| metrics.dials += 1));
    seams::spawn(run(Context { driver, connection, backend }, orders));
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

/// Waits for the order that ends a dial. The pool orders nothing else of a dial.
async fn ordered_end(orders: &mut Receiver<ConnectionOrder>) -> Ended {
    match orders.recv().await {
        Some(ConnectionOrder::Close { reason }) => Ended::GivenUp(reason),
        Some(_) | None => Ended::Dropped,
    }
}

/// Dials the backend, and measures how long that takes. Returns the stream, and true if the
/// connection uses HTTP/2.
async fn dialled(context: &Context) -> Result<(BoxedIo, bool), Ended> {
    let driver = &context.driver;
    let begun = driver.now();
    let connected = Cell::new(begun);
    let note_connected = || {
        connected.set(driver.now());
        driver.count(|metrics| metrics.connect.observe(connected.get().since(begun)));
    };
    let dialled = connect(&context.backend, note_connected).await;
    let dialled = dialled.map_err(|(failure, error)| Ended::Dial(failure, error))?;
    if context.backend.url.scheme == Scheme::Https {
        let taken = driver.now().since(connected.get());
        driver.count(|metrics| metrics.tls.observe(taken));
    }
    Ok(dialled)
}

fn report(context: &Context, ended: Ended) {
    let connection = context.connection;
    let backend = &*context.backend.name;
    let (cluster, worker) = (&**context.driver.cluster(), context.driver.worker());
    let (was_ready, label, reason, fact) = match ended {
        Ended::Dropped => return,
        Ended::Ordered(reason) => (true, reason.name(), reason.to_string(), None),
        Ended::GivenUp(reason) => (false, metrics::given_up(reason), reason.to_string(), None),
        Ended::Closed { sent_through, reason } => {
            let fact = Input::ConnectionClosed { connection, sent_through };
            (true, metrics::CLOSED_BY_PEER, reason, Some(fact))
        }
        Ended::Dial(failure, reason) => {
            let fact = Input::ConnectFailed { connection, reason: failure };
            (false, failure.name(), reason, Some(fact))
        }
    };
    context.count(|metrics| {
        let ends = if was_ready { &mut metrics.closes } else { &mut metrics.dial_failures };
        ends.add(label);
    });
    if was_ready {
        tracing::info!(target: "baton", cluster, worker, backend, %connection, reason, "connection closed");
    } else {
        tracing::warn!(target: "baton", cluster, worker, backend, %connection, reason, "connect failed");
    }
    if let Some(fact) = fact {
        let _ = context.driver.tell(fact);
        context.driver.forget_connection(connection);
    }
}
