//! What may change while a pool runs, one value at a time. Everything else in a
//! [`Config`] sizes its tables and needs a new pool.

use core::time::Duration;

use super::config::{Config, ConfigError, Probing, Strategy};

/// A value of [`Timeouts`](super::Timeouts).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub enum Timeout {
    Connect,
    Queue,
    ResponseHead,
    Idle,
    MaxAge,
    Drain,
    Silence,
    Suspect,
    BackoffMin,
    BackoffMax,
    EjectionMin,
    EjectionMax,
    BodyStall,
    ResponseStall,
    SlowStart,
    ProbeInterval,
    ProbeTimeout,
}

/// A number of [`RetryConfig`](super::RetryConfig), [`HealthConfig`](super::HealthConfig) or
/// [`Config`] itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub enum Number {
    Attempts,
    BudgetPercent,
    BudgetFloor,
    Failures,
    GatewayFailures,
    Successes,
    EjectedPercentMax,
    PanicPercent,
    Fall,
    Rise,
    /// Off if 0.
    MaxRequestsPerConnection,
    BodyRateMin,
}

/// One value that may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Setting {
    /// A deadline or interval.
    Timeout(Timeout, Duration),
    /// A number.
    Number(Number, u32),
    /// How the next backend is chosen.
    Strategy(Strategy),
    /// Active health.
    Probing(Probing),
}

const TIMEOUTS: [Timeout; 17] = [
    Timeout::Connect,
    Timeout::Queue,
    Timeout::ResponseHead,
    Timeout::Idle,
    Timeout::MaxAge,
    Timeout::Drain,
    Timeout::Silence,
    Timeout::Suspect,
    Timeout::BackoffMin,
    Timeout::BackoffMax,
    Timeout::EjectionMin,
    Timeout::EjectionMax,
    Timeout::BodyStall,
    Timeout::ResponseStall,
    Timeout::SlowStart,
    Timeout::ProbeInterval,
    Timeout::ProbeTimeout,
];

const NUMBERS: [Number; 12] = [
    Number::Attempts,
    Number::BudgetPercent,
    Number::BudgetFloor,
    Number::Failures,
    Number::GatewayFailures,
    Number::Successes,
    Number::EjectedPercentMax,
    Number::PanicPercent,
    Number::Fall,
    Number::Rise,
    Number::MaxRequestsPerConnection,
    Number::BodyRateMin,
];

impl Setting {
    /// Every value of a configuration that may change.
    pub fn all(config: &Config) -> impl Iterator<Item = Self> + '_ {
        let timeouts = TIMEOUTS.iter().map(|name| Self::Timeout(*name, timeout(config, *name)));
        let numbers = NUMBERS.iter().map(|name| Self::Number(*name, number(config, *name)));
        let others = [Self::Strategy(config.strategy), Self::Probing(config.probing)];
        timeouts.chain(numbers).chain(others)
    }

    /// What must change for a pool that was built from `before` to go on as `after` says; `None` if
    /// it needs a new pool. Backends are compared by whoever knows their addresses.
    pub fn changes<'a>(
        before: &'a Config,
        after: &'a Config,
    ) -> Option<impl Iterator<Item = Self> + 'a> {
        let same_tables = before.limits == after.limits
            && before.retry.replay_buffer_bytes == after.retry.replay_buffer_bytes;
        let pairs = Self::all(before).zip(Self::all(after));
        same_tables.then(|| pairs.filter_map(|(old, new)| (old != new).then_some(new)))
    }
}

impl Config {
    /// Changes one value.
    ///
    /// # Errors
    /// If it is out of bounds by itself; nothing changed then.
    pub fn set(&mut self, setting: Setting) -> Result<(), ConfigError> {
        let mut changed = self.clone_without_backends();
        match setting {
            Setting::Timeout(name, value) => *timeout_mut(&mut changed, name) = value,
            Setting::Number(name, value) => set_number(&mut changed, name, value)?,
            Setting::Strategy(strategy) => changed.strategy = strategy,
            Setting::Probing(probing) => changed.probing = probing,
        }
        changed.check_values()?;
        self.timeouts = changed.timeouts;
        self.retry = changed.retry;
        self.health = changed.health;
        self.max_requests_per_connection = changed.max_requests_per_connection;
        self.body_rate_min = changed.body_rate_min;
        self.strategy = changed.strategy;
        self.probing = changed.probing;
        Ok(())
    }

    fn clone_without_backends(&self) -> Self {
        Self {
            backends: alloc::vec::Vec::new(),
            limits: self.limits,
            timeouts: self.timeouts,
            retry: self.retry,
            health: self.health,
            probing: self.probing,
            strategy: self.strategy,
            max_requests_per_connection: self.max_requests_per_connection,
            body_rate_min: self.body_rate_min,
        }
    }
}

fn timeout(config: &Config, name: Timeout) -> Duration {
    *timeout_mut(&mut config.clone_without_backends(), name)
}

fn timeout_mut(config: &mut Config, name: Timeout) -> &mut Duration {
    let timeouts = &mut config.timeouts;
    match name {
        Timeout::Connect => &mut timeouts.connect,
        Timeout::Queue => &mut timeouts.queue,
        Timeout::ResponseHead => &mut timeouts.response_head,
        Timeout::Idle => &mut timeouts.idle,
        Timeout::MaxAge => &mut timeouts.max_age,
        Timeout::Drain => &mut timeouts.drain,
        Timeout::Silence => &mut timeouts.silence,
        Timeout::Suspect => &mut timeouts.suspect,
        Timeout::BackoffMin => &mut timeouts.backoff_min,
        Timeout::BackoffMax => &mut timeouts.backoff_max,
        Timeout::EjectionMin => &mut timeouts.ejection_min,
        Timeout::EjectionMax => &mut timeouts.ejection_max,
        Timeout::BodyStall => &mut timeouts.body_stall,
        Timeout::ResponseStall => &mut timeouts.response_stall,
        Timeout::SlowStart => &mut timeouts.slow_start,
        Timeout::ProbeInterval => &mut timeouts.probe_interval,
        Timeout::ProbeTimeout => &mut timeouts.probe_timeout,
    }
}

fn number(config: &Config, name: Number) -> u32 {
    match name {
        Number::Attempts => u32::from(config.retry.attempts),
        Number::BudgetPercent => config.retry.budget_percent,
        Number::BudgetFloor => config.retry.budget_floor,
        Number::Failures => config.health.failures,
        Number::GatewayFailures => config.health.gateway_failures,
        Number::Successes => config.health.successes,
        Number::EjectedPercentMax => config.health.ejected_percent_max,
        Number::PanicPercent => config.health.panic_percent,
        Number::Fall => config.health.fall,
        Number::Rise => config.health.rise,
        Number::MaxRequestsPerConnection => config.max_requests_per_connection.unwrap_or(0),
        Number::BodyRateMin => config.body_rate_min,
    }
}

fn set_number(config: &mut Config, name: Number, value: u32) -> Result<(), ConfigError> {
    match name {
        Number::Attempts => {
            let wrong = ConfigError { value: "retry.attempts", expected: "1 to 255" };
            config.retry.attempts = u8::try_from(value).map_err(|_| wrong)?;
        }
        Number::BudgetPercent => config.retry.budget_percent = value,
        Number::BudgetFloor => config.retry.budget_floor = value,
        Number::Failures => config.health.failures = value,
        Number::GatewayFailures => config.health.gateway_failures = value,
        Number::Successes => config.health.successes = value,
        Number::EjectedPercentMax => config.health.ejected_percent_max = value,
        Number::PanicPercent => config.health.panic_percent = value,
        Number::Fall => config.health.fall = value,
        Number::Rise => config.health.rise = value,
        Number::MaxRequestsPerConnection => {
            config.max_requests_per_connection = (value > 0).then_some(value);
        }
        Number::BodyRateMin => config.body_rate_min = value,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_that_may_change_can_be_told_apart_and_set() {
        let before = Config::default();
        for setting in Setting::all(&before) {
            let changed = match setting {
                Setting::Timeout(name, value) => {
                    Setting::Timeout(name, value + Duration::from_secs(1))
                }
                Setting::Number(name, value) => Setting::Number(name, value + 1),
                Setting::Strategy(_) => Setting::Strategy(Strategy::LeastLoaded),
                Setting::Probing(_) => Setting::Probing(Probing::Ordered),
            };
            let mut after = before.clone();
            after.set(changed).expect("within bounds");
            let changes = Setting::changes(&before, &after).expect("the same tables");
            assert!(changes.eq([changed]), "{changed:?}");
        }
    }

    #[test]
    fn a_value_out_of_bounds_changes_nothing() {
        let mut config = Config::default();
        let before = config.clone();
        for setting in [
            Setting::Timeout(Timeout::Queue, Duration::ZERO),
            Setting::Number(Number::Attempts, 256),
            Setting::Number(Number::PanicPercent, 101),
            Setting::Number(Number::Fall, 0),
        ] {
            assert!(config.set(setting).is_err(), "{setting:?}");
            assert_eq!(config, before);
        }
    }

    #[test]
    fn other_tables_need_another_pool() {
        let before = Config::default();
        let mut after = before.clone();
        after.limits.requests += 1;
        assert!(Setting::changes(&before, &after).is_none());
    }
}
