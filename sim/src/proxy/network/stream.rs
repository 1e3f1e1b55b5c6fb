//! A connection as a process has it.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop::poll_proceed;

use super::key::{Host, Key, Side};
use super::state::{Id, Shared};

/// An end of a TCP connection. Dropping it closes it.
pub(crate) struct Stream {
    pub(super) network: Shared,
    pub(super) id: Id,
    pub(super) side: Side,
    key: Key,
    peer: SocketAddr,
    /// True if a process of the proxy's machine has it.
    at_proxy: bool,
    /// True if closing it resets the connection, as with `SO_LINGER` of no time.
    resets: Rc<Cell<bool>>,
}

impl Stream {
    /// An end of a connection; `None` if it is no more.
    pub(crate) fn new(network: &Shared, id: Id, side: Side) -> Option<Self> {
        network.with(|state| {
            let connection = state.connection(id)?;
            let (key, peer) = (connection.key, connection.ends[side.other() as usize].address);
            let at_proxy = connection.end(side).host == Host::Proxy;
            if at_proxy {
                state.note_held(key, true);
            }
            let (network, resets) = (network.clone(), Rc::default());
            Some(Self { network, id, side, key, peer, at_proxy, resets })
        })
    }

    /// Determines, while it is open, if closing it resets the connection.
    pub(crate) fn resets(&self) -> Rc<Cell<bool>> {
        Rc::clone(&self.resets)
    }

    /// Returns, while it is open, how many segments in a row the other host has left without an
    /// acknowledgement; `None` if the system cannot tell.
    pub(crate) fn unanswered(&self) -> impl Fn() -> Option<u32> + use<> {
        let (network, id, side) = (self.network.clone(), self.id, self.side);
        move || network.with(|state| state.unanswered(id, side))
    }

    /// The connection's name.
    pub(crate) fn key(&self) -> Key {
        self.key
    }

    /// The address of this end; `None` once the connection is no more.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        let (id, side) = (self.id, self.side);
        let connection = |state: &mut super::state::State| {
            state.connection(id).map(|connection| connection.ends[side as usize].address)
        };
        self.network.with(connection)
    }

    pub(crate) fn peer_addr(&self) -> SocketAddr {
        self.peer
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:?} ({:?})", self.key, self.side)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // As with sockets, a task that always finds something to do lets others run.
        let proceed = ready!(poll_proceed(context));
        let polled =
            self.network.with(|state| state.poll_read(self.id, self.side, context, buffer));
        if polled.is_ready() {
            proceed.made_progress();
        }
        polled
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let proceed = ready!(poll_proceed(context));
        let polled =
            self.network.with(|state| state.poll_write(self.id, self.side, context, slices));
        if polled.is_ready() {
            proceed.made_progress();
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.network.with(|state| state.shut_down(self.id, self.side));
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.network.with(|state| {
            if self.at_proxy {
                state.note_held(self.key, false);
            }
            state.close(self.id, self.side, self.resets.get());
        });
    }
}
