//! Writes messages: heads, and content in the framing that the head announces.

use bytes::{Bytes, BytesMut};

use super::{Outgoing, Version};

/// The line of the last chunk.
const LAST_CHUNK: &[u8] = b"0\r\n";
const LINE_END: &[u8] = b"\r\n";
/// Bytes of the longest line before a chunk.
const CHUNK_LINE_BYTES_MAX: usize = 18;

/// How the content of a message is sent. The head must say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// This many bytes, perhaps none (RFC 9112, 6.2).
    Length(u64),
    /// Chunks, and trailers behind them (RFC 9112, 7.1).
    Chunked,
    /// All bytes until the connection closes; for responses only.
    UntilClose,
}

/// The content does not have the length that its head announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// More bytes than announced. None of them may be sent.
    TooLong,
    /// Fewer bytes than announced: the connection must close, so that the message looks cut short.
    TooShort,
}

/// Writes a request head: the request line, the fields in this order, and the empty line.
///
/// Method, target, names and values must be valid in HTTP/1.1: this function does not look into
/// them.
pub fn request_head<'a>(
    out: &mut BytesMut,
    method: &[u8],
    target: &[u8],
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) {
    for part in [method, b" ", target, b" HTTP/1.1\r\n"] {
        out.extend_from_slice(part);
    }
    write_fields(out, fields);
    out.extend_from_slice(LINE_END);
}

/// Writes a response head, as [`request_head`] does. The status has three digits.
///
/// # Panics
/// If it has more.
pub fn response_head<'a>(
    out: &mut BytesMut,
    version: Version,
    status: u16,
    reason: &[u8],
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) {
    assert!(status < 1000, "a status has three digits");
    let version: &[u8] = match version {
        Version::Http10 => b"HTTP/1.0 ",
        Version::Http11 => b"HTTP/1.1 ",
    };
    let digit = |value: u16| b'0' + u8::try_from(value % 10).expect("one digit");
    let status = [digit(status / 100), digit(status / 10), digit(status)];
    for part in [version, &status, b" ", reason, LINE_END] {
        out.extend_from_slice(part);
    }
    write_fields(out, fields);
    out.extend_from_slice(LINE_END);
}

fn write_fields<'a>(out: &mut BytesMut, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
    for (name, value) in fields {
        out.reserve(name.len() + value.len() + 4);
        for part in [name, b": ", value, LINE_END] {
            out.extend_from_slice(part);
        }
    }
}

/// Writes the content of one message.
#[derive(Debug)]
pub struct BodyEncoder {
    /// The content that is still to be sent.
    framing: BodyFraming,
}

impl BodyEncoder {
    /// Starts before the first byte of the content.
    #[must_use]
    pub fn new(framing: BodyFraming) -> Self {
        Self { framing }
    }

    /// True if all content was written that the head announced. False for content whose end must be
    /// written.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.framing == BodyFraming::Length(0)
    }

    /// Writes a piece of the content.
    ///
    /// # Errors
    /// If the content is longer than announced. Nothing of the piece was written then.
    pub fn data(&mut self, out: &mut Outgoing, data: Bytes) -> Result<(), BodyError> {
        if data.is_empty() {
            // An empty chunk would end the content.
            return Ok(());
        }
        match &mut self.framing {
            BodyFraming::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(BodyError::TooLong)?;
                out.push(data);
            }
            BodyFraming::Chunked => {
                let (line, from) = chunk_line(data.len());
                out.small().extend_from_slice(&line[from..]);
                out.push(data);
                out.small().extend_from_slice(LINE_END);
            }
            BodyFraming::UntilClose => out.push(data),
        }
        Ok(())
    }

    /// Ends the content. The trailers are lost unless it is chunked: only then can they be sent
    /// (RFC 9110, 6.5.1).
    ///
    /// # Errors
    /// If the content is shorter than announced.
    pub fn end<'a>(
        &mut self,
        out: &mut Outgoing,
        trailers: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<(), BodyError> {
        match self.framing {
            BodyFraming::Length(0) | BodyFraming::UntilClose => {}
            BodyFraming::Length(_) => return Err(BodyError::TooShort),
            BodyFraming::Chunked => {
                out.small().extend_from_slice(LAST_CHUNK);
                write_fields(out.small(), trailers);
                out.small().extend_from_slice(LINE_END);
            }
        }
        self.framing = BodyFraming::Length(0);
        Ok(())
    }
}

/// Returns the line before a chunk, at the end of an array, and its position.
fn chunk_line(length: usize) -> ([u8; CHUNK_LINE_BYTES_MAX], usize) {
    let mut line = [0; CHUNK_LINE_BYTES_MAX];
    let mut at = CHUNK_LINE_BYTES_MAX - LINE_END.len();
    line[at..].copy_from_slice(LINE_END);
    let mut left = length;
    while left > 0 {
        at -= 1;
        line[at] = b"0123456789abcdef"[left % 16];
        left /= 16;
    }
    (line, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(out: &Outgoing) -> String {
        let mut slices = [std::io::IoSlice::new(&[]); 16];
        let count = out.slices(&mut slices);
        slices[..count].iter().map(|slice| String::from_utf8_lossy(slice).into_owned()).collect()
    }

    fn none<'a>() -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        std::iter::empty()
    }

    #[test]
    fn heads_are_written_in_order() {
        let mut out = BytesMut::new();
        let fields: [(&[u8], &[u8]); 2] = [(b"host", b"a"), (b"x", b"")];
        request_head(&mut out, b"GET", b"/?q=\"", fields.into_iter());
        assert_eq!(&out[..], b"GET /?q=\" HTTP/1.1\r\nhost: a\r\nx: \r\n\r\n");
        out.clear();
        response_head(&mut out, Version::Http10, 204, b"No Content", none());
        assert_eq!(&out[..], b"HTTP/1.0 204 No Content\r\n\r\n");
        out.clear();
        response_head(&mut out, Version::Http11, 7, b"", none());
        assert_eq!(&out[..], b"HTTP/1.1 007 \r\n\r\n");
    }

    #[test]
    fn content_with_a_length_keeps_to_it() {
        let (mut out, mut body) = (Outgoing::default(), BodyEncoder::new(BodyFraming::Length(5)));
        assert_eq!(body.data(&mut out, Bytes::from_static(b"hell")), Ok(()));
        assert_eq!(body.data(&mut out, Bytes::from_static(b"oo")), Err(BodyError::TooLong));
        assert_eq!(body.end(&mut out, none()), Err(BodyError::TooShort));
        assert!(!body.is_complete());
        assert_eq!(body.data(&mut out, Bytes::from_static(b"o")), Ok(()));
        assert!(body.is_complete());
        assert_eq!(body.end(&mut out, none()), Ok(()));
        assert_eq!(text(&out), "hello");
    }

    #[test]
    fn chunks_end_with_trailers() {
        let (mut out, mut body) = (Outgoing::default(), BodyEncoder::new(BodyFraming::Chunked));
        for data in [vec![b'a'; 17], Vec::new(), vec![b'b'; 1]] {
            assert_eq!(body.data(&mut out, data.into()), Ok(()));
        }
        assert!(!body.is_complete());
        let trailers: [(&[u8], &[u8]); 1] = [(b"sum", b"1")];
        assert_eq!(body.end(&mut out, trailers.into_iter()), Ok(()));
        assert!(body.is_complete());
        let wanted = format!("11\r\n{}\r\n1\r\nb\r\n0\r\nsum: 1\r\n\r\n", "a".repeat(17));
        assert_eq!(text(&out), wanted);
    }

    #[test]
    fn content_until_the_close_is_bare() {
        let (mut out, mut body) = (Outgoing::default(), BodyEncoder::new(BodyFraming::UntilClose));
        assert_eq!(body.data(&mut out, Bytes::from_static(b"hi")), Ok(()));
        assert_eq!(body.end(&mut out, none()), Ok(()));
        assert_eq!(text(&out), "hi");
    }

    #[test]
    fn chunk_lines_are_hexadecimal() {
        for length in [1, 9, 10, 15, 16, 255, 4096, 0x1234_abcd] {
            let (line, from) = chunk_line(length);
            assert_eq!(&line[from..], format!("{length:x}\r\n").as_bytes());
        }
    }
}
