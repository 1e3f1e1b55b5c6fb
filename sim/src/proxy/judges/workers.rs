//! Workers agree about health checks: one of them makes the checks for the whole process and
//! reports the results to the others (`docs/health.md`).

use std::collections::BTreeMap;

use super::case::Case;
use super::line::LogLine;
use crate::checker::{Invariant, Verdict, require};
use crate::plan::Act;

/// The message of the log when the state of a backend changes.
const CHANGED: &str = "backend changed";
/// Time for a worker to learn what another one has found, in nanoseconds.
const LEARNS: u64 = 100_000_000;
/// States in which a backend gets requests.
const IN_USE: [&str; 2] = ["up", "half_open"];

/// A backend that one worker calls down is in use at none of the others.
pub(super) fn judge(case: &Case<'_>) -> Verdict {
    let workers = u64::from(case.plan.wire.workers.max(1));
    // Their pools may count from different results if one of these comes between two checks.
    let differ = case.was_injected(u64::MAX, |act| {
        matches!(act, Act::Replace | Act::Change { .. } | Act::ChangeAll { .. })
    });
    if workers == 1 || differ {
        return Ok(());
    }
    let changes: Vec<&LogLine> = case.log.iter().filter(|it| it.message() == CHANGED).collect();
    for line in &changes {
        let down = line.text("state") == "down" && line.text("cause") == "health_checks";
        if down && !is_operated(case, line.text("backend")) {
            others(case, &changes, line, workers)?;
        }
    }
    Ok(())
}

/// True if the operator takes a backend out or adds it, which workers do one after the other.
fn is_operated(case: &Case<'_>, name: &str) -> bool {
    case.backend(name).is_none_or(|backend| {
        case.plan.backends[usize::from(backend)].spare
            || case.was_ordered(u64::MAX, backend, |act| {
                matches!(act, Act::Remove { .. } | Act::Add { .. } | Act::Drain { .. })
            })
    })
}

/// The states that the workers have given a backend until a time.
fn states<'a>(changes: &[&'a LogLine], backend: &str, until: u64) -> BTreeMap<u64, &'a str> {
    let about = changes.iter().filter(|it| it.text("backend") == backend && it.at <= until);
    about.filter_map(|line| Some((line.number("worker")?, line.text("state")))).collect()
}

fn others(case: &Case<'_>, changes: &[&LogLine], down: &LogLine, workers: u64) -> Verdict {
    let until = down.at.saturating_add(LEARNS);
    let stops = case
        .records
        .signals
        .iter()
        .any(|(at, signal)| *signal == baton::proxy::seams::Signal::Stop && *at <= until);
    let backend = down.text("backend");
    let states = states(changes, backend, until);
    let own = down.number("worker").unwrap_or_default();
    if stops || states.get(&own) != Some(&"down") {
        return Ok(());
    }
    for worker in 0..workers {
        let state = states.get(&worker).copied().unwrap_or("up");
        require(!IN_USE.contains(&state), Invariant::Health, || {
            format!(
                "{backend} is down for worker {own} since {} ns, but {state} for worker {worker}",
                down.at
            )
        })?;
    }
    Ok(())
}
