//! The phases of a client's connection. An idle HTTP/1.1 connection is parked, so that it keeps as
//! little memory as possible.
//!
//! A parked connection holds only its socket, its addresses and its idle deadline. What serves
//! requests is dropped and rebuilt for the next request.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;

use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::client::Client;
use super::deadlines::Watch;
use super::http1;
use super::listener::Downstream;
use crate::pool::Instant;
use crate::proxy::client_limits::ClientLimit;
use crate::proxy::seams;

/// One part of a connection's life; resolves to the next. Each part is boxed, so that a connection
/// takes only the memory of its present part: most connections are idle most of the time.
pub(super) struct ConnectionPhase(
    pub(super) Pin<Box<dyn Future<Output = Option<ConnectionPhase>>>>,
);

impl ConnectionPhase {
    pub(super) fn new(phase: impl Future<Output = Option<Self>> + 'static) -> Self {
        Self(Box::pin(phase))
    }

    pub(super) fn last(phase: impl Future<Output = ()> + 'static) -> Self {
        Self::new(phase.map(|()| None))
    }

    /// Serves a client over HTTP/1.1, of which these bytes were received; when it is idle, it is
    /// parked next.
    pub(super) fn http1<Io>(client: Client, io: Io, first_bytes: &[u8]) -> Self
    where
        Io: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let idle = http1::serve(client, io, first_bytes);
        Self::new(idle.map(|idle| idle.map(|(client, io)| park_when_idle(client, io))))
    }
}

/// The event that ended the wait.
enum ParkedEvent {
    /// The first byte of the next request, or the end of the connection.
    Bytes(io::Result<usize>),
    /// The drain order.
    Drain,
    /// The idle timeout.
    Nothing,
}

/// Parks a connection. Everything read must have been answered, and all responses written.
fn park_when_idle<Io>(client: Client, io: Io) -> ConnectionPhase
where
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let Client { downstream, arrival, watch, .. } = client;
    let idle_since = watch.idle_since().unwrap_or_else(|| downstream.clock().now());
    ConnectionPhase::new(park(downstream, arrival.client, watch, io, idle_since))
}

/// Parks the idle connection, holding only its socket.
fn park<Io>(
    downstream: Rc<Downstream>,
    peer: SocketAddr,
    watch: Rc<Watch>,
    mut io: Io,
    idle_since: Instant,
) -> impl Future<Output = Option<ConnectionPhase>>
where
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (clock, draining) = (downstream.clock(), downstream.draining.clone());
    let idle_until = idle_since.after(downstream.limits.http1_idle_timeout);
    // An `async fn` would reserve space for its arguments twice.
    async move {
        let mut first = [0];
        let event = tokio::select! {
            biased;
            read = io.read(&mut first) => ParkedEvent::Bytes(read),
            () = draining.ordered() => ParkedEvent::Drain,
            () = clock.sleep_until(idle_until) => ParkedEvent::Nothing,
        };
        match event {
            ParkedEvent::Bytes(Ok(read @ 1..)) => {
                let client = Client::resumed(downstream, peer, watch);
                return Some(ConnectionPhase::http1(client, io, &first[..read]));
            }
            ParkedEvent::Bytes(_) | ParkedEvent::Drain => {}
            ParkedEvent::Nothing => downstream.stats().count(ClientLimit::IdleTimeout),
        }
        Some(ConnectionPhase::last(close(downstream, io)))
    }
}

async fn close<Io: AsyncWrite + Unpin>(downstream: Rc<Downstream>, mut io: Io) {
    let _ = seams::timeout(downstream.limits.lingering_close_timeout, io.shutdown()).await;
}
