//! Counts the RST_STREAM and GOAWAY frames on the wire, without a library. Ciphertext is not read.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::network::{Content, Key, Packet, Point};
use crate::plan::Direction;

/// The begin of the connection preface (RFC 9113, 3.4), by which HTTP/2 is recognised, and its
/// length.
const PREFACE_BEGIN: &[u8; 3] = b"PRI";
const PREFACE_LENGTH: usize = 24;
const HEADER_LENGTH: usize = 9;

/// The frames that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Reset,
    GoAway,
}

/// The end of a connection that is not the proxy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    Client,
    Backend,
}

/// Frames that are counted together: those that the proxy has written, or that have arrived for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Counted {
    pub(crate) peer: Peer,
    pub(crate) direction: Direction,
    pub(crate) kind: Kind,
    pub(crate) code: u32,
}

/// All counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct FrameCounts(BTreeMap<Counted, u64>);

impl FrameCounts {
    /// Adds frames.
    pub(crate) fn add(&mut self, counted: Counted, number: u64) {
        *self.0.entry(counted).or_default() += number;
    }

    /// The number of frames of this kind.
    pub(crate) fn of(&self, counted: Counted) -> u64 {
        self.0.get(&counted).copied().unwrap_or(0)
    }
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Reader {
    /// Bytes of the preface that are still to come.
    preface_left: usize,
    header: Vec<u8>,
    /// The payload of a frame that is counted, and what is to come of it.
    payload: Vec<u8>,
    payload_left: usize,
    found: Vec<(Kind, u32)>,
}

impl Reader {
    fn read(&mut self, mut bytes: &[u8]) {
        let preface = self.preface_left.min(bytes.len());
        self.preface_left -= preface;
        bytes = &bytes[preface..];
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let taken = self.payload_left.min(bytes.len());
                if self.kind().is_some() {
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
                self.note();
                self.header.clear();
                self.payload.clear();
            }
        }
    }

    fn kind(&self) -> Option<Kind> {
        match self.header.get(3) {
            Some(3) => Some(Kind::Reset),
            Some(7) => Some(Kind::GoAway),
            _ => None,
        }
    }

    fn note(&mut self) {
        let Some(kind) = self.kind() else { return };
        let code = match kind {
            Kind::Reset => self.payload.get(..4),
            Kind::GoAway => self.payload.get(4..8),
        };
        let code = code.and_then(|code| code.try_into().ok());
        self.found.extend(code.map(|code| (kind, u32::from_be_bytes(code))));
    }
}

/// A connection.
#[derive(Debug, Default)]
struct Connection {
    /// The first bytes of the end that dialled.
    begin: Vec<u8>,
    read: Reader,
    written: Reader,
}

/// Counts as packets pass.
#[derive(Debug, Default)]
pub(crate) struct FrameCounter(RefCell<BTreeMap<Key, Connection>>);

impl FrameCounter {
    pub(crate) fn new() -> Rc<Self> {
        Rc::default()
    }

    /// Sees a packet.
    pub(crate) fn see(&self, packet: &Packet<'_>) {
        let Content::Bytes(bytes) = packet.content else { return };
        let (dialled, at_proxy) = match (packet.key, packet.direction) {
            (Key::Client(..), Direction::In) => (true, Point::Delivered),
            (Key::Client(..), Direction::Out) => (false, Point::Written),
            (Key::Backend(..), Direction::In) => (false, Point::Delivered),
            (Key::Backend(..), Direction::Out) => (true, Point::Written),
            (Key::Other(_), _) => return,
        };
        if packet.point != at_proxy {
            return;
        }
        let mut connections = self.0.borrow_mut();
        let connection = connections.entry(packet.key).or_default();
        let reader = match packet.direction {
            Direction::In => &mut connection.read,
            Direction::Out => &mut connection.written,
        };
        if dialled && connection.begin.is_empty() {
            reader.preface_left = PREFACE_LENGTH;
        }
        if dialled && connection.begin.len() < PREFACE_BEGIN.len() {
            let missing = PREFACE_BEGIN.len() - connection.begin.len();
            connection.begin.extend_from_slice(&bytes[..missing.min(bytes.len())]);
        }
        if connection.begin.is_empty() || PREFACE_BEGIN.starts_with(&connection.begin) {
            reader.read(bytes);
        }
    }

    /// The frames so far.
    pub(crate) fn counts(&self) -> FrameCounts {
        let mut counts = FrameCounts::default();
        let connections = self.0.borrow();
        let speaks_http2 = |connection: &Connection| connection.begin == PREFACE_BEGIN;
        for (key, connection) in connections.iter().filter(|(_, it)| speaks_http2(it)) {
            let peer = match key {
                Key::Client(..) => Peer::Client,
                Key::Backend(..) | Key::Other(_) => Peer::Backend,
            };
            for (direction, reader) in
                [(Direction::In, &connection.read), (Direction::Out, &connection.written)]
            {
                for (kind, code) in reader.found.iter().copied() {
                    counts.add(Counted { peer, direction, kind, code }, 1);
                }
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    /// The counts after bytes of a backend's connection, each direction in pieces of a size.
    fn counts(written: &[u8], read: &[u8], size: usize) -> FrameCounts {
        let counter = FrameCounter::new();
        let address = SocketAddr::from(([10, 0, 0, 1], 80));
        for (direction, point, bytes) in
            [(Direction::Out, Point::Written, written), (Direction::In, Point::Delivered, read)]
        {
            for piece in bytes.chunks(size) {
                counter.see(&Packet {
                    at: 0,
                    point,
                    key: Key::Backend(0, 1),
                    direction,
                    from: address,
                    to: address,
                    sequence: 0,
                    content: Content::Bytes(piece),
                });
            }
        }
        counter.counts()
    }

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0, 0, payload.len() as u8, kind, 0, 0, 0, 0, 1];
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn frames_are_counted_however_they_are_cut() {
        let reset = frame(3, &[0, 0, 0, 8]);
        let go_away = frame(7, &[0, 0, 0, 9, 0, 0, 0, 11, 1, 2, 3]);
        let written = [PREFACE, &frame(4, &[]), &frame(0, &[3; 40]), &reset, &reset].concat();
        let read = [frame(4, &[0; 6]), go_away, frame(4, &[])].concat();
        for size in [1, 3, 7, 10_000] {
            let counts = counts(&written, &read, size);
            let of = |direction, kind, code| {
                counts.of(Counted { peer: Peer::Backend, direction, kind, code })
            };
            assert_eq!(of(Direction::Out, Kind::Reset, 8), 2, "{size}");
            assert_eq!(of(Direction::In, Kind::GoAway, 11), 1, "{size}");
            assert_eq!(counts.0.len(), 2, "{size}: {counts:?}");
        }
    }

    #[test]
    fn http1_has_no_frames() {
        let reset = frame(3, &[0, 0, 0, 8]);
        let written = [b"PUT /", &reset[..], &reset].concat();
        assert!(counts(&written, &reset, 2).0.is_empty());
    }
}
