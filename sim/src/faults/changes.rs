//! An operator who changes settings while the pool runs: all that may change, but for two. Times
//! only become shorter, so that the time within which a run must end still holds.

use super::Family;
use crate::draw::{Domain, Draws};
use crate::plan::{Act, Change, Directive, LiveName, Plan, When};

/// Percentage of plans with such changes.
const CHANGED: u64 = 12;

/// Times, with the least value in milliseconds. `drain_ms` and `silence_ms` are not among them: a
/// change of these reaches deadlines that are armed, some at once and some later.
const TIMES: [(&str, u64); 15] = [
    ("connect_ms", 5),
    ("queue_ms", 5),
    ("response_head_ms", 10),
    ("idle_ms", 5),
    ("max_age_ms", 20),
    ("suspect_ms", 5),
    ("backoff_min_ms", 1),
    ("backoff_max_ms", 1),
    ("ejection_min_ms", 5),
    ("ejection_max_ms", 5),
    ("body_stall_ms", 20),
    ("response_stall_ms", 20),
    ("slow_start_ms", 0),
    ("health_check_interval_ms", 500),
    ("health_check_timeout_ms", 20),
];

/// Numbers, with values that a change takes.
const NUMBERS: [(&str, [u32; 3]); 9] = [
    ("attempts", [1, 1, 2]),
    ("budget_percent", [0, 20, 100]),
    ("budget_floor", [0, 1, 10]),
    ("gateway_failures", [0, 1, 5]),
    ("successes", [1, 1, 2]),
    ("rise", [1, 2, 3]),
    ("max_requests_per_connection", [0, 1, 12]),
    ("body_rate_min", [0, 1, 100_000]),
    ("fail_open_percent", [0, 50, 100]),
];

/// Adds the changes of some plans.
pub(super) fn add(plan: &mut Plan) {
    let stream = &mut Draws::new(plan.seed).stream(Domain::Changes, 0);
    if !stream.chance(CHANGED) {
        return;
    }
    plan.origin.push_str(" changes");
    for _ in 0..stream.between(1, 6) {
        let name = |name: &str| LiveName::parse(name).expect("a setting of the table");
        let change = if stream.chance(60) {
            let (key, least) = stream.pick(&TIMES);
            let most = time_of(plan, key);
            let value = if most > least { stream.wide(least, most) } else { most };
            let value = u32::try_from(value).expect("at most an hour");
            Change::Setting { name: name(key), value }
        } else {
            let (key, values) = stream.pick(&NUMBERS);
            let most = match key {
                "attempts" => u32::from(plan.pool.config.retry.attempts),
                _ => u32::MAX,
            };
            Change::Setting { name: name(key), value: stream.pick(&values).min(most) }
        };
        let after_us = stream.below(plan.heal.at_us.max(1));
        let act = Act::Change { change };
        plan.directives.push(Directive {
            family: Family::Reconfiguration,
            when: When::Start,
            after_us,
            act,
        });
    }
}

/// The value of a time in the plan, in milliseconds.
fn time_of(plan: &Plan, key: &str) -> u64 {
    let timeouts = &plan.pool.config.timeouts;
    let time = match key {
        "connect_ms" => timeouts.connect,
        "queue_ms" => timeouts.queue,
        "response_head_ms" => timeouts.response_head,
        "idle_ms" => timeouts.idle,
        "max_age_ms" => timeouts.max_age,
        "suspect_ms" => timeouts.suspect,
        "backoff_min_ms" => timeouts.backoff_min,
        "backoff_max_ms" => timeouts.backoff_max,
        "ejection_min_ms" => timeouts.ejection_min,
        "ejection_max_ms" => timeouts.ejection_max,
        "body_stall_ms" => timeouts.body_stall,
        "response_stall_ms" => timeouts.response_stall,
        "slow_start_ms" => timeouts.slow_start,
        "health_check_interval_ms" => timeouts.health_check_interval,
        "health_check_timeout_ms" => timeouts.health_check_timeout,
        other => unreachable!("{other}: not in the table"),
    };
    u64::try_from(time.as_millis()).expect("the plan was checked")
}
