//! Dials backends, for traffic and for health checks.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::backend_url::Scheme;
use super::backends::BackendEntry;
use super::seams::{self, NetworkStream};
use super::{addresses, tls};
use crate::pool::ConnectFailure;

/// A byte stream with or without TLS.
pub trait Io: AsyncRead + AsyncWrite + Unpin {
    /// Returns how many segments in a row the peer's host has left without an acknowledgement;
    /// `None` if the system cannot tell.
    fn unanswered(&self) -> Option<u32>;
}

impl Io for NetworkStream {
    fn unanswered(&self) -> Option<u32> {
        seams::unanswered(self)
    }
}

impl Io for TlsStream<NetworkStream> {
    fn unanswered(&self) -> Option<u32> {
        seams::unanswered(self.get_ref().0)
    }
}

/// A boxed [`Io`].
pub type BoxedIo = Box<dyn Io>;

/// Connects over TCP, and TLS if the URL's scheme is `https`. Calls `connected` before TLS. Returns
/// the stream, and true if the connection uses HTTP/2.
///
/// # Errors
/// The step that failed, and why.
pub async fn connect(
    backend: &BackendEntry,
    connected: impl FnOnce(),
) -> Result<(BoxedIo, bool), (ConnectFailure, String)> {
    let tcp = addresses::connect(&backend.url.host, backend.url.port).await;
    let tcp = tcp.map_err(|error| (ConnectFailure::Tcp, error.to_string()))?;
    connected();
    match backend.url.scheme {
        Scheme::Http => Ok((Box::new(tcp), false)),
        Scheme::Http2Cleartext => Ok((Box::new(tcp), true)),
        Scheme::Https => {
            let failed = |error: String| (ConnectFailure::Tls, error);
            let tls = backend.tls().ok_or_else(|| failed("no TLS settings".to_owned()))?;
            let stream = TlsConnector::from(tls.config).connect(tls.name, tcp).await;
            let stream = stream.map_err(|error| failed(error.to_string()))?;
            let http2 = stream.get_ref().1.alpn_protocol() == Some(tls::ALPN_H2);
            Ok((Box::new(stream), http2))
        }
    }
}
