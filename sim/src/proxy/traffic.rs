//! Everything on the wire, message by message and frame by frame, from the outside: the bytes of
//! every connection are read as they are written, and it is noted when they arrive. Over TLS, the
//! bytes are those that peers write and read.
//!
//! | module | contents |
//! |---|---|
//! | `reader` | the messages in the bytes of one direction |
//! | `exchange` | a request and its response, and the phases that they are in |
//! | `connection` | a connection with its exchanges |

use std::collections::BTreeMap;

use self::connection::Connection;
use super::network::{Content, Key, Packet, Point};
use crate::coverage::{Phase, Phases};
use crate::plan::Direction;

mod connection;
mod exchange;
mod reader;

pub(crate) use connection::Placed;
pub(crate) use reader::Part;

/// A packet, or what it completes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sight<'a> {
    /// The begin of a connection; from the accepting end, the consent.
    Syn,
    /// A part of a message, or a frame.
    Part(&'a Placed),
    /// Bytes of TLS.
    Encrypted(usize),
    /// The end of a direction.
    End,
    /// The connection is reset.
    Reset,
}

/// Everything on the wire.
pub(crate) struct Traffic {
    tls: bool,
    connections: BTreeMap<Key, Connection>,
}

impl Traffic {
    /// Nothing yet. `tls` says if bytes are encrypted.
    pub(crate) fn new(tls: bool) -> Self {
        Self { tls, connections: BTreeMap::new() }
    }

    /// Sees a packet and shows what it is or completes.
    pub(crate) fn see(&mut self, packet: &Packet<'_>, mut show: impl FnMut(Point, Sight<'_>)) {
        let Packet { at, point, key, direction, .. } = *packet;
        if point == Point::Read {
            return;
        }
        let known = self.connections.entry(key);
        let connection = known.or_insert_with(|| Connection::new(key));
        match (packet.content, point) {
            (Content::Bytes(bytes), Point::Decrypted) => {
                connection.write(direction, at, bytes, |part| show(point, Sight::Part(part)));
                connection.arrive(direction, bytes.len() as u64, |_| {});
            }
            (Content::Bytes(bytes), _) if self.tls => show(point, Sight::Encrypted(bytes.len())),
            (Content::Bytes(bytes), Point::Written) => {
                connection.write(direction, at, bytes, |part| show(point, Sight::Part(part)));
            }
            (Content::Bytes(bytes), _) => {
                let bytes = bytes.len() as u64;
                connection.arrive(direction, bytes, |part| show(point, Sight::Part(part)));
            }
            (Content::Syn, _) => {
                let consents = key.is_dialled_by_proxy() == (direction == Direction::In);
                connection.is_up |= consents && point == Point::Delivered;
                show(point, Sight::Syn);
            }
            (Content::End, Point::Written) => {
                connection.end(direction, at, |part| show(point, Sight::Part(part)));
                show(point, Sight::End);
            }
            (Content::End, _) => {
                connection.ended(direction);
                connection.arrive(direction, 0, |part| show(point, Sight::Part(part)));
                show(point, Sight::End);
            }
            (Content::Reset, _) => {
                connection.is_closed = true;
                show(point, Sight::Reset);
            }
        }
    }

    /// The phases that requests on a connection are in: idle if none is in any, and none if there
    /// is no such connection any more.
    pub(crate) fn phases(&self, key: Key) -> Phases {
        self.connections.get(&key).map_or(Phases::NONE, Connection::phases)
    }

    /// The phases that a request on a connection, by its number from 1, is in.
    pub(crate) fn phases_of(&self, key: Key, number: u32) -> Phases {
        let place = (number as usize).wrapping_sub(1);
        self.connections.get(&key).map_or(Phases::NONE, |it| it.phases_of(place))
    }

    /// The phases that a request is in at its client.
    pub(crate) fn phases_at_client(&self, request: u32) -> Phases {
        let clients = self.connections.iter().rev();
        let clients = clients.filter(|(key, _)| matches!(key, Key::Client(..)));
        let mut carriers = clients.filter_map(|(_, connection)| {
            Some(connection.phases_of(connection.place_of(request)?))
        });
        carriers.find(|phases| *phases != Phases::NONE).unwrap_or(Phases::NONE)
    }

    /// True if the connection speaks HTTP/2; `None` if that is not known.
    pub(crate) fn is_http2(&self, key: Key) -> Option<bool> {
        self.connections.get(&key)?.is_http2()
    }

    /// The connections to a backend, or to any.
    pub(crate) fn to_backend(&self, wanted: Option<u16>) -> impl Iterator<Item = Key> {
        self.connections.keys().copied().filter(move |key| match key {
            Key::Backend(backend, _) => wanted.is_none_or(|wanted| wanted == *backend),
            Key::Client(..) | Key::Other(_) => false,
        })
    }

    /// True if a client waits for an answer, or for its end.
    pub(crate) fn is_in_flight(&self) -> bool {
        let clients = self.connections.iter().filter(|(key, _)| matches!(key, Key::Client(..)));
        let mut phases = clients.flat_map(|(_, connection)| connection.phases().iter());
        phases.any(|phase| !matches!(phase, Phase::Connecting | Phase::Idle))
    }

    /// The parts that were written and have not arrived, with their connections and directions.
    pub(crate) fn lost(&self) -> impl Iterator<Item = (Key, Direction, &Placed)> {
        self.connections.iter().flat_map(|(key, connection)| {
            [Direction::In, Direction::Out].into_iter().flat_map(move |direction| {
                connection.flying(direction).map(move |placed| (*key, direction, placed))
            })
        })
    }
}
