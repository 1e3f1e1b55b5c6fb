//! Connections from clients: accepted, served over HTTP/1.1 or HTTP/2, drained.
//!
//! | module | what it is |
//! |---|---|
//! | [`admission`] | how many connections there may be |
//! | `client`, `client_io` | one client's connection, whatever it speaks |
//! | `http1`, `http2` | each protocol, with its deadlines |
//! | `rest` | a client that is only there |
//! | `watch` | what is in flight, and what has taken too long |
//! | `refusal` | the one place where it is told that a client was refused something |

pub mod admission;
mod client;
mod client_io;
mod http1;
mod http2;
mod refusal;
mod rest;
mod waits;
mod watch;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, watch as channel};
use tokio_rustls::TlsAcceptor;

use self::admission::{Admission, Admitted};
use self::client::Client;
use self::client_io::{ClientIo, Spoken};
use super::client_limits::{ClientLimit, ClientLimits, ClientStats};
use super::clusters::Clusters;
use super::seams::{self, Clock, Listener};
use super::tls;
use crate::pool::Instant;

/// The wait after an accept failed, as it does when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The log is told of failed accepts and refused connections no more often than this.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// How many connections are open, and a bell for when the last one ends.
#[derive(Default)]
pub struct OpenConnections {
    count: Cell<usize>,
    none: Notify,
}

impl OpenConnections {
    /// Waits until none is open.
    pub async fn none(&self) {
        while self.count.get() > 0 {
            self.none.notified().await;
        }
    }

    fn enter(self: &Rc<Self>) -> Entered {
        self.count.set(self.count.get() + 1);
        Entered(Rc::clone(self))
    }
}

struct Entered(Rc<OpenConnections>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
        if self.0.count.get() == 0 {
            self.0.none.notify_one();
        }
    }
}

/// What the connections of one worker share.
#[derive(Clone)]
pub struct Downstream {
    /// The worker's pools.
    pub clusters: Rc<Clusters>,
    /// The address that is listened on.
    pub address: SocketAddr,
    /// TLS towards clients, if any.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Whether clients may speak HTTP/2.
    pub http2: bool,
    /// Becomes true once, when the listener is to end.
    pub draining: channel::Receiver<bool>,
    /// All connections of this worker.
    pub open: Rc<OpenConnections>,
    /// What each client may do.
    pub limits: ClientLimits,
    /// All connections of the process.
    pub admission: Arc<Admission>,
}

impl Downstream {
    /// How often clients ran into limits, on this worker.
    fn stats(&self) -> &ClientStats {
        self.clusters.telemetry().client_stats()
    }

    /// The worker's time.
    fn clock(&self) -> Clock {
        self.clusters.telemetry().clock()
    }
}

/// Tasks of hyper's, on this thread.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        seams::spawn("http", future);
    }
}

/// Accepts connections until the listener is to end. Those that the system has already taken in by
/// then are served as well. Each connection is served as `downstream` is when it is accepted.
pub async fn accept(downstream: Rc<RefCell<Rc<Downstream>>>, listener: Listener) {
    let mut draining = downstream.borrow().draining.clone();
    let mut failures = Sparingly::default();
    let mut refusals = Sparingly::default();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = draining.wait_for(|draining| *draining) => break,
            accepted = seams::accept(&listener) => accepted,
        };
        match accepted {
            Ok((stream, peer)) => take_in(&downstream.borrow(), stream, peer, &mut refusals),
            Err(error) => {
                let now = downstream.borrow().clock().now();
                if let Some(count) = failures.note(now) {
                    tracing::warn!(target: "baton", %error, count, "accept failed");
                }
                seams::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    for (stream, peer) in seams::close_listener(listener) {
        take_in(&downstream.borrow(), stream, peer, &mut refusals);
    }
}

/// Serves a connection, unless there are too many.
fn take_in(
    downstream: &Rc<Downstream>,
    stream: seams::Stream,
    peer: SocketAddr,
    refusals: &mut Sparingly,
) {
    match downstream.admission.admit(peer.ip(), &downstream.limits) {
        Ok(admitted) => {
            let entered = downstream.open.enter();
            let downstream = Rc::clone(downstream);
            let connection = serve_accepted(downstream, stream, peer, (entered, admitted));
            seams::spawn("downstream connection", connection);
        }
        Err(limit) => {
            downstream.stats().count(limit);
            if let Some(count) = refusals.note(downstream.clock().now()) {
                refusal::connections(limit, peer, count);
            }
        }
    }
}

/// Lets something be said once in a while, with how often it happened since.
#[derive(Default)]
struct Sparingly {
    said: Option<Instant>,
    count: u64,
}

impl Sparingly {
    /// It happened; how often since it was said, if it may be said now.
    fn note(&mut self, now: Instant) -> Option<u64> {
        self.count += 1;
        if self.said.is_some_and(|said| now.since(said) < LOG_INTERVAL) {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

/// A part of a connection's life, and which one follows. Each is in a box of its own, so that a connection
/// takes the memory of the one that it is in: most connections wait most of the time.
struct Phase(Pin<Box<dyn Future<Output = Option<Phase>>>>);

impl Phase {
    fn new(phase: impl Future<Output = Option<Self>> + 'static) -> Self {
        Self(Box::pin(phase))
    }

    fn last(phase: impl Future<Output = ()> + 'static) -> Self {
        Self::new(phase.map(|()| None))
    }
}

/// Serves a connection from its first byte.
fn serve_accepted(
    downstream: Rc<Downstream>,
    stream: seams::Stream,
    peer: SocketAddr,
    admitted: (Entered, Admitted),
) -> impl Future<Output = ()> {
    let counted = downstream.clusters.telemetry().client_connected();
    let client = Client::new(downstream, peer);
    let first = match client.downstream.tls.clone() {
        None => Phase::new(serve(client, stream, false)),
        Some(config) => Phase::new(secure(client, stream, config)),
    };
    // An `async fn` would have room for its arguments twice.
    async move {
        let _counted = (counted, admitted);
        let mut phase = Some(first);
        while let Some(present) = phase {
            phase = present.0.await;
        }
    }
}

/// Waits for the TLS handshake.
async fn secure(
    mut client: Client,
    stream: seams::Stream,
    config: Arc<rustls::ServerConfig>,
) -> Option<Phase> {
    let handshake = TlsAcceptor::from(config).accept(stream);
    match seams::timeout(client.downstream.limits.tls_handshake_timeout, handshake).await {
        Ok(Ok(stream)) => {
            let http2 = stream.get_ref().1.alpn_protocol() == Some(tls::ALPN_H2);
            client.accepted = client.downstream.clock().now();
            Some(Phase::new(serve(client, Box::new(stream), http2)))
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

/// Finds out which protocol a client speaks. `http2` says that ALPN has settled that.
async fn serve<Io>(client: Client, mut io: Io, http2: bool) -> Option<Phase>
where
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let limits = &client.downstream.limits;
    let spoken = if http2 {
        Ok(Ok(Spoken::Http2(Bytes::new())))
    } else {
        let mut draining = client.downstream.draining.clone();
        let drained = async {
            let _ = draining.wait_for(|draining| *draining).await;
            // What was about to be sent may still come.
            seams::sleep(limits.farewell_timeout).await;
        };
        tokio::select! {
            biased;
            spoken = seams::timeout(limits.head_timeout, client_io::listen(&mut io)) => spoken,
            () = drained => return None,
        }
    };
    let watch = Rc::clone(&client.watch);
    match spoken {
        Ok(Ok(Spoken::Http2(heard))) if client.downstream.http2 => {
            Some(Phase::last(http2::serve(client, ClientIo::new(io, heard, watch))))
        }
        Ok(Ok(Spoken::Http1(heard) | Spoken::Http2(heard))) => {
            Some(Phase::new(http1::serve(client, ClientIo::new(io, heard, watch))))
        }
        Ok(Ok(Spoken::Nothing) | Err(_)) => None,
        Err(_) => {
            client.closed(ClientLimit::HeadTimeout, "no request came");
            None
        }
    }
}
