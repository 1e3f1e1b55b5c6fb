//! HTTP/2 frames as bytes (RFC 9113, 4 and 6), written and read by hand, so that a peer can send
//! what a library refuses to send, and notices what a library forgives.
//!
//! Reading is strict: what cannot be a frame is a [`ReadError::Fault`]. Whether a frame may be sent
//! at this moment is the question of [`super::conduct`].

use bytes::{Buf, BufMut, Bytes, BytesMut};
use loona_hpack::encoder::encode_integer_into;
use loona_hpack::{Decoder, Encoder};
use tokio::io::{AsyncRead, AsyncReadExt};

pub(crate) use fault::{Fault, error};
pub(crate) use fields::Fields;

mod fault;
mod feed;
pub(crate) mod fields;
mod plain;
#[cfg(test)]
mod tests;

/// The first bytes of a client (RFC 9113, 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The window of a connection, and of a stream without a setting.
pub(crate) const WINDOW: u32 = 65_535;
/// The largest payload that a frame may have without a setting.
pub(crate) const LARGEST_PAYLOAD: usize = 16_384;
/// The size of the table of field blocks without a setting.
pub(crate) const TABLE: usize = 4_096;
/// The largest stream id, window and window increment.
pub(crate) const GREATEST: u32 = u32::MAX >> 1;

/// The types of frames (RFC 9113, 6).
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const PRIORITY: u8 = 2;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PUSH_PROMISE: u8 = 5;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

/// The flags of frames (RFC 9113, 6).
pub(crate) mod flag {
    pub(crate) const ACK: u8 = 0x1;
    pub(crate) const END_STREAM: u8 = 0x1;
    pub(crate) const END_HEADERS: u8 = 0x4;
    pub(crate) const PADDED: u8 = 0x8;
    pub(crate) const PRIORITY: u8 = 0x20;
}

/// The identifiers of settings (RFC 9113, 6.5.2).
pub(crate) mod setting {
    pub(crate) const HEADER_TABLE_SIZE: u16 = 1;
    pub(crate) const ENABLE_PUSH: u16 = 2;
    pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
    pub(crate) const MAX_FRAME_SIZE: u16 = 5;
    pub(crate) const MAX_HEADER_LIST_SIZE: u16 = 6;
}

/// A frame that was read. A HEADERS frame includes its CONTINUATION frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// Part of a body.
    Data {
        stream: u32,
        data: Bytes,
        /// Bytes that it takes from the windows: the payload with its padding.
        counted: u32,
        end: bool,
    },
    /// A head or trailers.
    Headers { stream: u32, fields: Fields, end: bool },
    /// PRIORITY: obsolete, and without effect.
    Priority { stream: u32 },
    /// RST_STREAM.
    Reset { stream: u32, code: u32 },
    /// SETTINGS, in the order in which they were written.
    Settings(Vec<(u16, u32)>),
    /// The acknowledgement of SETTINGS.
    SettingsAck,
    /// PUSH_PROMISE. Its fields are decoded, as they change the table, and dropped.
    PushPromise { stream: u32 },
    /// PING.
    Ping([u8; 8]),
    /// The acknowledgement of a PING.
    Pong([u8; 8]),
    /// GOAWAY.
    GoAway { last: u32, code: u32 },
    /// WINDOW_UPDATE; of the connection if the stream is 0.
    WindowUpdate { stream: u32, by: u32 },
    /// A type that RFC 9113 does not define; to be ignored (5.5).
    Unknown { kind: u8, stream: u32 },
}

/// Why no further frame can be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The connection broke.
    Broken,
    /// The connection ended within a frame, or within the preface.
    EndedInside,
    /// The peer wrote what RFC 9113 forbids.
    Fault(Fault),
}

impl From<Fault> for ReadError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Reads frames.
pub(crate) struct FrameReader<R> {
    io: R,
    buffer: BytesMut,
    decoder: Decoder<'static>,
    largest_payload: usize,
    /// A field block that has not ended.
    block: Option<Block>,
}

struct Block {
    kind: u8,
    stream: u32,
    end: bool,
    bytes: BytesMut,
}

#[derive(Clone, Copy)]
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Head {
    const LENGTH: usize = 9;

    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn requires(self, holds: bool, what: &str) -> Result<(), Fault> {
        let fault = || Fault::protocol(format!("frame of type {}: {what}", self.kind));
        if holds { Ok(()) } else { Err(fault()) }
    }

    fn on_a_stream(self) -> Result<(), Fault> {
        self.requires(self.stream != 0, "on stream 0")
    }

    fn on_the_connection(self) -> Result<(), Fault> {
        self.requires(self.stream == 0, "on a stream")
    }

    fn has_length(self, holds: bool) -> Result<(), Fault> {
        let Self { kind, length, .. } = self;
        let what = || format!("frame of type {kind} with a payload of {length} bytes");
        if holds { Ok(()) } else { Err(Fault::new(error::FRAME_SIZE_ERROR, what())) }
    }
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(io: R) -> Self {
        Self::with_read(io, Bytes::new())
    }

    /// A reader of a stream of which something was read before.
    pub(crate) fn with_read(io: R, read: Bytes) -> Self {
        let mut decoder = Decoder::new();
        decoder.set_max_allowed_table_size(TABLE);
        let buffer = BytesMut::from(read);
        Self { io, buffer, decoder, largest_payload: LARGEST_PAYLOAD, block: None }
    }

    /// The peer may send frames with payloads of this many bytes, and field blocks that use a table
    /// of this size: what this side allows it by SETTINGS.
    pub(crate) fn allow(&mut self, largest_payload: usize, table: usize) {
        self.largest_payload = largest_payload;
        self.decoder.set_max_allowed_table_size(table);
    }

    /// Reads what a client sends first. Cancelling it loses nothing.
    pub(crate) async fn preface(&mut self) -> Result<(), ReadError> {
        while self.buffer.len() < PREFACE.len() {
            let so_far = &self.buffer[..];
            if !PREFACE.starts_with(so_far) {
                return Err(Fault::protocol("no connection preface").into());
            }
            if !self.more().await? {
                return Err(ReadError::EndedInside);
            }
        }
        let preface = self.buffer.split_to(PREFACE.len());
        if preface == PREFACE {
            Ok(())
        } else {
            Err(Fault::protocol("no connection preface").into())
        }
    }

    /// Reads the next frame; `None` if the connection has ended between two frames. Cancelling it
    /// loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, ReadError> {
        loop {
            while let Some((head, payload)) = self.cut()? {
                if let Some(frame) = self.frame(head, payload)? {
                    return Ok(Some(frame));
                }
            }
            if !self.more().await? {
                let between = self.buffer.is_empty() && self.block.is_none();
                return if between { Ok(None) } else { Err(ReadError::EndedInside) };
            }
        }
    }

    /// Reads bytes without looking at them; false at the end of the connection. Cancelling it loses
    /// nothing.
    pub(crate) async fn more(&mut self) -> Result<bool, ReadError> {
        Ok(self.io.read_buf(&mut self.buffer).await.map_err(|_| ReadError::Broken)? > 0)
    }

    /// Reads and drops everything until the connection ends.
    pub(crate) async fn discard(mut self) {
        while let Ok(true) = self.more().await {
            self.buffer.clear();
        }
    }

    /// The bytes that were read and not yet used.
    pub(crate) fn unused(&self) -> &[u8] {
        &self.buffer
    }

    /// The stream of bytes, and what was read of it and not yet used.
    pub(crate) fn into_inner(self) -> (R, Bytes) {
        (self.io, self.buffer.freeze())
    }

    /// Takes a whole frame from what was read.
    fn cut(&mut self) -> Result<Option<(Head, Bytes)>, Fault> {
        let Some((mut bytes, _)) = self.buffer.split_at_checked(Head::LENGTH) else {
            return Ok(None);
        };
        let length = bytes.get_uint(3) as usize;
        let (kind, flags) = (bytes.get_u8(), bytes.get_u8());
        let head = Head { length, kind, flags, stream: bytes.get_u32() & GREATEST };
        head.has_length(length <= self.largest_payload)?;
        if self.buffer.len() < Head::LENGTH + length {
            return Ok(None);
        }
        self.buffer.advance(Head::LENGTH);
        Ok(Some((head, self.buffer.split_to(length).freeze())))
    }

    /// Reads a frame; `None` if a field block goes on.
    fn frame(&mut self, head: Head, mut payload: Bytes) -> Result<Option<Frame>, Fault> {
        if let Some(block) = &self.block {
            let goes_on = head.kind == kind::CONTINUATION && head.stream == block.stream;
            head.requires(goes_on, "within a field block")?;
        }
        let (stream, counted) = (head.stream, head.length as u32);
        Ok(Some(match head.kind {
            kind::DATA => {
                head.on_a_stream()?;
                let data = unpad(head, payload)?;
                Frame::Data { stream, data, counted, end: head.has(flag::END_STREAM) }
            }
            kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION => {
                return self.block(head, payload);
            }
            kind::PRIORITY => {
                head.on_a_stream()?;
                head.has_length(head.length == 5)?;
                Frame::Priority { stream }
            }
            kind::RST_STREAM => {
                head.on_a_stream()?;
                head.has_length(head.length == 4)?;
                Frame::Reset { stream, code: payload.get_u32() }
            }
            kind::SETTINGS => {
                head.on_the_connection()?;
                let ack = head.has(flag::ACK);
                head.has_length(head.length.is_multiple_of(6) && !(ack && head.length > 0))?;
                if ack {
                    return Ok(Some(Frame::SettingsAck));
                }
                let pairs = (0..head.length / 6).map(|_| (payload.get_u16(), payload.get_u32()));
                Frame::Settings(pairs.collect())
            }
            kind::PING => {
                head.on_the_connection()?;
                head.has_length(head.length == 8)?;
                let content = payload.get_u64().to_be_bytes();
                if head.has(flag::ACK) { Frame::Pong(content) } else { Frame::Ping(content) }
            }
            kind::GOAWAY => {
                head.on_the_connection()?;
                head.has_length(head.length >= 8)?;
                Frame::GoAway { last: payload.get_u32() & GREATEST, code: payload.get_u32() }
            }
            kind::WINDOW_UPDATE => {
                head.has_length(head.length == 4)?;
                Frame::WindowUpdate { stream, by: payload.get_u32() & GREATEST }
            }
            kind => Frame::Unknown { kind, stream },
        }))
    }

    /// Reads a part of a field block; returns the frame when it is complete.
    fn block(&mut self, head: Head, payload: Bytes) -> Result<Option<Frame>, Fault> {
        head.on_a_stream()?;
        let block = if head.kind == kind::CONTINUATION {
            let mut block = self.block.take().ok_or_else(|| {
                Fault::protocol("CONTINUATION without a field block that has begun")
            })?;
            block.bytes.extend_from_slice(&payload);
            block
        } else {
            let mut payload = unpad(head, payload)?;
            let priority = if head.has(flag::PRIORITY) { 5 } else { 0 };
            let skipped = if head.kind == kind::HEADERS { priority } else { 4 };
            head.has_length(payload.len() >= skipped)?;
            payload.advance(skipped);
            let end = head.has(flag::END_STREAM);
            Block { kind: head.kind, stream: head.stream, end, bytes: payload.into() }
        };
        if !head.has(flag::END_HEADERS) {
            self.block = Some(block);
            return Ok(None);
        }
        let list = self.decoder.decode(&plain::plain(&block.bytes));
        let list = list.map_err(|error| {
            Fault::new(error::COMPRESSION_ERROR, format!("field block: {error}"))
        })?;
        let (stream, end) = (block.stream, block.end);
        Ok(Some(if block.kind == kind::HEADERS {
            Frame::Headers { stream, fields: Fields::from_list(list), end }
        } else {
            Frame::PushPromise { stream }
        }))
    }
}

/// Removes the padding of a payload.
fn unpad(head: Head, mut payload: Bytes) -> Result<Bytes, Fault> {
    if head.has(flag::PADDED) {
        head.has_length(!payload.is_empty())?;
        let padding = usize::from(payload.get_u8());
        head.requires(padding <= payload.len(), "more padding than payload")?;
        payload.truncate(payload.len() - padding);
    }
    Ok(payload)
}

/// Writes frames into a buffer. It writes whatever it is asked to, also what is forbidden.
pub(crate) struct FrameWriter {
    encoder: Encoder<'static>,
    /// The size of the encoder's table, to be announced in the next field block.
    table: Option<usize>,
    largest_payload: usize,
    out: BytesMut,
}

impl FrameWriter {
    pub(crate) fn new() -> Self {
        let (encoder, out) = (Encoder::new(), BytesMut::new());
        Self { encoder, table: None, largest_payload: LARGEST_PAYLOAD, out }
    }

    /// The bytes written since the last call.
    pub(crate) fn take(&mut self) -> Bytes {
        self.out.split().freeze()
    }

    /// Obeys the peer's settings about field blocks and the size of frames.
    pub(crate) fn obey(&mut self, settings: &[(u16, u32)]) {
        for (identifier, value) in settings {
            match *identifier {
                setting::HEADER_TABLE_SIZE => {
                    let size = (*value as usize).min(TABLE);
                    self.encoder.set_max_table_size(size);
                    self.table = Some(size);
                }
                setting::MAX_FRAME_SIZE => self.largest_payload = *value as usize,
                _ => {}
            }
        }
    }

    /// The largest payload that the peer allows.
    pub(crate) fn largest_payload(&self) -> usize {
        self.largest_payload
    }

    /// The first bytes of a client. Its SETTINGS must follow.
    pub(crate) fn preface(&mut self) {
        self.out.extend_from_slice(PREFACE);
    }

    /// Any frame.
    pub(crate) fn raw(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.out.put_uint(payload.len() as u64, 3);
        self.out.put_u8(kind);
        self.out.put_u8(flags);
        self.out.put_u32(stream);
        self.out.extend_from_slice(payload);
    }

    pub(crate) fn settings(&mut self, settings: &[(u16, u32)]) {
        let mut payload = Vec::with_capacity(6 * settings.len());
        for (identifier, value) in settings {
            payload.put_u16(*identifier);
            payload.put_u32(*value);
        }
        self.raw(kind::SETTINGS, 0, 0, &payload);
    }

    pub(crate) fn settings_ack(&mut self) {
        self.raw(kind::SETTINGS, flag::ACK, 0, &[]);
    }

    /// Encodes a field block. It must be written before the next one is encoded.
    pub(crate) fn block(&mut self, fields: &Fields) -> Vec<u8> {
        let mut block = Vec::new();
        if let Some(size) = self.table.take() {
            // RFC 7541, 6.3. Writing to a vector does not fail.
            let _ = encode_integer_into(size, 5, 0x20, &mut block);
        }
        let list = fields.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
        let _ = self.encoder.encode_into(list, &mut block);
        block
    }

    /// A head or trailers: HEADERS, with CONTINUATION frames as the size of frames demands.
    pub(crate) fn headers(&mut self, stream: u32, fields: &Fields, end: bool) {
        let block = self.block(fields);
        let end_stream = if end { flag::END_STREAM } else { 0 };
        let pieces: Vec<&[u8]> = block.chunks(self.largest_payload).collect();
        if pieces.is_empty() {
            self.raw(kind::HEADERS, end_stream | flag::END_HEADERS, stream, &[]);
        }
        for (place, piece) in pieces.iter().enumerate() {
            let end_headers = if place + 1 == pieces.len() { flag::END_HEADERS } else { 0 };
            if place == 0 {
                self.raw(kind::HEADERS, end_stream | end_headers, stream, piece);
            } else {
                self.raw(kind::CONTINUATION, end_headers, stream, piece);
            }
        }
    }

    /// One DATA frame: the caller sees to windows and to the size of frames.
    pub(crate) fn data(&mut self, stream: u32, data: &[u8], end: bool) {
        self.raw(kind::DATA, if end { flag::END_STREAM } else { 0 }, stream, data);
    }

    pub(crate) fn reset(&mut self, stream: u32, code: u32) {
        self.raw(kind::RST_STREAM, 0, stream, &code.to_be_bytes());
    }

    pub(crate) fn ping(&mut self, content: [u8; 8]) {
        self.raw(kind::PING, 0, 0, &content);
    }

    pub(crate) fn pong(&mut self, content: [u8; 8]) {
        self.raw(kind::PING, flag::ACK, 0, &content);
    }

    pub(crate) fn go_away(&mut self, last: u32, code: u32) {
        let mut payload = [0; 8];
        (&mut payload[..]).put_u64(u64::from(last) << 32 | u64::from(code));
        self.raw(kind::GOAWAY, 0, 0, &payload);
    }

    pub(crate) fn window_update(&mut self, stream: u32, by: u32) {
        self.raw(kind::WINDOW_UPDATE, 0, stream, &by.to_be_bytes());
    }
}
