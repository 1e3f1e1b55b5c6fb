//! Writes one response.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::TRANSFER_ENCODING;
use http::{HeaderValue, Response, response};
use http_body::Body;

use crate::proxy::headers::{self, ContentLength};
use crate::proxy::heads;
use crate::wire::http1::{self, BodyEncoder, BodyError, BodyFraming, Outgoing, Version};

/// The interim response to a client that waits for it before it sends its body (RFC 9110, 15.2.1).
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A request, as far as its response depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    /// True if it is a HEAD request.
    pub(super) is_head: bool,
    /// True if the client speaks HTTP/1.0: it knows no chunks.
    pub(super) is_http10: bool,
    /// True if the client can send another request on the connection.
    pub(super) keeps_alive: bool,
    /// True if the client may wait for a 100 (Continue) that was not sent.
    pub(super) expects_continue: bool,
}

/// The response ended before it was complete.
#[derive(Clone, Copy, Debug)]
pub(super) struct CutShort;

/// A response whose head was written.
pub(super) struct Sending<B> {
    body: B,
    encoder: BodyEncoder,
    is_until_close: bool,
}

/// Writes the head of a response. `is_last` is true if the connection closes after it.
pub(super) fn begin<B: Body<Data = Bytes> + Unpin>(
    outgoing: &mut Outgoing,
    request: Answered,
    response: Response<B>,
    is_last: bool,
) -> Sending<B> {
    let (mut head, body) = response.into_parts();
    let framing = frame(request, &mut head, &body);
    let is_until_close = framing == BodyFraming::UntilClose;
    let connection: Option<(&[u8], &[u8])> = match (is_last || is_until_close, request.is_http10) {
        (true, _) => Some((b"connection", b"close")),
        (false, true) => Some((b"connection", b"keep-alive")),
        (false, false) => None,
    };
    let version = if request.is_http10 { Version::Http10 } else { Version::Http11 };
    let reason = head.status.canonical_reason().unwrap_or_default();
    let fields = heads::fields(&head.headers).chain(connection);
    let (status, reason) = (head.status.as_u16(), reason.as_bytes());
    http1::response_head(outgoing.small(), version, status, reason, fields);
    Sending { body, encoder: BodyEncoder::new(framing), is_until_close }
}

/// Decides how a response is framed (RFC 9112, 6.3), and makes its fields say so.
fn frame(request: Answered, head: &mut response::Parts, body: &impl Body) -> BodyFraming {
    let known = if body.is_end_stream() { Some(0) } else { body.size_hint().exact() };
    match headers::set_length(head, request.is_head, known) {
        ContentLength::NoContent => BodyFraming::Length(0),
        ContentLength::Bytes(length) => BodyFraming::Length(length),
        ContentLength::Unknown if request.is_http10 => BodyFraming::UntilClose,
        ContentLength::Unknown => {
            head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            BodyFraming::Chunked
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Sending<B> {
    /// True if the content ends with the connection.
    pub(super) fn is_until_close(&self) -> bool {
        self.is_until_close
    }

    /// The rest of the body.
    pub(super) fn body(&self) -> &B {
        &self.body
    }

    /// Appends the next piece of the body, or its end. Returns true at the end.
    pub(super) fn poll(
        &mut self,
        outgoing: &mut Outgoing,
        context: &mut Context<'_>,
    ) -> Poll<Result<bool, CutShort>> {
        // Nothing marks the end of content whose length is known.
        if self.encoder.is_complete() {
            return Poll::Ready(Ok(true));
        }
        let written = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => self.encoder.data(outgoing, data),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    self.encoder.end(outgoing, heads::fields(&trailers))
                }
            },
            Some(Err(_)) => return Poll::Ready(Err(CutShort)),
            None => self.encoder.end(outgoing, std::iter::empty()),
        };
        let written = written.map_err(|(BodyError::TooLong | BodyError::TooShort)| CutShort);
        Poll::Ready(written.map(|()| self.encoder.is_complete()))
    }
}
