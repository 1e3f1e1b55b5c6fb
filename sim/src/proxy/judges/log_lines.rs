//! The access log: one line for each request, and each field is what happened.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use baton::proxy::limits::RESPONSE_FINISH_TIMEOUT;

use super::attempts;
use super::case::{Case, Request};
use super::client::is_whole;
use super::fields::{NONE, ROUNDING, answering, status_of, wrong};
use super::line::{AccessLine, nanoseconds};
use super::own_answer::{REASONS, Reason, error_of};
use super::standstill::may_be_held_back;
use crate::checker::{Invariant, Verdict, fail, require};
use crate::plan::{Act, ClientProtocol, Health};
use crate::proxy::ledger::{End, Received};
use crate::proxy::settings::CLUSTER;

const IDEMPOTENT: [&str; 6] = ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"];

/// Judges every line.
pub(super) fn judge(case: &Case<'_>) -> Verdict {
    for request in case.requests.values() {
        count(case, request)?;
        for line in &request.lines {
            one(case, request, line)?;
        }
    }
    headless(case)?;
    traces(case)
}

/// A request that the proxy certainly has read has one line, any other at most one.
fn count(case: &Case<'_>, request: &Request) -> Verdict {
    let (id, lines) = (request.id, request.lines.len());
    require(lines == 0 || request.is_begun(), Invariant::AccessLog, || {
        format!("request {id}: a line, but its client has not begun it")
    })?;
    require(lines <= 1, Invariant::AccessLog, || format!("request {id}: {lines} lines"))?;
    let answered = request.end().is_some_and(|end| end.status.is_some());
    let head_timeout = request.end().is_some_and(|end| end.status == Some(408))
        && case.headless.iter().any(|line| line.status == 408);
    let read = !request.executions.is_empty() || (answered && !head_timeout);
    require(!read || lines == 1, Invariant::AccessLog, || {
        format!("request {id}: {lines} lines, expected one: it was executed or answered")
    })?;
    require(lines == 1 || !is_left_unserved(case, request), Invariant::AccessLog, || {
        format!("request {id}: no line, although its client has sent all of it")
    })
}

/// True if the proxy has read the head of a request, and then its client's end: the client closes
/// its sending side right behind it. Nothing was before it on its connection.
fn is_left_unserved(case: &Case<'_>, request: &Request) -> bool {
    let Some((client, ClientProtocol::Http1)) = request.sent.client else { return false };
    let alone = !case.plan.wire.clients.get(usize::from(client)).is_some_and(|it| it.pipelines);
    request.sent.half_closes && request.sent.body.is_none() && alone && {
        let broken = request.end().filter(|end| end.end == End::Broken);
        broken.is_some_and(|end| {
            let operated = case.was_injected(end.at, |act| matches!(act, Act::Process { .. }));
            !operated && !case.client_breaks(request, end.at) && !case.may_shut_down(end.at)
        })
    }
}

/// A line without a head is of a request that was begun and has no line of its own. Its client or
/// the way from it is the reason that the head is incomplete; a client that closes its sending side
/// behind a whole request is none.
fn headless(case: &Case<'_>) -> Verdict {
    let known = [
        ("incomplete_head", 0, "cancelled", "client"),
        ("left_unserved", 0, "cancelled", "client"),
        ("head_timeout", 408, "rejected", "proxy"),
        ("head_timeout", 0, "rejected", "proxy"),
    ];
    for line in &case.headless {
        let seen = (&*line.reason, line.status, &*line.outcome, &*line.ended_by);
        require(known.contains(&seen), Invariant::AccessLog, || {
            format!("a line without a head: {seen:?}, but no client sends such a head")
        })?;
        let counts = (line.attempts, line.request_bytes, line.backend_request_bytes);
        require(counts == (0, 0, 0), Invariant::AccessLog, || {
            format!("a line without a head: attempts and bytes {counts:?}")
        })?;
    }
    let cut = |request: &&Request| {
        let without = !request.begun.is_empty() && request.lines.is_empty();
        // A request over HTTP/2 may be taken back before the proxy has looked at it, and a proxy
        // that stops closes connections on which a head is on its way.
        let broken = [End::Cancelled, End::Broken];
        let unserved = request.end().is_some_and(|end| broken.contains(&end.end));
        without && (unserved || case.client_breaks(request, u64::MAX))
    };
    let most = case.requests.values().filter(cut).count();
    let lines = case.headless.len();
    require(lines <= most, Invariant::AccessLog, || {
        format!("{lines} lines without a head, but at most {most} heads can be incomplete")
    })?;
    // Over HTTP/1.1 a whole head is served at once, and its line has its path.
    let http2 = |request: &&Request| request.sent.is_http2();
    let most = case.requests.values().filter(cut).filter(http2).count();
    let lines = case.headless.iter().filter(|line| &*line.reason == "left_unserved").count();
    require(lines <= most, Invariant::AccessLog, || {
        format!("{lines} requests left unserved over HTTP/2, but at most {most} were")
    })
}

/// Each request has a trace of its own.
fn traces(case: &Case<'_>) -> Verdict {
    let mut seen = BTreeSet::new();
    for line in case.requests.values().flat_map(|request| &request.lines) {
        let trace = &*line.trace_id;
        let valid = trace.len() == 32
            && trace.bytes().all(|byte| byte.is_ascii_hexdigit())
            && trace.bytes().any(|byte| byte != b'0');
        require(valid && seen.insert(trace), Invariant::AccessLog, || {
            format!("{}: trace {trace:?} is invalid or of another request", line.path)
        })?;
    }
    Ok(())
}

fn one(case: &Case<'_>, request: &Request, line: &AccessLine) -> Verdict {
    names(case, request, line)?;
    times(request, line)?;
    attempts::judge(case, request, line)?;
    let ended = request.end();
    if let Some(received) = ended {
        status(case, request, line, received)?;
    }
    outcome(case, request, line, ended)?;
    bytes(case, request, line)
}

fn names(case: &Case<'_>, request: &Request, line: &AccessLine) -> Verdict {
    let id = request.id;
    let idempotent = IDEMPOTENT.contains(&&*line.method);
    wrong(idempotent == request.sent.idempotent, id, "method", &line.method, "as it was sent")?;
    let protocol = match request.sent.client {
        Some((_, ClientProtocol::Http1)) if request.sent.http10 => "HTTP/1.0",
        Some((_, ClientProtocol::Http1)) => "HTTP/1.1",
        Some((_, ClientProtocol::Http2 | ClientProtocol::Frames)) => "HTTP/2",
        None => &line.protocol,
    };
    wrong(line.protocol == protocol, id, "protocol", &line.protocol, protocol)?;
    let scheme = if case.plan.wire.tls { "https" } else { "http" };
    wrong(line.scheme == scheme, id, "scheme", &line.scheme, scheme)?;
    let dialled = case.dialled(request, line.at);
    let there = line.listener.parse().is_ok_and(|it: SocketAddr| dialled.contains(&it));
    wrong(there, id, "listener", &line.listener, dialled)?;
    wrong(line.cluster == CLUSTER, id, "cluster", &line.cluster, CLUSTER)?;
    let workers = u64::from(case.plan.wire.workers.max(1));
    wrong(line.worker < workers, id, "worker", line.worker, format!("below {workers}"))
}

/// Steps are in order, after the client began and after what backends saw.
fn times(request: &Request, line: &AccessLine) -> Verdict {
    let id = request.id;
    let (arrived, begun) = (line.arrived(), request.since());
    wrong(arrived + ROUNDING >= begun, id, "arrival", arrived, format!("after {begun}"))?;
    let (opened, uploaded) = (line.time(line.wait_ms), line.time(line.upload_ms));
    let first_byte = line.time(line.first_byte_ms);
    let steps = [Some(arrived), opened, first_byte, Some(line.at + ROUNDING)];
    let steps: Vec<u64> = steps.into_iter().flatten().collect();
    wrong(steps.is_sorted(), id, "times", &steps, "in order")?;
    let uploads = [opened, uploaded, Some(line.at + ROUNDING)];
    let uploads: Vec<u64> = uploads.into_iter().flatten().collect();
    wrong(uploads.is_sorted(), id, "upload_ms", &uploads, "in order")?;
    let attempted = line.attempt_list.iter().any(|attempt| attempt.stream != 0);
    wrong(opened.is_some() == attempted, id, "wait_ms", line.wait_ms, "given with attempts")?;
    wrong(attempted || uploaded.is_none(), id, "upload_ms", line.upload_ms, "none: no attempt")
}

/// The status is what the client saw. If it saw none, then it is what was on its way.
fn status(case: &Case<'_>, request: &Request, line: &AccessLine, received: &Received) -> Verdict {
    let id = request.id;
    match received.status {
        Some(seen) => {
            wrong(line.status == seen, id, "status", line.status, seen)?;
            let by_backend = received.execution.is_some();
            let answered = line.first_byte_ms.is_some();
            wrong(by_backend == answered, id, "first_byte_ms", line.first_byte_ms, by_backend)
        }
        None => {
            let of_backend =
                case.executions_of(request).any(|it| status_of(it) == Some(line.status));
            let own = REASONS.iter().any(|reason| reason.status == line.status);
            let fits = line.status == 0 || of_backend || own || line.status == 400;
            wrong(fits, id, "status", line.status, "0 or that of an answer")
        }
    }
}

fn outcome(
    case: &Case<'_>,
    request: &Request,
    line: &AccessLine,
    ended: Option<&Received>,
) -> Verdict {
    let id = request.id;
    let complete = ended.filter(|end| end.end == End::Complete);
    let by_backend = complete.is_some_and(|end| end.execution.is_some());
    let execution = answering(case, request, line);
    // Every byte may have been there before the backend's end of the stream, which was lost then.
    let whole = execution
        .and_then(|execution| execution.answer)
        .is_some_and(|answer| is_whole(case, request, answer));
    if by_backend && !whole {
        wrong(line.outcome == "completed", id, "outcome", &line.outcome, "completed")?;
    }
    let expected: &[&str] = match &*line.outcome {
        "completed" => {
            let answered = execution.is_some() && line.first_byte_ms.is_some();
            wrong(answered, id, "outcome", &line.outcome, "an answer of a backend")?;
            let lost = ended.filter(|end| end.end == End::Broken);
            let excused = lost.is_none_or(|end| case.may_lose(request, end.at));
            wrong(
                excused,
                id,
                "outcome",
                &line.outcome,
                "what the client saw: it has lost a part",
            )?;
            &["backend"]
        }
        "rejected" => return rejected(case, request, line, ended),
        "cancelled" => return cancelled(case, request, line, ended, whole),
        "cut_short" => {
            let begun = execution.is_some() && line.first_byte_ms.is_some();
            wrong(begun, id, "outcome", &line.outcome, "an answer of a backend that began")?;
            wrong(complete.is_none() || whole, id, "outcome", &line.outcome, "completed")?;
            let due = line.ended_by != "proxy" || case.may_cut(request, line);
            wrong(due, id, "outcome", &line.outcome, "completed: the proxy had no reason")?;
            if attempts::is_last_by_proxy(line) { &["proxy"] } else { &["backend"] }
        }
        other => return fail(Invariant::AccessLog, format!("request {id}: outcome {other}")),
    };
    wrong(expected.contains(&&*line.ended_by), id, "ended_by", &line.ended_by, expected)?;
    wrong(line.reason == NONE, id, "reason", &line.reason, NONE)
}

/// The proxy answered itself: for a reason that fits the status, the time and the attempts.
fn rejected(
    case: &Case<'_>,
    request: &Request,
    line: &AccessLine,
    ended: Option<&Received>,
) -> Verdict {
    let id = request.id;
    let Some(reason) = REASONS.iter().find(|reason| reason.name == line.reason) else {
        let what = format!("request {id}: rejected for {:?}, which is no reason", line.reason);
        return fail(Invariant::AccessLog, what);
    };
    wrong(line.status == reason.status, id, "status", line.status, reason.status)?;
    let of_backend = reason.name == "attempt_failed" && !attempts::is_last_by_proxy(line);
    let ended_by = if of_backend { "backend" } else { "proxy" };
    wrong(line.ended_by == ended_by, id, "ended_by", &line.ended_by, ended_by)?;
    wrong(line.first_byte_ms.is_none(), id, "first_byte_ms", line.first_byte_ms, "none")?;
    if let Some(named) = ended.and_then(|end| end.proxy_status.as_deref()) {
        let error = error_of(named).unwrap_or(named);
        wrong(reason.errors.contains(&error), id, "reason", reason.name, named)?;
        let evidence = format!("evidence={}\"", line.evidence);
        wrong(named.ends_with(&evidence), id, "evidence", &line.evidence, named)?;
    }
    since_long_enough(case, line, reason)
        .map_or(Ok(()), |since| wrong(since, id, "total_ms", line.total_ms, reason.name))?;
    let failed = line.attempt_list.last().is_none_or(|last| last.evidence != NONE);
    let attempted = line.attempts > 0 && failed && line.evidence != NONE;
    let due = reason.name != "attempt_failed" || attempted;
    wrong(due, id, "attempts", line.attempts, "a failed one")?;
    let full = ended.filter(|end| end.end == End::Complete).map(|end| end.body.length);
    let expected = full.unwrap_or(line.response_bytes);
    wrong(line.response_bytes == expected, id, "response_bytes", line.response_bytes, expected)?;
    let none = line.backend_response_bytes == 0;
    wrong(none, id, "backend_response_bytes", line.backend_response_bytes, 0)
}

/// True if the time for a deadline has passed; `None` for a reason without one.
fn since_long_enough(case: &Case<'_>, line: &AccessLine, reason: &Reason) -> Option<bool> {
    let timeouts = &case.plan.pool.config.timeouts;
    let timeout = match reason.name {
        "queue_deadline" => timeouts.queue,
        "response_deadline" => timeouts.response_head,
        "body_stalled" | "upload_blocked" => timeouts.body_stall,
        _ => return None,
    };
    Some(u128::from(nanoseconds(line.total_ms) + ROUNDING) >= timeout.as_nanos())
}

/// The client was gone, or its body was broken off. A shutdown may have been the reason for that.
fn cancelled(
    case: &Case<'_>,
    request: &Request,
    line: &AccessLine,
    ended: Option<&Received>,
    whole: bool,
) -> Verdict {
    let id = request.id;
    let by_shutdown = (&*line.ended_by, &*line.reason) == ("proxy", "shutting_down");
    if by_shutdown {
        wrong(case.may_shut_down(line.at), id, "reason", &line.reason, "no shutdown yet")?;
    } else {
        wrong(line.ended_by == "client", id, "ended_by", &line.ended_by, "client")?;
        let known = [NONE, "malformed_body"];
        wrong(known.contains(&&*line.reason), id, "reason", &line.reason, known)?;
    }
    let Some(received) = ended else { return Ok(()) };
    let gone = match received.end {
        End::Cancelled => true,
        // Its connection ended, for which there is a reason at the client or on the way to it.
        End::Broken | End::Unprocessed => case.client_may_break(request, received.at.max(line.at)),
        End::Reset(_) => false,
        // The proxy waits a while for the backend to end a stream of which it has every byte,
        // unless the client breaks off its upload.
        End::Complete => {
            let uploads = request.sent.body.is_some() && !is_sent(case, request);
            let unended = waited(line) && !is_ended(case, request, line);
            (whole && (unended || uploads)) || received.status == Some(400)
        }
    };
    wrong(gone || by_shutdown, id, "outcome", &line.outcome, received.end)
}

/// True if the whole request is at a backend.
pub(super) fn is_sent(case: &Case<'_>, request: &Request) -> bool {
    case.executions_of(request).any(|execution| execution.body_ended)
}

/// True if the backend ended its answer in time, and the end must have arrived.
fn is_ended(case: &Case<'_>, request: &Request, line: &AccessLine) -> bool {
    answering(case, request, line).is_some_and(|execution| {
        let ended = execution.answer.and_then(|answer| answer.ended);
        let in_time = ended.is_some_and(|at| {
            u128::from(line.at.saturating_sub(at)) >= RESPONSE_FINISH_TIMEOUT.as_nanos()
        });
        let is_lost = |act: &Act| matches!(act, Act::Unreachable { .. } | Act::BlackHole { .. });
        let healed = case.plan.heal.backends.get(usize::from(execution.backend));
        let is_well = healed == Some(&Health::Well) || line.at < case.plan.heal.at_us * 1000;
        let may_be_lost = case.was_injected(line.at, is_lost) || !is_well;
        in_time && !may_be_lost && !may_be_held_back(case, execution.backend, line.at)
    })
}

/// True if a backend had time to end the stream of an answer whose content is complete.
fn waited(line: &AccessLine) -> bool {
    let total = u128::from(nanoseconds(line.total_ms) + ROUNDING);
    total >= RESPONSE_FINISH_TIMEOUT.as_nanos()
}

fn bytes(case: &Case<'_>, request: &Request, line: &AccessLine) -> Verdict {
    let (id, whole) = (request.id, request.sent.length());
    let executions = || case.executions_of(request);
    let arrived = executions().map(|it| it.body.length).max().unwrap_or(0);
    let all = executions().any(|it| it.body_ended);
    let least = if all { whole } else { arrived };
    let fits = (least..=whole).contains(&line.request_bytes);
    wrong(fits, id, "request_bytes", line.request_bytes, least..=whole)?;
    let uploaded = !all || line.upload_ms.is_some();
    wrong(uploaded, id, "upload_ms", line.upload_ms, "given: a backend has all of it")?;
    let sent = request.sent.is_whole_with_its_head() || case.records.hub.ledger.has_uploaded(id);
    let cut = request.sent.is_http2() && !sent;
    let fits = !cut || line.upload_ms.is_none();
    wrong(fits, id, "upload_ms", line.upload_ms, "none: its client has not sent all of it")?;
    let least: u64 = executions().map(|it| it.body.length).sum();
    let most = whole * line.attempts as u64;
    let fits = (least..=most).contains(&line.backend_request_bytes);
    wrong(fits, id, "backend_request_bytes", line.backend_request_bytes, least..=most)?;
    if line.first_byte_ms.is_none() {
        return Ok(());
    }
    let passed = line.response_bytes;
    let same = passed == line.backend_response_bytes;
    wrong(same, id, "response_bytes", passed, line.backend_response_bytes)?;
    let written = answering(case, request, line).and_then(|execution| execution.answer);
    let written = written.map_or(0, |answer| answer.length);
    let seen = request.end().map_or(0, |end| end.body.length);
    let complete =
        line.outcome == "completed" || request.end().is_some_and(|end| end.end == End::Complete);
    let least = if complete { written } else { seen };
    wrong((least..=written).contains(&passed), id, "response_bytes", passed, least..=written)
}
