//! Clients whose connections are idle when the proxy is ordered to stop.

use std::io;
use std::time::Duration;

use baton::proxy::limits::PARK_AFTER;
use baton::proxy::seams::simulated::NetworkStream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::ask::parse;
use crate::plan::ClientProtocol;

/// A client that is idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdleClient {
    /// Over HTTP/2, without a request.
    Http2,
    /// Over HTTP/1.1, for so long that the proxy keeps only the socket.
    Parked,
    /// Over HTTP/1.1, since just now.
    Fresh,
}

/// An idle connection.
pub(super) enum Idle {
    Http1(NetworkStream),
    Http2(h2::client::SendRequest<bytes::Bytes>, Box<h2::client::Connection<NetworkStream>>),
}

impl IdleClient {
    /// All of them, in the order in which they connect.
    pub(super) const ALL: [Self; 3] = [Self::Http2, Self::Parked, Self::Fresh];

    pub(super) fn protocol(self) -> ClientProtocol {
        match self {
            Self::Http2 => ClientProtocol::Http2,
            Self::Parked | Self::Fresh => ClientProtocol::Http1,
        }
    }

    /// Sends one request over HTTP/1.1 and reads the answer.
    ///
    /// # Errors
    /// If the connection ends, or the answer takes too long.
    pub(super) async fn begin(self, mut stream: NetworkStream, path: &str) -> io::Result<Idle> {
        let quiet = match self {
            Self::Http2 => {
                let handshake = h2::client::handshake(stream).await;
                let (requests, connection) = handshake.map_err(io::Error::other)?;
                return Ok(Idle::Http2(requests, Box::new(connection)));
            }
            Self::Parked => PARK_AFTER * 2,
            Self::Fresh => PARK_AFTER / 2,
        };
        let request = format!("GET {path} HTTP/1.1\r\nhost: baton\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        read_until_quiet(&mut stream, quiet).await?;
        Ok(Idle::Http1(stream))
    }
}

/// Reads until nothing more comes. By then the answer must be complete.
async fn read_until_quiet(stream: &mut NetworkStream, quiet: Duration) -> io::Result<()> {
    let (mut all, mut bytes) = (Vec::new(), [0; 4096]);
    while let Ok(read) = timeout(quiet, stream.read(&mut bytes)).await {
        match read? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => all.extend_from_slice(&bytes[..read]),
        }
    }
    parse(&all).map(drop).ok_or_else(|| io::ErrorKind::TimedOut.into())
}

impl Idle {
    /// Waits for the end of the connection.
    pub(super) async fn ended(self) {
        match self {
            Self::Http1(mut stream) => {
                let mut bytes = [0; 4096];
                while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
            }
            Self::Http2(requests, connection) => {
                // It ends by GOAWAY as well as by an error.
                let _ = connection.await;
                drop(requests);
            }
        }
    }
}
