//! Client connections: accepted, served over HTTP/1.1 or HTTP/2, and drained.
//!
//! | module | contents |
//! |---|---|
//! | [`admission`] | the limits on the number of connections |
//! | [`buffered`] | bytes of responses that wait for clients, and their bounds |
//! | `client`, `client_io` | one client's connection, for either protocol |
//! | `http1`, `http2` | serving each protocol, with its deadlines |
//! | `http2_stream` | one request over HTTP/2 |
//! | [`listener`] | what the connections of one listener share |
//! | `phase` | the phases of a connection, and parked HTTP/1.1 connections |
//! | `deadlines`, `waits` | deadlines of a connection, its requests in flight, and the drain order |
//! | `refusal` | the limit and the response for each error of a client |

pub mod admission;
pub mod buffered;
mod client;
mod client_io;
mod deadlines;
mod http1;
mod http2;
mod http2_stream;
pub mod listener;
mod phase;
mod refusal;
mod waits;

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use self::admission::Admitted;
use self::client::Client;
use self::client_io::{ClientIo, Spoken};
use self::listener::{Downstream, Entered};
use self::phase::ConnectionPhase;
use super::client_limits::ClientLimit;
use super::limits::{ACCEPT_LOG_INTERVAL, ACCEPT_PAUSE};
use super::seams::{self, Listener};
use super::tls;
use crate::pool::Instant;

/// Accepts connections until the listener is to stop, then those that the system has already
/// accepted. Each connection keeps the value of `downstream` at the time it is accepted.
pub async fn accept(downstream: Rc<RefCell<Rc<Downstream>>>, listener: Listener) {
    let draining = downstream.borrow().draining.clone();
    // The worker must not end before the connections that wait were taken in.
    let _listening = downstream.borrow().open.enter();
    let mut failures = RateLimited::default();
    let mut refusals = RateLimited::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = draining.ordered() => break,
            accepted = seams::accept(&listener) => accepted,
        };
        match accepted {
            Ok((stream, peer)) => take_in(&downstream.borrow(), stream, peer, &mut refusals),
            Err(error) => {
                let now = downstream.borrow().clock().now();
                if let Some(count) = failures.note(now) {
                    tracing::warn!(target: "baton", %error, count, "accept failed");
                }
                tokio::select! {
                    biased;
                    () = draining.ordered() => break,
                    () = seams::sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
    for (stream, peer) in seams::close_listener(listener) {
        take_in(&downstream.borrow(), stream, peer, &mut refusals);
    }
}

/// Serves a connection unless a limit is reached.
fn take_in(
    downstream: &Rc<Downstream>,
    stream: seams::NetworkStream,
    peer: SocketAddr,
    refusals: &mut RateLimited,
) {
    match downstream.admission.admit(peer.ip(), &downstream.limits) {
        Ok(admitted) => {
            let entered = downstream.open.enter();
            let downstream = Rc::clone(downstream);
            let connection = serve_accepted(downstream, stream, peer, (entered, admitted));
            seams::spawn(connection);
        }
        Err(limit) => {
            downstream.stats().count(limit);
            if let Some(count) = refusals.note(downstream.clock().now()) {
                refusal::connections(limit, peer, count);
            }
        }
    }
}

/// Rate-limits a log message and counts the events between two messages.
#[derive(Default)]
struct RateLimited {
    said: Option<Instant>,
    count: u64,
}

impl RateLimited {
    /// Counts an event. Returns the number of events since the last message if one is due now.
    fn note(&mut self, now: Instant) -> Option<u64> {
        self.count += 1;
        if self.said.is_some_and(|said| now.since(said) < ACCEPT_LOG_INTERVAL) {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

/// Serves a connection from its first byte.
fn serve_accepted(
    downstream: Rc<Downstream>,
    stream: seams::NetworkStream,
    peer: SocketAddr,
    admitted: (Entered, Admitted),
) -> impl Future<Output = ()> {
    let counted = downstream.clusters.telemetry().client_connected();
    let client = Client::new(downstream, peer);
    let stream = ClientIo::new(stream, Rc::clone(&client.watch));
    let first = match client.downstream.tls.clone() {
        None => ConnectionPhase::new(serve(client, stream, false)),
        Some(config) => ConnectionPhase::new(secure(client, stream, config)),
    };
    // An `async fn` would reserve space for its arguments twice.
    async move {
        let _counted = (counted, admitted);
        let mut phase = Some(first);
        while let Some(present) = phase {
            phase = present.0.await;
        }
    }
}

/// Performs the TLS handshake.
async fn secure(
    mut client: Client,
    stream: ClientIo,
    config: Arc<rustls::ServerConfig>,
) -> Option<ConnectionPhase> {
    let handshake = TlsAcceptor::from(config).accept(stream);
    match seams::timeout(client.downstream.limits.tls_handshake_timeout, handshake).await {
        Ok(Ok(stream)) => {
            let http2 = stream.get_ref().1.alpn_protocol() == Some(tls::ALPN_H2);
            client.accepted = client.downstream.clock().now();
            Some(ConnectionPhase::new(serve(client, Box::new(stream), http2)))
        }
        Ok(Err(error)) => {
            client.count(ClientLimit::TlsHandshake);
            let client = client.peer();
            tracing::debug!(target: "baton", %client, %error, "TLS handshake failed");
            None
        }
        Err(_) => {
            client.closed(ClientLimit::TlsHandshakeTimeout, "TLS handshake took too long");
            None
        }
    }
}

/// Detects the protocol that a client speaks. `http2` is true if ALPN has selected HTTP/2.
async fn serve<Io>(client: Client, mut io: Io, http2: bool) -> Option<ConnectionPhase>
where
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let limits = &client.downstream.limits;
    let spoken = if http2 {
        Ok(Ok(Spoken::Http2(Bytes::new())))
    } else {
        let draining = client.downstream.draining.clone();
        let drained = async {
            draining.ordered().await;
            // A request that the client was about to send may still arrive.
            seams::sleep(limits.lingering_close_timeout).await;
        };
        tokio::select! {
            biased;
            spoken = seams::timeout(limits.head_timeout, client_io::listen(&mut io)) => spoken,
            () = drained => return None,
        }
    };
    match spoken {
        Ok(Ok(Spoken::Http2(first_bytes))) if client.downstream.http2 => {
            Some(ConnectionPhase::last(http2::serve(client, io, first_bytes)))
        }
        Ok(Ok(Spoken::Http1(first_bytes) | Spoken::Http2(first_bytes))) => {
            Some(ConnectionPhase::http1(client, io, &first_bytes))
        }
        Ok(Ok(Spoken::Nothing) | Err(_)) => None,
        Err(_) => {
            client.closed(ClientLimit::HeadTimeout, "no request received");
            None
        }
    }
}
