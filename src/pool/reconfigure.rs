//! Values of a configuration that may change while a pool runs.

use core::time::Duration;

use super::config::{HealthChecking, Strategy};
use super::setting::{ConfigError, Entry, Field as _};
use super::settings::{Config, Live, Number, Timeout};

/// One value that may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Setting {
    /// A deadline or interval.
    Timeout(Timeout, Duration),
    /// A number. An optional one is off if 0.
    Number(Number, u32),
    /// How the next backend is chosen.
    Strategy(Strategy),
    /// Where the results of health checks come from.
    HealthChecking(HealthChecking),
}

impl Entry<Config, Live> {
    /// Returns the value in a configuration; `None` if a change needs a new pool.
    #[must_use]
    pub fn setting(&self, config: &Config) -> Option<Setting> {
        let value = (self.get)(config).unwrap_or(0);
        Some(match self.live? {
            Live::Timeout(name) => Setting::Timeout(name, Duration::from_nanos(value)),
            Live::Number(name) => Setting::Number(name, u32::try_from(value).expect("32 bits")),
        })
    }

    fn of(name: Live) -> &'static Self {
        let mut entries = Config::SETTINGS.iter();
        entries.find(|entry| entry.live == Some(name)).expect("the names are made from the table")
    }
}

impl Setting {
    /// Checks the value alone, because one value of a related pair may change before the other.
    ///
    /// # Errors
    /// If the value is out of bounds.
    pub fn check(self) -> Result<(), ConfigError> {
        self.entry().map_or(Ok(()), |(entry, value)| entry.check_value(value))
    }

    /// Returns the entry and the value of a setting that is in the table; `None` for the others.
    fn entry(self) -> Option<(&'static Entry<Config, Live>, Option<u64>)> {
        match self {
            Self::Timeout(name, time) => Some((Entry::of(Live::Timeout(name)), time.read())),
            Self::Number(name, number) => {
                let entry = Entry::of(Live::Number(name));
                Some((entry, Some(u64::from(number)).filter(|it| *it > 0 || !entry.optional)))
            }
            Self::Strategy(_) | Self::HealthChecking(_) => None,
        }
    }
}

impl Config {
    /// All values that may change.
    pub fn live(&self) -> impl Iterator<Item = Setting> + '_ {
        let others =
            [Setting::Strategy(self.strategy), Setting::HealthChecking(self.health_checking)];
        Self::SETTINGS.iter().filter_map(|entry| entry.setting(self)).chain(others)
    }

    /// Changes one value.
    ///
    /// # Errors
    /// If the value is out of bounds; then nothing changes. Relations to other values are not
    /// checked.
    pub fn set(&mut self, setting: Setting) -> Result<(), ConfigError> {
        setting.check()?;
        match setting {
            Setting::Strategy(strategy) => self.strategy = strategy,
            Setting::HealthChecking(health_checking) => self.health_checking = health_checking,
            Setting::Timeout(..) | Setting::Number(..) => {
                if let Some((entry, value)) = setting.entry() {
                    (entry.set)(self, value);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_that_may_change_can_be_set_alone() {
        let before = Config::default();
        for setting in before.live() {
            let changed = match setting {
                Setting::Timeout(name, value) => {
                    Setting::Timeout(name, value + Duration::from_secs(1))
                }
                Setting::Number(name, value) => Setting::Number(name, value + 1),
                Setting::Strategy(_) => Setting::Strategy(Strategy::LeastLoaded),
                Setting::HealthChecking(_) => Setting::HealthChecking(HealthChecking::Ordered),
            };
            let mut after = before.clone();
            after.set(changed).expect("within bounds");
            let changes = before.live().zip(after.live()).filter(|(old, new)| old != new);
            assert!(changes.eq([(setting, changed)]), "{changed:?}");
        }
    }

    #[test]
    fn a_value_out_of_bounds_changes_nothing() {
        let mut config = Config::default();
        let before = config.clone();
        for setting in [
            Setting::Timeout(Timeout::Queue, Duration::ZERO),
            Setting::Number(Number::Attempts, 256),
            Setting::Number(Number::FailOpenPercent, 101),
            Setting::Number(Number::Fall, 0),
        ] {
            assert!(config.set(setting).is_err(), "{setting:?}");
            assert_eq!(config, before);
        }
    }

    #[test]
    fn an_optional_number_is_off_if_zero() {
        let mut config = Config::default();
        for (number, expected) in [(7, Some(7)), (0, None)] {
            let setting = Setting::Number(Number::MaxRequestsPerConnection, number);
            config.set(setting).expect("within bounds");
            assert_eq!(config.max_requests_per_connection, expected);
        }
    }
}
