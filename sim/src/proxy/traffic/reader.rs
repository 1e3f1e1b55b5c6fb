//! The messages in the bytes of one direction of a connection.

use std::collections::VecDeque;

use bytes::BytesMut;
use tokio::io::Empty;

use crate::proxy::peers::frames::{Frame, FrameReader, PREFACE};
use crate::proxy::peers::http1_message::{Content, Head, Part as ContentPart};

/// Bytes that tell requests over HTTP/2 from those over HTTP/1.1.
const TELLING: usize = 3;

/// A part of a message, or a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The first bytes of an HTTP/2 client.
    Preface,
    /// A frame of HTTP/2. A head includes its CONTINUATION frames.
    Frame(Frame),
    /// The head of a request over HTTP/1.1.
    Request { method: String, target: String, ends: bool },
    /// The head of a response over HTTP/1.1.
    Response { status: u16, ends: bool },
    /// Bytes of content over HTTP/1.1, of a chunk or not.
    Content { bytes: u64, chunk: bool },
    /// The end of content over HTTP/1.1 that did not end with the head.
    End { trailers: bool },
    /// Bytes that cannot be read. Nothing is read behind them.
    Unreadable(String),
}

/// The sender of a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// It sends requests.
    Client,
    /// It sends responses.
    Server,
}

enum State {
    /// Too few bytes have come to know the protocol.
    Unknown,
    Http1(Option<Content>),
    Http2 {
        preface: bool,
    },
    Unreadable,
}

/// Reads the bytes of one direction.
pub(super) struct Reader {
    sender: Sender,
    state: State,
    /// Bytes of HTTP/1.1, or of an unknown protocol, that are not read yet.
    buffer: BytesMut,
    frames: Option<Box<FrameReader<Empty>>>,
    /// Bytes that have come.
    come: u64,
}

impl Reader {
    pub(super) fn new(sender: Sender) -> Self {
        Self { sender, state: State::Unknown, buffer: BytesMut::new(), frames: None, come: 0 }
    }

    /// True if the bytes are frames of HTTP/2; `None` if that is not known yet.
    pub(super) fn is_http2(&self) -> Option<bool> {
        match self.state {
            State::Unknown => None,
            State::Http1(_) => Some(false),
            State::Http2 { .. } => Some(true),
            State::Unreadable => Some(self.frames.is_some()),
        }
    }

    /// Adds bytes. The next parts are taken with [`take`](Self::take).
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.come += bytes.len() as u64;
        match (&self.state, &mut self.frames) {
            (State::Unreadable, _) => {}
            (_, Some(frames)) => frames.put(bytes),
            (_, None) => self.buffer.extend_from_slice(bytes),
        }
        if matches!(self.state, State::Unknown) {
            self.find_protocol();
        }
    }

    fn find_protocol(&mut self) {
        let http2 = match (self.sender, &self.buffer[..]) {
            (_, []) => return,
            (Sender::Server, [first, ..]) => *first != b'H',
            (Sender::Client, first) if first.len() < TELLING => return,
            (Sender::Client, first) => first[..TELLING] == PREFACE[..TELLING],
        };
        if !http2 {
            self.state = State::Http1(None);
            return;
        }
        self.state = State::Http2 { preface: self.sender == Sender::Client };
        let mut frames = Box::new(FrameReader::fed());
        frames.put(&self.buffer.split());
        self.frames = Some(frames);
    }

    /// Takes the next part and the number of bytes up to its end. Responses over HTTP/1.1 are to
    /// requests with these methods; each answer takes one.
    pub(super) fn take(&mut self, methods: &mut VecDeque<String>) -> Option<(u64, Part)> {
        let part = match &mut self.state {
            State::Unknown | State::Unreadable => return None,
            State::Http2 { preface } => {
                let frames = self.frames.as_mut().expect("HTTP/2 has a reader of frames");
                if *preface {
                    *preface = !frames.take_preface();
                    (!*preface).then_some(Part::Preface).map(Ok)
                } else {
                    let frame = frames.take().map_err(|fault| fault.what);
                    frame.map(|frame| frame.map(Part::Frame)).transpose()
                }
            }
            State::Http1(content) => take_http1(self.sender, content, &mut self.buffer, methods),
        };
        let part = part?.unwrap_or_else(|what| {
            self.state = State::Unreadable;
            Part::Unreadable(what)
        });
        Some((self.come - self.left(), part))
    }

    /// The end of the bytes: that of content without another end.
    pub(super) fn end(&mut self) -> Option<(u64, Part)> {
        let State::Http1(content) = &mut self.state else { return None };
        content.take_if(|content| *content == Content::UntilEnd)?;
        Some((self.come, Part::End { trailers: false }))
    }

    /// Bytes that have come and are not part of a whole frame or head.
    fn left(&self) -> u64 {
        self.frames.as_ref().map_or(self.buffer.len(), |frames| frames.unused().len()) as u64
    }

    /// True if a part of a head is there, and not all of it.
    pub(super) fn is_inside_head(&self) -> bool {
        match (&self.state, &self.frames) {
            (State::Unknown | State::Http1(None), _) => !self.buffer.is_empty(),
            (State::Http2 { preface: false }, Some(frames)) => frames.is_inside_fields(),
            _ => false,
        }
    }
}

fn take_http1(
    sender: Sender,
    content: &mut Option<Content>,
    buffer: &mut BytesMut,
    methods: &mut VecDeque<String>,
) -> Option<Result<Part, String>> {
    let part = match content {
        None => head(sender, buffer, methods, content),
        Some(open) => {
            let chunk = !matches!(open, Content::Length(_) | Content::UntilEnd);
            match open.take(buffer) {
                Ok(Some(ContentPart::Data(bytes))) => {
                    let bytes = bytes.len() as u64;
                    return Some(Ok(Part::Content { bytes, chunk }));
                }
                Ok(Some(ContentPart::End(fields))) => {
                    *content = None;
                    Ok(Some(Part::End { trailers: !fields.is_empty() }))
                }
                Ok(None) => Ok(None),
                Err(what) => Err(what),
            }
        }
    };
    part.transpose()
}

fn head(
    sender: Sender,
    buffer: &mut BytesMut,
    methods: &mut VecDeque<String>,
    content: &mut Option<Content>,
) -> Result<Option<Part>, String> {
    let Some(head) = Head::take(buffer)? else { return Ok(None) };
    let (part, framed) = match sender {
        Sender::Client => {
            let (method, target) = head.request()?;
            methods.push_back(method.to_owned());
            let framed = head.request_content()?;
            let (method, target) = (method.to_owned(), target.to_owned());
            (Part::Request { method, target, ends: framed == Content::Length(0) }, framed)
        }
        Sender::Server => {
            let status = head.status()?;
            let method = methods.front().map_or("GET", String::as_str);
            let framed = head.response_content(method)?;
            if status >= 200 {
                methods.pop_front();
            }
            (Part::Response { status, ends: framed == Content::Length(0) }, framed)
        }
    };
    *content = Some(framed).filter(|framed| *framed != Content::Length(0));
    Ok(Some(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::peers::frames::{Fields, FrameWriter};

    /// The parts of bytes that come one by one, each with its end.
    fn read(sender: Sender, bytes: &[u8], methods: &[&str]) -> Vec<(u64, Part)> {
        let mut reader = Reader::new(sender);
        let mut methods = methods.iter().map(|method| (*method).to_owned()).collect();
        let mut parts = Vec::new();
        for byte in bytes {
            reader.put(&[*byte]);
            while let Some(part) = reader.take(&mut methods) {
                parts.push(part);
            }
        }
        parts.extend(reader.end());
        parts
    }

    #[test]
    fn requests_over_http1_have_heads_content_and_ends() {
        let text = "POST /r1 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
                    3\r\nabc\r\n0\r\nx-end: 1\r\n\r\nGET /r2 HTTP/1.1\r\nhost: a\r\n\r\n";
        let parts = read(Sender::Client, text.as_bytes(), &[]);
        let request = |method: &str, target: &str, ends| Part::Request {
            method: method.to_owned(),
            target: target.to_owned(),
            ends,
        };
        let byte = Part::Content { bytes: 1, chunk: true };
        let expected = [
            (58, request("POST", "/r1", false)),
            (62, byte.clone()),
            (63, byte.clone()),
            (64, byte),
            (81, Part::End { trailers: true }),
            (text.len() as u64, request("GET", "/r2", true)),
        ];
        assert_eq!(parts, expected);
    }

    #[test]
    fn responses_over_http1_end_by_length_by_their_method_or_with_the_connection() {
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\
                    HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\nx";
        let parts = read(Sender::Server, text.as_bytes(), &["HEAD", "GET", "GET"]);
        let parts: Vec<Part> = parts.into_iter().map(|(_, part)| part).collect();
        let byte = || Part::Content { bytes: 1, chunk: false };
        let expected = [
            Part::Response { status: 100, ends: true },
            Part::Response { status: 200, ends: true },
            Part::Response { status: 200, ends: false },
            byte(),
            byte(),
            Part::End { trailers: false },
            Part::Response { status: 200, ends: false },
            byte(),
            Part::End { trailers: false },
        ];
        assert_eq!(parts, expected);
    }

    #[test]
    fn frames_of_http2_come_whole_and_a_server_may_be_first() {
        let mut writer = FrameWriter::new();
        writer.preface();
        writer.ping([1; 8]);
        let fields = Fields::new().with(":method", "GET").with(":path", "/r1");
        writer.headers(1, &fields, true);
        let bytes = writer.take();
        let parts = read(Sender::Client, &bytes, &[]);
        let head = Part::Frame(Frame::Headers { stream: 1, fields, end: true });
        let expected = [
            (24, Part::Preface),
            (24 + 17, Part::Frame(Frame::Ping([1; 8]))),
            (bytes.len() as u64, head),
        ];
        assert_eq!(parts, expected);
        writer.go_away(3, 2);
        let parts = read(Sender::Server, &writer.take(), &[]);
        assert_eq!(parts, [(17, Part::Frame(Frame::GoAway { last: 3, code: 2 }))]);
    }

    #[test]
    fn a_head_is_begun_with_its_first_byte() {
        for begin in [&b"G"[..], b"GET /r1 HTTP/1.1\r\n"] {
            let mut reader = Reader::new(Sender::Client);
            assert!(!reader.is_inside_head());
            reader.put(begin);
            assert_eq!(reader.take(&mut VecDeque::new()), None);
            assert!(reader.is_inside_head());
        }
    }

    #[test]
    fn nothing_is_read_behind_what_is_not_readable() {
        let parts = read(Sender::Client, b"GET\r\n\r\nGET /r1 HTTP/1.1\r\nhost: a\r\n\r\n", &[]);
        assert!(matches!(&parts[..], [(_, Part::Unreadable(_))]), "{parts:?}");
    }
}
