//! The frames of HTTP/2 that change streams and connections, with the times at which the proxy
//! wrote and read them, and the count of those with an error code. Ciphertext is not read.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::frame_bytes::{FrameBytes, Frames, Place};
use super::frame_count::{Counted, FrameCounts, Kind, Peer};
use super::network::{Content, Key, Packet};
use crate::plan::Direction;

/// The identifier of SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113, 6.5.2).
const MAX_STREAMS: [u8; 2] = [0, 3];

/// The message of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// A head or trailers on a stream.
    Headers(u32),
    /// A part of a body on a stream.
    Data(u32),
    /// A stream ends in this direction.
    End(u32),
    /// RST_STREAM.
    Reset { stream: u32, code: u32 },
    /// GOAWAY.
    GoAway { last: u32, code: u32 },
    /// The number of streams that SETTINGS allow.
    Streams(u32),
}

/// The log of one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Connection {
    /// Signs in order, each with its time and its direction.
    pub(crate) signs: Vec<(u64, Direction, Sign)>,
    /// The times at which the proxy read anything, in order.
    pub(crate) read_at: Vec<u64>,
}

impl Connection {
    /// The signs of a direction, with their times.
    pub(crate) fn signs(&self, wanted: Direction) -> impl Iterator<Item = (u64, Sign)> {
        let signs = self.signs.iter();
        signs
            .filter(move |(_, direction, _)| *direction == wanted)
            .map(|(at, _, sign)| (*at, *sign))
    }

    /// When a sign was first seen in a direction.
    pub(crate) fn first(&self, direction: Direction, is: impl Fn(Sign) -> bool) -> Option<u64> {
        self.signs(direction).find(|(_, sign)| is(*sign)).map(|(at, _)| at)
    }
}

/// Tells the signs in a frame.
fn tell(frame: FrameBytes<'_>, mut add: impl FnMut(Sign)) {
    let FrameBytes { kind, flags, stream, payload } = frame;
    match kind {
        0 | 1 => {
            add(if kind == 1 { Sign::Headers(stream) } else { Sign::Data(stream) });
            if flags & 1 != 0 {
                add(Sign::End(stream));
            }
        }
        3 => frame.number(0).into_iter().for_each(|code| add(Sign::Reset { stream, code })),
        4 if flags & 1 == 0 => {
            for setting in payload.chunks_exact(6).filter(|it| it[..2] == MAX_STREAMS) {
                let [.., a, b, c, d] = *setting else { continue };
                add(Sign::Streams(u32::from_be_bytes([a, b, c, d])));
            }
        }
        7 => {
            if let (Some(last), Some(code)) = (frame.number(0), frame.number(4)) {
                add(Sign::GoAway { last: last & (u32::MAX >> 1), code });
            }
        }
        _ => {}
    }
}

/// A connection that is watched.
#[derive(Debug)]
struct Watched {
    frames: Frames,
    log: Connection,
    /// The signs that have arrived for the proxy, also those that it has not read.
    arrived: Vec<Sign>,
}

/// Reads frames as packets pass.
#[derive(Debug, Default)]
pub(crate) struct FrameLog(RefCell<BTreeMap<Key, Watched>>);

impl FrameLog {
    pub(crate) fn new() -> Rc<Self> {
        Rc::default()
    }

    /// Sees a packet.
    pub(crate) fn see(&self, packet: &Packet<'_>) {
        let Packet { at, key, direction, content, .. } = *packet;
        let (Some(place), Content::Bytes(bytes)) = (Place::of(packet), content) else { return };
        let mut connections = self.0.borrow_mut();
        let Watched { frames, log, arrived } = connections.entry(key).or_insert_with(|| Watched {
            frames: Frames::new(key),
            log: Connection::default(),
            arrived: Vec::new(),
        });
        if place == Place::Read && log.read_at.last() != Some(&at) {
            log.read_at.push(at);
        }
        frames.see(place, bytes, |frame| {
            tell(frame, |sign| match place {
                Place::Arrived => arrived.push(sign),
                Place::Written | Place::Read => log.signs.push((at, direction, sign)),
            });
        });
    }

    /// The frames with an error code so far: those that the proxy has written, or that have arrived
    /// for it.
    pub(crate) fn counts(&self) -> FrameCounts {
        let mut counts = FrameCounts::default();
        let connections = self.0.borrow();
        for (key, watched) in connections.iter().filter(|(_, it)| it.frames.are_http2()) {
            let peer = match key {
                Key::Client(..) => Peer::Client,
                Key::Backend(..) | Key::Other(_) => Peer::Backend,
            };
            let arrived = watched.arrived.iter().map(|sign| (Direction::In, *sign));
            let written = watched.log.signs(Direction::Out);
            let written = written.map(|(_, sign)| (Direction::Out, sign));
            for (direction, sign) in arrived.chain(written) {
                let (kind, code) = match sign {
                    Sign::Reset { code, .. } => (Kind::Reset, code),
                    Sign::GoAway { code, .. } => (Kind::GoAway, code),
                    Sign::Headers(_) | Sign::Data(_) | Sign::End(_) | Sign::Streams(_) => continue,
                };
                counts.add(Counted { peer, direction, kind, code }, 1);
            }
        }
        counts
    }

    /// The connections that speak HTTP/2.
    pub(crate) fn connections(&self) -> BTreeMap<Key, Connection> {
        let connections = self.0.take().into_iter();
        let http2 = connections.filter(|(_, watched)| watched.frames.are_http2());
        http2.map(|(key, watched)| (key, watched.log)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::proxy::network::Point;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream];
        frame.extend_from_slice(payload);
        frame
    }

    /// Shows bytes of a backend's connection.
    fn see(log: &FrameLog, at: u64, point: Point, direction: Direction, bytes: &[u8]) {
        let address = SocketAddr::from(([10, 0, 0, 1], 80));
        let (key, from, to) = (Key::Backend(0, 1), address, address);
        let content = Content::Bytes(bytes);
        log.see(&Packet { at, point, key, direction, from, to, sequence: 0, content });
    }

    /// The counts after bytes of a backend's connection, each direction in pieces of a size.
    fn counts(written: &[u8], arrived: &[u8], size: usize) -> FrameCounts {
        let log = FrameLog::new();
        for piece in written.chunks(size) {
            see(&log, 0, Point::Written, Direction::Out, piece);
        }
        for piece in arrived.chunks(size) {
            see(&log, 0, Point::Delivered, Direction::In, piece);
        }
        log.counts()
    }

    #[test]
    fn frames_are_counted_however_they_are_cut() {
        let reset = frame(3, 0, 1, &[0, 0, 0, 8]);
        let go_away = frame(7, 0, 0, &[0, 0, 0, 9, 0, 0, 0, 11, 1, 2, 3]);
        let settings = frame(4, 0, 0, &[]);
        let written = [PREFACE, &settings, &frame(0, 0, 1, &[3; 40]), &reset, &reset].concat();
        let arrived = [frame(4, 0, 0, &[0; 6]), go_away, settings].concat();
        for size in [1, 3, 7, 10_000] {
            let counts = counts(&written, &arrived, size);
            let expected =
                [(Direction::In, Kind::GoAway, 11, 1), (Direction::Out, Kind::Reset, 8, 2)];
            let mut all = FrameCounts::default();
            for (direction, kind, code, number) in expected {
                all.add(Counted { peer: Peer::Backend, direction, kind, code }, number);
            }
            assert_eq!(counts, all, "{size}");
        }
    }

    #[test]
    fn http1_has_no_frames() {
        let reset = frame(3, 0, 1, &[0, 0, 0, 8]);
        let written = [b"PUT /", &reset[..], &reset].concat();
        assert_eq!(counts(&written, &reset, 2), FrameCounts::default());
    }

    #[test]
    fn signs_have_the_times_of_the_proxy() {
        let log = FrameLog::new();
        let written = [PREFACE, &frame(1, 5, 1, b"head")].concat();
        see(&log, 1, Point::Written, Direction::Out, &written);
        let settings = frame(4, 0, 0, &[0, 4, 0, 0, 0, 9, 0, 3, 0, 0, 0, 7]);
        let read = [settings, frame(0, 1, 1, b"body"), frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 2])];
        for (at, piece) in (2..).zip(read.concat().chunks(13)) {
            see(&log, at, Point::Delivered, Direction::In, piece);
            see(&log, 10 * at, Point::Read, Direction::In, piece);
        }
        let connections = log.connections();
        let connection = &connections[&Key::Backend(0, 1)];
        let (to, from) = (Direction::Out, Direction::In);
        assert_eq!(
            connection.signs,
            [
                (1, to, Sign::Headers(1)),
                (1, to, Sign::End(1)),
                (30, from, Sign::Streams(7)),
                (40, from, Sign::Data(1)),
                (40, from, Sign::End(1)),
                (50, from, Sign::GoAway { last: 1, code: 2 }),
            ]
        );
        assert_eq!(connection.read_at, [20, 30, 40, 50]);
        assert_eq!(connection.first(from, |sign| sign == Sign::End(1)), Some(40));
    }
}
