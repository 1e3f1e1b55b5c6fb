//! The process as its operator sees it: reloads, listeners, certificates, the order to stop.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use baton::proxy::limits::{
    FILE_WATCH_INTERVAL, FORCED_STOP_TIMEOUT, IN_FLIGHT_COUNT_TIMEOUT, SHUTDOWN_GRACE,
};
use baton::proxy::seams::Signal;

use super::case::{Case, Request};
use super::line::{AccessLine, LogLine};
use crate::checker::{Invariant, Verdict, fail, require};
use crate::proxy::ledger::{Dial, DialEnd};
use crate::proxy::settings::{ADMIN, CERTIFICATE_FILE};
use crate::proxy::situation::Situation;

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000 * MICROSECOND;
/// Time that the shell's timers are late by, at most, and that tasks take.
const SLACK: u64 = 50 * MILLISECOND;
/// Time in which a listener that was ordered is there: a reload waits only for the workers.
const RELOAD_TIME: u64 = 1_000 * MILLISECOND;

/// Judges the process.
pub(super) fn judge(case: &Case<'_>) -> Verdict {
    for line in &case.log {
        match line.message() {
            "reloaded" => reloaded(case, line)?,
            "reload refused, nothing changed" => refused(case, line)?,
            "reload not confirmed by every worker" => {
                return broken(|| format!("a reload was not confirmed: {}", line.text("reasons")));
            }
            _ => {}
        }
    }
    signals(case)?;
    listeners(case)?;
    files(case)?;
    for dial in case.records.hub.ledger.dials() {
        dialled(case, &dial)?;
    }
    for request in case.requests.values() {
        unsent(case, request)?;
    }
    stops(case)
}

fn holds(holds: bool, what: impl FnOnce() -> String) -> Verdict {
    require(holds, Invariant::Operation, what)
}

fn broken(what: impl FnOnce() -> String) -> Verdict {
    fail(Invariant::Operation, what())
}

/// The situations at some time between two times, both included.
fn between<'a>(case: &'a Case<'_>, from: u64, to: u64) -> impl Iterator<Item = &'a Situation> {
    case.records.situations.between(from, to)
}

fn is_valid(case: &Case<'_>, situation: &Situation) -> bool {
    situation.is_valid(case.plan.wire.tls)
}

/// When the reload of a line began, at the earliest.
fn began(line: &LogLine) -> u64 {
    line.at.saturating_sub((line.number("took_ms").unwrap_or(0) + 1) * MILLISECOND)
}

/// A reload is applied only if there was nothing wrong with what it read.
fn reloaded(case: &Case<'_>, line: &LogLine) -> Verdict {
    let valid = between(case, began(line), line.at).any(|situation| is_valid(case, situation));
    holds(valid, || format!("at {} ns: reloaded, but the configuration was wrong", line.at))
}

/// A reload is refused only if something was wrong, and the reason says what.
fn refused(case: &Case<'_>, line: &LogLine) -> Verdict {
    let reasons = line.text("reasons");
    let names = |situation: &Situation| match situation.wrong {
        Some(crate::plan::Wrong::Unreadable) => reasons.contains("line 1, column 1"),
        Some(crate::plan::Wrong::OutOfBounds) => reasons.contains("retry.attempts"),
        Some(crate::plan::Wrong::NeedsRestart) => reasons.contains("without a restart"),
        Some(crate::plan::Wrong::AddressInUse) => {
            reasons.contains(&format!("cannot listen on {}", SocketAddr::from(ADMIN)))
        }
        None => false,
    };
    let known = between(case, line.at, line.at).any(|situation| {
        let files = !is_valid(case, &Situation { wrong: None, ..situation.clone() });
        names(situation) || (files && reasons.contains(CERTIFICATE_FILE))
    });
    holds(known, || format!("at {} ns: a reload was refused without a reason: {reasons}", line.at))
}

/// When the proxy was ordered to stop, for the first time.
fn first_stop(case: &Case<'_>) -> u64 {
    let stops = case.records.signals.iter().filter(|(_, signal)| *signal == Signal::Stop);
    stops.map(|(at, _)| *at).next().unwrap_or(u64::MAX)
}

/// True for lines about a reload because of a signal.
fn is_by_signal(line: &LogLine) -> bool {
    let about = ["reloaded", "reload refused, nothing changed"].contains(&line.message());
    about && line.text("trigger") == "SIGHUP"
}

/// Each SIGHUP before the order to stop leads to a reload, applied or refused.
fn signals(case: &Case<'_>) -> Verdict {
    let stop = first_stop(case);
    let hang_ups = case.records.signals.iter().filter(|(_, signal)| *signal == Signal::HangUp);
    let hang_ups: Vec<u64> = hang_ups.map(|(at, _)| *at).collect();
    let reloads = case.log.iter().filter(|line| is_by_signal(line)).count();
    let certain = hang_ups.iter().filter(|at| at.saturating_add(RELOAD_TIME) < stop).count();
    holds((certain..=hang_ups.len()).contains(&reloads), || {
        format!("{reloads} reloads by signal, expected {certain} to {}", hang_ups.len())
    })
}

/// Listeners appear and disappear as they are ordered, and those that are there in the end are
/// those that were ordered last.
fn listeners(case: &Case<'_>) -> Verdict {
    let mut open = BTreeSet::new();
    let asked_at = case.records.metrics_asked_at;
    for line in case.log.iter().filter(|line| line.at <= asked_at) {
        let address = line.text("address");
        let wanted = |it: &Situation| address.parse().is_ok_and(|address| it.has(address));
        let at = line.at;
        let mut near = between(case, began(line), at);
        match line.message() {
            "listening" => {
                let fits = near.any(|it| wanted(it) && is_valid(case, it)) && open.insert(address);
                holds(fits, || format!("at {at} ns: listening on {address}: not ordered"))?;
            }
            "listener removed" => {
                let fits = near.any(|it| !wanted(it) && is_valid(case, it)) && open.remove(address);
                holds(fits, || format!("at {at} ns: removed {address}: not ordered"))?;
            }
            _ => {}
        }
    }
    let situations = &case.records.situations;
    let settled = situations.since() + RELOAD_TIME < asked_at.min(first_stop(case));
    // A configuration that comes between a certificate and its key is refused, and not read again
    // when the key is there.
    let orders = case.records.signals.iter().filter(|(_, signal)| *signal == Signal::HangUp);
    let read_at = orders.map(|(at, _)| *at).max().unwrap_or(0);
    let was_refused = between(case, read_at, read_at + RELOAD_TIME).any(|it| !is_valid(case, it));
    if !settled || was_refused || !is_valid(case, situations.last()) {
        return Ok(());
    }
    let fits = open.iter().all(|it| it.parse().is_ok_and(|it| situations.last().has(it)));
    holds(fits && open.len() == situations.last().listeners.len(), || {
        format!("listening on {open:?}, expected {:?}", situations.last().listeners)
    })
}

/// Changed files are noticed: two looks in a row must find them the same, and each signal in
/// between restarts the watch.
fn files(case: &Case<'_>) -> Verdict {
    if !case.plan.wire.tls {
        return Ok(());
    }
    let stop = first_stop(case);
    for (at, files, until) in case.records.situations.files().into_iter().skip(1) {
        let mut due = at + 2 * nanoseconds(FILE_WATCH_INTERVAL) + SLACK;
        for (signal, _) in &case.records.signals {
            if (at..due).contains(signal) {
                due = due.max(signal + 2 * nanoseconds(FILE_WATCH_INTERVAL) + SLACK);
            }
        }
        if due >= stop.min(until) {
            continue;
        }
        let read = |line: &&LogLine| {
            (at..=due).contains(&line.at)
                && match line.message() {
                    "reloaded" => files.front().is_some(),
                    "reload refused, nothing changed" => true,
                    _ => false,
                }
        };
        holds(case.log.iter().any(|line| read(&line)), || {
            format!("at {at} ns: the files are {files:?}, which the proxy has not noticed")
        })?;
    }
    Ok(())
}

fn nanoseconds(time: Duration) -> u64 {
    time.as_nanos() as u64
}

/// The certificates that clients may see between two times: those of the files as they were when
/// the proxy last read them successfully.
fn shown(case: &Case<'_>, from: u64, to: u64) -> Vec<DialEnd> {
    let read = case.log.iter().filter(|line| line.message() == "reloaded" && line.at <= to);
    let mut fronts = vec![(0, 0)];
    fronts.extend(read.map(|line| (began(line), line.at)));
    let ends = fronts.iter().skip(1).map(|(_, at)| *at).chain([u64::MAX]).collect::<Vec<_>>();
    let in_service = fronts.iter().zip(ends).filter(|(_, ends)| from <= *ends);
    let fronts = in_service.flat_map(|((begins, read), _)| between(case, *begins, *read));
    fronts.filter_map(|it| it.files.front()).map(|front| DialEnd::Secured(Some(front))).collect()
}

/// A client's dial ends as it should: an address on which the proxy listens accepts, and shows the
/// certificate that is in service.
fn dialled(case: &Case<'_>, dial: &Dial) -> Verdict {
    let Dial { client, to, begun, ended, end } = *dial;
    let from = begun.saturating_sub(RELOAD_TIME);
    let stopping = first_stop(case) <= ended;
    let changing = || between(case, from, ended).any(|situation| !situation.has(to));
    let cut = || case.client_is_disturbed(client, ended);
    let fits = match end {
        DialEnd::Failed(ErrorKind::ConnectionRefused) => stopping || changing(),
        DialEnd::Failed(_) | DialEnd::NoTls => stopping || cut() || changing(),
        DialEnd::Connected => true,
        DialEnd::Secured(_) => shown(case, begun, ended).contains(&end),
    };
    holds(fits, || {
        format!("client {client}: its dial of {to} from {begun} to {ended} ns ended with {end:?}")
    })
}

/// A request finds a connection, unless the proxy or the way to it gives a reason.
fn unsent(case: &Case<'_>, request: &Request) -> Verdict {
    let reason = request.not_sent == 0
        || first_stop(case) < u64::MAX && case.was_stopped_early()
        || case.client_breaks(request, u64::MAX)
        || case.records.situations.since() > 0;
    holds(reason, || format!("request {}: its client found no connection", request.id))
}

/// The order to stop: announced once, and obeyed in time; at once if it is repeated.
fn stops(case: &Case<'_>) -> Verdict {
    let stops = case.records.signals.iter().filter(|(_, signal)| *signal == Signal::Stop);
    let stops: Vec<u64> = stops.map(|(at, _)| *at).collect();
    let (Some(first), Some(ended)) = (stops.first(), case.records.ended_at) else {
        return Ok(());
    };
    let lines = |message| {
        let lines = case.log.iter().filter(move |line| line.message() == message);
        lines.map(|line| line.at).collect::<Vec<_>>()
    };
    let counting = nanoseconds(IN_FLIGHT_COUNT_TIMEOUT) + SLACK;
    let drain = nanoseconds(case.plan.pool.config.timeouts.drain + SHUTDOWN_GRACE);
    let (draining, forced) = (lines("draining"), lines("second signal: stopped without draining"));
    let announced = matches!(*draining, [at] if (*first..=first + counting).contains(&at));
    holds(announced, || format!("ordered to stop at {first} ns, draining at {draining:?} ns"))?;
    let second = stops.get(1).copied().filter(|second| *second <= ended);
    holds(forced.len() <= usize::from(second.is_some()), || {
        format!("stopped without draining at {forced:?} ns, ordered at {stops:?} ns")
    })?;
    let due = second.map_or(u64::MAX, |second| second.max(draining[0]) + SLACK);
    let due = due.saturating_add(nanoseconds(FORCED_STOP_TIMEOUT));
    let due = due.min(draining[0] + drain + SLACK);
    holds(ended <= due, || {
        format!("ordered to stop at {stops:?} ns, it ended at {ended} ns, expected by {due} ns")
    })?;
    in_flight(case, draining[0])
}

/// The number of requests in the line about the order to stop is not larger than there can be.
fn in_flight(case: &Case<'_>, at: u64) -> Verdict {
    let mut lines = case.log.iter().filter(|line| line.message() == "draining");
    let named = lines.next().and_then(|line| line.number("requests")).unwrap_or(0);
    let counted = at.saturating_sub(nanoseconds(IN_FLIGHT_COUNT_TIMEOUT) + SLACK);
    // The line has whole microseconds.
    let begun = |line: &AccessLine| line.arrived() <= at + MICROSECOND;
    let requests = case.requests.values();
    let open = requests.filter(|it| it.lines.iter().any(|line| begun(line) && counted <= line.at));
    let most = open.count() as u64;
    holds(named <= most, || format!("at {at} ns: {named} requests in flight, at most {most} were"))
}
