//! A plan: everything a run depends on. A run is a pure function of its plan, so the plan, not the
//! seed that produced it, reproduces a failure on later commits too.
//!
//! Plans are small RON files that a person can read and edit. Directives are *reactive* and
//! *keyed*: "backend 1, its 2nd connection, 3rd stream: reset it 4 ms after its HEADERS were read".
//! Each can be dropped alone, and the others keep their meaning.

use arbitrary::Arbitrary;
use serde::{Deserialize, Serialize};

use crate::draw::{Domain, Draws};

pub use crate::faults::Family;
pub use crate::plan::directive::{
    Act, Change, Code, Directive, LastId, Moment, Stage, StaleInput, When,
};
pub use crate::plan::pool::{LiveName, PoolPlan, StrategyPlan};
pub use crate::plan::process::{CertificateFiles, ProcessAct, Wrong};
pub use crate::plan::text::{read, write};
pub use crate::plan::wire::{
    ADDRESSES_MAX, Address, BackendWire, ClientPlan, ClientProtocol, Direction, Framing,
    REPLAY_BUFFER_BYTES, RequestWire, WireEffect, WirePlan,
};

mod bounds;
mod directive;
mod pool;
mod process;
mod text;
mod wire;

/// The version of the text format. Files of other versions are refused.
pub const FORMAT: u32 = 1;

/// Everything a run depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`FORMAT`].
    pub format: u32,
    /// The origin of the plan, for people.
    pub origin: String,
    /// The world that it is for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub world: WorldName,
    /// Determines every drawn delay and the pool's own choices.
    pub seed: u64,
    /// The pool's configuration.
    pub pool: PoolPlan,
    /// Delays.
    pub network: Network,
    /// The model backends. Those that the pool does not have at the start come last.
    pub backends: Vec<BackendPlan>,
    /// The clients' requests.
    pub requests: Vec<RequestPlan>,
    /// The faults.
    pub directives: Vec<Directive>,
    /// Delays that reorder the schedule.
    pub deviations: Vec<Deviation>,
    /// When faults stop, and the state of the backends from then on.
    pub heal: Heal,
    /// The part that only the world of the proxy uses.
    #[serde(default, skip_serializing_if = "is_default")]
    pub wire: WirePlan,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A world: the part of Baton that runs, and the models around it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Arbitrary, clap::ValueEnum,
)]
pub enum WorldName {
    /// The pool alone, between models of everything else.
    #[default]
    Pool,
    /// The whole proxy, on a network of bytes.
    Proxy,
    /// Both, one after the other, and a comparison.
    Both,
}

impl WorldName {
    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Proxy => "proxy",
            Self::Both => "both",
        }
    }
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

/// Delays, and the order of events at the same instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Transit time of a frame from one end to the other.
    pub wire: Span,
    /// Delay from an event at the shell to the fact given to the pool, and from an order to its
    /// execution.
    pub shell: Span,
    /// Delay of a timeout call by the shell.
    pub timer: Span,
    /// Time for TCP, TLS and SETTINGS.
    pub dial: Span,
    /// Time until the system gives up a connection on a dead path.
    pub dead_path_us: u64,
    /// Order of events at the same instant.
    pub ties: Ties,
    /// True if the system cannot tell if a host acknowledges what is sent to it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hides_delivery: bool,
}

/// The order of events at the same instant. Frames of one direction of a connection, and reports of
/// one task of the shell, always keep their order.
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
    /// True if it speaks only HTTP/1.1.
    pub http1: bool,
    /// SETTINGS_MAX_CONCURRENT_STREAMS; not sent if `None`.
    pub max_streams: Option<u32>,
    /// Delay of the first SETTINGS after the rest of the handshake (F13); the shell reports the
    /// connection before it arrives.
    pub settings_late_us: Option<u64>,
    /// Sends GOAWAY after this many streams of a connection.
    pub streams_per_connection: Option<u32>,
    /// Sends GOAWAY(ENHANCE_YOUR_CALM) at this many PINGs of a connection that each come within
    /// five minutes of another, without a part of a response in between (F2). gRPC servers do so
    /// at the third.
    pub ping_strikes: Option<u32>,
    /// Time before the response head.
    pub work: Span,
    /// Time from the head to the end of the response; 0 means trailers only, or a head that ends
    /// it.
    pub body: Span,
    /// True if the pool has it only after a directive adds it.
    #[serde(default)]
    pub spare: bool,
    /// The part that only the world of the proxy uses.
    #[serde(default, skip_serializing_if = "is_default")]
    pub wire: BackendWire,
}

/// One client request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(deny_unknown_fields)]
pub struct RequestPlan {
    /// The name in directives; ascending in the list.
    pub id: u32,
    /// Time of arrival.
    pub at_us: u64,
    /// True if the method is idempotent (RFC 9110, 9.2.2).
    pub idempotent: bool,
    /// Sending time of its body, once it has a stream; `None` without a body.
    pub body_us: Option<u64>,
    /// True if the body exceeds the replay buffer half-way.
    pub outgrows_buffer: bool,
    /// True if the backend answers before the body is complete (F24).
    pub early_response: bool,
    /// 1xx heads before the response (F24).
    pub informational: u8,
    /// How every backend fails it, if it does. Only the world of the pool has these.
    #[serde(default, skip_serializing_if = "is_default")]
    pub poison: Option<Poison>,
    /// The part that only the world of the proxy uses.
    #[serde(default, skip_serializing_if = "is_default")]
    pub wire: RequestWire,
}

/// The way in which every backend fails a poisoned request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
pub enum Poison {
    /// It resets the stream.
    Reset(Code),
    /// It closes the connection.
    Close,
    /// Its response is malformed.
    Malformed,
}

impl RequestPlan {
    /// A request at the start with an idempotent method, without a body or anything special.
    #[must_use]
    pub const fn plain(id: u32) -> Self {
        Self {
            id,
            at_us: 0,
            idempotent: true,
            body_us: None,
            outgrows_buffer: false,
            early_response: false,
            informational: 0,
            poison: None,
            wire: RequestWire::PLAIN,
        }
    }

    /// True if a client with HTTP/1.1 sends it as HEAD.
    #[must_use]
    pub fn is_head(&self, draws: Draws) -> bool {
        let drawn = draws.between(Domain::Http1Method, u64::from(self.id), 0, 0, 7);
        self.idempotent && self.body_us.is_none() && drawn == 0
    }
}

/// Lengthens the n-th delay drawn in the run: a different schedule, everything else equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(deny_unknown_fields)]
pub struct Deviation {
    /// Index of the delay, from 0.
    pub delay: u32,
    /// Added time.
    pub by_us: u64,
}

/// When faults stop, and what stays broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(deny_unknown_fields)]
pub struct Heal {
    /// No directive takes effect after this.
    pub at_us: u64,
    /// The state of each backend from then on.
    pub backends: Vec<Health>,
}

/// The state of a backend once faults have stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
pub enum Health {
    /// Accepts and answers.
    Well,
    /// Refuses every dial; its connections are dead paths.
    Refuses,
    /// No dial ends; its connections are dead paths.
    Hangs,
}

impl Plan {
    /// The pool's configuration.
    #[must_use]
    pub fn config(&self) -> baton::pool::Config {
        self.pool.to_config(self.backends_at_start())
    }

    /// Backends that the pool has at the start.
    #[must_use]
    pub fn backends_at_start(&self) -> usize {
        self.backends.iter().filter(|backend| !backend.spare).count()
    }

    /// True if poisoned requests, which could go to another backend, are the only fault, and there
    /// is room and time for all requests.
    #[must_use]
    pub fn has_only_poison(&self) -> bool {
        let poisoned = |request: &&RequestPlan| request.poison.is_some();
        let plain = |backend: &BackendPlan| {
            let never = backend.max_streams.is_none() && backend.settings_late_us.is_none();
            never && backend.streams_per_connection.is_none() && backend.ping_strikes.is_none()
        };
        let config = &self.pool.config;
        self.requests.iter().any(|request| request.poison.is_some())
            && self.requests.iter().filter(poisoned).all(|it| it.idempotent && it.body_us.is_none())
            && self.directives.is_empty()
            && self.deviations.is_empty()
            && self.heal.backends.iter().all(|health| *health == Health::Well)
            && self.backends.len() > 1
            && self.backends.iter().all(plain)
            && self.pool == PoolPlan { config: config.clone(), ..PoolPlan::DEFAULT }
            && *config == PoolPlan::poisoned(config.retry.attempts)
            && self.has_room_for_all()
    }

    /// True if requests arrive one after the other, and the first ones reach every backend.
    fn has_room_for_all(&self) -> bool {
        let apart = self.requests.windows(2).all(|pair| pair[1].at_us >= pair[0].at_us + 100_000);
        let first = 3 * self.backends.len();
        apart && self.is_patient() && self.requests.iter().take(first).all(|it| it.poison.is_none())
    }

    /// The number of elements that shrinking counts: requests, directives and deviations.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.requests.len() + self.directives.len() + self.deviations.len()
    }
}
