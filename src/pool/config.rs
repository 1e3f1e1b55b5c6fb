//! What a pool is built from: backends, limits, timeouts, balancing. Checked once, by
//! [`Config::check`].

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::limits::{self, Limits};
use crate::words;

words! {
    /// How the next backend is chosen among those that may be used.
    #[derive(Default)]
    pub enum Strategy {
        /// Each backend in turn, whatever its weight.
        #[default]
        RoundRobin = "round_robin",
        /// In turn, in proportion to the weights.
        Weighted = "weighted",
        /// Uniformly at random, from the pool's seed.
        Random = "random",
        /// Two backends drawn at random, the one with fewer requests in flight taken ("the power of
        /// two choices", Mitzenmacher 2001).
        LeastLoaded = "least_loaded",
    }
}

/// One backend, as the pool knows it: addresses and names are the shell's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendConfig {
    /// Share of the requests under [`Strategy::Weighted`], 1 to 1000.
    pub weight: u16,
    /// Whether each connection is sure to carry one stream at a time (`http://`): then as many are
    /// dialled as requests wait.
    pub exclusive: bool,
}

impl Default for BackendConfig {
    fn default() -> Self {
        Self { weight: 1, exclusive: false }
    }
}

/// Deadlines and intervals. All but `slow_start` are above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// A dial must be done by then: TCP, TLS and SETTINGS. 5 s.
    pub connect: Duration,
    /// A request waits at most this long for a connection. 3 s.
    pub queue: Duration,
    /// The response head must come within this time after the request was sent. 30 s.
    pub response_head: Duration,
    /// A connection without streams is closed after this time. 60 s.
    pub idle: Duration,
    /// A connection drains at this age, ±10 % drawn from the seed. 1 h.
    pub max_age: Duration,
    /// A draining connection ends after this long without a frame, a shutdown after this long in all,
    /// or after as many times that as its cause says. 30 s.
    pub drain: Duration,
    /// A connection silent for this long (or four times the smoothed response time, if longer) with
    /// streams open becomes suspect. 1 s.
    pub silence: Duration,
    /// A suspect connection is closed after this long without a frame. 5 s.
    pub suspect: Duration,
    /// First delay before the next dial after a failed one; doubles each time. 100 ms.
    pub backoff_min: Duration,
    /// The longest such delay. 10 s.
    pub backoff_max: Duration,
    /// How long a backend is left out when it is first ejected; so many times as long when it is
    /// ejected again before it was well for `ejection_max`. 5 s.
    pub ejection_min: Duration,
    /// The longest such time. 60 s.
    pub ejection_max: Duration,
    /// A request body of which nothing passes for this long, or that is slower than
    /// [`Config::body_rate_min`] for as long, ends its request. 60 s.
    pub body_stall: Duration,
    /// A response of which nothing passes for this long is cut. 5 min.
    pub response_stall: Duration,
    /// A backend that comes back gets its full share only after this time; at once if zero. 0 s.
    pub slow_start: Duration,
    /// Between the end of one probe of a backend and the next, ±10 %. 5 s.
    pub probe_interval: Duration,
    /// A probe must be answered within this time. 2 s.
    pub probe_timeout: Duration,
}

impl Timeouts {
    /// What applies unless configured otherwise.
    pub const DEFAULT: Self = Self {
        connect: Duration::from_secs(5),
        queue: Duration::from_secs(3),
        response_head: Duration::from_secs(30),
        idle: Duration::from_secs(60),
        max_age: Duration::from_secs(3600),
        drain: Duration::from_secs(30),
        silence: Duration::from_secs(1),
        suspect: Duration::from_secs(5),
        backoff_min: Duration::from_millis(100),
        backoff_max: Duration::from_secs(10),
        ejection_min: Duration::from_secs(5),
        ejection_max: Duration::from_secs(60),
        body_stall: Duration::from_secs(60),
        response_stall: Duration::from_secs(300),
        slow_start: Duration::ZERO,
        probe_interval: Duration::from_secs(5),
        probe_timeout: Duration::from_secs(2),
    };
}

impl Timeouts {
    /// The longest that something drains while responses go on.
    pub(super) fn longest_drain(&self) -> Duration {
        self.drain.saturating_mul(limits::DRAIN_EXTENSIONS_MAX)
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// When a request may be tried again; see [`retry`](super::retry).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryConfig {
    /// Attempts at one request, the first included. 3.
    pub attempts: u8,
    /// Requests on a second or later attempt, as a share of all live ones, in percent. 20.
    pub budget_percent: u32,
    /// The budget is never below this many. 10.
    pub budget_floor: u32,
    /// Bytes of a request body kept for replay, for the shell. 64 KiB.
    pub replay_buffer_bytes: usize,
}

impl RetryConfig {
    /// What applies unless configured otherwise.
    pub const DEFAULT: Self =
        Self { attempts: 3, budget_percent: 20, budget_floor: 10, replay_buffer_bytes: 64 * 1024 };
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What takes a backend out and brings it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthConfig {
    /// Failures in a row (connections, streams, deadlines) that eject a backend. 3.
    pub failures: u32,
    /// Responses in a row with status 502, 503 or 504 that eject a backend; not counted if 0. 5.
    pub gateway_failures: u32,
    /// Requests in a row that must be answered on trial before an ejected backend is back. 2.
    pub successes: u32,
    /// Share of the backends that may be ejected at a time, in percent; one always may. 10.
    pub ejected_percent_max: u32,
    /// With fewer healthy backends than this share of all, in percent, health is ignored and all are
    /// used; never if 0. 50.
    pub panic_percent: u32,
    /// Probes in a row that must fail before a backend is down. 3.
    pub fall: u32,
    /// Probes in a row that must pass before it is up again. 2.
    pub rise: u32,
}

/// Active health: whether backends are probed, and by whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Probing {
    /// Not at all: every backend counts as up.
    #[default]
    Off,
    /// By another pool of the process, whose results this one is told.
    Told,
    /// By order of this pool.
    Ordered,
}

impl HealthConfig {
    /// What applies unless configured otherwise.
    pub const DEFAULT: Self = Self {
        failures: 3,
        gateway_failures: 5,
        successes: 2,
        ejected_percent_max: 10,
        panic_percent: 50,
        fall: 3,
        rise: 2,
    };
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Everything a pool is built from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The backends; a [`BackendId`](super::BackendId) is an index in it.
    pub backends: Vec<BackendConfig>,
    /// Capacities.
    pub limits: Limits,
    /// Deadlines and intervals.
    pub timeouts: Timeouts,
    /// Retries.
    pub retry: RetryConfig,
    /// Health of backends.
    pub health: HealthConfig,
    /// Active health.
    pub probing: Probing,
    /// Choice of backend.
    pub strategy: Strategy,
    /// Streams after which a connection drains; off if `None`.
    pub max_requests_per_connection: Option<u32>,
    /// Slowest request body that is put up with, in bytes per second, until the response begins; off
    /// if 0.
    pub body_rate_min: u32,
}

/// What is wrong with a [`Config`]: which value, and what it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The value, by its path in [`Config`].
    pub value: &'static str,
    /// What was expected.
    pub expected: &'static str,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: expected {}", self.value, self.expected)
    }
}

impl core::error::Error for ConfigError {}

impl Config {
    /// Says whether a pool can be built from this.
    ///
    /// # Errors
    /// The first value that is out of bounds.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_limits()?;
        self.check_values()?;
        let timeouts = &self.timeouts;
        let backoff = timeouts.backoff_min <= timeouts.backoff_max;
        expect(backoff, "timeouts.backoff_max", "at least timeouts.backoff_min")?;
        let ejection = timeouts.ejection_min <= timeouts.ejection_max;
        expect(ejection, "timeouts.ejection_max", "at least timeouts.ejection_min")
    }

    /// Checks what may change while a pool runs, each value by itself: of a pair, one may change
    /// before the other.
    pub(crate) fn check_values(&self) -> Result<(), ConfigError> {
        self.check_timeouts()?;
        expect(self.retry.attempts >= 1, "retry.attempts", "at least 1")?;
        expect(self.retry.budget_percent <= 100, "retry.budget_percent", "0 to 100")?;
        expect(self.health.failures >= 1, "health.failures", "at least 1")?;
        expect(self.health.successes >= 1, "health.successes", "at least 1")?;
        let share = self.health.ejected_percent_max;
        expect(share <= 100, "health.ejected_percent_max", "0 to 100")?;
        expect(self.health.panic_percent <= 100, "health.panic_percent", "0 to 100")?;
        expect(self.health.fall >= 1, "health.fall", "at least 1")?;
        expect(self.health.rise >= 1, "health.rise", "at least 1")?;
        let requests = self.max_requests_per_connection;
        expect(requests != Some(0), "max_requests_per_connection", "at least 1")
    }

    fn check_limits(&self) -> Result<(), ConfigError> {
        let limits = &self.limits;
        let within = |value: usize, max: usize| (1..=max).contains(&value);
        expect(within(limits.backends, limits::BACKENDS_MAX), "limits.backends", "1 to 4096")?;
        expect(
            within(limits.connections_per_backend, limits::CONNECTIONS_PER_BACKEND_MAX),
            "limits.connections_per_backend",
            "1 to 32",
        )?;
        expect(
            within(limits.streams_per_connection, limits::STREAMS_PER_CONNECTION_MAX),
            "limits.streams_per_connection",
            "1 to 4096",
        )?;
        expect(within(limits.requests, limits::REQUESTS_MAX), "limits.requests", "1 to 1048576")?;
        expect(within(limits.waiting, limits.requests), "limits.waiting", "1 to limits.requests")?;
        let backends = self.backends.len();
        expect(within(backends, limits.backends), "backends", "1 to limits.backends of them")?;
        let weights = self.backends.iter().all(|backend| (1..=1000).contains(&backend.weight));
        expect(weights, "backends.weight", "1 to 1000")
    }

    fn check_timeouts(&self) -> Result<(), ConfigError> {
        let timeouts = &self.timeouts;
        let all = [
            (timeouts.connect, "timeouts.connect"),
            (timeouts.queue, "timeouts.queue"),
            (timeouts.response_head, "timeouts.response_head"),
            (timeouts.idle, "timeouts.idle"),
            (timeouts.max_age, "timeouts.max_age"),
            (timeouts.drain, "timeouts.drain"),
            (timeouts.silence, "timeouts.silence"),
            (timeouts.suspect, "timeouts.suspect"),
            (timeouts.backoff_min, "timeouts.backoff_min"),
            (timeouts.ejection_min, "timeouts.ejection_min"),
            (timeouts.body_stall, "timeouts.body_stall"),
            (timeouts.response_stall, "timeouts.response_stall"),
            (timeouts.probe_interval, "timeouts.probe_interval"),
            (timeouts.probe_timeout, "timeouts.probe_timeout"),
        ];
        for (value, name) in all {
            expect(!value.is_zero(), name, "more than zero")?;
        }
        Ok(())
    }
}

fn expect(holds: bool, value: &'static str, expected: &'static str) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError { value, expected }) }
}
