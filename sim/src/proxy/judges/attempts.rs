//! The attempts in a line of the access log against the executions at backends.

use super::case::{Case, Request};
use super::fields::{NONE, ROUNDING, answering, wrong};
use super::line::{AccessLine, Attempt};
use crate::checker::Verdict;
use crate::plan::Act;
use crate::proxy::ledger::Execution;

/// Evidence that an attempt failed, and the most that it says of the backend.
const NEVER_SENT: &str = "never_sent";
const UNPROCESSED: &str = "unprocessed";
const REFUSED: &str = "refused";
const UNKNOWN: &str = "unknown";
const RESPONDING: &str = "responding";

/// Codes with which a backend resets a stream only by a directive: see `Act::Reset`.
const BY_DIRECTIVE: [(&str, u32); 3] =
    [("PROTOCOL_ERROR", 1), ("INTERNAL_ERROR", 2), ("ENHANCE_YOUR_CALM", 11)];
/// Codes that would accuse the proxy (RFC 9113, 7).
const ACCUSING: [&str; 6] = [
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
];

/// Failures by a decision of the proxy: it closed the connection, or a limit was reached.
const BY_PROXY: [&str; 8] = [
    "drain_deadline",
    "silent",
    "shutdown",
    "response_deadline",
    "response_stalled",
    "body_stalled",
    "upload_blocked",
    "not_replayable",
];

/// True if the proxy itself ended the last attempt.
pub(super) fn is_last_by_proxy(line: &AccessLine) -> bool {
    line.attempt_list.last().is_some_and(|attempt| BY_PROXY.contains(&&*attempt.failure))
}

/// Judges the attempts of a line.
pub(super) fn judge(case: &Case<'_>, request: &Request, line: &AccessLine) -> Verdict {
    let (id, list) = (request.id, &line.attempt_list);
    let most = usize::from(case.plan.pool.config.retry.attempts);
    let counts = list.len()..=most;
    wrong(counts.contains(&line.attempts), id, "attempts", line.attempts, &counts)?;
    let last = list.last().map_or((NONE, NONE, 0), |it| (&*it.backend, &*it.connection, it.stream));
    let seen = (&*line.backend, &*line.connection, line.stream);
    wrong(seen == last, id, "backend, connection and stream", seen, last)?;
    for (place, attempt) in list.iter().enumerate() {
        let known = case.backend(&attempt.backend).is_some();
        wrong(known, id, "backend", &attempt.backend, "one of the plan")?;
        failure(case, request, line, attempt)?;
        if place + 1 < list.len() {
            repeated(request, attempt)?;
        }
    }
    let failed = list.iter().rev().find(|attempt| attempt.evidence != NONE);
    let failed = failed.map_or(NONE, |attempt| &*attempt.evidence);
    wrong(line.evidence == failed, id, "evidence", &line.evidence, failed)?;
    for backend in 0..case.plan.backends.len() as u16 {
        at_backend(case, request, line, backend)?;
    }
    response(case, request, line)
}

/// A failed attempt, as it says itself.
fn failure(case: &Case<'_>, request: &Request, line: &AccessLine, attempt: &Attempt) -> Verdict {
    let id = request.id;
    let Attempt { evidence, failure, .. } = attempt;
    let code_refused = failure == "REFUSED_STREAM";
    let fits = match &**evidence {
        NONE => failure == NONE,
        NEVER_SENT => {
            ["not_sent", "head_too_large", "drain_deadline", "silent"].contains(&&**failure)
        }
        UNPROCESSED => failure == "unprocessed",
        REFUSED => code_refused,
        UNKNOWN => !code_refused && !["not_sent", "unprocessed", NONE].contains(&&**failure),
        RESPONDING => failure != NONE,
        _ => false,
    };
    wrong(fits, id, "evidence and failure", (evidence, failure), "both of one failure")?;
    // RFC 9113, 6.8: a later GOAWAY must not have a higher last id, but with directives it may.
    let go_away = case.was_injected(line.at, |act| matches!(act, Act::GoAway { .. }));
    let accused = ACCUSING.contains(&&**failure) || (failure == "malformed" && !go_away);
    wrong(!accused, id, "failure", failure, "none that accuses a side")?;
    let Some((_, number)) = BY_DIRECTIVE.iter().find(|(name, _)| name == failure) else {
        return Ok(());
    };
    let ordered = case.was_injected(line.at, |act| match act {
        Act::Reset { code } | Act::GoAway { code, .. } => code.number() == *number,
        _ => false,
    });
    wrong(ordered, id, "failure", failure, "a reset with a code that a backend has sent")
}

/// An attempt that was followed by another.
fn repeated(request: &Request, attempt: &Attempt) -> Verdict {
    let allowed: &[&str] = if request.sent.idempotent {
        &[NEVER_SENT, UNPROCESSED, REFUSED, UNKNOWN]
    } else {
        &[NEVER_SENT, UNPROCESSED, REFUSED]
    };
    let fits = allowed.contains(&&*attempt.evidence);
    wrong(fits, request.id, "evidence of a repeated attempt", &attempt.evidence, allowed)
}

/// The attempts at a backend against the executions there.
fn at_backend(case: &Case<'_>, request: &Request, line: &AccessLine, backend: u16) -> Verdict {
    let at = |attempt: &&Attempt| case.backend(&attempt.backend) == Some(backend);
    let evidence = || line.attempt_list.iter().filter(at).map(|attempt| &*attempt.evidence);
    let here = || case.executions_of(request).filter(|it| it.backend == backend);
    let sent = evidence().filter(|it| *it != NEVER_SENT).count();
    let id = request.id;
    let executed = here().count();
    let what = format!("{executed} executions at backend {backend}");
    wrong(executed <= sent, id, "attempts that were sent", sent, &what)?;
    let processed = evidence().filter(|it| [NONE, UNKNOWN, RESPONDING].contains(it)).count();
    let owned = here().filter(|it| !it.disowned).count();
    let what = format!("{owned} executions at backend {backend} that it has not disowned");
    wrong(owned <= processed, id, "attempts that may be processed", processed, what)?;
    let responding = evidence().filter(|it| *it == RESPONDING).count();
    let answered = here().filter(|it| it.answer.is_some()).count();
    let what = format!("{answered} answers of backend {backend}");
    wrong(responding <= answered, id, "attempts that were answered", responding, what)
}

/// The answer that the client gets is of the last attempt.
fn response(case: &Case<'_>, request: &Request, line: &AccessLine) -> Verdict {
    let id = request.id;
    let arrived = line.arrived();
    let first = case.executions_of(request).map(|it| it.at).min();
    let opened = line.time(line.wait_ms).unwrap_or(arrived);
    let after = first.is_none_or(|first| first + ROUNDING >= opened);
    wrong(after, id, "wait_ms", line.wait_ms, "before the first execution")?;
    let Some(answered) = line.time(line.first_byte_ms) else { return Ok(()) };
    let Some(Execution { backend, at, .. }) = answering(case, request, line) else {
        return wrong(false, id, "first_byte_ms", line.first_byte_ms, "none: no answer");
    };
    let same = case.backend(&line.backend) == Some(*backend);
    wrong(same, id, "backend", &line.backend, format!("that of the answer, {backend}"))?;
    wrong(answered + ROUNDING >= *at, id, "first_byte_ms", line.first_byte_ms, "after execution")
}
