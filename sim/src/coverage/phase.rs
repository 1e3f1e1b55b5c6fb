//! The phases of a request on a connection.

baton::words! {
    /// The phase of a request on a connection, as it is seen on the wire.
    pub enum Phase {
        /// The connection is dialled.
        Connecting = "dial",
        /// Its head is on its way to the receiver.
        Head = "head",
        /// Its head has arrived, and not all of its content.
        BodyUp = "body up",
        /// It has arrived as a whole, and the head of the response has not.
        Waiting = "waiting",
        /// The head of the response has arrived, and not all of its content.
        BodyDown = "body down",
        /// Trailers, of the request or of the response, are on their way.
        Trailers = "trailers",
        /// The connection has no request.
        Idle = "idle",
    }
}

/// Some phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Phases(u8);

impl Phases {
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn add(&mut self, phase: Phase) {
        self.0 |= 1 << phase as u8;
    }

    pub(crate) fn remove(&mut self, phase: Phase) {
        self.0 &= !(1 << phase as u8);
    }

    pub(crate) fn add_all(&mut self, others: Self) {
        self.0 |= others.0;
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Phase> {
        Phase::ALL.iter().copied().filter(move |phase| self.0 & 1 << *phase as u8 != 0)
    }
}
