//! Nothing is left once the proxy has ended.

use super::case::Case;
use crate::checker::{Invariant, Verdict, fail, require};
use crate::proxy::records::Records;

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
    let left = Invariant::Quiescence;
    require(tasks_left.is_empty(), left, || format!("tasks have not ended: {tasks_left:?}"))?;
    require(*pools_left == 0, left, || format!("{pools_left} pools have not ended"))?;
    match &**network_left {
        [] => Ok(()),
        all => fail(left, format!("left on the network: {}", all.join(", "))),
    }
}
