//! The messages of clients and backends, as the others received them.

use super::case::{Case, Request};
use super::reasons::EXPECTATION;
use super::{date, own_answer};
use crate::checker::{Invariant, Verdict, fail, require};
use crate::plan::{Code, Framing};
use crate::proxy::content::{Body, Seen};
use crate::proxy::ledger::{Answer, End, Execution, Received, trailer};

/// Time for the tasks of the proxy, in nanoseconds.
const EXPECTATION_SLACK: u64 = 1_000_000;

/// Judges every message.
pub(super) fn judge(case: &Case<'_>) -> Verdict {
    if let Some(what) = case.records.hub.ledger.faults().first() {
        return fail(Invariant::Protocol, what.clone());
    }
    for request in case.requests.values() {
        let known = case.can_exist(request.id);
        require(known, Invariant::FaithfulRequest, || {
            format!("request {}: there is none in the plan", request.id)
        })?;
        counts(request)?;
        executions(case, request)?;
        for execution in case.executions_of(request) {
            arrival(case, request, execution)?;
        }
        expectation(case, request)?;
        if let Some(received) = request.end() {
            answer(case, request, received)?;
        }
    }
    Ok(())
}

/// A request is sent once and ends once.
fn counts(request: &Request) -> Verdict {
    let (begun, ends) = (request.begun.len(), request.ends.len());
    require(begun <= 1 && ends <= begun, Invariant::Conservation, || {
        format!("request {}: begun {begun} times, ended {ends} times", request.id)
    })?;
    let before = request.end().is_some_and(|end| end.at < request.since());
    require(!before, Invariant::Conservation, || {
        format!("request {}: ended before it was begun", request.id)
    })?;
    let sent = request.is_begun() || request.executions.is_empty();
    require(sent, Invariant::FaithfulRequest, || {
        format!("request {}: executed, but its client has not begun it", request.id)
    })
}

/// RFC 9110, 9.2.2: what is not idempotent is repeated only if the backend says that it has not
/// processed it. Attempts are bounded in any case.
fn executions(case: &Case<'_>, request: &Request) -> Verdict {
    let count = request.executions.len();
    let most = usize::from(case.plan.pool.config.retry.attempts);
    require(count <= most, Invariant::Retry, || {
        format!("request {}: executed {count} times, expected at most {most}", request.id)
    })?;
    if request.sent.idempotent {
        return Ok(());
    }
    let repeated = request.executions.iter().rev().skip(1);
    for number in repeated {
        require(case.execution(*number).disowned, Invariant::AtMostOnce, || {
            format!(
                "request {}: it is not idempotent, and was repeated after execution {number}, which the backend has not disowned",
                request.id
            )
        })?;
    }
    Ok(())
}

/// A backend receives what the client has sent.
fn arrival(case: &Case<'_>, request: &Request, execution: &Execution) -> Verdict {
    let (id, sent, backend) = (request.id, &request.sent, execution.backend);
    let faithful = Invariant::FaithfulRequest;
    require(execution.at >= request.since(), faithful, || {
        format!("request {id}: executed before it was begun")
    })?;
    let Seen { length, wrong_at } = execution.body;
    require(wrong_at.is_none(), faithful, || {
        format!("request {id}: byte {wrong_at:?} at backend {backend} is not the client's")
    })?;
    let whole = sent.length();
    require(length <= whole, faithful, || {
        format!("request {id}: {length} bytes at backend {backend}, expected {whole}")
    })?;
    require(!execution.body_ended || length == whole, faithful, || {
        format!("request {id}: its end is at backend {backend} after {length} of {whole} bytes")
    })?;
    let expected = sent.trailers.then(|| trailer(Body::Request(id)));
    if let Some(seen) = &execution.trailer {
        let own = expected.as_ref() == Some(seen);
        return require(own, faithful, || {
            format!("request {id}: trailer {seen:?} at backend {backend}, expected {expected:?}")
        });
    }
    // HTTP/1.1 has no trailers behind a body of a stated length, which an HTTP/2 client may send.
    let passes = sent.is_http1() || case.is_http1(backend) == Some(false);
    let lost = execution.body_ended && expected.is_some() && passes;
    require(!lost, faithful, || format!("request {id}: its trailers are not at backend {backend}"))
}

/// RFC 9110, 10.1.1: a client that waits for `100 Continue` gets it, or an answer, once its request
/// is at a backend: the proxy forwards no expectation, and wants the body.
fn expectation(case: &Case<'_>, request: &Request) -> Verdict {
    let planned = case.plan.requests.iter().find(|planned| planned.id == request.id);
    let expects = planned.is_some_and(|it| {
        it.wire.expects && it.body_us.is_some() && (it.wire.body_bytes > 0 || it.wire.chunked)
    });
    let first = case.executions_of(request).next().filter(|_| expects && request.sent.is_http1());
    let Some((first, end)) = first.zip(request.end()) else { return Ok(()) };
    let way = case.plan.network.wire.most_us.saturating_mul(1_000);
    let due = first.at + 2 * way + EXPECTATION_SLACK;
    // Later the client does not wait any more, and the proxy need not say anything.
    let waits = due < request.since() + EXPECTATION.as_nanos() as u64 && due < end.at;
    let excused = !waits || case.is_disturbed_at_client(request, due);
    let continued = case.records.hub.ledger.continued_at(request.id);
    require(excused || continued.is_some_and(|at| at <= due), Invariant::Protocol, || {
        format!(
            "request {}: at a backend at {} ns, and its client waits for 100 Continue: {continued:?}",
            request.id, first.at
        )
    })
}

/// The response that the client received.
fn answer(case: &Case<'_>, request: &Request, received: &Received) -> Verdict {
    let id = request.id;
    let faithful = Invariant::FaithfulResponse;
    let Received { status, execution, body, end, .. } = received;
    reset(case, request, received)?;
    let most = request.sent.informational;
    require(received.informational <= most, faithful, || {
        format!("request {id}: {} informational heads, expected {most}", received.informational)
    })?;
    let Some(status) = status else {
        let nothing = *body == Seen::NOTHING && received.trailer.is_none() && execution.is_none();
        return require(nothing && *end != End::Complete, faithful, || {
            format!("request {id}: {end:?} with a body, but without a head")
        });
    };
    let gone = request.sent.is_http2() && *end == End::Unprocessed;
    require(!gone, faithful, || {
        format!("request {id}: status {status} on a stream that a GOAWAY disowns")
    })?;
    match execution {
        None => own_answer::judge(case, request, received, *status),
        Some(number) => answer_of(case, request, received, (*number, *status)),
    }?;
    date::judge(request, received)
}

/// How the proxy may reset a stream of a client.
fn reset(case: &Case<'_>, request: &Request, received: &Received) -> Verdict {
    let id = request.id;
    let unprocessed = match received.end {
        // RFC 9113, 8.7: nothing was processed.
        End::Reset(code) if code == Code::Refused.number() => received.status.is_none(),
        End::Reset(code) => {
            let visible = [Code::Internal.number(), Code::Cancel.number()].contains(&code);
            return require(visible, Invariant::FaithfulResponse, || {
                format!("request {id}: reset with code {code:#x}, expected that of a cut response")
            });
        }
        // RFC 9113, 6.8.
        // The network may have ended the connection in the name of the proxy.
        End::Unprocessed => request.sent.is_http2() && !case.client_breaks(request, u64::MAX),
        End::Complete | End::Broken | End::Cancelled => return Ok(()),
    };
    let executed = request.executions.len();
    require(!unprocessed || executed == 0, Invariant::AtMostOnce, || {
        format!("request {id}: {:?}, but it was executed {executed} times", received.end)
    })
}

/// An answer that names an execution is what that execution wrote, and all of it if it looks
/// complete.
fn answer_of(
    case: &Case<'_>,
    request: &Request,
    received: &Received,
    (number, status): (u32, u16),
) -> Verdict {
    let id = request.id;
    let faithful = Invariant::FaithfulResponse;
    let Some(execution) = case.executions.get(number as usize) else {
        return fail(faithful, format!("request {id}: execution {number} does not exist"));
    };
    let other = execution.request;
    require(other == id, faithful, || {
        format!("request {id}: execution {number} is of request {other}")
    })?;
    let Some(answer) = execution.answer else {
        return fail(faithful, format!("request {id}: execution {number} has not answered"));
    };
    require(status == answer.status, faithful, || {
        format!("request {id}: status {status}, expected {}", answer.status)
    })?;
    let own = received.proxy_status.as_ref();
    require(own.is_none(), Invariant::OwnResponse, || {
        format!("request {id}: Proxy-Status {own:?} on the answer of a backend")
    })?;
    let Seen { length, wrong_at } = received.body;
    require(wrong_at.is_none(), faithful, || {
        format!("request {id}: byte {wrong_at:?} of the answer is not that of execution {number}")
    })?;
    let written = answer.length;
    require(length <= written, faithful, || {
        format!("request {id}: {length} bytes of an answer of which {written} were written")
    })?;
    let expected = answer.trailers.then(|| trailer(Body::Response(number)));
    let seen = received.trailer.as_ref();
    require(seen.is_none() || seen == expected.as_ref(), faithful, || {
        format!("request {id}: trailer {seen:?}, expected {expected:?}")
    })?;
    if received.end != End::Complete {
        return Ok(());
    }
    // The network can end a connection in the name of the proxy, and nothing else may end an answer
    // to HTTP/1.0.
    let client = request.sent.client.map(|(client, _)| client);
    let is_disturbed = client.is_some_and(|it| case.client_is_disturbed(it, received.at));
    if request.sent.http10 && is_disturbed {
        return Ok(());
    }
    require(looks_complete(case, request, execution, answer), faithful, || {
        format!("request {id}: complete after {length} bytes of an answer that was cut short")
    })?;
    require(length == written, faithful, || {
        format!("request {id}: complete after {length} of {written} bytes")
    })?;
    // HTTP/1.1 has trailers only if the head announces them, as HTTP/1.1 backends do.
    let passes = request.sent.is_http2()
        || (request.sent.is_http1() && case.is_http1(execution.backend) == Some(true));
    let passes = passes && !request.sent.http10;
    require(seen.is_some() || expected.is_none() || !passes, faithful, || {
        format!("request {id}: complete without its trailers")
    })
}

/// True if the answer may look complete to its client.
fn looks_complete(
    case: &Case<'_>,
    request: &Request,
    execution: &Execution,
    answer: Answer,
) -> bool {
    if answer.ended.is_some() || is_whole(case, request, answer) {
        return true;
    }
    // RFC 9112, 6.3: without TLS, the end of the connection is all that ends such an answer.
    let until_close = framing(case, request) == Some(Framing::Close);
    until_close && !case.plan.wire.tls && case.is_http1(execution.backend) != Some(false)
}

/// True if an HTTP/1.1 client has every byte that the head announces, so that the answer is
/// complete for it although the backend has not ended its stream (RFC 9112, 6.3).
pub(super) fn is_whole(case: &Case<'_>, request: &Request, answer: Answer) -> bool {
    let planned = case.plan.requests.iter().find(|planned| planned.id == request.id);
    let announced = planned.map_or(0, |planned| u64::from(planned.wire.answer_bytes));
    let stated = framing(case, request) == Some(Framing::Length) && answer.length == announced;
    let head = request.lines.iter().any(|line| line.method == "HEAD");
    let bodiless = head || matches!(answer.status, 204 | 205 | 304);
    (stated || bodiless) && !request.sent.is_http2()
}

/// How the answer to a request is framed; `None` if the request is not in the plan.
fn framing(case: &Case<'_>, request: &Request) -> Option<Framing> {
    let planned = case.plan.requests.iter().find(|planned| planned.id == request.id)?;
    Some(planned.wire.framing)
}
