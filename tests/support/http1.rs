//! A backend that only speaks HTTP/1.1, based on hyper.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::certificate::acceptor;
use super::raw::RawBackend;

/// The transport of an [`Http1Backend`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    /// `http://`.
    Cleartext,
    /// `https://`, choosing `http/1.1` by ALPN.
    TlsWithAlpn,
    /// `https://`, without ALPN.
    TlsWithoutAlpn,
}

/// A running HTTP/1.1 backend.
pub(crate) struct Http1Backend {
    server: RawBackend,
    reached: Reached,
    connections: Arc<AtomicUsize>,
}

impl Http1Backend {
    /// Starts a backend that passes every request to `handler`.
    pub(crate) async fn start<Handler, Answering>(reached: Reached, handler: Handler) -> Self
    where
        Handler: Fn(Request<Incoming>) -> Answering + Clone + 'static,
        Answering: Future<Output = Response<Full<Bytes>>> + 'static,
    {
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let server = RawBackend::accepting(move |tcp, _| {
            counted.fetch_add(1, Ordering::Relaxed);
            let handler = handler.clone();
            Box::pin(async move {
                let protocols: &[&str] = match reached {
                    Reached::Cleartext => return serve(tcp, handler).await,
                    Reached::TlsWithAlpn => &["http/1.1"],
                    Reached::TlsWithoutAlpn => &[],
                };
                let Ok(tls) = acceptor(protocols).accept(tcp).await else { return };
                serve(tls, handler).await;
            })
        })
        .await;
        Self { server, reached, connections }
    }

    /// The URL for `--backend`.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.reached == Reached::Cleartext { "http" } else { "https" };
        format!("{scheme}://{}", self.server.address)
    }

    /// Number of TCP connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn serve<Io, Handler, Answering>(io: Io, handler: Handler)
where
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
    Handler: Fn(Request<Incoming>) -> Answering,
    Answering: Future<Output = Response<Full<Bytes>>>,
{
    let service = service_fn(|request| {
        let answering = handler(request);
        async { Ok::<_, Infallible>(answering.await) }
    });
    let server = hyper::server::conn::http1::Builder::new();
    // Baton may close a connection in the middle, which is an error here and no fault.
    let _ = server.serve_connection(TokioIo::new(io), service).await;
}
