//! Connections from clients: accepted, served over HTTP/1.1 or HTTP/2, drained.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsAcceptor;

use super::access_log::Arrival;
use super::clusters::Clusters;
use super::error_response;
use super::relay;
use super::seams::{self, Listener};

/// A client's TLS handshake must be done by then.
const TLS_DEADLINE: Duration = Duration::from_secs(10);
/// A client's request head must be complete by then (HTTP/1.1).
const HEAD_DEADLINE: Duration = Duration::from_secs(30);
/// The wait after an accept failed, as it does when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Bytes a client may send ahead on one stream, and on one connection.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes kept for a client's HTTP/2 stream that does not read.
const SEND_BUFFER: usize = 128 * 1024;
/// Bytes of an HTTP/1.1 head or write buffer.
const HTTP1_BUFFER: usize = 64 * 1024;
/// Streams a client may have open on one connection.
const STREAMS_MAX: u32 = 100;
/// Longest list of request fields.
const HEADER_LIST_MAX: u32 = 64 * 1024;

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

/// What the connections of one listener of one worker share.
#[derive(Clone)]
pub struct Downstream {
    /// The worker's pools.
    pub clusters: Rc<Clusters>,
    /// TLS towards clients, if any.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// The address that is listened on.
    pub address: SocketAddr,
    /// Whether clients may speak HTTP/2.
    pub http2: bool,
    /// Becomes true once, when the proxy is to stop.
    pub draining: watch::Receiver<bool>,
    /// All connections of this worker.
    pub open: Rc<OpenConnections>,
}

/// Tasks of hyper's, on this thread.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        seams::spawn("http", future);
    }
}

/// Accepts connections until the proxy is to stop.
pub async fn accept(downstream: Downstream, listener: Listener) {
    let mut draining = downstream.draining.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = draining.wait_for(|draining| *draining) => return,
            accepted = seams::accept(&listener) => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let entered = downstream.open.enter();
                let connection = serve_accepted(downstream.clone(), stream, peer, entered);
                seams::spawn("downstream connection", connection);
            }
            Err(error) => {
                tracing::warn!(target: "baton", %error, "accept failed");
                seams::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_accepted(
    downstream: Downstream,
    stream: seams::Stream,
    peer: SocketAddr,
    _entered: Entered,
) {
    let _counted = downstream.clusters.telemetry().client_connected();
    let Some(config) = downstream.tls.clone() else {
        return serve(downstream, stream, peer, false).await;
    };
    let handshake = TlsAcceptor::from(config).accept(stream);
    match seams::timeout(TLS_DEADLINE, handshake).await {
        Ok(Ok(stream)) => serve(downstream, stream, peer, true).await,
        Ok(Err(error)) => {
            tracing::debug!(target: "baton", client = %peer, %error, "TLS handshake failed");
        }
        Err(_) => {
            tracing::debug!(target: "baton", client = %peer, "TLS handshake took too long");
        }
    }
}

async fn serve<Io>(downstream: Downstream, io: Io, peer: SocketAddr, tls: bool)
where
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut draining = downstream.draining.clone();
    let arrival = Arrival::new(peer, downstream.address, tls);
    let telemetry = Rc::clone(downstream.clusters.telemetry());
    let of_requests = arrival.clone();
    let service = service_fn(move |request| {
        let clusters = Rc::clone(&downstream.clusters);
        let arrival = of_requests.clone();
        async move { Ok::<_, Infallible>(relay::serve(&clusters, &arrival, request).await) }
    });
    let mut builder = auto::Builder::new(LocalExecutor);
    if !downstream.http2 {
        builder = builder.http1_only();
    }
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(HTTP1_BUFFER)
        .half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_LIST_MAX);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    let served = tokio::select! {
        biased;
        _ = draining.wait_for(|draining| *draining) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        served = connection.as_mut() => served,
    };
    if let Err(error) = served {
        if let Some(unread) = error_response::by_hyper(&*error) {
            telemetry.unreadable(&arrival, unread);
        }
        tracing::debug!(target: "baton", client = %peer, error, "client connection ended");
    }
}
