//! The model's own account of settings that the operator changes, and of their bounds. It does not
//! use the pool's table, so that a setting that goes to the wrong place is found.

use std::time::Duration;

use baton::pool::settings::{Number, Timeout};
use baton::pool::{Config, Setting};

/// True if a value is within the bounds of the manual.
pub(super) fn fits(setting: Setting) -> bool {
    let in_a_row = 1..=1_000_000;
    match setting {
        Setting::Strategy(_) | Setting::HealthChecking(_) => true,
        Setting::Timeout(Timeout::SlowStart, _) => true,
        Setting::Timeout(_, time) => !time.is_zero(),
        Setting::Number(number, value) => match number {
            Number::Attempts => (1..=255).contains(&value),
            Number::BudgetPercent | Number::EjectedPercentMax | Number::FailOpenPercent => {
                value <= 100
            }
            Number::BudgetFloor => value <= 1 << 20,
            Number::Failures | Number::Successes | Number::Fall | Number::Rise => {
                in_a_row.contains(&value)
            }
            Number::GatewayFailures => value == 0 || in_a_row.contains(&value),
            Number::MaxRequestsPerConnection => value <= 1 << 29,
            Number::BodyRateMin => value <= 1 << 30,
        },
    }
}

/// Puts a value into the configuration of the model.
pub(super) fn set(config: &mut Config, setting: Setting) {
    match setting {
        Setting::Strategy(strategy) => config.strategy = strategy,
        Setting::HealthChecking(checking) => config.health_checking = checking,
        Setting::Timeout(timeout, time) => set_time(config, timeout, time),
        Setting::Number(number, value) => set_number(config, number, value),
    }
}

fn set_time(config: &mut Config, timeout: Timeout, time: Duration) {
    let timeouts = &mut config.timeouts;
    let place = match timeout {
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
        Timeout::HealthCheckInterval => &mut timeouts.health_check_interval,
        Timeout::HealthCheckTimeout => &mut timeouts.health_check_timeout,
    };
    *place = time;
}

fn set_number(config: &mut Config, number: Number, value: u32) {
    let (retry, health) = (&mut config.retry, &mut config.health);
    let place = match number {
        Number::Attempts => {
            retry.attempts = u8::try_from(value).expect("within bounds");
            return;
        }
        Number::MaxRequestsPerConnection => {
            config.max_requests_per_connection = (value > 0).then_some(value);
            return;
        }
        Number::BudgetPercent => &mut retry.budget_percent,
        Number::BudgetFloor => &mut retry.budget_floor,
        Number::Failures => &mut health.failures,
        Number::GatewayFailures => &mut health.gateway_failures,
        Number::Successes => &mut health.successes,
        Number::EjectedPercentMax => &mut health.ejected_percent_max,
        Number::FailOpenPercent => &mut health.fail_open_percent,
        Number::Fall => &mut health.fall,
        Number::Rise => &mut health.rise,
        Number::BodyRateMin => &mut config.body_rate_min,
    };
    *place = value;
}
