//! The rule by which gRPC servers tolerate PINGs: gRPC proposal A8, and `ping_abuse_policy` of its
//! core. It is the judge of how Baton uses PINGs, so it does not know how Baton decides.

/// A PING that follows another one within this time, in nanoseconds, is a strike.
const INTERVAL: u64 = 300_000_000_000;

/// The strikes that a server tolerates unless it is set up otherwise.
pub(crate) const STRIKES_MAX: u32 = 2;

/// The PINGs on a connection, as its server counts them.
#[derive(Clone, Debug, Default)]
pub(crate) struct PingRule {
    last_at: Option<u64>,
    strikes: u32,
}

impl PingRule {
    /// A PING arrives, at a time in nanoseconds. Returns the strikes so far.
    pub(crate) fn ping(&mut self, now: u64) -> u32 {
        let soon = self.last_at.is_some_and(|last| now - last < INTERVAL);
        self.last_at = Some(now);
        self.strikes += u32::from(soon);
        self.strikes
    }

    /// The server sends HEADERS or DATA, and forgets the PINGs.
    pub(crate) fn message_sent(&mut self) {
        *self = Self::default();
    }
}

/// Says how so many strikes violate the rule of a server with the defaults of gRPC; `None` if it
/// tolerates them.
pub(crate) fn violation(strikes: u32) -> Option<String> {
    (strikes > STRIKES_MAX).then(|| {
        format!("{strikes} PINGs within five minutes of another, and no message: too_many_pings")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn the_fourth_ping_in_five_minutes_is_one_too_many() {
        let mut rule = PingRule::default();
        let strikes = [0, 1, 3, 7].map(|second| rule.ping(second * SECOND));
        assert_eq!(strikes, [0, 1, 2, 3]);
        assert_eq!(
            strikes.map(|strikes| violation(strikes).is_some()),
            [false, false, false, true]
        );
    }

    #[test]
    fn a_message_and_five_minutes_make_room_for_a_ping() {
        let mut rule = PingRule::default();
        assert_eq!([0, 1].map(|second| rule.ping(second * SECOND)), [0, 1]);
        rule.message_sent();
        assert_eq!([2, 3].map(|second| rule.ping(second * SECOND)), [0, 1]);
        assert_eq!([303, 603].map(|second| rule.ping(second * SECOND)), [1, 1]);
    }
}
