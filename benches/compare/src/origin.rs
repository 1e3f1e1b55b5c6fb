//! The server behind every proxy, in its own process so that its CPU time is separate from the
//! proxies'.
//!
//! Three ports: TLS (HTTP/2, and HTTP/1.1 for proxies without HTTP/2 upstream), cleartext (HTTP/2
//! by prior knowledge and HTTP/1.1), and one that reports how many connections the other two have
//! accepted, which shows how many upstream connections a proxy opens.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::Outcome;
use crate::certificates::Certificates;
use crate::options::OriginOptions;

/// Stream limit: allowed by any proxy, and above the streams of each scenario.
const STREAMS: u32 = 256;
/// Limit of resets. A burst ends with resets of all requests in flight, which is no attack; the
/// floor does not reconnect, so its only connection must survive them.
const RESETS: usize = 1_000_000;
static SMALL: [u8; 100] = [b'a'; 100];
static LARGE: [u8; 64 * 1024] = [b'a'; 64 * 1024];
static ACCEPTED: AtomicU64 = AtomicU64::new(0);

/// Serves until the process is killed.
pub(crate) async fn run(options: &OriginOptions) -> Outcome<()> {
    let certificates = Certificates::at(&options.certificates);
    let tls = TlsAcceptor::from(certificates.server(&[b"h2", b"http/1.1"])?);
    let encrypted = TcpListener::bind(options.tls).await?;
    let cleartext = TcpListener::bind(options.cleartext).await?;
    let control = TcpListener::bind(options.control).await?;
    let tls = Rc::new(tls);
    loop {
        tokio::select! {
            biased;
            accepted = encrypted.accept() => serve_encrypted(accepted?, Rc::clone(&tls)),
            accepted = cleartext.accept() => serve_cleartext(accepted?),
            accepted = control.accept() => tell_count(accepted?.0).await,
        }
    }
}

fn serve_encrypted((stream, _): (TcpStream, SocketAddr), tls: Rc<TlsAcceptor>) {
    count(&stream);
    let handshake = tls.accept(stream);
    tokio::spawn(async move {
        if let Ok(stream) = handshake.await {
            serve(stream).await;
        }
    });
}

fn serve_cleartext((stream, _): (TcpStream, SocketAddr)) {
    count(&stream);
    tokio::spawn(serve(stream));
}

fn count(stream: &TcpStream) {
    ACCEPTED.fetch_add(1, Ordering::Relaxed);
    // Failure means that the peer has disconnected; the handshake then fails.
    let _ = stream.set_nodelay(true);
}

/// Serves a connection. Errors are ignored: they show in the client's results.
async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http2()
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS);
    let _ = builder.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, body) = match request.uri().path() {
        "/100" => (StatusCode::OK, Bytes::from_static(&SMALL)),
        "/64k" => (StatusCode::OK, Bytes::from_static(&LARGE)),
        "/upload" => upload(request.into_body()).await,
        _ => (StatusCode::NOT_FOUND, Bytes::new()),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    Ok(response)
}

/// Reads the whole body. A truncated body gets an error status, so that the request does not count
/// as served.
async fn upload(mut body: Incoming) -> (StatusCode, Bytes) {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return (StatusCode::BAD_REQUEST, Bytes::new()) };
        length += frame.data_ref().map_or(0, Bytes::len);
    }
    (StatusCode::OK, Bytes::from(length.to_string()))
}

/// Writes only the number and closes; the caller needs no HTTP.
async fn tell_count(mut stream: TcpStream) {
    let count = ACCEPTED.load(Ordering::Relaxed).to_string();
    let _ = stream.write_all(count.as_bytes()).await;
}
