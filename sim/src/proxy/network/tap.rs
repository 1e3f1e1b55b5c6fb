//! The packets on the network, for judges, the story and captures, and a hash of all of it.

use std::net::SocketAddr;

use super::key::Key;
use crate::plan::Direction;

/// Where a packet was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// Its end has written it.
    Written,
    /// The system of the other end has received it.
    Delivered,
    /// The proxy has read it, without TLS.
    Read,
    /// A peer has written or read it over TLS: these are the bytes themselves, not the encrypted
    /// ones, which are shown as well.
    Decrypted,
}

/// The content of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    /// The begin of a connection; from the accepting end, the consent.
    Syn,
    /// Bytes.
    Bytes(&'a [u8]),
    /// The end of a direction (FIN).
    End,
    /// The connection is reset (RST).
    Reset,
}

/// One packet at one point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'a> {
    /// Nanoseconds since the start of the run.
    pub(crate) at: u64,
    pub(crate) point: Point,
    pub(crate) key: Key,
    pub(crate) direction: Direction,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    /// Bytes of this direction before it.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests look at it"))]
    pub(crate) sequence: u64,
    pub(crate) content: Content<'a>,
}

/// Sees each packet. It is called while the network is at work, so it cannot use the network.
pub(crate) type Observer = Box<dyn FnMut(&Packet<'_>)>;

/// The observers, and the hash.
pub(crate) struct Tap {
    observers: Vec<Observer>,
    hash: u64,
    /// True if only lengths enter the hash.
    lengths_only: bool,
}

impl Tap {
    pub(crate) fn new(lengths_only: bool) -> Self {
        Self { observers: Vec::new(), hash: 0xcbf2_9ce4_8422_2325, lengths_only }
    }

    /// True if somebody sees the packets.
    pub(crate) fn is_observed(&self) -> bool {
        !self.observers.is_empty()
    }

    pub(crate) fn observe(&mut self, observer: Observer) {
        self.observers.push(observer);
    }

    /// The hash of all that was delivered: content, time and place.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn see(&mut self, packet: &Packet<'_>) {
        for observer in &mut self.observers {
            observer(packet);
        }
        if packet.point == Point::Delivered {
            self.fold(packet);
        }
    }

    fn fold(&mut self, packet: &Packet<'_>) {
        let (kind, bytes): (u64, &[u8]) = match packet.content {
            Content::Syn => (0, &[]),
            Content::Bytes(bytes) => (1, bytes),
            Content::End => (2, &[]),
            Content::Reset => (3, &[]),
        };
        self.fold_word(packet.at);
        self.fold_word(packet.key.entity() << 1 | u64::from(packet.direction == Direction::In));
        self.fold_word(kind << 60 | bytes.len() as u64);
        if self.lengths_only {
            return;
        }
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.fold_word(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.fold_word(u64::from_le_bytes(last));
    }

    fn fold_word(&mut self, word: u64) {
        let mixed = (self.hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.hash = mixed ^ mixed >> 29;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(lengths_only: bool, at: u64, bytes: &[u8]) -> u64 {
        let mut tap = Tap::new(lengths_only);
        let address = SocketAddr::from(([10, 0, 0, 1], 80));
        tap.see(&Packet {
            at,
            point: Point::Delivered,
            key: Key::Client(0, 1),
            direction: Direction::In,
            from: address,
            to: address,
            sequence: 0,
            content: Content::Bytes(bytes),
        });
        tap.hash()
    }

    #[test]
    fn each_byte_each_length_and_each_time_count() {
        let usual = hash(false, 5, b"0123456789");
        assert_eq!(usual, hash(false, 5, b"0123456789"));
        for other in [&b"0123456788"[..], b"1123456789", b"0123456789\0", b""] {
            assert_ne!(usual, hash(false, 5, other));
        }
        assert_ne!(usual, hash(false, 6, b"0123456789"));
    }

    #[test]
    fn with_tls_only_lengths_count() {
        assert_eq!(hash(true, 5, b"abcdefghij"), hash(true, 5, b"0123456789"));
        assert_ne!(hash(true, 5, b"abcdefghij"), hash(true, 5, b"abcdefghi"));
    }
}
