//! Splits a byte stream into HTTP/2 frames (RFC 9113, 4.1). The chunks may end anywhere.

use crate::proxy::limits::FRAME_PAYLOAD_KEPT_BYTES;

pub(super) const DATA: u8 = 0x0;
pub(super) const HEADERS: u8 = 0x1;
#[cfg(test)]
pub(super) const PRIORITY: u8 = 0x2;
pub(super) const RST_STREAM: u8 = 0x3;
pub(super) const SETTINGS: u8 = 0x4;
pub(super) const PUSH_PROMISE: u8 = 0x5;
pub(super) const PING: u8 = 0x6;
pub(super) const GOAWAY: u8 = 0x7;
pub(super) const WINDOW_UPDATE: u8 = 0x8;
pub(super) const CONTINUATION: u8 = 0x9;

pub(super) const ACK: u8 = 0x1;
pub(super) const END_STREAM: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;

/// Bytes of the client's preface (RFC 9113, 3.4).
pub(super) const PREFACE: usize = 24;
/// Bytes of a frame before its payload (RFC 9113, 4.1).
pub(super) const FRAME_HEAD: usize = 9;
const GOAWAY_FIXED: usize = 8;
const _: () = assert!(FRAME_PAYLOAD_KEPT_BYTES > GOAWAY_FIXED);
const SETTING: usize = 6;
const RESET_CODE: usize = 4;

/// An event of the frame stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen<'a> {
    /// A frame header arrived.
    Head { kind: u8, flags: u8, stream_id: u32, length: usize },
    /// One parameter of SETTINGS arrived.
    Setting { identifier: u16, value: u32 },
    /// A whole GOAWAY arrived; `debug` is the start of its debug data.
    GoAway { last_stream_id: u32, code: u32, debug: &'a [u8] },
    /// A whole RST_STREAM arrived.
    Reset { stream_id: u32, code: u32 },
    /// A whole frame arrived.
    End { kind: u8, flags: u8 },
}

/// The state of one direction of a connection.
#[derive(Debug)]
pub(super) struct Scanner {
    skip: usize,
    head: [u8; FRAME_HEAD],
    head_length: usize,
    payload_left: usize,
    kept: [u8; FRAME_PAYLOAD_KEPT_BYTES],
    kept_length: usize,
}

impl Scanner {
    /// Creates a scanner of a byte stream whose frames start after `skip` bytes.
    pub(super) fn new(skip: usize) -> Self {
        Self {
            skip,
            head: [0; FRAME_HEAD],
            head_length: 0,
            payload_left: 0,
            kept: [0; FRAME_PAYLOAD_KEPT_BYTES],
            kept_length: 0,
        }
    }

    /// True if the last byte was the last of a frame.
    pub(super) fn at_boundary(&self) -> bool {
        self.skip == 0 && self.head_length == 0
    }

    /// Scans the next bytes. Returns the offset of the first frame that starts in them or right
    /// after them; `None` if they all belong to one frame that goes on.
    pub(super) fn scan(
        &mut self,
        mut bytes: &[u8],
        mut tell: impl FnMut(Seen<'_>),
    ) -> Option<usize> {
        let all = bytes.len();
        let mut first = self.at_boundary().then_some(0);
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        bytes = &bytes[skipped..];
        while !bytes.is_empty() {
            if self.head_length < FRAME_HEAD {
                let missing = &mut self.head[self.head_length..];
                let length = missing.len().min(bytes.len());
                missing[..length].copy_from_slice(&bytes[..length]);
                self.head_length += length;
                bytes = &bytes[length..];
                if self.head_length == FRAME_HEAD {
                    self.begin(&mut tell);
                }
            } else {
                bytes = self.payload(bytes, &mut tell);
            }
            if self.at_boundary() {
                first.get_or_insert(all - bytes.len());
            }
        }
        first
    }

    fn kind(&self) -> u8 {
        self.head[3]
    }

    fn flags(&self) -> u8 {
        self.head[4]
    }

    fn stream_id(&self) -> u32 {
        let [.., a, b, c, d] = self.head;
        u32::from_be_bytes([a, b, c, d]) & (u32::MAX >> 1)
    }

    fn begin(&mut self, tell: &mut impl FnMut(Seen<'_>)) {
        let [a, b, c, ..] = self.head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        self.payload_left = length;
        self.kept_length = 0;
        let (kind, flags, stream_id) = (self.kind(), self.flags(), self.stream_id());
        tell(Seen::Head { kind, flags, stream_id, length });
        self.end_if_complete(tell);
    }

    fn payload<'a>(&mut self, bytes: &'a [u8], tell: &mut impl FnMut(Seen<'_>)) -> &'a [u8] {
        let length = self.payload_left.min(bytes.len());
        let (payload, rest) = bytes.split_at(length);
        self.payload_left -= length;
        match self.kind() {
            SETTINGS if self.flags() & ACK == 0 => self.settings(payload, tell),
            GOAWAY | RST_STREAM => self.keep(payload),
            _ => {}
        }
        self.end_if_complete(tell);
        rest
    }

    fn settings(&mut self, payload: &[u8], tell: &mut impl FnMut(Seen<'_>)) {
        for byte in payload {
            self.kept[self.kept_length] = *byte;
            self.kept_length += 1;
            if self.kept_length == SETTING {
                let [a, b, c, d, e, f, ..] = self.kept;
                self.kept_length = 0;
                tell(Seen::Setting {
                    identifier: u16::from_be_bytes([a, b]),
                    value: u32::from_be_bytes([c, d, e, f]),
                });
            }
        }
    }

    fn keep(&mut self, payload: &[u8]) {
        let length = payload.len().min(FRAME_PAYLOAD_KEPT_BYTES - self.kept_length);
        self.kept[self.kept_length..self.kept_length + length].copy_from_slice(&payload[..length]);
        self.kept_length += length;
    }

    fn end_if_complete(&mut self, tell: &mut impl FnMut(Seen<'_>)) {
        if self.payload_left > 0 {
            return;
        }
        let [a, b, c, d, e, f, g, h, ..] = self.kept;
        if self.kind() == GOAWAY && self.kept_length >= GOAWAY_FIXED {
            tell(Seen::GoAway {
                last_stream_id: u32::from_be_bytes([a, b, c, d]) & (u32::MAX >> 1),
                code: u32::from_be_bytes([e, f, g, h]),
                debug: &self.kept[GOAWAY_FIXED..self.kept_length],
            });
        }
        if self.kind() == RST_STREAM && self.kept_length >= RESET_CODE {
            let (stream_id, code) = (self.stream_id(), u32::from_be_bytes([a, b, c, d]));
            tell(Seen::Reset { stream_id, code });
        }
        tell(Seen::End { kind: self.kind(), flags: self.flags() });
        self.head_length = 0;
    }
}
