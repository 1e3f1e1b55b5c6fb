//! The fields of access-log lines, as all judges of lines compare them.

use super::case::{Case, Request};
use super::line::AccessLine;
use crate::checker::{Invariant, Verdict, require};
use crate::proxy::ledger::Execution;

/// The least part of the times in the log, in nanoseconds.
pub(super) const ROUNDING: u64 = 1_000;
/// No name: no backend, no reason, no evidence.
pub(super) const NONE: &str = "-";

/// Fails with the request, the field, and both values.
pub(super) fn wrong<T: std::fmt::Debug, U: std::fmt::Debug>(
    holds: bool,
    id: u32,
    field: &str,
    observed: T,
    expected: U,
) -> Verdict {
    require(holds, Invariant::AccessLog, || {
        format!("the line of request {id}: {field} {observed:?}, expected {expected:?}")
    })
}

/// The execution whose answer the request got: the one that the client names, or the last one that
/// answered with the status of the line.
pub(super) fn answering<'a>(
    case: &'a Case<'_>,
    request: &'a Request,
    line: &AccessLine,
) -> Option<&'a Execution> {
    let named = request.end().and_then(|end| end.execution);
    let named = named.and_then(|number| case.executions.get(number as usize));
    named.or_else(|| {
        let answered = case.executions_of(request).filter(|it| status_of(it) == Some(line.status));
        answered.filter(|it| case.backend(&line.backend) == Some(it.backend)).last()
    })
}

/// The status of the answer of an execution.
pub(super) fn status_of(execution: &Execution) -> Option<u16> {
    execution.answer.map(|answer| answer.status)
}
