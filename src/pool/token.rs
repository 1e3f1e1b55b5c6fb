//! Tokens: what the pool hands out instead of references. Every use of one is checked.
//!
//! A token names one incarnation of one thing. When that incarnation is over the token is stale for
//! ever: generations and ordinals only grow, and a slot whose generation is spent is retired rather
//! than reused. A stale token from outside is normal, since events arrive late; the pool counts it,
//! changes nothing and answers [`Handled::Stale`](super::Handled::Stale).

use core::fmt;

/// A place for a backend: at first its index in [`Config::backends`](super::Config::backends). When
/// a backend is removed its place is free for another; a [`BackendToken`] says which one is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId(pub u16);

/// One backend, from its arrival in the configuration until it was removed and let go of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendToken {
    /// Its place.
    pub backend: BackendId,
    /// Which use of that place: grows by one each time the place is taken.
    pub generation: u32,
}

/// One incarnation of one connection slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionToken {
    /// The backend the slot belongs to.
    pub backend: BackendId,
    /// Index of the slot among those of the backend.
    pub slot: u16,
    /// Which incarnation of the slot: grows by one each time the slot is filled.
    pub generation: u32,
}

/// As it stands in logs: `b0/s1/g2` is the second connection in the second slot of the first backend.
impl fmt::Display for ConnectionToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { backend, slot, generation } = self;
        write!(formatter, "b{}/s{slot}/g{generation}", backend.0)
    }
}

/// Exclusive use of one stream of one connection. A request that is sent owns exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamToken {
    /// The connection that carries the stream.
    pub connection: ConnectionToken,
    /// Index of the stream's entry in the connection's table; reused by later streams.
    pub stream: u16,
    /// How many streams were opened on this connection before this one. It cannot wrap: the
    /// connection drains before HTTP/2 runs out of stream identifiers (RFC 9113, 5.1.1).
    pub ordinal: u32,
}

/// One request, from [`RequestArrived`](super::Input::RequestArrived) to its one
/// [`RequestEnded`](super::Output::RequestEnded).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    /// Index in the table of requests, below [`Limits::requests`](super::Limits::requests).
    pub index: u32,
    /// Which use of that index: grows by one each time the index is taken.
    pub generation: u32,
}
