//! Nothing is left once the proxy has ended, and it ends as soon as it can.

use baton::proxy::seams::Signal;

use super::case::Case;
use super::line::{AccessLine, nanoseconds};
use crate::checker::{Invariant, Verdict, fail, require};
use crate::plan::Act;
use crate::proxy::ledger::End;
use crate::proxy::network::AtProxy;
use crate::proxy::records::Records;

/// The message of the log when the proxy is ordered to stop.
const STOPS: &str = "draining";
/// Time in which a proxy without connections ends, in nanoseconds.
const END_MAX: u64 = 0;

/// Time in which a connection without a request ends, in nanoseconds.
const IDLE_END_MAX: u64 = 1_000_000_000;

/// Judges the end of the run.
pub(super) fn judge(case: &Case<'_>) -> Verdict {
    for request in case.requests.values().filter(|request| request.is_planned()) {
        let id = request.id;
        let dealt_with = request.begun.len() + request.not_sent;
        require(dealt_with == 1, Invariant::Liveness, || {
            format!("request {id}: its client took it up {dealt_with} times, expected once")
        })?;
        require(request.ends.len() == request.begun.len(), Invariant::Liveness, || {
            format!("request {id}: it has not ended for its client")
        })?;
    }
    let Records { recovered, ended_in_time, tasks_left, pools_left, network_left, .. } =
        case.records;
    require(*recovered != Some(false), Invariant::Recovery, || {
        "faults have stopped and a backend is well, but no three requests in a row succeeded"
            .to_owned()
    })?;
    require(*ended_in_time, Invariant::Liveness, || {
        "the proxy did not end in time after the order to stop".to_owned()
    })?;
    shutdown(case)?;
    let left = Invariant::Quiescence;
    require(tasks_left.is_empty(), left, || format!("tasks have not ended: {tasks_left:?}"))?;
    require(*pools_left == 0, left, || format!("{pools_left} pools have not ended"))?;
    match &**network_left {
        [] => Ok(()),
        all => fail(left, format!("left on the network: {}", all.join(", "))),
    }
}

/// A shutdown does not wait once the last connection is closed (`docs/drain.md`).
fn shutdown(case: &Case<'_>) -> Verdict {
    let Some(ended) = case.records.ended_at else { return Ok(()) };
    let Some(line) = case.log.iter().find(|line| line.message() == STOPS) else { return Ok(()) };
    let ordered = line.at;
    let AtProxy { last_accepted, last_closed, reset_unaccepted } = case.records.at_proxy;
    require(last_accepted <= ordered, Invariant::Liveness, || {
        format!("ordered to stop at {ordered} ns, it accepted a client at {last_accepted} ns")
    })?;
    let stops =
        case.records.signals.iter().filter(|(at, signal)| *signal == Signal::Stop && *at <= ended);
    if stops.count() > 1 {
        // A second order stops it at once; see `operation`.
        return Ok(());
    }
    require(reset_unaccepted == 0, Invariant::Liveness, || {
        format!("{reset_unaccepted} connections that its system had accepted were reset")
    })?;
    let wire = case.plan.network.wire.most_us.saturating_mul(1_000);
    for (client, at) in &case.records.idle_ended_at {
        let in_time = *at <= ordered.saturating_add(IDLE_END_MAX).saturating_add(wire);
        require(in_time, Invariant::Liveness, || {
            format!("ordered to stop at {ordered} ns, idle client {client:?} was closed at {at} ns")
        })?;
    }
    in_flight(case, ordered, ended)?;
    let idle_since = ordered.max(last_closed);
    require(ended <= idle_since.saturating_add(END_MAX), Invariant::Liveness, || {
        format!("the proxy had no connection since {idle_since} ns, and ended at {ended} ns")
    })
}

/// A shutdown waits for the requests in flight, until its deadline.
fn in_flight(case: &Case<'_>, ordered: u64, ended: u64) -> Verdict {
    let timeouts = &case.plan.pool.config.timeouts;
    let drain = timeouts.drain.as_nanos() as u64;
    if ended >= ordered.saturating_add(drain) {
        return Ok(());
    }
    let by_backend = case.was_injected(ended, |act| {
        matches!(act, Act::GoAway { .. } | Act::Break | Act::DisconnectAll | Act::Restart { .. })
    });
    if by_backend {
        return Ok(());
    }
    let cut = case.requests.values().find(|request| {
        let lost = request.end().is_some_and(|end| {
            end.status.is_some() && matches!(end.end, End::Broken | End::Reset(_))
        });
        // Another deadline may pass at the same time, but not sooner than after its time. The end
        // of a silent connection to a backend may be the last thing that the shutdown waits for.
        let silence = timeouts.silence.saturating_add(timeouts.suspect);
        let others =
            [timeouts.response_head, timeouts.response_stall, timeouts.body_stall, silence];
        let soonest = others.into_iter().min().unwrap_or_default().min(timeouts.drain);
        let by_proxy = |line: &AccessLine| {
            let early = u128::from(nanoseconds(line.total_ms)) < soonest.as_nanos();
            line.at == ended && line.ended_by == "proxy" && early
        };
        let until_the_end = request.lines.iter().any(by_proxy);
        lost && until_the_end && !case.client_breaks(request, ended)
    });
    require(cut.is_none(), Invariant::Liveness, || {
        let id = cut.map_or(0, |request| request.id);
        format!("request {id} was cut when the proxy ended at {ended} ns, before its deadline")
    })
}
