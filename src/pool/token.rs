//! Tokens: what the pool hands out instead of references. Every use of a token is checked.
//!
//! A token names one use of one slot or table index. When that use is over, the token is stale for
//! ever: generations and ordinals only grow, and a slot whose generations are used up is retired
//! instead of reused. Stale tokens in facts are normal, since events arrive late. The pool counts
//! such a fact, changes nothing and answers [`Handled::Stale`](super::Handled::Stale). Generations
//! start at 1, so a default token is never handed out and always stale.

use core::fmt;

/// Index of a backend in the pool's table; at first its index in
/// [`Config::backends`](super::Config::backends). The index is reused after its backend was
/// removed; a [`BackendToken`] is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId(pub u16);

/// Returns the backend index as an id.
///
/// # Panics
/// If the index does not fit in 16 bits.
pub(crate) fn backend_id(index: usize) -> BackendId {
    BackendId(u16::try_from(index).expect("at most 4096 backends"))
}

/// One backend, from its addition to the configuration until it was removed and freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendToken {
    /// Index of the backend.
    pub backend: BackendId,
    /// Number of uses of that index: grows by one each time the index is reused.
    pub generation: u32,
}

/// One dial, and the connection that it establishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionToken {
    /// The backend the slot belongs to.
    pub backend: BackendId,
    /// Index of the slot among those of the backend.
    pub slot: u16,
    /// Number of uses of the slot: grows by one with each dial.
    pub generation: u32,
}

/// The format of logs: `b0/s1/g2` is the second connection in the second slot of the first backend.
impl fmt::Display for ConnectionToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { backend, slot, generation } = self;
        write!(formatter, "b{}/s{slot}/g{generation}", backend.0)
    }
}

/// Exclusive use of one stream of one connection. A request that was sent owns exactly one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamToken {
    /// The connection that carries the stream.
    pub connection: ConnectionToken,
    /// Index of the stream's entry in the connection's table; later streams reuse it.
    pub stream: u16,
    /// Number of streams opened on this connection before this one. It cannot wrap: the connection
    /// drains before HTTP/2 runs out of stream identifiers (RFC 9113, 5.1.1).
    pub ordinal: u32,
}

/// One request, from its [`RequestArrived`](super::Input::RequestArrived) to its
/// [`RequestEnded`](super::Output::RequestEnded).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    /// Index in the table of requests, below [`Limits::requests`](super::Limits::requests).
    pub index: u32,
    /// Number of uses of that index: grows by one each time the index is reused.
    pub generation: u32,
}
