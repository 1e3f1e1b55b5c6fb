//! A plan: everything a run depends on. A run is a pure function of it, so a plan, and not the seed
//! that made it, is what reproduces a failure on later commits too.
//!
//! Plans are small RON files that a person can read and edit. Directives are *reactive* and *keyed*:
//! "backend 1, its 2nd connection, 3rd stream: reset it 4 ms after its HEADERS were read", so that
//! each can be dropped alone and the rest still mean the same.

use arbitrary::Arbitrary;
use serde::{Deserialize, Serialize};

pub use crate::faults::Family;
pub use crate::plan::directive::{
    Act, Change, Code, Directive, Forged, LastId, Miscount, Moment, Stage, When,
};
pub use crate::plan::pool::{PoolPlan, StrategyPlan};
pub use crate::plan::text::{PlanError, read, write};

mod directive;
mod pool;
mod text;

/// The version of the text form. A file of another version is refused.
pub const FORMAT: u32 = 1;

/// Everything a run depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`FORMAT`].
    pub format: u32,
    /// Where the plan came from, for people.
    pub origin: String,
    /// Fixes every delay that is drawn, and the pool's own choices.
    pub seed: u64,
    /// What the pool is built from.
    pub pool: PoolPlan,
    /// How long things take.
    pub network: Network,
    /// The model backends. Those that the pool does not have at the start come last.
    pub backends: Vec<BackendPlan>,
    /// What the clients ask for.
    pub requests: Vec<RequestPlan>,
    /// What goes wrong.
    pub directives: Vec<Directive>,
    /// Delays that reorder the schedule.
    pub deviations: Vec<Deviation>,
    /// When faults stop and what is well from then on.
    pub heal: Heal,
}

/// A closed range of times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// The shortest.
    pub least_us: u64,
    /// The longest.
    pub most_us: u64,
}

/// How long things take, and which of two things in the same instant comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// A frame's way from one end to the other.
    pub wire: Span,
    /// From an event at the shell to the fact that the pool is told, and from an order to its
    /// execution.
    pub shell: Span,
    /// How late the shell calls a timeout.
    pub timer: Span,
    /// TCP, TLS and SETTINGS.
    pub dial: Span,
    /// The system gives up a connection on a dead path after this long.
    pub dead_path_us: u64,
    /// Order within one instant.
    pub ties: Ties,
}

/// The order of events in the same instant. Frames of one direction of a connection, and reports of
/// one task of the shell, keep their order whatever this says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
pub enum Ties {
    /// First come, first served.
    Fifo,
    /// Last come, first served.
    Lifo,
    /// Drawn from the plan's seed.
    Shuffled,
}

/// A model backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(deny_unknown_fields)]
pub struct BackendPlan {
    /// Whether it speaks HTTP/1.1 only.
    pub http1: bool,
    /// SETTINGS_MAX_CONCURRENT_STREAMS; not sent if `None`.
    pub max_streams: Option<u32>,
    /// The first SETTINGS comes this long after the rest of the handshake (F13); the shell reports
    /// the connection before it.
    pub settings_late_us: Option<u64>,
    /// Says GOAWAY after so many streams of a connection.
    pub streams_per_connection: Option<u32>,
    /// Says GOAWAY(ENHANCE_YOUR_CALM) at so many PINGs of a connection without a request between
    /// (F2).
    pub ping_strikes: Option<u32>,
    /// Time before the response head.
    pub work: Span,
    /// Time from the head to the end of the response; 0: trailers only, or a head that ends it.
    pub body: Span,
    /// Whether the pool has it only once a directive adds it.
    #[serde(default)]
    pub spare: bool,
}

/// What one client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(deny_unknown_fields)]
pub struct RequestPlan {
    /// Its name in directives; grows along the list.
    pub id: u32,
    /// When.
    pub at_us: u64,
    /// Whether the method is idempotent (RFC 9110, 9.2.2).
    pub idempotent: bool,
    /// How long its body takes to send, once it has a stream; `None` without a body.
    pub body_us: Option<u64>,
    /// Whether the body outgrows the replay buffer half-way.
    pub outgrows_buffer: bool,
    /// Whether the backend answers before the body is complete (F24).
    pub early_response: bool,
    /// 1xx heads before the response (F24).
    pub informational: u8,
}

/// The n-th delay that is drawn in the run is longer by this: a different schedule, everything else
/// equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(deny_unknown_fields)]
pub struct Deviation {
    /// Which delay, counted from 0.
    pub delay: u32,
    /// How much longer.
    pub by_us: u64,
}

/// When faults stop, and what stays broken for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(deny_unknown_fields)]
pub struct Heal {
    /// No directive strikes after this.
    pub at_us: u64,
    /// Per backend: how it is from then on.
    pub backends: Vec<Health>,
}

/// How a backend is once faults have stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
pub enum Health {
    /// Accepts and answers.
    Well,
    /// Refuses every dial; its connections are dead paths.
    Refuses,
    /// No dial ever ends; its connections are dead paths.
    Hangs,
}

impl Plan {
    /// What the pool is built from.
    #[must_use]
    pub fn config(&self) -> baton::pool::Config {
        self.pool.to_config(self.backends_at_start())
    }

    /// Backends that the pool has at the start.
    #[must_use]
    pub fn backends_at_start(&self) -> usize {
        self.backends.iter().filter(|backend| !backend.spare).count()
    }

    /// What shrinking counts: requests, directives and deviations.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.requests.len() + self.directives.len() + self.deviations.len()
    }
}
