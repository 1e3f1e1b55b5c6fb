//! The pool's configuration as a plan writes it down.

use std::time::Duration;

use arbitrary::Arbitrary;
use baton::pool::{
    BackendConfig, Config, HealthConfig, Limits, Pool, Probing, RetryConfig, Strategy, Timeouts,
};
use serde::{Deserialize, Serialize};

use crate::checker::Checker;

/// What the pool is built from. Times in milliseconds. What a file does not say is as in
/// [`PoolPlan::DEFAULT`], so that plans outlive new values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(deny_unknown_fields, default)]
pub struct PoolPlan {
    /// [`Limits::connections_per_backend`].
    pub connections_per_backend: usize,
    /// [`Limits::streams_per_connection`].
    pub streams_per_connection: usize,
    /// [`Limits::requests`].
    pub requests: usize,
    /// [`Limits::waiting`].
    pub waiting: usize,
    /// [`Config::strategy`].
    pub strategy: StrategyPlan,
    /// Weight of the first backend; the others have 1.
    pub weight: u16,
    /// Whether the pool knows that the first backend carries one stream per connection.
    pub exclusive: bool,
    /// [`RetryConfig::attempts`].
    pub attempts: u8,
    /// [`RetryConfig::budget_percent`].
    pub budget_percent: u32,
    /// [`RetryConfig::budget_floor`].
    pub budget_floor: u32,
    /// Places for backends beyond those that are there at the start.
    pub spare_places: usize,
    /// [`HealthConfig::failures`].
    pub failures: u32,
    /// [`HealthConfig::gateway_failures`].
    pub gateway_failures: u32,
    /// [`HealthConfig::successes`].
    pub successes: u32,
    /// [`HealthConfig::ejected_percent_max`].
    pub ejected_percent_max: u32,
    /// [`HealthConfig::panic_percent`].
    pub panic_percent: u32,
    /// [`HealthConfig::fall`].
    pub fall: u32,
    /// [`HealthConfig::rise`].
    pub rise: u32,
    /// Whether the pool orders probes.
    pub probing: bool,
    /// [`Config::body_rate_min`].
    pub body_rate_min: u32,
    /// [`Config::max_requests_per_connection`].
    pub max_requests_per_connection: Option<u32>,
    /// Incarnations of each connection slot; as many as the pool's tokens can tell apart if `None`.
    pub generations: Option<u32>,
    /// [`Timeouts::connect`].
    pub connect_ms: u64,
    /// [`Timeouts::queue`].
    pub queue_ms: u64,
    /// [`Timeouts::response_head`].
    pub response_head_ms: u64,
    /// [`Timeouts::idle`].
    pub idle_ms: u64,
    /// [`Timeouts::max_age`].
    pub max_age_ms: u64,
    /// [`Timeouts::drain`].
    pub drain_ms: u64,
    /// [`Timeouts::silence`].
    pub silence_ms: u64,
    /// [`Timeouts::suspect`].
    pub suspect_ms: u64,
    /// [`Timeouts::backoff_min`].
    pub backoff_min_ms: u64,
    /// [`Timeouts::backoff_max`].
    pub backoff_max_ms: u64,
    /// [`Timeouts::ejection_min`].
    pub ejection_min_ms: u64,
    /// [`Timeouts::ejection_max`].
    pub ejection_max_ms: u64,
    /// [`Timeouts::body_stall`].
    pub body_stall_ms: u64,
    /// [`Timeouts::response_stall`].
    pub response_stall_ms: u64,
    /// [`Timeouts::slow_start`].
    pub slow_start_ms: u64,
    /// [`Timeouts::probe_interval`].
    pub probe_interval_ms: u64,
    /// [`Timeouts::probe_timeout`].
    pub probe_timeout_ms: u64,
}

impl Default for PoolPlan {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Mirrors [`Strategy`], variant by variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
pub enum StrategyPlan {
    /// [`Strategy::RoundRobin`].
    RoundRobin,
    /// [`Strategy::Weighted`].
    Weighted,
    /// [`Strategy::Random`].
    Random,
    /// [`Strategy::LeastLoaded`].
    LeastLoaded,
}

impl From<StrategyPlan> for Strategy {
    fn from(plan: StrategyPlan) -> Self {
        Self::ALL[plan as usize]
    }
}

impl PoolPlan {
    /// What applies unless a plan says otherwise: small limits, so that they are hit, and the
    /// proxy's own timeouts.
    pub const DEFAULT: Self = Self {
        connections_per_backend: 2,
        streams_per_connection: 4,
        requests: 32,
        waiting: 32,
        strategy: StrategyPlan::RoundRobin,
        weight: 1,
        exclusive: false,
        attempts: 3,
        budget_percent: 20,
        budget_floor: 10,
        spare_places: 0,
        failures: 3,
        gateway_failures: 5,
        successes: 2,
        ejected_percent_max: 10,
        panic_percent: 50,
        fall: 3,
        rise: 2,
        probing: false,
        body_rate_min: 0,
        max_requests_per_connection: None,
        generations: None,
        connect_ms: 5_000,
        queue_ms: 3_000,
        response_head_ms: 30_000,
        idle_ms: 60_000,
        max_age_ms: 3_600_000,
        drain_ms: 30_000,
        silence_ms: 1_000,
        suspect_ms: 5_000,
        backoff_min_ms: 100,
        backoff_max_ms: 10_000,
        ejection_min_ms: 5_000,
        ejection_max_ms: 60_000,
        body_stall_ms: 60_000,
        response_stall_ms: 300_000,
        slow_start_ms: 0,
        probe_interval_ms: 5_000,
        probe_timeout_ms: 2_000,
    };

    /// The pool, and the account of it, for so many backends.
    ///
    /// # Panics
    /// If the plan was not checked.
    #[must_use]
    pub fn build(&self, backends: usize, seed: u64) -> (Pool, Checker) {
        let config = self.to_config(backends);
        let mut checker = Checker::new(&config);
        let mut pool = Pool::new(config, seed).expect("the plan was checked");
        if let Some(most) = self.generations {
            pool.narrow_generations(most);
            checker.narrow_generations(most);
        }
        (pool, checker)
    }

    /// The configuration for so many backends.
    #[must_use]
    pub fn to_config(&self, backends: usize) -> Config {
        let time = Duration::from_millis;
        let backend = |index: usize| BackendConfig {
            weight: if index == 0 { self.weight } else { 1 },
            exclusive: index == 0 && self.exclusive,
        };
        Config {
            backends: (0..backends).map(backend).collect(),
            limits: Limits {
                backends: backends.max(1) + self.spare_places,
                connections_per_backend: self.connections_per_backend,
                streams_per_connection: self.streams_per_connection,
                requests: self.requests,
                waiting: self.waiting,
            },
            timeouts: Timeouts {
                connect: time(self.connect_ms),
                queue: time(self.queue_ms),
                response_head: time(self.response_head_ms),
                idle: time(self.idle_ms),
                max_age: time(self.max_age_ms),
                drain: time(self.drain_ms),
                silence: time(self.silence_ms),
                suspect: time(self.suspect_ms),
                backoff_min: time(self.backoff_min_ms),
                backoff_max: time(self.backoff_max_ms),
                ejection_min: time(self.ejection_min_ms),
                ejection_max: time(self.ejection_max_ms),
                body_stall: time(self.body_stall_ms),
                response_stall: time(self.response_stall_ms),
                slow_start: time(self.slow_start_ms),
                probe_interval: time(self.probe_interval_ms),
                probe_timeout: time(self.probe_timeout_ms),
            },
            retry: RetryConfig {
                attempts: self.attempts,
                budget_percent: self.budget_percent,
                budget_floor: self.budget_floor,
                ..RetryConfig::DEFAULT
            },
            health: HealthConfig {
                failures: self.failures,
                gateway_failures: self.gateway_failures,
                successes: self.successes,
                ejected_percent_max: self.ejected_percent_max,
                panic_percent: self.panic_percent,
                fall: self.fall,
                rise: self.rise,
            },
            strategy: self.strategy.into(),
            max_requests_per_connection: self.max_requests_per_connection,
            probing: if self.probing { Probing::Ordered } else { Probing::Off },
            body_rate_min: self.body_rate_min,
        }
    }
}
