//! The frames in the bytes of a connection, read without a library, and without looking at what is
//! forbidden: that is for the peers.

use super::network::{Key, Packet, Point};
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

/// The bytes of a connection at one place.
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

/// Where the frames of a connection of the proxy are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The proxy has written them.
    Written,
    /// The proxy's system has received them.
    Arrived,
    /// The proxy has read them.
    Read,
}

impl Place {
    /// The place of a packet; `None` if it is none of the proxy's, or is at its peer.
    pub(crate) fn of(packet: &Packet<'_>) -> Option<Self> {
        match (packet.key, packet.direction, packet.point) {
            (Key::Other(_), ..) => None,
            (_, Direction::Out, Point::Written) => Some(Self::Written),
            (_, Direction::In, Point::Delivered) => Some(Self::Arrived),
            (_, Direction::In, Point::Read) => Some(Self::Read),
            _ => None,
        }
    }

    /// The direction of what is there.
    pub(crate) fn direction(self) -> Direction {
        match self {
            Self::Written => Direction::Out,
            Self::Arrived | Self::Read => Direction::In,
        }
    }
}

/// A connection of the proxy, at each place.
#[derive(Debug)]
pub(crate) struct Frames {
    /// The direction of the end that dialled, and its first bytes.
    dialled: Direction,
    begin: Vec<u8>,
    readers: [Reader; 3],
}

impl Frames {
    /// A connection of which nothing was seen.
    pub(crate) fn new(key: Key) -> Self {
        let dialled = match key {
            Key::Client(..) => Direction::In,
            Key::Backend(..) | Key::Other(_) => Direction::Out,
        };
        let readers = [Place::Written, Place::Arrived, Place::Read].map(|place| {
            let preface_left = if place.direction() == dialled { PREFACE_LENGTH } else { 0 };
            Reader { preface_left, ..Reader::default() }
        });
        Self { dialled, begin: Vec::new(), readers }
    }

    /// Sees bytes at a place, and shows the frames that they complete there. Bytes that have
    /// arrived must be seen before those that were read.
    pub(crate) fn see(&mut self, place: Place, bytes: &[u8], see: impl FnMut(FrameBytes<'_>)) {
        let missing = PREFACE_BEGIN.len() - self.begin.len();
        if place.direction() == self.dialled && place != Place::Read {
            self.begin.extend_from_slice(&bytes[..missing.min(bytes.len())]);
        }
        if PREFACE_BEGIN.starts_with(&self.begin) {
            self.readers[place as usize].read(bytes, see);
        }
    }

    /// True if they are those of HTTP/2.
    pub(crate) fn are_http2(&self) -> bool {
        self.begin == PREFACE_BEGIN
    }
}
