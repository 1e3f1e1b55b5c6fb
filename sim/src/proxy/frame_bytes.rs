//! The frames in the bytes of a connection, read without a library, and without looking at what is
//! forbidden: that is for the peers.

use super::network::{Content, Key, Packet, Point};
use crate::plan::Direction;

/// The begin of the connection preface (RFC 9113, 3.4), by which HTTP/2 is recognised, and its
/// length.
const PREFACE_BEGIN: &[u8; 3] = b"PRI";
const PREFACE_LENGTH: usize = 24;
const HEADER_LENGTH: usize = 9;

/// The types of frames whose payload is kept.
const KEPT: [u8; 3] = [3, 4, 7];

/// A frame that is complete.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameBytes<'a> {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    /// The payload of RST_STREAM, SETTINGS and GOAWAY; that of others is empty.
    pub(crate) payload: &'a [u8],
}

impl FrameBytes<'_> {
    /// A number of 32 bits in the payload, if it is long enough.
    pub(crate) fn number(&self, at: usize) -> Option<u32> {
        let bytes = self.payload.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_be_bytes(bytes))
    }
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Reader {
    /// Bytes of the preface that are still to come.
    preface_left: usize,
    header: Vec<u8>,
    /// The payload of a frame that is kept, and what is to come of it.
    payload: Vec<u8>,
    payload_left: usize,
}

impl Reader {
    fn read(&mut self, mut bytes: &[u8], mut see: impl FnMut(FrameBytes<'_>)) {
        let preface = self.preface_left.min(bytes.len());
        self.preface_left -= preface;
        bytes = &bytes[preface..];
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let taken = self.payload_left.min(bytes.len());
                if KEPT.contains(&self.header[3]) {
                    self.payload.extend_from_slice(&bytes[..taken]);
                }
                self.payload_left -= taken;
                bytes = &bytes[taken..];
            } else {
                let taken = (HEADER_LENGTH - self.header.len()).min(bytes.len());
                self.header.extend_from_slice(&bytes[..taken]);
                bytes = &bytes[taken..];
                if self.header.len() < HEADER_LENGTH {
                    return;
                }
                let [a, b, c] = [self.header[0], self.header[1], self.header[2]];
                self.payload_left = u32::from_be_bytes([0, a, b, c]) as usize;
            }
            if self.payload_left == 0 && self.header.len() == HEADER_LENGTH {
                see(self.frame());
                self.header.clear();
                self.payload.clear();
            }
        }
    }

    fn frame(&self) -> FrameBytes<'_> {
        let [_, _, _, kind, flags, a, b, c, d] = *self.header else {
            unreachable!("the header is complete");
        };
        let stream = u32::from_be_bytes([a, b, c, d]) & (u32::MAX >> 1);
        FrameBytes { kind, flags, stream, payload: &self.payload }
    }
}

/// Both directions of a connection of the proxy.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// The first bytes of the end that dialled.
    begin: Vec<u8>,
    read: Reader,
    written: Reader,
}

impl Frames {
    /// The point at which packets of a direction are looked at: what the proxy writes where it is
    /// written, and what it reads at `reads`.
    pub(crate) fn point(direction: Direction, reads: Point) -> Point {
        match direction {
            Direction::In => reads,
            Direction::Out => Point::Written,
        }
    }

    /// Sees a packet, and shows the frames that it completes.
    pub(crate) fn see(&mut self, packet: &Packet<'_>, see: impl FnMut(FrameBytes<'_>)) {
        let Content::Bytes(bytes) = packet.content else { return };
        let dialled = match (packet.key, packet.direction) {
            (Key::Client(..), Direction::In) | (Key::Backend(..), Direction::Out) => true,
            (Key::Client(..), Direction::Out) | (Key::Backend(..), Direction::In) => false,
            (Key::Other(_), _) => return,
        };
        let reader = match packet.direction {
            Direction::In => &mut self.read,
            Direction::Out => &mut self.written,
        };
        if dialled && self.begin.is_empty() {
            reader.preface_left = PREFACE_LENGTH;
        }
        if dialled && self.begin.len() < PREFACE_BEGIN.len() {
            let missing = PREFACE_BEGIN.len() - self.begin.len();
            self.begin.extend_from_slice(&bytes[..missing.min(bytes.len())]);
        }
        if self.begin.is_empty() || PREFACE_BEGIN.starts_with(&self.begin) {
            reader.read(bytes, see);
        }
    }

    /// True if they are those of HTTP/2.
    pub(crate) fn are_http2(&self) -> bool {
        self.begin == PREFACE_BEGIN
    }
}
