//! Responses that were cut because they stood still (`timeouts.response_stall`).

use super::case::{Case, Request};
use crate::checker::{Invariant, Verdict, require};
use crate::plan::{Act, When, WireEffect};
use crate::proxy::ledger::{End, Execution};
use crate::proxy::reported::{Reported, Stalled};

/// Judges every such response.
pub(super) fn judge(case: &Case<'_>) -> Verdict {
    for stalled in &case.records.reported.stalled {
        let Some(request) = case.requests.get(&stalled.request) else { continue };
        let received = request.end();
        let named = received.and_then(|received| received.execution);
        let execution = named.and_then(|number| case.executions.get(number as usize));
        if let Some(execution) = execution {
            one(case, request, stalled, execution)?;
        }
    }
    Ok(())
}

fn one(case: &Case<'_>, request: &Request, stalled: &Stalled, execution: &Execution) -> Verdict {
    let Some(answer) = execution.answer else { return Ok(()) };
    // What a lost connection has left ends at its drain deadline.
    let place = (execution.backend, execution.connection);
    let reports = case.records.reported.connections.get(&place);
    let closed =
        |(when, report): &(u64, Reported)| *report == Reported::Closed && *when < stalled.at;
    if reports.is_some_and(|reports| reports.iter().any(closed)) {
        return Ok(());
    }
    let received = request.end().map_or(0, |received| received.body.length);
    if received != answer.length || received == 0 || answer.at > stalled.at {
        return Ok(());
    }
    let is_complete = request.end().is_some_and(|received| received.end == End::Complete);
    if is_complete || case.plan.wire.rare_percent > 0 {
        // What the proxy had of it can pass after the order to cut it, above all if that is late.
        return Ok(());
    }
    // The client has all that was written, so all of it passed, and the last of it after it was
    // written.
    let (id, still) = (request.id, stalled.at - answer.at);
    let Stalled { at, after, .. } = *stalled;
    require(u128::from(still) >= after.as_nanos(), Invariant::Timers, || {
        format!("request {id}: cut for standing still, {still} ns after it went on")
    })?;
    let held_back = !case.plan.is_patient() || may_be_held_back(case, execution.backend, at);
    require(!answer.waits || held_back, Invariant::FaithfulResponse, || {
        format!("request {id}: cut after {received} bytes, for which the proxy gave no room again")
    })
}

/// True if bytes between the proxy and a backend may not have arrived, in either direction.
pub(super) fn may_be_held_back(case: &Case<'_>, backend: u16, until: u64) -> bool {
    case.injected.iter().any(|(at, when, act)| {
        let elsewhere = match when {
            When::Client { .. } | When::AtClient { .. } => true,
            When::Connected { backend: hit, .. } | When::Stream { backend: hit, .. } => {
                *hit != backend
            }
            _ => false,
        };
        let holds = match act {
            Act::Wire { effect, .. } => !matches!(
                effect,
                WireEffect::Pieces(_) | WireEffect::PiecesAtFrames | WireEffect::NoCloseNotify
            ),
            Act::StopReading { .. } => true,
            _ => false,
        };
        holds && !elsewhere && *at <= until
    })
}
