//! A socket that listens, as a process has it.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use tokio::task::coop::poll_proceed;

use super::key::Side;
use super::state::Shared;
use super::stream::Stream;

/// A socket that listens. Dropping it resets the connections that wait to be accepted.
pub(crate) struct Listening {
    network: Shared,
    index: usize,
    address: SocketAddr,
}

impl Listening {
    pub(crate) fn new(network: &Shared, index: usize, address: SocketAddr) -> Self {
        Self { network: network.clone(), index, address }
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn poll_accept(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Stream, SocketAddr)>> {
        let proceed = ready!(poll_proceed(context));
        loop {
            let accepted = self.network.with(|state| state.poll_accept(self.index, context));
            let id = ready!(accepted);
            if let Some(stream) = Stream::new(&self.network, id, Side::Acceptor) {
                proceed.made_progress();
                let peer = stream.peer_addr();
                return Poll::Ready(Ok((stream, peer)));
            }
        }
    }

    /// True if a connection waits to be accepted.
    pub(crate) fn has_waiting(&self) -> bool {
        self.network.with(|state| {
            let listener = state.listeners.all[self.index].as_ref();
            listener.is_some_and(|listener| !listener.queue.is_empty())
        })
    }

    pub(crate) async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        poll_fn(|context| self.poll_accept(context)).await
    }

    /// Closes it, and returns the connections that wait to be accepted.
    pub(crate) fn close(&self) -> Vec<(Stream, SocketAddr)> {
        let listener = self.network.with(|state| state.listeners.close(self.index));
        let waiting = listener.into_iter().flat_map(|listener| listener.queue);
        waiting
            .filter_map(|id| {
                let stream = Stream::new(&self.network, id, Side::Acceptor)?;
                let peer = stream.peer_addr();
                Some((stream, peer))
            })
            .collect()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.network.with(|state| {
            let listener = state.listeners.close(self.index);
            for id in listener.into_iter().flat_map(|listener| listener.queue) {
                let is_client = state.connection(id).is_some_and(|it| it.key.is_of_client());
                state.at_proxy.reset_unaccepted += u64::from(is_client);
                state.send_reset(id, Side::Acceptor);
                state.detach(id, Side::Acceptor);
            }
        });
    }
}
