//! The names of connections, of their ends, and of hosts.

use crate::plan::Direction;
use crate::proxy::hub::Target;

/// A machine on the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Host {
    /// The machine of the proxy, and of its operator.
    Proxy,
    /// The machine of the client with this index.
    Client(u8),
    /// The machine of the backend with this index.
    Backend(u16),
}

/// The client that reads the metrics within a run; no plan has as many.
pub(crate) const SCRAPER: u8 = u8::MAX - 1;

/// A connection. Numbers are from 1, in the order of dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// A connection to this backend, and its number there.
    Backend(u16, u32),
    /// A connection of this client, and its number there.
    Client(u8, u32),
    /// Any other connection, and its number among these.
    Other(u32),
}

impl Key {
    /// True for connections of clients, except that of the one that reads the metrics.
    pub(crate) fn is_of_client(self) -> bool {
        matches!(self, Self::Client(client, _) if client != SCRAPER)
    }
}

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// The end that dialled.
    Dialler = 0,
    /// The end that accepted.
    Acceptor = 1,
}

impl Side {
    /// Both ends.
    pub(crate) const BOTH: [Self; 2] = [Self::Dialler, Self::Acceptor];

    /// The other end.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Acceptor,
            Self::Acceptor => Self::Dialler,
        }
    }
}

impl Key {
    /// The connection of a target; `None` if it has none or several.
    pub(crate) fn of(target: Target) -> Option<Self> {
        match target {
            Target::Backend(backend, number) | Target::Stream(backend, number, _) => {
                Some(Self::Backend(backend, number))
            }
            Target::Client(client, number) => Some(Self::Client(client, number)),
            Target::Request(_) | Target::Process => None,
        }
    }

    /// The end that writes the bytes of a direction.
    pub(crate) fn writer(self, direction: Direction) -> Side {
        match (self, direction) {
            (Self::Backend(..), Direction::Out) => Side::Dialler,
            (Self::Backend(..), Direction::In) => Side::Acceptor,
            (_, Direction::Out) => Side::Acceptor,
            (_, Direction::In) => Side::Dialler,
        }
    }

    /// The direction of the bytes that an end writes.
    pub(crate) fn direction(self, writer: Side) -> Direction {
        if self.writer(Direction::In) == writer { Direction::In } else { Direction::Out }
    }

    /// True for connections to backends.
    pub(crate) fn is_dialled_by_proxy(self) -> bool {
        matches!(self, Self::Backend(..))
    }

    /// The end whose bytes go towards the backends.
    pub(crate) fn writer_towards_backend(self) -> Side {
        // A connection to a backend is dialled by the proxy, and any other to the proxy.
        Side::Dialler
    }

    /// Identifies the connection in draws and hashes.
    pub(crate) fn entity(self) -> u64 {
        let (kind, index, number) = match self {
            Self::Backend(backend, number) => (1, backend, number),
            Self::Client(client, number) => (2, u16::from(client), number),
            Self::Other(number) => (3, 0, number),
        };
        kind << 56 | u64::from(index) << 32 | u64::from(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_are_those_of_the_proxy() {
        let (backend, client) = (Key::Backend(0, 1), Key::Client(0, 1));
        assert_eq!(backend.writer(Direction::Out), Side::Dialler);
        assert_eq!(client.writer(Direction::Out), Side::Acceptor);
        for key in [backend, client, Key::Other(1)] {
            for direction in [Direction::In, Direction::Out] {
                assert_eq!(key.direction(key.writer(direction)), direction);
            }
        }
    }
}
