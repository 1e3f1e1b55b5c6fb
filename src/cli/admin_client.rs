//! A client of the admin interface of a running Baton: one request over HTTP/1.1, one whole reply.

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use tokio::io::AsyncWriteExt as _;

use crate::proxy::addresses;
use crate::proxy::http1_io::next_event;
use crate::proxy::limits::{
    COMMAND_ANSWER_BYTES_MAX, COMMAND_TIMEOUT, RESPONSE_FIELDS_MAX, RESPONSE_HEAD_BYTES_MAX,
};
use crate::proxy::seams;
use crate::wire::http1::{self, Decoder, Event, Expected, HeadLimits, Role};

/// The default address of the admin interface. `baton run` has none without `--admin`.
pub const DEFAULT_ADMIN: &str = "127.0.0.1:9901";

/// The address of the admin interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminAddress {
    host: String,
    port: u16,
}

impl AdminAddress {
    /// Parses `HOST:PORT`; an IPv6 address is in brackets.
    ///
    /// # Errors
    /// The expected form.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "expected HOST:PORT, such as 127.0.0.1:9901".to_owned();
        let text = text.strip_prefix("http://").unwrap_or(text);
        let text = text.strip_suffix('/').unwrap_or(text);
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let plain = !host.is_empty() && !host.contains([':', '/', '[', ']', '@']);
        let host = match bracketed {
            Some(host) if host.parse::<std::net::Ipv6Addr>().is_ok() => host,
            None if plain => host,
            Some(_) | None => return Err(wrong()),
        };
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
        Ok(Self { host: host.to_owned(), port })
    }
}

impl std::fmt::Display for AdminAddress {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(formatter, "{open}{}{close}:{}", self.host, self.port)
    }
}

/// Sends a request and reads the whole reply. Runs on a `LocalSet`.
///
/// # Errors
/// Why there is no reply, in one line.
pub async fn ask(
    address: &AdminAddress,
    method: Method,
    target: &str,
) -> Result<(StatusCode, Bytes), String> {
    let unreachable = |why: String| {
        format!(
            "cannot reach the admin interface at {address}: {why}; expected a 'baton run' with \
             '--admin {address}' (use --admin for another address)"
        )
    };
    let exchange = async {
        let tcp = addresses::connect(&address.host, address.port);
        let tcp = tcp.await.map_err(|error| unreachable(error.to_string()))?;
        exchange(address, tcp, method, target).await
    };
    let answered = seams::timeout(COMMAND_TIMEOUT, exchange).await;
    answered.unwrap_or_else(|_| Err(unreachable(format!("no answer within {COMMAND_TIMEOUT:?}"))))
}

async fn exchange(
    address: &AdminAddress,
    mut tcp: seams::NetworkStream,
    method: Method,
    target: &str,
) -> Result<(StatusCode, Bytes), String> {
    let failed = |error: &dyn std::fmt::Display| format!("no answer from {address}: {error}");
    let host = address.to_string();
    let fields: [(&[u8], &[u8]); 2] = [(b"host", host.as_bytes()), (b"connection", b"close")];
    let mut request = BytesMut::new();
    let method = method.as_str().as_bytes();
    http1::request_head(&mut request, method, target.as_bytes(), fields.into_iter());
    tcp.write_all(&request).await.map_err(|error| failed(&error))?;
    let limits = HeadLimits { bytes: RESPONSE_HEAD_BYTES_MAX, fields: RESPONSE_FIELDS_MAX };
    let mut decoder = Decoder::new(Role::Client, limits);
    decoder.expect(Expected::Other);
    let (mut status, mut body) = (0, BytesMut::new());
    loop {
        match next_event(&mut decoder, &mut tcp).await.map_err(|why| failed(&why))? {
            Event::Data(data) if body.len() + data.len() > COMMAND_ANSWER_BYTES_MAX => {
                return Err(failed(&"the reply is too long"));
            }
            Event::Data(data) => body.extend_from_slice(&data),
            Event::End => break,
            Event::Head => status = decoder.head().status(),
            Event::Interim | Event::Trailers => {}
        }
    }
    let status = StatusCode::from_u16(status).map_err(|error| failed(&error))?;
    Ok((status, body.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_and_formatted() {
        for (text, canonical) in [
            ("127.0.0.1:9901", "127.0.0.1:9901"),
            ("localhost:1", "localhost:1"),
            ("[::1]:65535", "[::1]:65535"),
            ("http://127.0.0.1:9901/", "127.0.0.1:9901"),
        ] {
            assert_eq!(AdminAddress::parse(text).expect(text).to_string(), canonical);
        }
        for text in ["", "9901", ":9901", "host", "host:0", "host:65536", "::1:9", "[x]:9", "a/b:9"]
        {
            assert!(AdminAddress::parse(text).is_err(), "{text}");
        }
    }
}
