//! A backend that an operator has drained or removed gets no new requests (`docs/drain.md`).

use super::case::Case;
use crate::checker::{Invariant, Verdict, require};
use crate::proxy::records::{Why, Withdrawn};

/// The message of the log when a new configuration is in force.
const RELOADED: &str = "reloaded";

/// Judges the requests that were begun after the proxy had agreed.
pub(super) fn judge(case: &Case<'_>) -> Verdict {
    for withdrawn in &case.records.withdrawn {
        let Some(since) = in_force(case, withdrawn) else { continue };
        let Withdrawn { backend, why, until, .. } = *withdrawn;
        let late = case.executions.iter().find(|execution| {
            let request = &case.requests[&execution.request];
            let begun_after = request.begun.first().is_some_and(|begun| *begun > since);
            execution.backend == backend && begun_after && execution.at < until
        });
        require(late.is_none(), Invariant::Health, || {
            let (request, at) = late.map_or((0, 0), |late| (late.request, late.at));
            format!(
                "request {request}: executed at {at} ns by backend {backend}, \
                 {why:?} since {since} ns"
            )
        })?;
    }
    Ok(())
}

/// When the proxy had agreed to what was ordered, if it had.
fn in_force(case: &Case<'_>, withdrawn: &Withdrawn) -> Option<u64> {
    match withdrawn.why {
        Why::Drained => Some(withdrawn.since),
        Why::Removed => {
            let mut reloads = case.log.iter().filter(|line| line.message() == RELOADED);
            reloads.find(|line| line.at >= withdrawn.since).map(|line| line.at)
        }
    }
}
