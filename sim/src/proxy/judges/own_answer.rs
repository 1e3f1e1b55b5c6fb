//! The answers that the proxy makes itself: each has one of the reasons that the manual lists, and
//! a client that did nothing wrong gets none for what it did.

use std::time::Duration;

use baton::proxy::client_limits::ClientLimits;

use super::case::{Case, Request};
use crate::checker::{Invariant, Verdict, fail, require};
use crate::proxy::ledger::{End, Received};

/// A reason for an answer of the proxy: its name, the status and the error in `Proxy-Status`.
pub(super) struct Reason {
    pub(super) name: &'static str,
    pub(super) status: u16,
    pub(super) errors: &'static [&'static str],
}

/// The reasons (`docs/metrics-and-log.md`) that there can be without a fault of the client.
pub(super) const REASONS: [Reason; 9] = [
    Reason { name: "requests_full", status: 503, errors: &["proxy_internal_error"] },
    Reason { name: "queue_full", status: 503, errors: &["connection_limit_reached"] },
    Reason { name: "queue_deadline", status: 503, errors: &["destination_unavailable"] },
    Reason { name: "shutting_down", status: 503, errors: &["proxy_internal_error"] },
    Reason { name: "response_deadline", status: 504, errors: &["http_response_timeout"] },
    Reason {
        name: "attempt_failed",
        status: 502,
        errors: &["connection_terminated", "destination_unavailable"],
    },
    Reason { name: "body_stalled", status: 408, errors: &["http_request_error"] },
    Reason { name: "upload_blocked", status: 504, errors: &["connection_write_timeout"] },
    Reason { name: "head_too_large", status: 431, errors: &["http_request_error"] },
];

/// The error in a `Proxy-Status` of Baton (RFC 9209, 2.1.1).
pub(super) fn error_of(proxy_status: &str) -> Option<&str> {
    let (_, error) = proxy_status.strip_prefix("baton;")?.split_once("error=")?;
    Some(error.split(';').next().unwrap_or(error).trim())
}

/// Judges an answer that names no execution.
pub(super) fn judge(
    case: &Case<'_>,
    request: &Request,
    received: &Received,
    status: u16,
) -> Verdict {
    let (id, own) = (request.id, Invariant::OwnResponse);
    // The client has broken the connection or the stream: it reads no answer.
    if received.end == End::Cancelled {
        return Ok(());
    }
    let named = received.proxy_status.as_deref();
    let Some(error) = named.and_then(error_of) else {
        return fail(own, format!("request {id}: {status} with Proxy-Status {named:?}"));
    };
    if (status, error) == (400, "http_request_denied") {
        let cut = case.upload_may_be_cut(request, received.at);
        return require(cut, own, || {
            format!("request {id}: 400, but its client has sent all of it, as it should be")
        });
    }
    let mut reasons = REASONS.iter().filter(|it| it.status == status && it.errors.contains(&error));
    let since = Duration::from_nanos(received.at - request.since());
    require(reasons.any(|it| is_likely(case, request, it, received.at, since)), own, || {
        format!("request {id}: {status} with error {error} after {since:?}, without a reason")
    })
}

/// True if a reason can apply at a time, so long after the request was begun.
fn is_likely(
    case: &Case<'_>,
    request: &Request,
    reason: &Reason,
    at: u64,
    since: Duration,
) -> bool {
    let config = &case.plan.pool.config;
    let (limits, timeouts) = (&config.limits, &config.timeouts);
    let begun = case.requests.values().filter(|it| it.begun.first().is_some_and(|it| *it <= at));
    let others = begun.count() - 1;
    match reason.name {
        "requests_full" => others >= limits.requests,
        "queue_full" => others >= limits.waiting,
        "queue_deadline" => since >= timeouts.queue,
        "shutting_down" => case.may_shut_down(at),
        "response_deadline" => since >= timeouts.response_head && case.may_be_late(request, at),
        "attempt_failed" => case.may_fail(at),
        "body_stalled" => {
            let stalled = request.sent.body.is_some()
                && since >= timeouts.body_stall
                && case.may_send_slowly(request, at);
            // A head that takes too long gets the same status.
            stalled || since >= ClientLimits::DEFAULT.head_timeout
        }
        "upload_blocked" => {
            request.sent.body.is_some()
                && since >= timeouts.body_stall
                && case.may_be_late(request, at)
        }
        // No backend of the models announces a limit.
        "head_too_large" => false,
        name => unreachable!("{name} is no reason"),
    }
}
