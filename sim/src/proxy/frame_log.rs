//! The frames of HTTP/2 that change streams and connections, with the times at which the proxy
//! wrote and read them. Ciphertext is not read.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::frame_bytes::{FrameBytes, Frames};
use super::network::{Key, Packet, Point};
use crate::plan::Direction;

/// The identifier of SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113, 6.5.2).
const MAX_STREAMS: [u8; 2] = [0, 3];

/// The message of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// A head or trailers on a stream.
    Headers(u32),
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

    fn note(&mut self, at: u64, direction: Direction, frame: FrameBytes<'_>) {
        let FrameBytes { kind, flags, stream, payload } = frame;
        let mut add = |sign| self.signs.push((at, direction, sign));
        match kind {
            0 | 1 => {
                if kind == 1 {
                    add(Sign::Headers(stream));
                }
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
}

/// Reads frames as packets pass.
#[derive(Debug, Default)]
pub(crate) struct FrameLog(RefCell<BTreeMap<Key, (Frames, Connection)>>);

impl FrameLog {
    pub(crate) fn new() -> Rc<Self> {
        Rc::default()
    }

    /// Sees a packet.
    pub(crate) fn see(&self, packet: &Packet<'_>) {
        let Packet { at, key, direction, point, .. } = *packet;
        if matches!(key, Key::Other(_)) || point != Frames::point(direction, Point::Read) {
            return;
        }
        let mut connections = self.0.borrow_mut();
        let (frames, log) = connections.entry(key).or_default();
        if direction == Direction::In && log.read_at.last() != Some(&at) {
            log.read_at.push(at);
        }
        frames.see(packet, |frame| log.note(at, direction, frame));
    }

    /// The connections that speak HTTP/2.
    pub(crate) fn connections(&self) -> BTreeMap<Key, Connection> {
        let connections = self.0.take().into_iter();
        let http2 = connections.filter(|(_, (frames, _))| frames.are_http2());
        http2.map(|(key, (_, log))| (key, log)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::proxy::network::Content;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream];
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn signs_have_the_times_of_the_proxy() {
        let log = FrameLog::new();
        let address = SocketAddr::from(([10, 0, 0, 1], 80));
        let see = |at, point, direction, bytes: &[u8]| {
            let (key, from, to) = (Key::Backend(0, 1), address, address);
            let content = Content::Bytes(bytes);
            log.see(&Packet { at, point, key, direction, from, to, sequence: 0, content });
        };
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        see(1, Point::Written, Direction::Out, &[preface, frame(1, 5, 1, b"head")].concat());
        let settings = frame(4, 0, 0, &[0, 4, 0, 0, 0, 9, 0, 3, 0, 0, 0, 7]);
        let read = [settings, frame(0, 1, 1, b"body"), frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 2])];
        for (at, piece) in (2..).zip(read.concat().chunks(13)) {
            see(at, Point::Delivered, Direction::In, piece);
            see(10 * at, Point::Read, Direction::In, piece);
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
                (40, from, Sign::End(1)),
                (50, from, Sign::GoAway { last: 1, code: 2 }),
            ]
        );
        assert_eq!(connection.read_at, [20, 30, 40, 50]);
        assert_eq!(connection.first(from, |sign| sign == Sign::End(1)), Some(40));
    }
}
