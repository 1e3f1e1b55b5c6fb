//! The smallest relay that can be built from hyper and h2: HTTP/1.1 or TLS HTTP/2 from clients, one
//! upstream HTTP/2 connection, nothing else. It has no pool, limits, log or retries, and does not
//! reconnect. Its cost is the cost of the libraries, which Baton pays too; the rest of Baton's cost
//! is its own.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, Request, Response, StatusCode, Uri, Version};
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::Outcome;
use crate::certificates::{Certificates, NAME};
use crate::options::FloorOptions;

type Upstream = SendRequest<Incoming>;
type Body = Either<Incoming, Empty<Bytes>>;

/// Fields that HTTP/2 forbids or that belong to one connection.
const CONNECTION_FIELDS: [HeaderName; 6] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    TE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Serves until the process is killed.
pub(crate) async fn run(options: &FloorOptions) -> Outcome<()> {
    let certificates = Certificates::at(&options.certificates);
    let upstream = connect(options, &certificates).await?;
    let scheme = if options.tls_to { Scheme::HTTPS } else { Scheme::HTTP };
    let acceptor = match options.tls_listen {
        true => Some(TlsAcceptor::from(certificates.server(&[b"h2"])?)),
        false => None,
    };
    let listener = TcpListener::bind(options.listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let relay = Relay { upstream: upstream.clone(), scheme: scheme.clone(), to: options.to };
        match &acceptor {
            Some(acceptor) => {
                let handshake = acceptor.accept(stream);
                tokio::spawn(async move {
                    if let Ok(stream) = handshake.await {
                        serve_http2(stream, relay).await;
                    }
                });
            }
            None => {
                tokio::spawn(serve_http1(stream, relay));
            }
        }
    }
}

async fn connect(options: &FloorOptions, certificates: &Certificates) -> Outcome<Upstream> {
    let stream = TcpStream::connect(options.to).await?;
    stream.set_nodelay(true)?;
    if !options.tls_to {
        return shake_hands(stream).await;
    }
    let connector = TlsConnector::from(certificates.client()?);
    shake_hands(connector.connect(ServerName::try_from(NAME)?, stream).await?).await
}

async fn shake_hands<S>(stream: S) -> Outcome<Upstream>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (upstream, connection) = builder.handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(upstream)
}

async fn serve_http1(stream: TcpStream, relay: Relay) {
    let service = service_fn(move |request| relay.clone().pass(request));
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn serve_http2<S>(stream: S, relay: Relay)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| relay.clone().pass(request));
    let builder = http2::Builder::new(TokioExecutor::new());
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

/// The data that a client connection needs to relay requests.
#[derive(Clone)]
struct Relay {
    upstream: Upstream,
    scheme: Scheme,
    to: SocketAddr,
}

impl Relay {
    async fn pass(mut self, mut request: Request<Incoming>) -> Outcome<Response<Body>> {
        *request.uri_mut() = self.target(&request)?;
        *request.version_mut() = Version::HTTP_2;
        strip(request.headers_mut());
        request.headers_mut().remove(HOST);
        self.upstream.ready().await?;
        let Ok(mut response) = self.upstream.send_request(request).await else {
            let mut response = Response::new(Either::Right(Empty::new()));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            return Ok(response);
        };
        strip(response.headers_mut());
        *response.version_mut() = Version::HTTP_11;
        Ok(response.map(Either::Left))
    }

    /// The upstream target of a request, with the authority that the client sent.
    fn target(&self, request: &Request<Incoming>) -> Outcome<Uri> {
        let host = request.headers().get(HOST).map(|host| host.as_bytes());
        let authority = match (request.uri().authority(), host) {
            (Some(authority), _) => authority.clone(),
            (None, Some(host)) => Authority::try_from(host)?,
            (None, None) => Authority::try_from(self.to.to_string())?,
        };
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(authority);
        parts.path_and_query = request.uri().path_and_query().cloned();
        Ok(Uri::from_parts(parts)?)
    }
}

fn strip(headers: &mut HeaderMap) {
    for name in &CONNECTION_FIELDS {
        headers.remove(name);
    }
}
