//! The contents of bodies: every byte follows from whose body it is and from its place, so that a
//! reader can tell at each byte whether it is the right one.

use bytes::Bytes;

/// The message that a body belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// The body of the request with this id.
    Request(u32),
    /// The body of the response that this execution produced; see [`super::ledger::Ledger`].
    Response(u32),
}

impl Body {
    /// The byte at a place.
    fn byte(self, place: u64) -> u8 {
        let key = match self {
            Self::Request(id) => u64::from(id) << 1,
            Self::Response(execution) => u64::from(execution) << 1 | 1,
        };
        // Neighbouring places and keys give different bytes; a shift by any distance is noticed.
        let mixed =
            (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ place).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed >> 56) as u8
    }

    /// The bytes from a place on.
    pub(crate) fn piece(self, from: u64, length: usize) -> Bytes {
        (from..from + length as u64).map(|place| self.byte(place)).collect()
    }
}

/// The part of a body that a reader has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Bytes read.
    pub(crate) length: u64,
    /// The place of the first wrong byte, if there is one.
    pub(crate) wrong_at: Option<u64>,
}

impl Seen {
    pub(crate) const NOTHING: Self = Self { length: 0, wrong_at: None };

    /// Reads further bytes of a body.
    pub(crate) fn read(&mut self, body: Body, bytes: &[u8]) {
        for byte in bytes {
            if *byte != body.byte(self.length) && self.wrong_at.is_none() {
                self.wrong_at = Some(self.length);
            }
            self.length += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_a_shifted_and_a_foreign_byte_are_noticed() {
        let body = Body::Request(3);
        let read = |bytes: &[u8]| {
            let mut seen = Seen::NOTHING;
            seen.read(body, bytes);
            seen
        };
        assert_eq!(read(&body.piece(0, 100)), Seen { length: 100, wrong_at: None });
        assert!(read(&body.piece(1, 100)).wrong_at.is_some());
        assert!(read(&Body::Request(4).piece(0, 100)).wrong_at.is_some());
        assert!(read(&Body::Response(3).piece(0, 100)).wrong_at.is_some());
        let mut torn = body.piece(0, 50).to_vec();
        torn.extend(body.piece(51, 49));
        assert!(read(&torn).wrong_at.is_some_and(|place| place >= 50));
    }
}
