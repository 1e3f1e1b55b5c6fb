//! The pool's configuration in a plan: a key for each setting of the pool's
//! [table](baton::pool::settings), and a few more. Times are in milliseconds.

use std::time::Duration;

use std::fmt;
use std::sync::LazyLock;

use arbitrary::{Arbitrary, Unstructured};
use baton::pool::limits::WEIGHT_MAX;
use baton::pool::setting::{Entry, Unit};
use baton::pool::settings::Live;
use baton::pool::{BackendConfig, Config, HealthChecking, Limits, Pool, Setting, Strategy};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeStruct as _, Serializer};

use crate::checker::Checker;

/// Nanoseconds.
const MILLISECOND: u64 = 1_000_000;
/// Maximum values that a fuzzer draws for settings whose default is zero or off, in the unit of the
/// plan.
const DRAWN_TIME_MAX: u64 = 20_000;
const DRAWN_COUNT_MAX: u64 = 16;
const DRAWN_BYTES_MAX: u64 = 1_000_000;

/// The pool's configuration. Keys that a file does not have are as in [`PoolPlan::DEFAULT`], so
/// that a new setting does not invalidate old plans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolPlan {
    /// The settings. Backends and their maximum number are not used.
    pub config: Config,
    /// Weight of the first backend; the others have 1.
    pub weight: u16,
    /// True if the pool knows that the first backend carries one stream per connection.
    pub exclusive: bool,
    /// Table entries for backends beyond those at the start.
    pub spare_places: usize,
    /// Generations of each connection slot; the most that a token can count if `None`.
    pub generations: Option<u32>,
    /// Workers, each with a pool of its own; the first one orders health checks for all. Only the
    /// world of the pool uses it: that of the proxy has workers of its own.
    pub workers: u8,
    /// When another pool replaces that of the last worker, in microseconds.
    pub replaced_at_us: Option<u64>,
}

impl Default for PoolPlan {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Mirrors [`Strategy`], variant by variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, Arbitrary)]
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

impl From<Strategy> for StrategyPlan {
    fn from(strategy: Strategy) -> Self {
        match strategy {
            Strategy::RoundRobin => Self::RoundRobin,
            Strategy::Weighted => Self::Weighted,
            Strategy::Random => Self::Random,
            Strategy::LeastLoaded => Self::LeastLoaded,
        }
    }
}

impl PoolPlan {
    /// Default values: small limits, so that runs reach them, no minimum rate of bodies, and the
    /// pool's defaults for the rest.
    pub const DEFAULT: Self = {
        let mut config = Config::DEFAULT;
        config.limits = Limits {
            connections_per_backend: 2,
            streams_per_connection: 4,
            requests: 32,
            waiting: 32,
            ..config.limits
        };
        config.body_rate_min = 0;
        Self {
            config,
            weight: 1,
            exclusive: false,
            spare_places: 0,
            generations: None,
            workers: 1,
            replaced_at_us: None,
        }
    };

    /// The configuration of a pool in which poisoned requests are the only fault.
    #[must_use]
    pub fn poisoned(attempts: u8) -> Config {
        let mut config = Self::DEFAULT.config;
        config.retry.attempts = attempts;
        config.timeouts.backoff_min = Duration::from_millis(20);
        config.timeouts.slow_start = Duration::ZERO;
        config
    }

    /// True if the world has one pool from its start to its end.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.workers == 1 && self.replaced_at_us.is_none()
    }

    /// Builds a pool and its model, with this many backends. Another worker checks their health if
    /// `is_informed`.
    ///
    /// # Panics
    /// If the plan was not checked.
    #[must_use]
    pub fn build(&self, backends: usize, seed: u64, is_informed: bool) -> (Pool, Checker) {
        let mut config = self.to_config(backends);
        if is_informed && config.health_checking == HealthChecking::Ordered {
            config.health_checking = HealthChecking::Reported;
        }
        let mut checker = Checker::new(&config);
        let mut pool = Pool::new(config, seed).expect("the plan was checked");
        if let Some(most) = self.generations {
            pool.narrow_generations(most);
            checker.narrow_generations(most);
        }
        (pool, checker)
    }

    /// Returns the configuration with this many backends.
    #[must_use]
    pub fn to_config(&self, backends: usize) -> Config {
        let backend = |index: usize| BackendConfig {
            weight: if index == 0 { self.weight } else { 1 },
            exclusive: index == 0 && self.exclusive,
        };
        let mut config = self.config.clone();
        config.backends = (0..backends).map(backend).collect();
        config.limits.backends = backends.max(1) + self.spare_places;
        config
    }
}

/// A setting of the pool in a plan.
struct Key {
    name: String,
    entry: &'static Entry<Config, Live>,
    /// The plan's unit, in units of the entry.
    unit: u64,
}

/// The settings of a plan. The maximum number of backends follows from their number, and the replay
/// buffer concerns only the driver.
static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let others = ["limits.backends", "retry.replay_buffer_bytes"];
    let entries = Config::SETTINGS.iter().filter(|entry| !others.contains(&entry.name));
    let key = |entry: &'static Entry<Config, Live>| {
        let (_, field) = entry.name.rsplit_once('.').unwrap_or(("", entry.name));
        match entry.bounds.unit {
            Unit::Time => Key { name: format!("{field}_ms"), entry, unit: MILLISECOND },
            Unit::Count | Unit::Bytes => Key { name: field.to_owned(), entry, unit: 1 },
        }
    };
    entries.map(key).collect()
});

impl Key {
    fn get(&self, config: &Config) -> Option<u64> {
        Some((self.entry.get)(config)? / self.unit)
    }

    fn set(&self, config: &mut Config, value: Option<u64>) -> Result<(), String> {
        let value = value.map(|value| value.saturating_mul(self.unit));
        self.entry.check_value(value).map_err(|error| error.to_string())?;
        (self.entry.set)(config, value);
        Ok(())
    }

    /// Draws a value that keeps runs short: up to twice the default, or any percentage.
    fn draw(&self, default: u64, bytes: &mut Unstructured<'_>) -> arbitrary::Result<u64> {
        let bounds = self.entry.bounds;
        let (least, most) = (bounds.min.div_ceil(self.unit), bounds.max / self.unit);
        let drawn_max = match bounds.unit {
            _ if default > 0 && most > 100 => 2 * default,
            Unit::Time => DRAWN_TIME_MAX,
            Unit::Count if most == 100 => most,
            Unit::Count => (2 * default).max(DRAWN_COUNT_MAX),
            Unit::Bytes => DRAWN_BYTES_MAX,
        };
        bytes.int_in_range(least..=most.min(drawn_max))
    }
}

/// The name of a setting that may change while a pool runs: its key in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveName(&'static str);

impl LiveName {
    /// All names.
    fn all() -> impl Iterator<Item = Self> {
        KEYS.iter().filter(|key| key.entry.live.is_some()).map(|key| Self(&key.name))
    }

    /// Returns the name that is written like this.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::all().find(|known| known.0 == name)
    }

    fn key(self) -> &'static Key {
        KEYS.iter().find(|key| key.name == self.0).expect("a name of the table")
    }

    /// True if it decides what results of health checks mean.
    #[must_use]
    pub fn is_of_checks(self) -> bool {
        ["fall", "rise"].contains(&self.0)
    }

    /// Returns the value in a plan, in its unit; 0 if it is off.
    #[must_use]
    pub fn value(self, plan: &PoolPlan) -> u64 {
        self.key().get(&plan.config).unwrap_or(0)
    }

    /// Returns the setting with a value in the plan's unit: milliseconds for times.
    ///
    /// # Panics
    /// If the value does not fit 32 bits.
    #[must_use]
    pub fn setting(self, value: u64) -> Setting {
        match self.key().entry.live.expect("only names of these exist") {
            Live::Timeout(name) => Setting::Timeout(name, Duration::from_millis(value)),
            Live::Number(name) => {
                Setting::Number(name, u32::try_from(value).expect("the plan was checked"))
            }
        }
    }
}

impl Serialize for LiveName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

impl<'de> Deserialize<'de> for LiveName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::parse(&name)
            .ok_or_else(|| D::Error::custom(format!("{name}: no setting that may change")))
    }
}

impl Arbitrary<'_> for LiveName {
    fn arbitrary(bytes: &mut Unstructured<'_>) -> arbitrary::Result<Self> {
        let all: Vec<_> = Self::all().collect();
        Ok(*bytes.choose(&all)?)
    }
}

impl Arbitrary<'_> for PoolPlan {
    fn arbitrary(bytes: &mut Unstructured<'_>) -> arbitrary::Result<Self> {
        let mut plan = Self::DEFAULT;
        for key in KEYS.iter() {
            let default = key.get(&plan.config);
            let off = key.entry.optional && bytes.arbitrary()?;
            let value = if off { None } else { Some(key.draw(default.unwrap_or(0), bytes)?) };
            key.set(&mut plan.config, value).expect("drawn within bounds");
        }
        let Config { limits, timeouts, .. } = &mut plan.config;
        limits.waiting = limits.waiting.min(limits.requests);
        timeouts.backoff_max = timeouts.backoff_max.max(timeouts.backoff_min);
        timeouts.ejection_max = timeouts.ejection_max.max(timeouts.ejection_min);
        plan.config.strategy = StrategyPlan::arbitrary(bytes)?.into();
        plan.config.health_checking = health_checking(bytes.arbitrary()?, bytes.arbitrary()?);
        plan.weight = bytes.int_in_range(1..=WEIGHT_MAX)?;
        plan.exclusive = bytes.arbitrary()?;
        plan.spare_places = bytes.int_in_range(0..=3)?;
        plan.generations = Option::<u32>::arbitrary(bytes)?.map(|most| most.max(1));
        plan.workers = bytes.int_in_range(1..=2)?;
        Ok(plan)
    }
}

/// The keys `health_checking` and `health_reported` of a plan are one setting.
fn health_checking(orders: bool, reported: bool) -> HealthChecking {
    match (orders, reported) {
        (_, true) => HealthChecking::Reported,
        (true, false) => HealthChecking::Ordered,
        (false, false) => HealthChecking::Off,
    }
}

impl Serialize for PoolPlan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut plan = serializer.serialize_struct("PoolPlan", KEYS.len() + OWN.len())?;
        for key in KEYS.iter() {
            match (key.get(&self.config), key.entry.optional) {
                (Some(value), false) => plan.serialize_field(&key.name, &value)?,
                (value, _) => plan.serialize_field(&key.name, &value)?,
            }
        }
        plan.serialize_field("strategy", &StrategyPlan::from(self.config.strategy))?;
        let checking = self.config.health_checking;
        plan.serialize_field("health_checking", &(checking == HealthChecking::Ordered))?;
        plan.serialize_field("weight", &self.weight)?;
        plan.serialize_field("exclusive", &self.exclusive)?;
        plan.serialize_field("spare_places", &self.spare_places)?;
        plan.serialize_field("generations", &self.generations)?;
        plan.serialize_field("health_reported", &(checking == HealthChecking::Reported))?;
        plan.serialize_field("workers", &self.workers)?;
        plan.serialize_field("replaced_at_us", &self.replaced_at_us)?;
        plan.end()
    }
}

/// Keys that are not in the table.
const OWN: [&str; 9] = [
    "strategy",
    "health_checking",
    "weight",
    "exclusive",
    "spare_places",
    "generations",
    "health_reported",
    "workers",
    "replaced_at_us",
];

/// All keys of a plan.
static NAMES: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| KEYS.iter().map(|key| &*key.name).chain(OWN).collect());

impl<'de> Deserialize<'de> for PoolPlan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct("PoolPlan", &NAMES, PlanVisitor)
    }
}

struct PlanVisitor;

impl<'de> Visitor<'de> for PlanVisitor {
    type Value = PoolPlan;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the pool's settings")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<PoolPlan, M::Error> {
        let mut plan = PoolPlan::DEFAULT;
        let (mut orders, mut reported) = (false, false);
        while let Some(name) = map.next_key::<String>()? {
            match &*name {
                "strategy" => plan.config.strategy = map.next_value::<StrategyPlan>()?.into(),
                "health_checking" => orders = map.next_value()?,
                "health_reported" => reported = map.next_value()?,
                "weight" => plan.weight = map.next_value()?,
                "exclusive" => plan.exclusive = map.next_value()?,
                "spare_places" => plan.spare_places = map.next_value()?,
                "generations" => plan.generations = map.next_value()?,
                "workers" => plan.workers = map.next_value()?,
                "replaced_at_us" => plan.replaced_at_us = map.next_value()?,
                name => {
                    let key = KEYS.iter().find(|key| key.name == name);
                    let key = key.ok_or_else(|| M::Error::unknown_field(name, &NAMES))?;
                    let optional = key.entry.optional;
                    let value =
                        if optional { map.next_value()? } else { Some(map.next_value::<u64>()?) };
                    key.set(&mut plan.config, value).map_err(M::Error::custom)?;
                }
            }
        }
        plan.config.health_checking = health_checking(orders, reported);
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_from_a_fuzzer_is_valid_and_survives_writing_and_reading() {
        for seed in 0..100 {
            let bytes: Vec<u8> =
                (0..400_u32).map(|index| (index * 37 + seed * 101) as u8).collect();
            let plan = PoolPlan::arbitrary(&mut Unstructured::new(&bytes)).expect("enough bytes");
            assert_eq!(plan.to_config(2).check(), Ok(()));
            let text = ron::to_string(&plan).expect("plain data");
            assert_eq!(ron::from_str::<PoolPlan>(&text), Ok(plan));
        }
    }

    #[test]
    fn an_unknown_key_and_a_value_out_of_bounds_are_errors() {
        for (text, expected) in [
            ("(conect_ms: 5)", "conect_ms"),
            ("(connect_ms: 0)", "timeouts.connect: expected more than zero"),
            ("(attempts: 256)", "retry.attempts: expected 1 to 255"),
        ] {
            let error = ron::from_str::<PoolPlan>(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
