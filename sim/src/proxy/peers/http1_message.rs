//! HTTP/1.1 messages as peers of the proxy read and write them (RFC 9112). Reading is strict: what
//! a recipient may tolerate but a sender must not write is malformed, and so is what no peer sends
//! and the proxy has no reason to add.

use std::io;
use std::rc::Rc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::timing::Gate;

/// The longest head, and the longest trailers.
const HEAD_BYTES_MAX: usize = 1 << 16;
/// The longest line with the size of a chunk: 16 digits and CRLF.
const SIZE_LINE_BYTES_MAX: usize = 18;
/// Bytes asked for in one read.
const READ_BYTES: usize = 8_192;

/// Why a message could not be read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The sender has ended the connection.
    Ended,
    /// The connection is broken.
    Broken,
    /// The message is malformed: what is wrong with it.
    Malformed(String),
}

impl From<String> for Failure {
    fn from(what: String) -> Self {
        Self::Malformed(what)
    }
}

/// The field lines of a head or of trailers, in order; names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    fn parse(lines: &[&[u8]]) -> Result<Self, String> {
        let fields: Result<_, _> = lines.iter().map(|line| field(line)).collect();
        Ok(Self(fields?))
    }

    /// The values of a name.
    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |field| field.0 == name).map(|field| field.1.as_str())
    }

    /// True if there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first value of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The value of a name that may occur once.
    pub(crate) fn once(&self, name: &str) -> Result<Option<&str>, String> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(format!("more than one field {name}")),
            (value, None) => Ok(value),
        }
    }

    /// True if a comma-separated list has this member.
    pub(crate) fn lists(&self, name: &str, member: &str) -> bool {
        let mut members = self.all(name).flat_map(|value| value.split(','));
        members.any(|listed| listed.trim().eq_ignore_ascii_case(member))
    }

    /// The number of bytes of content, if a field gives it.
    fn length(&self) -> Result<Option<u64>, String> {
        let Some(value) = self.once("content-length")? else { return Ok(None) };
        let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        let length = value.parse().ok().filter(|_| digits);
        length.map(Some).ok_or_else(|| format!("content-length: {value:?}"))
    }

    /// True if the content is in chunks.
    fn chunked(&self) -> Result<bool, String> {
        match self.once("transfer-encoding")? {
            None => Ok(false),
            Some(_) if self.get("content-length").is_some() => {
                Err("transfer-encoding and content-length".to_owned())
            }
            Some("chunked") => Ok(true),
            Some(other) => Err(format!("transfer-encoding: {other:?}")),
        }
    }
}

fn field(line: &[u8]) -> Result<(String, String), String> {
    let malformed = || format!("field line {:?}", String::from_utf8_lossy(line));
    let colon = line.iter().position(|byte| *byte == b':').ok_or_else(malformed)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let text = |byte: &u8| matches!(byte, b'\t' | 0x20..=0x7e | 0x80..);
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) || !value.iter().all(text) {
        return Err(malformed());
    }
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let value = String::from_utf8_lossy(value);
    Ok((name, value.trim_matches([' ', '\t']).to_owned()))
}

/// True for the characters of a token (RFC 9110, 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A head: its start line and its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    line: String,
    /// The fields.
    pub(crate) fields: Fields,
}

impl Head {
    /// Takes a head from the start of the buffer, if all of it is there.
    pub(crate) fn take(buffer: &mut BytesMut) -> Result<Option<Self>, String> {
        let Some(block) = take_block(buffer)? else { return Ok(None) };
        let lines = lines(&block)?;
        let [line, fields @ ..] = &lines[..] else { return Err("an empty line".to_owned()) };
        let line = String::from_utf8_lossy(line).into_owned();
        Ok(Some(Self { line, fields: Fields::parse(fields)? }))
    }

    /// Takes a response to a request over HTTP/1.0 for one over HTTP/1.1.
    ///
    /// # Errors
    /// If the client of such a request does not know its framing.
    pub(crate) fn accept_http10(&mut self) -> Result<(), String> {
        if self.fields.get("transfer-encoding").is_some() {
            return Err("transfer-encoding in a response to HTTP/1.0".to_owned());
        }
        if let Some(rest) = self.line.strip_prefix("HTTP/1.0 ") {
            self.line = format!("HTTP/1.1 {rest}");
        }
        Ok(())
    }

    /// The method and the target of a request.
    pub(crate) fn request(&self) -> Result<(&str, &str), String> {
        let mut parts = self.line.split(' ');
        let parts = (parts.next(), parts.next(), parts.next(), parts.next());
        let (Some(method), Some(target), Some("HTTP/1.1"), None) = parts else {
            return Err(format!("request line {:?}", self.line));
        };
        let visible = |byte: u8| matches!(byte, 0x21..=0x7e);
        if method.is_empty() || !method.bytes().all(is_token) || !target.bytes().all(visible) {
            return Err(format!("request line {:?}", self.line));
        }
        match self.fields.once("host")? {
            Some(_) => Ok((method, target)),
            None => Err("no field host".to_owned()),
        }
    }

    /// The status of a response.
    pub(crate) fn status(&self) -> Result<u16, String> {
        let rest = self.line.strip_prefix("HTTP/1.1 ").unwrap_or_default();
        let (status, reason) = rest.split_at_checked(3).unwrap_or_default();
        let digits = status.bytes().all(|byte| byte.is_ascii_digit()) && reason.starts_with(' ');
        let status = status.parse().ok().filter(|status| digits && (100..600).contains(status));
        status.ok_or_else(|| format!("status line {:?}", self.line))
    }

    /// True if the sender closes the connection after this message.
    pub(crate) fn closes(&self) -> bool {
        self.fields.lists("connection", "close")
    }

    /// How the content of a request is framed (RFC 9112, 6.3).
    pub(crate) fn request_content(&self) -> Result<Content, String> {
        if self.fields.chunked()? {
            return Ok(Content::Size);
        }
        Ok(Content::Length(self.fields.length()?.unwrap_or(0)))
    }

    /// How the content of a response to a request with this method is framed (RFC 9112, 6.3).
    pub(crate) fn response_content(&self, method: &str) -> Result<Content, String> {
        let (chunked, length) = (self.fields.chunked()?, self.fields.length()?);
        let status = self.status()?;
        // RFC 9110, 8.6; RFC 9112, 6.1.
        if matches!(status, 100..200 | 204) && (chunked || length.is_some()) {
            return Err(format!("a response {status} has a length"));
        }
        Ok(match length {
            _ if has_no_content(method, status) => Content::Length(0),
            _ if chunked => Content::Size,
            Some(length) => Content::Length(length),
            None => Content::UntilEnd,
        })
    }
}

/// True if such a response ends with its head (RFC 9112, 6.3).
pub(crate) fn has_no_content(method: &str, status: u16) -> bool {
    method == "HEAD" || matches!(status, 100..200 | 204 | 304)
}

/// Takes lines and the empty line after them from the start of the buffer, if all are there.
fn take_block(buffer: &mut BytesMut) -> Result<Option<Bytes>, String> {
    let end = if buffer.starts_with(b"\r\n") {
        Some(0)
    } else {
        buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|at| at + 2)
    };
    if end.unwrap_or(buffer.len()) > HEAD_BYTES_MAX {
        return Err(format!("more than {HEAD_BYTES_MAX} bytes of fields"));
    }
    let Some(end) = end else {
        let lone = buffer.windows(2).any(|bytes| bytes[1] == b'\n' && bytes[0] != b'\r');
        return if lone { Err("LF without CR".to_owned()) } else { Ok(None) };
    };
    let block = buffer.split_to(end).freeze();
    buffer.advance(2);
    Ok(Some(block))
}

/// Splits a block into lines, none of which contains a CR or LF.
fn lines(block: &[u8]) -> Result<Vec<&[u8]>, String> {
    let mut lines = Vec::new();
    let mut rest = block;
    while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        if !rest[end..].starts_with(b"\r\n") {
            return Err("CR or LF alone".to_owned());
        }
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    Ok(lines)
}

/// The content of a message that is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// This many bytes.
    Length(u64),
    /// Everything until the connection ends.
    UntilEnd,
    /// A line with the size of a chunk.
    Size,
    /// This many bytes of a chunk.
    Chunk(u64),
    /// CRLF after a chunk.
    ChunkEnd,
    /// Trailers and an empty line.
    Trailers,
}

/// A part of the content of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Bytes.
    Data(Bytes),
    /// The end, with the trailers.
    End(Fields),
}

impl Content {
    /// Takes the next part from the start of the buffer, if it is there.
    pub(crate) fn take(&mut self, buffer: &mut BytesMut) -> Result<Option<Part>, String> {
        loop {
            match *self {
                Self::Length(0) => return Ok(Some(Part::End(Fields::default()))),
                Self::Chunk(0) => *self = Self::ChunkEnd,
                Self::Length(_) | Self::Chunk(_) | Self::UntilEnd => return Ok(self.data(buffer)),
                Self::Size => match size(buffer)? {
                    None => return Ok(None),
                    Some(0) => *self = Self::Trailers,
                    Some(size) => *self = Self::Chunk(size),
                },
                Self::ChunkEnd => match &buffer[..] {
                    [b'\r', b'\n', ..] => {
                        buffer.advance(2);
                        *self = Self::Size;
                    }
                    [] | [b'\r'] => return Ok(None),
                    _ => return Err("no CRLF after a chunk".to_owned()),
                },
                Self::Trailers => {
                    let Some(block) = take_block(buffer)? else { return Ok(None) };
                    *self = Self::Length(0);
                    return trailers(&block).map(Some);
                }
            }
        }
    }

    fn data(&mut self, buffer: &mut BytesMut) -> Option<Part> {
        let length = match self {
            Self::Length(left) | Self::Chunk(left) => {
                let length = (*left).min(buffer.len() as u64);
                *left -= length;
                length as usize
            }
            _ => buffer.len(),
        };
        (length > 0).then(|| Part::Data(buffer.split_to(length).freeze()))
    }
}

/// Takes the line with the size of a chunk. There are no extensions: no peer sends them.
fn size(buffer: &mut BytesMut) -> Result<Option<u64>, String> {
    let digits = buffer.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let known = String::from_utf8_lossy(&buffer[..buffer.len().min(SIZE_LINE_BYTES_MAX)]);
    let malformed = Err(format!("size of a chunk {known:?}"));
    match &buffer[digits..] {
        _ if digits > SIZE_LINE_BYTES_MAX - 2 => malformed,
        [] => Ok(None),
        [b'\r'] if digits > 0 => Ok(None),
        [b'\r', b'\n', ..] if digits > 0 => {
            let size = u64::from_str_radix(&known[..digits], 16);
            buffer.advance(digits + 2);
            size.map(Some).or(malformed)
        }
        _ => malformed,
    }
}

fn trailers(block: &[u8]) -> Result<Part, String> {
    let fields = Fields::parse(&lines(block)?)?;
    let forbidden = ["content-length", "transfer-encoding", "host", "connection", "te", "trailer"];
    match forbidden.iter().find(|name| fields.get(name).is_some()) {
        Some(name) => Err(format!("a trailer field {name}")),
        None => Ok(Part::End(fields)),
    }
}

/// The reading side of a connection. All of its methods can be cancelled without a loss.
pub(crate) struct Reader<Io> {
    io: Io,
    buffer: BytesMut,
    gate: Rc<Gate>,
}

impl<Io: AsyncRead + Unpin> Reader<Io> {
    /// Reads from a connection while the gate is open.
    pub(crate) fn new(io: Io, gate: &Rc<Gate>) -> Self {
        Self { io, buffer: BytesMut::new(), gate: Rc::clone(gate) }
    }

    /// True if there are bytes that were read and belong to no message so far.
    pub(crate) fn has_more(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Drops such bytes.
    pub(crate) fn discard(&mut self) {
        self.buffer.clear();
    }

    /// Reads further bytes.
    pub(crate) async fn more(&mut self) -> Result<(), Failure> {
        loop {
            self.gate.opened().await;
            self.buffer.reserve(READ_BYTES);
            let read = tokio::select! {
                biased;
                () = self.gate.closed() => continue,
                read = self.io.read_buf(&mut self.buffer) => read,
            };
            return match read {
                Ok(0) => Err(Failure::Ended),
                Ok(_) => Ok(()),
                Err(_) => Err(Failure::Broken),
            };
        }
    }

    /// Reads a head; `None` if the connection ended before it.
    pub(crate) async fn head(&mut self) -> Result<Option<Head>, Failure> {
        loop {
            if let Some(head) = Head::take(&mut self.buffer)? {
                return Ok(Some(head));
            }
            match self.more().await {
                Err(Failure::Ended) if self.buffer.is_empty() => return Ok(None),
                more => more?,
            }
        }
    }

    /// Reads the next part of a message.
    pub(crate) async fn part(&mut self, content: &mut Content) -> Result<Part, Failure> {
        loop {
            if let Some(part) = content.take(&mut self.buffer)? {
                return Ok(part);
            }
            match self.more().await {
                Err(Failure::Ended) if *content == Content::UntilEnd => {
                    return Ok(Part::End(Fields::default()));
                }
                more => more?,
            }
        }
    }
}

/// Writes a piece of content, as a chunk or as it is. Calls `wrote` with the number of bytes of
/// content whenever the connection has taken some.
pub(crate) async fn write_piece(
    io: &mut (impl AsyncWrite + Unpin),
    piece: &[u8],
    chunked: bool,
    mut wrote: impl FnMut(u64),
) -> io::Result<()> {
    let mut bytes = BytesMut::with_capacity(piece.len() + SIZE_LINE_BYTES_MAX + 2);
    if chunked {
        bytes.put_slice(format!("{:x}\r\n", piece.len()).as_bytes());
    }
    let from = bytes.len();
    bytes.put_slice(piece);
    let to = bytes.len();
    if chunked {
        bytes.put_slice(b"\r\n");
    }
    let mut written = 0;
    while written < bytes.len() {
        let taken = io.write(&bytes[written..]).await?;
        if taken == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let before = written.clamp(from, to);
        written += taken;
        let content = written.clamp(from, to) - before;
        if content > 0 {
            wrote(content as u64);
        }
    }
    io.flush().await
}

/// The end of content in chunks, with a trailer field if there is one.
pub(crate) fn last_chunk(trailer: Option<(&str, &str)>) -> String {
    let line = trailer.map(|(name, value)| format!("{name}: {value}\r\n")).unwrap_or_default();
    format!("0\r\n{line}\r\n")
}

#[cfg(test)]
mod tests;
