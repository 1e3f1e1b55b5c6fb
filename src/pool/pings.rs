//! The PINGs on a connection: how many its server tolerates while it sends nothing of a message.
//!
//! Servers that follow gRPC's proposal A8 (client-side keepalive) end a connection after more than
//! two PINGs that each come within five minutes of the one before, and forget all when they send
//! HEADERS or DATA. So a connection gets two PINGs, each after twice the silence, and one more on
//! behalf of a stream that was opened since. The next ones are spaced: they come minutes after the
//! answer to the one before. A server that has objected with ENHANCE_YOUR_CALM gets one PING before
//! they are spaced, and no exception.

use core::hash::{Hash, Hasher};
use core::time::Duration;

use super::time::Instant;

/// PINGs before the next ones are spaced.
const UNSPACED: u32 = 2;
/// Time between the answer to a PING and the next spaced one: gRPC's five minutes, and a margin for
/// clocks that differ.
const INTERVAL: Duration = Duration::from_secs(310);
/// Maximum number of doublings of that time, for a server that objects: 20 minutes.
const INTERVAL_DOUBLINGS_MAX: u32 = 2;
/// Maximum number of doublings of the silence before a PING: a factor of 64.
pub(super) const SILENCE_DOUBLINGS_MAX: u32 = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    Idle,
    /// A PING is unanswered. `is_spaced` is true if it came so long after the one before that no
    /// server minds it.
    InFlight {
        is_spaced: bool,
    },
}

/// The PINGs on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pings {
    state: State,
    /// PINGs answered since HEADERS or DATA last arrived, without the spaced ones.
    answered: u32,
    /// When the last PING was answered.
    answered_at: Instant,
    /// True if a stream was opened since the last PING.
    opened: bool,
}

impl Pings {
    pub(super) const NONE: Self =
        Self { state: State::Idle, answered: 0, answered_at: Instant::ZERO, opened: false };

    /// True if the server has had PINGs that it may object to.
    pub(super) fn were_sent(&self) -> bool {
        self.state != State::Idle || self.answered > 0
    }

    /// True if no PING is unanswered.
    pub(super) fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// Notes that a PING is sent. Returns false if one is unanswered: then none is.
    pub(super) fn send(&mut self, now: Instant) -> bool {
        if self.state != State::Idle {
            return false;
        }
        let is_spaced = self.answered > 0 && now >= self.answered_at.after(INTERVAL);
        self.state = State::InFlight { is_spaced };
        self.opened = false;
        true
    }

    /// Notes the answer to a PING. Returns false if none is in flight.
    pub(super) fn answer(&mut self, now: Instant) -> bool {
        let State::InFlight { is_spaced } = self.state else {
            return false;
        };
        self.state = State::Idle;
        self.answered = self.answered.saturating_add(u32::from(!is_spaced));
        self.answered_at = now;
        true
    }

    /// Notes that a part of a message arrived. Returns true if the next PING may come earlier now.
    #[inline]
    pub(super) fn message_arrived(&mut self) -> bool {
        core::mem::take(&mut self.answered) > 0
    }

    /// Notes that a stream is opened. Returns true if the next PING may come earlier now.
    #[inline]
    pub(super) fn stream_opened(&mut self) -> bool {
        self.opened = true;
        self.answered == UNSPACED
    }

    /// The factor by which silence is longer than at first, before the next PING to a server that
    /// has objected so many times.
    pub(super) fn silence_factor(&self, objections: u32) -> u32 {
        1 << (self.answered.min(UNSPACED) + objections).min(SILENCE_DOUBLINGS_MAX)
    }

    /// The time of the next PING, if it were `at` for the silence alone.
    pub(super) fn spaced(&self, at: Instant, objections: u32) -> Instant {
        let unspaced = match objections {
            0 => UNSPACED + u32::from(self.opened),
            _ => 1,
        };
        if self.answered < unspaced {
            return at;
        }
        let interval = INTERVAL * (1 << objections.min(INTERVAL_DOUBLINGS_MAX));
        at.max(self.answered_at.after(interval))
    }

    /// Hashes what matters for a connection that takes no more streams: it gets no PING.
    pub(super) fn hash_last(&self, hasher: &mut impl Hasher) {
        self.state.hash(hasher);
    }

    /// Hashes what else affects future PINGs.
    pub(super) fn hash_next(&self, now: Instant, hasher: &mut impl Hasher) {
        let answered_ago = (self.answered > 0).then(|| now.0.saturating_sub(self.answered_at.0));
        (self.answered.min(UNSPACED + 1), answered_ago, self.opened).hash(hasher);
    }
}
