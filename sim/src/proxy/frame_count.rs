//! Counts the RST_STREAM and GOAWAY frames on the wire, without a library. Ciphertext is not read.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::frame_bytes::Frames;
use super::network::{Key, Packet, Point};
use crate::plan::Direction;

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

/// The frames of this kind, with their codes, in each direction of a connection.
#[derive(Debug, Default)]
struct Connection {
    frames: Frames,
    found: Vec<(Direction, Kind, u32)>,
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
        let direction = packet.direction;
        let passes = !matches!(packet.key, Key::Other(_));
        if !passes || packet.point != Frames::point(direction, Point::Delivered) {
            return;
        }
        let mut connections = self.0.borrow_mut();
        let Connection { frames, found } = connections.entry(packet.key).or_default();
        frames.see(packet, |frame| {
            let counted = match frame.kind {
                3 => frame.number(0).map(|code| (direction, Kind::Reset, code)),
                7 => frame.number(4).map(|code| (direction, Kind::GoAway, code)),
                _ => None,
            };
            found.extend(counted);
        });
    }

    /// The frames so far.
    pub(crate) fn counts(&self) -> FrameCounts {
        let mut counts = FrameCounts::default();
        let connections = self.0.borrow();
        for (key, Connection { found, .. }) in
            connections.iter().filter(|(_, connection)| connection.frames.are_http2())
        {
            let peer = match key {
                Key::Client(..) => Peer::Client,
                Key::Backend(..) | Key::Other(_) => Peer::Backend,
            };
            for (direction, kind, code) in found.iter().copied() {
                counts.add(Counted { peer, direction, kind, code }, 1);
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::proxy::network::Content;

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
