//! An operator who changes settings while the pool runs: all that may change. Times
//! only become shorter, so that the time within which a run must end still holds.

use super::Family;
use crate::draw::{Domain, Draws};
use crate::plan::{Act, Change, Directive, LiveName, Plan, When};

/// Percentage of plans with such changes.
const CHANGED: u64 = 12;

/// Times, with the least value in milliseconds.
const TIMES: [(&str, u64); 17] = [
    ("connect_ms", 5),
    ("queue_ms", 5),
    ("response_head_ms", 10),
    ("idle_ms", 5),
    ("max_age_ms", 20),
    ("drain_ms", 10),
    ("suspect_ms", 5),
    ("silence_ms", 5),
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
            let most = name(key).value(&plan.pool);
            let value = if most > least { stream.wide(least, most) } else { most };
            let value = u32::try_from(value).expect("at most an hour");
            Change::Setting { name: name(key), value }
        } else {
            let (key, values) = stream.pick(&NUMBERS);
            // More attempts take longer.
            let most =
                if key == "attempts" { plan.pool.config.retry.attempts.into() } else { u32::MAX };
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
