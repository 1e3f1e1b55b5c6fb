//! The lines of the log that are not of the access log: causes of state changes, limits of clients,
//! requests that a deadline cut.

use super::case::Case;
use super::line::LogLine;
use crate::checker::{Invariant, Verdict, fail, require};
use crate::plan::{Act, Change};
use crate::proxy::ledger::request_of;

/// Limits that a client of ours can reach: it is slow, or the way to it is.
const LIMITS: [&str; 5] =
    ["head_timeout", "idle_timeout", "keepalive_timeout", "write_stall", "tls_handshake_timeout"];
/// Responses with these statuses in a row eject a backend.
const GATEWAY_FAILURES: [u16; 3] = [502, 503, 504];

/// Judges every line.
pub(super) fn judge(case: &Case<'_>) -> Verdict {
    for line in &case.log {
        match line.message() {
            "backend changed" => changed(case, line)?,
            "request refused" | "client connection closed" => limit(case, line)?,
            "request cut" => cut(case, line)?,
            "log lines dropped" => {
                return fail(Invariant::AccessLog, "lines were dropped".to_owned());
            }
            message if message.starts_with("pool inconsistent") => {
                return fail(Invariant::PoolAssert, message.to_owned());
            }
            _ => {}
        }
    }
    Ok(())
}

/// The cause of a backend's state is one that there was.
fn changed(case: &Case<'_>, line: &LogLine) -> Verdict {
    let (name, state, cause) = (line.text("backend"), line.text("state"), line.text("cause"));
    let Some(backend) = case.backend(name) else {
        return fail(Invariant::AccessLog, format!("backend {name} changed, but there is none"));
    };
    let restored = line.at >= case.records.healed_at;
    let ordered = |is: fn(&Act) -> bool| case.was_ordered(line.at, backend, is);
    let true_cause = match (state, cause) {
        ("draining", "operator") => ordered(|act| matches!(act, Act::Drain { .. })),
        ("removed", "configured") => ordered(|act| matches!(act, Act::Remove { .. })),
        (_, "operator") => restored || ordered(|act| matches!(act, Act::Undrain { .. })),
        ("down", "health_checks") => {
            checks_health(case, line.at) && !line.text("reason").is_empty()
        }
        (_, "health_checks") => checks_health(case, line.at),
        ("ejected", "gateway_failures") => {
            // One failure ends the trial of a backend that is half-open.
            let least = match state_before(case, line) {
                Some("half_open") => 1,
                _ => case.plan.pool.config.health.gateway_failures as usize,
            };
            gateway_failures(case, line.at, backend) >= least
        }
        ("ejected", "failures") => case.may_fail(line.at),
        ("half_open" | "up" | "ejected", _) => true,
        _ => false,
    };
    require(true_cause, Invariant::AccessLog, || {
        format!("at {} ns: backend {backend} is {state}, cause {cause}: there was none", line.at)
    })
}

/// The state of the line's backend on the line's worker before, as the log has it.
fn state_before<'a>(case: &'a Case<'_>, line: &LogLine) -> Option<&'a str> {
    let earlier = case.log.iter().take_while(|other| !std::ptr::eq(*other, line));
    let same = |other: &&LogLine| {
        let both = |field| other.text(field) == line.text(field);
        both("message") && both("backend") && other.number("worker") == line.number("worker")
    };
    earlier.filter(same).last().map(|other| other.text("state"))
}

/// True if health checks may have been made until a time.
fn checks_health(case: &Case<'_>, until: u64) -> bool {
    let on = |change: &Change| matches!(change, Change::HealthChecking(true));
    let ordered = case.was_injected(until, |act| match act {
        Act::Change { change } => on(change),
        Act::ChangeAll { changes } => changes.iter().any(on),
        _ => false,
    });
    ordered || case.plan.pool.config.health_checking != baton::pool::HealthChecking::Off
}

/// The answers of a backend that count as gateway failures, to requests that it got until a time.
fn gateway_failures(case: &Case<'_>, until: u64, backend: u16) -> usize {
    let failed = case.executions.iter().filter(|execution| {
        let status = execution.answer.map_or(0, |answer| answer.status);
        execution.backend == backend && execution.at <= until && GATEWAY_FAILURES.contains(&status)
    });
    failed.count()
}

/// A client reached a limit: only if something slowed it down or its connection was cut.
fn limit(case: &Case<'_>, line: &LogLine) -> Verdict {
    let reason = line.text("reason");
    let slowed = case.was_injected(line.at, |act| {
        matches!(act, Act::Wire { .. } | Act::ClientStopsReading { .. })
    });
    require(slowed && LIMITS.contains(&reason), Invariant::AccessLog, || {
        format!(
            "at {} ns: {} for {reason}, but no client did that: {}",
            line.at,
            line.message(),
            line.text("details")
        )
    })
}

/// A request that a deadline cut and that is not sent elsewhere was not completed.
fn cut(case: &Case<'_>, line: &LogLine) -> Verdict {
    let path = line.text("path");
    let request = request_of(path).and_then(|id| case.requests.get(&id));
    let Some(request) = request.filter(|request| request.is_begun()) else {
        return fail(Invariant::AccessLog, format!("{path} was cut, but was not requested"));
    };
    let completed = request.lines.iter().any(|line| line.outcome == "completed");
    let lost = line.flag("retried") == Some(false);
    require(!(lost && completed), Invariant::AccessLog, || {
        format!("request {}: logged as cut, but it was completed", request.id)
    })
}
