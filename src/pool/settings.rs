//! All settings of the pool. Each has one entry with its description, type, default, bounds, key in
//! the file and flag. A new setting is one new entry.
//!
//! The types below with their defaults, [`Config::check`], [`Setting`](super::Setting), the
//! configuration file, the flags of `baton run`, `baton config` and the simulator's plans follow
//! from this table. The first line of an entry is the description in `baton config` and `--help`.
//! An entry with a name in [`Timeout`] or [`Number`] may change while a pool runs; a change of
//! another one needs a new pool.

use alloc::vec::Vec;
use core::time::Duration;

use super::config::{BackendConfig, HealthChecking, Strategy};
use super::limits::{
    self, BACKENDS_MAX, CONNECTIONS_PER_BACKEND_MAX, REQUESTS_MAX, STREAM_ORDINAL_MAX,
    STREAMS_PER_CONNECTION_MAX, WEIGHT_MAX, WEIGHTS,
};
use super::setting::{Bounds, ConfigError, Expected, settings};

/// Failures, responses or checks in a row.
const IN_A_ROW: Bounds = Bounds::count(1_000_000);
const IN_A_ROW_OR_OFF: Bounds = IN_A_ROW.or_zero();
const BYTES: Bounds = Bounds::bytes(0, 1 << 30);
const PERCENT: Bounds = Bounds::count(100).or_zero();
const TIME: Bounds = Bounds::time(Duration::from_nanos(1));
const TIME_OR_ZERO: Bounds = TIME.or_zero();

settings! {
    live Live: Timeout, Number;

    /// The configuration of a pool.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Config {
        /// The backends. A [`BackendId`](super::BackendId) is an index in this vector.
        pub backends: Vec<BackendConfig> = Vec::new(),
        /// Where the results of health checks come from.
        pub health_checking: HealthChecking = HealthChecking::Off,
        /// How the next backend is chosen.
        pub strategy: Strategy = Strategy::RoundRobin,
    }

    /// The capacities of one pool. They size its tables when it is built.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub limits: Limits {
        /// Maximum number of backends.
        backends: usize = 64, Bounds::count(BACKENDS_MAX as u64),
            limits.backends, "max-backends";

        /// Connections per backend and worker that are not draining.
        /// The same number again may be draining, so that draining connections never block their
        /// successors.
        connections_per_backend: usize = 16, Bounds::count(CONNECTIONS_PER_BACKEND_MAX as u64),
            limits.connections_per_backend, "max-connections";

        /// Maximum number of streams per connection, whatever the backend allows.
        streams_per_connection: usize = 100, Bounds::count(STREAMS_PER_CONNECTION_MAX as u64),
            limits.streams_per_connection, "max-streams";

        /// Requests waiting or in flight, per worker.
        requests: usize = 16_384, Bounds::count(REQUESTS_MAX as u64),
            limits.requests, "max-requests";

        /// Requests waiting for a connection, per worker; no more than limits.requests.
        /// New requests are rejected while this many wait. A request that waits for a retry is
        /// never rejected for this.
        waiting: usize = 1_024, Bounds::count(REQUESTS_MAX as u64),
            limits.waiting, "max-waiting";
    }

    /// Deadlines and intervals.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub timeouts: Timeouts {
        /// Time to connect: TCP, TLS and SETTINGS together.
        connect: Duration = Duration::from_secs(5), TIME,
            timeouts.connect, "connect-timeout", timeout Connect;

        /// Time to wait for a connection.
        queue: Duration = Duration::from_secs(3), TIME,
            timeouts.queue, "queue-timeout", timeout Queue;

        /// Time from the end of a request to the head of its response.
        response_head: Duration = Duration::from_secs(30), TIME,
            timeouts.response_head, "response-timeout", timeout ResponseHead;

        /// Time after which an unused connection is closed, or less if the backend announces it.
        idle: Duration = Duration::from_secs(60), TIME,
            timeouts.idle, "idle-timeout", timeout Idle;

        /// Age at which a connection drains, ±10 %.
        /// The age within that range is drawn from the seed.
        max_age: Duration = Duration::from_secs(3600), TIME,
            timeouts.max_age, "max-age", timeout MaxAge;

        /// Time without a frame after which a draining connection is closed; also for the shutdown.
        /// A shutdown may take a multiple of this time, which depends on its cause.
        drain: Duration = Duration::from_secs(30), TIME,
            timeouts.drain, "drain-timeout", timeout Drain;

        /// Silence, with requests outstanding, after which a connection gets a PING.
        /// It adds up over requests under which nothing arrives.
        /// The connection becomes suspect. Four times the smoothed response time applies if that is
        /// longer.
        silence: Duration = Duration::from_secs(1), TIME,
            timeouts.silence, "silence-timeout", timeout Silence;

        /// Further silence after which that connection is closed, unless its host is alive.
        suspect: Duration = Duration::from_secs(5), TIME,
            timeouts.suspect, "suspect-timeout", timeout Suspect;

        /// Backoff after the first failed dial; doubles with each further failure.
        backoff_min: Duration = Duration::from_millis(100), TIME,
            timeouts.backoff_min, "backoff-min", timeout BackoffMin;

        /// Longest backoff after failed dials.
        backoff_max: Duration = Duration::from_secs(10), TIME,
            timeouts.backoff_max, "backoff-max", timeout BackoffMax;

        /// Time for which a failing backend is ejected; grows with each further ejection.
        /// It is multiplied by the number of ejections until the backend was healthy for
        /// `ejection_max`.
        ejection_min: Duration = Duration::from_secs(5), TIME,
            timeouts.ejection_min, "ejection-min", timeout EjectionMin;

        /// Longest time for which a backend is ejected.
        ejection_max: Duration = Duration::from_secs(60), TIME,
            timeouts.ejection_max, "ejection-max", timeout EjectionMax;

        /// Time after which a request whose body stalls or is too slow is ended.
        /// A body is too slow if it stays below [`Config::body_rate_min`] for this time.
        body_stall: Duration = Duration::from_secs(60), TIME,
            timeouts.body_stall, "body-stall-timeout", timeout BodyStall;

        /// Time after which a response that stalls is cut.
        response_stall: Duration = Duration::from_secs(300), TIME,
            timeouts.response_stall, "response-stall-timeout", timeout ResponseStall;

        /// Time until a backend that comes back gets its full share; at once if zero.
        slow_start: Duration = Duration::ZERO, TIME_OR_ZERO,
            timeouts.slow_start, "slow-start", timeout SlowStart;

        /// Time from the end of a health check to the next one, ±10 %.
        health_check_interval: Duration = Duration::from_secs(5), TIME,
            health_check.interval, "health-check-interval", timeout HealthCheckInterval;

        /// Time for a health check to pass.
        health_check_timeout: Duration = Duration::from_secs(2), TIME,
            health_check.timeout, "health-check-timeout", timeout HealthCheckTimeout;
    }

    /// Limits of retries; see [`retry`](super::retry).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub retry: RetryConfig {
        /// Attempts per request, the first included.
        attempts: u8 = 3, Bounds::count(u8::MAX as u64),
            retry.attempts, "attempts", number Attempts;

        /// Share of live requests that may be on a retry at a time, in percent.
        /// It is at least one request, unless it is 0. Further retries wait for a place until their
        /// response is due.
        budget_percent: u32 = 20, PERCENT,
            retry.budget_percent, "retry-budget", number BudgetPercent;

        /// Number of requests that may always be on a retry at a time.
        budget_floor: u32 = 10, Bounds::count(REQUESTS_MAX as u64).or_zero(),
            retry.budget_floor, "retry-floor", number BudgetFloor;

        /// Bytes of a request body that are kept for a retry.
        /// The driver keeps them; the pool does not use this value.
        replay_buffer_bytes: usize = 64 * 1024, BYTES,
            retry.replay_buffer, "replay-buffer";
    }

    /// Thresholds of passive and active health.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub health: HealthConfig {
        /// Failures in a row that eject a backend.
        /// Failed connections, failed streams and missed deadlines count.
        failures: u32 = 3, IN_A_ROW,
            health.failures, "failures", number Failures;

        /// Responses in a row with 502, 503 or 504 that eject a backend; off if 0.
        gateway_failures: u32 = 5, IN_A_ROW_OR_OFF,
            health.gateway_failures, "gateway-failures", number GatewayFailures;

        /// Successful trial requests in a row that end an ejection.
        successes: u32 = 2, IN_A_ROW,
            health.successes, "successes", number Successes;

        /// Share of backends that may be ejected at a time, in percent; one always may.
        ejected_percent_max: u32 = 10, PERCENT,
            health.ejected_percent_max, "ejected-percent-max", number EjectedPercentMax;

        /// Share of healthy backends, in percent, below which health is ignored; off if 0.
        fail_open_percent: u32 = 50, PERCENT,
            health.fail_open_percent, "fail-open-percent", number FailOpenPercent;

        /// Failed health checks in a row after which a backend is down.
        fall: u32 = 3, IN_A_ROW,
            health_check.fall, "health-check-fall", number Fall;

        /// Passed health checks in a row after which a backend is up again.
        rise: u32 = 2, IN_A_ROW,
            health_check.rise, "health-check-rise", number Rise;
    }

    own {
        /// Requests after which a connection drains.
        max_requests_per_connection: Option<u32> = None, Bounds::count(STREAM_ORDINAL_MAX as u64),
            limits.requests_per_connection, "max-requests-per-connection",
            number MaxRequestsPerConnection;

        /// Lowest rate allowed for a request body, in bytes per second; off if 0.
        /// Applies until the response starts.
        body_rate_min: u32 = 100, BYTES,
            limits.body_rate_min, "body-rate-min", number BodyRateMin;
    }
}

impl Timeouts {
    /// Returns the longest time that a drain with ongoing responses may take.
    pub(super) fn longest_drain(&self) -> Duration {
        self.drain.saturating_mul(limits::DRAIN_EXTENSIONS_MAX)
    }
}

impl Config {
    /// Checks that a pool can be built from this configuration.
    ///
    /// # Errors
    /// The first value that is out of bounds or does not fit the others.
    pub fn check(&self) -> Result<(), ConfigError> {
        Self::SETTINGS.iter().try_for_each(|entry| entry.check(self))?;
        let (limits, timeouts) = (&self.limits, &self.timeouts);
        let backends = (1..=limits.backends).contains(&self.backends.len());
        let connections = limits::CONNECTIONS_MAX / limits.backends;
        let weight = |backend: &BackendConfig| WEIGHTS.contains(&backend.weight);
        let weights = Expected::Within(Bounds::count(WEIGHT_MAX as u64));
        let related = Expected::Relation;
        for (holds, value, expected) in [
            (limits.waiting <= limits.requests, "limits.waiting", related("1 to limits.requests")),
            (
                limits.connections_per_backend <= connections,
                "limits.connections_per_backend",
                Expected::Within(Bounds::count(connections as u64)),
            ),
            (backends, "backends", related("1 to limits.backends of them")),
            (self.backends.iter().all(weight), "backends.weight", weights),
            (
                timeouts.backoff_min <= timeouts.backoff_max,
                "timeouts.backoff_max",
                related("at least timeouts.backoff_min"),
            ),
            (
                timeouts.ejection_min <= timeouts.ejection_max,
                "timeouts.ejection_max",
                related("at least timeouts.ejection_min"),
            ),
        ] {
            if !holds {
                return Err(ConfigError { value, expected });
            }
        }
        Ok(())
    }
}
