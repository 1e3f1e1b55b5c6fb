//! Reads the messages of one direction of a connection.

use bytes::{Buf as _, Bytes, BytesMut};

use super::chunk::{ChunkLine, Next};
use super::head::{Framing, Head, Span, Version};
use super::lexemes::number;
use super::lines::{self, EMPTY_LINE, FieldLine};
use super::{HEAD_BYTES_MAX, HeadLimits, NAME_BYTES_MAX, Violation};

/// The direction of the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Requests are read.
    Server,
    /// Responses are read; [`Decoder::expect`] announces each.
    Client,
}

/// The request that a response belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// None: a response is unsolicited.
    Nothing,
    /// HEAD: the response has no content.
    Head,
    /// Any other request.
    Other,
}

/// A part of a message, which is a head, data, perhaps trailers, and the end.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The head of an interim response (RFC 9110, 15.2); the final one is still to come.
    Interim,
    /// The head of a request or of a final response; see [`Decoder::head`].
    Head,
    /// The next bytes of the content, at least one.
    Data(Bytes),
    /// The trailers; see [`Decoder::head`].
    Trailers,
    /// The end of the message.
    End,
}

/// The meaning of the fact that the peer sends nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndOfInput {
    /// No message is open.
    BetweenMessages,
    /// The content of the message was to last until here: it is complete.
    EndsContent,
    /// A message is incomplete.
    WithinMessage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first byte of a message.
    Start,
    /// Within a head, before the end of its start line.
    StartLine,
    /// Within a head, behind its start line.
    Fields,
    /// Content of which this many bytes are left, at least one.
    Content(u64),
    UntilClose,
    Chunk(ChunkLine),
    /// Within a chunk of which this many bytes are left, at least one.
    ChunkData(u64),
    /// Behind a chunk's data.
    ChunkEnd,
    Trailers,
    /// The message is complete, and [`Event::End`] is due.
    Complete,
    /// A violation was found.
    Failed(Violation),
}

/// Reads the messages of one direction of a connection. The caller puts the bytes that it receives
/// into [`Decoder::buffer`] and then asks for events until there is none.
#[derive(Debug)]
pub struct Decoder {
    role: Role,
    limits: HeadLimits,
    state: State,
    expected: Expected,
    buffer: BytesMut,
    /// The head that is read, or was read last.
    head: Head,
    /// Bytes of the open head that were understood: whole lines.
    understood: usize,
    content_length: Option<u64>,
    is_chunked: bool,
    /// True if an empty line was ignored since the last message.
    has_skipped_line: bool,
}

/// A line of a head, or of trailers.
enum Line {
    /// It is not there as a whole.
    Incomplete,
    /// It was understood, and more follow.
    Understood,
    /// The empty one behind the fields.
    Last,
}

impl Decoder {
    /// Starts before the first message.
    ///
    /// # Panics
    /// If a limit is above [`HEAD_BYTES_MAX`].
    #[must_use]
    pub fn new(role: Role, limits: HeadLimits) -> Self {
        assert!(limits.bytes <= HEAD_BYTES_MAX, "offsets in a head are 32 bits wide");
        Self {
            role,
            limits,
            state: State::Start,
            expected: Expected::Nothing,
            buffer: BytesMut::new(),
            head: Head::default(),
            understood: 0,
            content_length: None,
            is_chunked: false,
            has_skipped_line: false,
        }
    }

    /// The bytes that were received and not yet read. The caller appends to it.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The bytes of announced content, of the message or of the open chunk, that the buffer lacks.
    #[must_use]
    pub fn missing(&self) -> usize {
        match self.state {
            State::Content(left) | State::ChunkData(left) => {
                usize::try_from(left).unwrap_or(usize::MAX).saturating_sub(self.buffer.len())
            }
            _ => 0,
        }
    }

    /// Announces a response: the request that it belongs to was sent, or is about to be.
    ///
    /// # Panics
    /// If another response is expected.
    pub fn expect(&mut self, expected: Expected) {
        assert_eq!(self.expected, Expected::Nothing, "one request at a time");
        self.expected = expected;
    }

    /// The head after [`Event::Head`] or [`Event::Interim`], or the trailers after
    /// [`Event::Trailers`], until the next event is read.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// True if the last message was read up to its end, and no byte of the next one was received.
    #[must_use]
    pub fn is_between_messages(&self) -> bool {
        self.is_complete() && self.buffer.is_empty()
    }

    /// Takes the end of a message, if it is due without a further byte: then [`Event::End`] does
    /// not follow. Returns true if the last message was read up to its end.
    pub fn take_end(&mut self) -> bool {
        let is_complete = self.is_complete();
        if is_complete {
            self.state = State::Start;
        }
        is_complete
    }

    fn is_complete(&self) -> bool {
        matches!(self.state, State::Start | State::Complete) && self.expected == Expected::Nothing
    }

    /// Reads the next event from the buffer; `None` if it needs more bytes.
    ///
    /// # Errors
    /// The first violation. Every further call returns it again.
    pub fn next_event(&mut self) -> Result<Option<Event>, Violation> {
        let next = self.read();
        if let Err(violation) = next {
            self.state = State::Failed(violation);
        }
        next
    }

    /// The peer sends nothing more. If that completes the content, [`Event::End`] follows.
    pub fn end_of_input(&mut self) -> EndOfInput {
        match self.state {
            State::UntilClose => {
                self.message_ends();
                EndOfInput::EndsContent
            }
            State::Start if self.expected == Expected::Nothing => EndOfInput::BetweenMessages,
            State::Complete => EndOfInput::BetweenMessages,
            _ => EndOfInput::WithinMessage,
        }
    }

    fn read(&mut self) -> Result<Option<Event>, Violation> {
        loop {
            match self.state {
                State::Failed(violation) => return Err(violation),
                State::Complete => {
                    self.state = State::Start;
                    return Ok(Some(Event::End));
                }
                State::Start if self.buffer.is_empty() => return Ok(None),
                State::Start if self.may_skip_line() => match self.buffer.as_ref() {
                    // RFC 9112, 2.2: one empty line before a request is ignored.
                    [b'\r', b'\n', ..] => {
                        self.buffer.advance(EMPTY_LINE.len());
                        self.has_skipped_line = true;
                    }
                    [b'\r'] => return Ok(None),
                    _ => return Err(Violation::StartLine),
                },
                State::Start => self.begin()?,
                State::StartLine | State::Fields | State::Trailers => match self.read_line()? {
                    Line::Incomplete => return Ok(None),
                    Line::Understood => {}
                    Line::Last => {
                        if let Some(event) = self.fields_end() {
                            return Ok(Some(event));
                        }
                    }
                },
                State::Content(_) | State::UntilClose | State::ChunkData(_) => {
                    return Ok(self.data());
                }
                State::Chunk(line) => {
                    let Some(byte) = self.buffer.first().copied() else { return Ok(None) };
                    let next = line.step(byte)?;
                    self.buffer.advance(1);
                    self.state = match next {
                        Next::Line(line) => State::Chunk(line),
                        Next::Chunk(0) => {
                            self.begin_fields();
                            State::Trailers
                        }
                        Next::Chunk(size) => State::ChunkData(size),
                    };
                }
                State::ChunkEnd => match self.buffer.as_ref() {
                    [b'\r', b'\n', ..] => {
                        self.buffer.advance(EMPTY_LINE.len());
                        self.state = State::Chunk(ChunkLine::START);
                    }
                    [] | [b'\r'] => return Ok(None),
                    [_, ..] => return Err(Violation::Chunk),
                },
            }
        }
    }

    /// True if an empty line seems to come before the next request, and none did so far.
    fn may_skip_line(&self) -> bool {
        self.role == Role::Server && !self.has_skipped_line && self.buffer.first() == Some(&b'\r')
    }

    /// Begins a head with the first byte of the buffer.
    fn begin(&mut self) -> Result<(), Violation> {
        if self.role == Role::Client && self.expected == Expected::Nothing {
            return Err(Violation::Unsolicited);
        }
        self.begin_fields();
        self.has_skipped_line = false;
        self.state = State::StartLine;
        Ok(())
    }

    fn begin_fields(&mut self) {
        self.head.clear();
        self.understood = 0;
        self.content_length = None;
        self.is_chunked = false;
    }

    /// Reads the next line of a head or of trailers.
    fn read_line(&mut self) -> Result<Line, Violation> {
        let limit = self.limits.bytes as usize;
        // What is beyond the limit is not looked at, so that a violation before it wins.
        let end = self.buffer.len().min(limit);
        let (length, line) = match self.state {
            State::StartLine => (self.read_start_line(end)?, Line::Understood),
            _ => match self.read_field(end)? {
                Some(FieldLine::Field { length, .. }) => (Some(length), Line::Understood),
                Some(FieldLine::Empty) => (Some(EMPTY_LINE.len()), Line::Last),
                None => (None, Line::Incomplete),
            },
        };
        match length {
            Some(length) => self.understood += length,
            None if self.buffer.len() > limit && self.state == State::Trailers => {
                return Err(Violation::Trailer);
            }
            None if self.buffer.len() > limit => return Err(Violation::HeadBytes),
            None => return Ok(Line::Incomplete),
        }
        Ok(line)
    }

    /// Reads the start line from the bytes up to `end`. Returns its length.
    fn read_start_line(&mut self, end: usize) -> Result<Option<usize>, Violation> {
        let offset = self.understood;
        let line = &self.buffer[offset..end];
        let wrong = |_| Violation::StartLine;
        let length = match self.role {
            Role::Server => {
                let Some(line) = lines::request_line(line).map_err(wrong)? else { return Ok(None) };
                self.head.version = line.version;
                self.head.method = Span::new(&line.method, offset);
                self.head.target = Span::new(&line.target, offset);
                line.length
            }
            Role::Client => {
                let Some(line) = lines::status_line(line).map_err(wrong)? else { return Ok(None) };
                // No status below 100 has a meaning (RFC 9110, 15), and no change of protocol was
                // asked for (15.2.2).
                if line.status < 100 || line.status == 101 {
                    return Err(Violation::StartLine);
                }
                self.head.version = line.version;
                self.head.status = line.status;
                line.length
            }
        };
        self.state = State::Fields;
        Ok(Some(length))
    }

    /// Reads a field line, or the empty line, from the bytes up to `end`, and keeps the field.
    fn read_field(&mut self, end: usize) -> Result<Option<FieldLine>, Violation> {
        let offset = self.understood;
        let (wrong, too_many) = match self.state {
            State::Trailers => (Violation::Trailer, Violation::Trailer),
            _ => (Violation::Field, Violation::HeadFields),
        };
        let line = &self.buffer[offset..end];
        let is_field = line.first().is_some_and(|byte| *byte != b'\r');
        let field = lines::field_line(line).map_err(|_| wrong)?;
        if is_field && self.head.fields.len() == self.limits.fields {
            return Err(too_many);
        }
        if let Some(FieldLine::Field { name, value, .. }) = &field {
            if name.len() > NAME_BYTES_MAX {
                let is_head = self.state != State::Trailers;
                return Err(if is_head { Violation::HeadBytes } else { Violation::Trailer });
            }
            let (name, value) = (Span::new(name, offset), Span::new(value, offset));
            self.note_framing(name, value)?;
            self.head.fields.push((name, value));
        }
        Ok(field)
    }

    /// Notes what a field says about the framing.
    fn note_framing(&mut self, name: Span, value: Span) -> Result<(), Violation> {
        let (name, value) = (&self.buffer[name.range()], &self.buffer[value.range()]);
        let is_length = name.eq_ignore_ascii_case(b"content-length");
        let is_coding = name.eq_ignore_ascii_case(b"transfer-encoding");
        if self.state == State::Trailers && (is_length || is_coding) {
            return Err(Violation::Trailer);
        }
        if is_coding {
            // An unknown coding hides where the message ends. A message in HTTP/1.0 has none (RFC
            // 9112, 6.1).
            let is_known = value.eq_ignore_ascii_case(b"chunked");
            let is_old = self.head.version == Version::Http10;
            if !is_known || is_old || self.is_chunked || self.content_length.is_some() {
                return Err(Violation::Framing);
            }
            self.is_chunked = true;
        }
        if is_length {
            let value = number(value).ok_or(Violation::Framing)?;
            // RFC 9110, 8.6 lets a response repeat its length; in a request a repetition is an
            // error.
            let conflicts = match self.role {
                Role::Server => self.content_length.is_some(),
                Role::Client => self.content_length.is_some_and(|known| known != value),
            };
            if conflicts || self.is_chunked {
                return Err(Violation::Framing);
            }
            self.content_length = Some(value);
        }
        Ok(())
    }

    /// Takes a head or trailers from the buffer, and ends them. Returns the event, if there is one.
    fn fields_end(&mut self) -> Option<Event> {
        self.head.bytes = self.buffer.split_to(self.understood).freeze();
        if self.state != State::Trailers {
            return Some(self.head_ends());
        }
        self.message_ends();
        (self.head.field_count() > 0).then_some(Event::Trailers)
    }

    /// Ends a head. Sets what follows it.
    fn head_ends(&mut self) -> Event {
        let status = self.head.status;
        if self.role == Role::Client && (100..200).contains(&status) {
            self.state = State::Start;
            return Event::Interim;
        }
        // RFC 9112, 6.3.
        let is_bodiless = self.role == Role::Client
            && (self.expected == Expected::Head || matches!(status, 204 | 304));
        let framing = match (self.is_chunked, self.content_length) {
            _ if is_bodiless => Framing::Nothing,
            (true, _) => Framing::Chunked,
            (false, Some(0)) => Framing::Nothing,
            (false, Some(length)) => Framing::Length(length),
            (false, None) if self.role == Role::Server => Framing::Nothing,
            (false, None) => Framing::UntilClose,
        };
        self.head.framing = framing;
        match framing {
            Framing::Nothing => self.message_ends(),
            Framing::Length(length) => self.state = State::Content(length),
            Framing::Chunked => self.state = State::Chunk(ChunkLine::START),
            Framing::UntilClose => self.state = State::UntilClose,
        }
        Event::Head
    }

    fn message_ends(&mut self) {
        self.state = State::Complete;
        self.expected = Expected::Nothing;
    }

    /// Takes content from the buffer.
    fn data(&mut self) -> Option<Event> {
        let available = self.buffer.len();
        let left = match self.state {
            State::Content(left) | State::ChunkData(left) => left,
            _ => u64::MAX,
        };
        let taken = usize::try_from(left).map_or(available, |left| left.min(available));
        if taken == 0 {
            return None;
        }
        let left = left - taken as u64;
        match self.state {
            State::Content(_) if left == 0 => self.message_ends(),
            State::Content(_) => self.state = State::Content(left),
            State::ChunkData(_) if left == 0 => self.state = State::ChunkEnd,
            State::ChunkData(_) => self.state = State::ChunkData(left),
            _ => {}
        }
        Some(Event::Data(self.take(taken)))
    }

    /// Takes bytes from the buffer. A small piece is copied: as a part of the buffer, it would keep
    /// all of it in memory for as long as its consumer waits.
    fn take(&mut self, length: usize) -> Bytes {
        if length >= self.buffer.capacity() / 2 {
            return self.buffer.split_to(length).freeze();
        }
        let piece = Bytes::copy_from_slice(&self.buffer[..length]);
        self.buffer.advance(length);
        piece
    }
}

#[cfg(test)]
mod tests;
