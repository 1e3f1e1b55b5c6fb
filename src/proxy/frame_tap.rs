//! Listens to the HTTP/2 frames that pass between the `h2` crate and the socket, without touching a
//! byte. The crate hides what the pool decides by: GOAWAY's last id, when SETTINGS arrived, that any
//! frame arrived at all, and which requests were never written (RFC 9113, 4.1, 6.5, 6.8).

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::metrics::EndFrames;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const GOAWAY: u8 = 0x7;
const ACK: u8 = 0x1;
const MAX_CONCURRENT_STREAMS: u16 = 0x3;
const FRAME_HEAD: usize = 9;
const PREFACE: usize = 24;
/// Payload bytes that are looked at: a GOAWAY's fixed part, or one SETTINGS parameter at a time.
const KEPT: usize = 8;

/// What was heard since it was last asked.
#[derive(Debug, Default)]
pub struct Facts {
    /// The peer's SETTINGS came with this limit; the greatest number if the first ones had none.
    pub max_streams: Option<u32>,
    /// Last id and error code of each GOAWAY, in order.
    pub go_aways: Vec<(u32, u32)>,
    /// Whether any frame arrived.
    pub heard: bool,
    /// The highest stream identifier of whose HEADERS a byte was written, of all time.
    pub sent_through: u32,
    /// Frames about ends since it was last asked, for the metrics.
    pub ends: EndFrames,
    /// Whether the last attempt to write or flush could not finish.
    pub blocked: bool,
    settings_seen: bool,
}

/// What the scanner tells of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Head { kind: u8, flags: u8, stream_id: u32 },
    Setting { identifier: u16, value: u32 },
    GoAway { last_stream_id: u32, code: u32 },
    Reset { code: u32 },
    End { kind: u8, flags: u8 },
}

/// Splits a byte stream into frames, whatever pieces it comes in.
#[derive(Debug)]
struct Scanner {
    skip: usize,
    head: [u8; FRAME_HEAD],
    head_length: usize,
    payload_left: usize,
    kept: [u8; KEPT],
    kept_length: usize,
}

impl Scanner {
    fn new(skip: usize) -> Self {
        Self {
            skip,
            head: [0; FRAME_HEAD],
            head_length: 0,
            payload_left: 0,
            kept: [0; KEPT],
            kept_length: 0,
        }
    }

    fn scan(&mut self, mut bytes: &[u8], mut tell: impl FnMut(Seen)) {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        bytes = &bytes[skipped..];
        while !bytes.is_empty() {
            if self.head_length < FRAME_HEAD {
                self.head[self.head_length] = bytes[0];
                self.head_length += 1;
                bytes = &bytes[1..];
                if self.head_length == FRAME_HEAD {
                    self.begin(&mut tell);
                }
            } else {
                bytes = self.payload(bytes, &mut tell);
            }
        }
    }

    fn kind(&self) -> u8 {
        self.head[3]
    }

    fn flags(&self) -> u8 {
        self.head[4]
    }

    fn begin(&mut self, tell: &mut impl FnMut(Seen)) {
        let [a, b, c, kind, flags, id @ ..] = self.head;
        self.payload_left = u32::from_be_bytes([0, a, b, c]) as usize;
        self.kept_length = 0;
        let stream_id = u32::from_be_bytes(id) & (u32::MAX >> 1);
        tell(Seen::Head { kind, flags, stream_id });
        self.end_if_complete(tell);
    }

    fn payload<'a>(&mut self, bytes: &'a [u8], tell: &mut impl FnMut(Seen)) -> &'a [u8] {
        let length = self.payload_left.min(bytes.len());
        let (payload, rest) = bytes.split_at(length);
        self.payload_left -= length;
        match self.kind() {
            SETTINGS if self.flags() & ACK == 0 => self.settings(payload, tell),
            GOAWAY => self.go_away(payload, tell),
            RST_STREAM => self.reset(payload, tell),
            _ => {}
        }
        self.end_if_complete(tell);
        rest
    }

    fn settings(&mut self, payload: &[u8], tell: &mut impl FnMut(Seen)) {
        for byte in payload {
            self.kept[self.kept_length] = *byte;
            self.kept_length += 1;
            if self.kept_length == 6 {
                let [a, b, value @ .., _, _] = self.kept;
                self.kept_length = 0;
                tell(Seen::Setting {
                    identifier: u16::from_be_bytes([a, b]),
                    value: u32::from_be_bytes(value),
                });
            }
        }
    }

    fn go_away(&mut self, payload: &[u8], tell: &mut impl FnMut(Seen)) {
        if self.kept_length == KEPT {
            return;
        }
        let length = payload.len().min(KEPT - self.kept_length);
        self.kept[self.kept_length..self.kept_length + length].copy_from_slice(&payload[..length]);
        self.kept_length += length;
        if self.kept_length == KEPT {
            let [a, b, c, d, code @ ..] = self.kept;
            tell(Seen::GoAway {
                last_stream_id: u32::from_be_bytes([a, b, c, d]) & (u32::MAX >> 1),
                code: u32::from_be_bytes(code),
            });
        }
    }

    fn reset(&mut self, payload: &[u8], tell: &mut impl FnMut(Seen)) {
        for byte in payload.iter().take(4_usize.saturating_sub(self.kept_length)) {
            self.kept[self.kept_length] = *byte;
            self.kept_length += 1;
            if self.kept_length == 4 {
                let [code @ .., _, _, _, _] = self.kept;
                tell(Seen::Reset { code: u32::from_be_bytes(code) });
            }
        }
    }

    fn end_if_complete(&mut self, tell: &mut impl FnMut(Seen)) {
        if self.payload_left == 0 {
            tell(Seen::End { kind: self.kind(), flags: self.flags() });
            self.head_length = 0;
        }
    }
}

impl Facts {
    fn heard(&mut self, seen: Seen) {
        match seen {
            Seen::Head { .. } => self.heard = true,
            Seen::Setting { identifier: MAX_CONCURRENT_STREAMS, value } => {
                self.max_streams = Some(value);
                self.settings_seen = true;
            }
            Seen::Setting { .. } => {}
            Seen::GoAway { last_stream_id, code } => {
                self.go_aways.push((last_stream_id, code));
                self.ends.go_aways_received.add(code);
            }
            Seen::Reset { code } => self.ends.resets_received.add(code),
            Seen::End { kind: SETTINGS, flags } if flags & ACK == 0 && !self.settings_seen => {
                self.settings_seen = true;
                self.max_streams = Some(u32::MAX);
            }
            Seen::End { .. } => {}
        }
    }

    fn sent(&mut self, seen: Seen) {
        match seen {
            Seen::Head { kind: HEADERS, stream_id, .. } => {
                self.sent_through = self.sent_through.max(stream_id);
            }
            Seen::GoAway { code, .. } => self.ends.go_aways_sent.add(code),
            Seen::Reset { code } => self.ends.resets_sent.add(code),
            Seen::Head { .. } | Seen::Setting { .. } | Seen::End { .. } => {}
        }
    }
}

/// A stream whose frames are listened to.
#[derive(Debug)]
pub struct Tapped<Io> {
    io: Io,
    read: Scanner,
    written: Scanner,
    facts: Rc<RefCell<Facts>>,
}

impl<Io> Tapped<Io> {
    /// Listens to the client side of a connection, from its first byte on.
    pub fn new(io: Io) -> (Self, Rc<RefCell<Facts>>) {
        let facts = Rc::new(RefCell::new(Facts::default()));
        let tapped = Self {
            io,
            read: Scanner::new(0),
            written: Scanner::new(PREFACE),
            facts: Rc::clone(&facts),
        };
        (tapped, facts)
    }

    fn note_written(&mut self, bytes: &[u8], result: &Poll<io::Result<usize>>) {
        let mut facts = self.facts.borrow_mut();
        facts.blocked = result.is_pending();
        if let Poll::Ready(Ok(count)) = result {
            self.written.scan(&bytes[..*count], |seen| facts.sent(seen));
        }
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Tapped<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.io).poll_read(context, buffer);
        let this = &mut *self;
        let mut facts = this.facts.borrow_mut();
        this.read.scan(&buffer.filled()[before..], |seen| facts.heard(seen));
        drop(facts);
        result
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Tapped<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(context, bytes);
        self.note_written(bytes, &result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(context, buffers);
        self.facts.borrow_mut().blocked = result.is_pending();
        if let Poll::Ready(Ok(mut count)) = result {
            let this = &mut *self;
            let mut facts = this.facts.borrow_mut();
            for buffer in buffers {
                let part = count.min(buffer.len());
                this.written.scan(&buffer[..part], |seen| facts.sent(seen));
                count -= part;
            }
        }
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_flush(context);
        self.facts.borrow_mut().blocked = result.is_pending();
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream_id: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream_id.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    fn heard(bytes: &[u8], piece: usize) -> Facts {
        let mut scanner = Scanner::new(0);
        let mut facts = Facts::default();
        for piece in bytes.chunks(piece) {
            scanner.scan(piece, |seen| facts.heard(seen));
        }
        facts
    }

    #[test]
    fn frames_are_understood_whatever_the_pieces() {
        let mut bytes = frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 9, 0, 3, 0, 0, 0, 5]);
        bytes.extend(frame(0, 1, 3, &[7; 300]));
        bytes.extend(frame(SETTINGS, ACK, 0, &[]));
        bytes.extend(frame(GOAWAY, 0, 0, b"\x7f\xff\xff\xff\0\0\0\0bye, with some debug data"));
        bytes.extend(frame(GOAWAY, 0, 0, b"\0\0\0\x05\0\0\0\x0b"));
        for piece in 1..=bytes.len() {
            let facts = heard(&bytes, piece);
            assert_eq!(facts.max_streams, Some(5), "pieces of {piece}");
            assert_eq!(facts.go_aways, [(u32::MAX >> 1, 0), (5, 11)], "pieces of {piece}");
            assert!(facts.heard);
        }
    }

    #[test]
    fn settings_without_a_limit_mean_no_limit_but_only_the_first_time() {
        let mut bytes = frame(SETTINGS, ACK, 0, &[]);
        assert_eq!(heard(&bytes, 1).max_streams, None, "an acknowledgement is not SETTINGS");
        bytes.extend(frame(SETTINGS, 0, 0, &[]));
        assert_eq!(heard(&bytes, 1).max_streams, Some(u32::MAX));
        let mut bytes = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 5]);
        bytes.extend(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 9]));
        assert_eq!(heard(&bytes, 4).max_streams, Some(5), "the limit stands");
    }

    #[test]
    fn resets_and_goaways_are_counted_in_both_directions() {
        let mut bytes = frame(RST_STREAM, 0, 3, &[0, 0, 0, 7]);
        bytes.extend(frame(GOAWAY, 0, 0, b"\0\0\0\x05\0\0\0\x0b"));
        bytes.extend(frame(RST_STREAM, 0, 5, &[0, 0, 0, 8, 9, 9]));
        for piece in 1..=bytes.len() {
            let received = heard(&bytes, piece).ends;
            let resets: Vec<_> = received.resets_received.counted().collect();
            assert_eq!(resets, [("REFUSED_STREAM", 1), ("CANCEL", 1)], "pieces of {piece}");
            let go_aways: Vec<_> = received.go_aways_received.counted().collect();
            assert_eq!(go_aways, [("ENHANCE_YOUR_CALM", 1)], "pieces of {piece}");
        }
        let (mut scanner, mut facts) = (Scanner::new(0), Facts::default());
        scanner.scan(&bytes, |seen| facts.sent(seen));
        assert_eq!(facts.ends.resets_sent.counted().count(), 2);
        assert_eq!(facts.ends.go_aways_sent.counted().count(), 1);
        assert_eq!(facts.ends.resets_received, EndFrames::default().resets_received);
    }

    #[test]
    fn a_request_counts_as_sent_with_its_ninth_byte() {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(SETTINGS, 0, 0, &[]));
        bytes.extend(frame(HEADERS, 4, 1, &[0x82]));
        bytes.extend(frame(HEADERS, 4, 3, &[0x82]));
        let mut scanner = Scanner::new(PREFACE);
        let mut facts = Facts::default();
        scanner.scan(&bytes[..bytes.len() - 2], |seen| facts.sent(seen));
        assert_eq!(facts.sent_through, 1);
        scanner.scan(&bytes[bytes.len() - 2..], |seen| facts.sent(seen));
        assert_eq!(facts.sent_through, 3);
    }
}
