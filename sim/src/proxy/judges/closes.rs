//! How the proxy closes the connections of clients. RFC 9112, 9.6: it reads on for a while, so that
//! the client is not reset before it has read the last response.

use baton::proxy::client_limits::ClientLimits;

use super::case::{Case, Request};
use super::log_lines::is_sent;
use crate::checker::{Invariant, Verdict, require};
use crate::proxy::ledger::End;
use crate::proxy::network::ClientReset;

/// Judges every reset of a client's connection.
pub(super) fn judge(case: &Case<'_>) -> Verdict {
    let linger = ClientLimits::DEFAULT.lingering_close_timeout.as_nanos() as u64;
    for reset in &case.records.client_resets {
        let Some(request) = last_on(case, reset) else { continue };
        let answered = request.end().filter(|end| end.end == End::Complete);
        let Some(answered) = answered else { continue };
        // The proxy may have closed some time before its client has read all of the answer.
        let soon = (answered.at..answered.at + linger / 2).contains(&reset.at);
        // Behind a whole request only the announcement of the end follows, of TLS.
        let way = case.plan.network.wire.most_us.saturating_mul(1_000);
        let sent_at = case.records.hub.ledger.sent_at(request.id);
        let whole = request.sent.is_whole_with_its_head()
            || is_sent(case, request)
            || sent_at.is_some_and(|sent| sent + way < reset.at);
        let excused = whole || !request.sent.is_http1() || case.may_lose(request, reset.at);
        require(!soon || excused, Invariant::Protocol, || {
            format!(
                "request {}: answered at {} ns, and the connection was reset at {} ns while its \
                 client was still sending",
                request.id, answered.at, reset.at
            )
        })?;
    }
    Ok(())
}

/// The last request on a connection that was reset.
fn last_on<'a>(case: &'a Case<'_>, reset: &ClientReset) -> Option<&'a Request> {
    let hub = &case.records.hub;
    let place = Some((reset.client, reset.connection));
    let on = case.requests.values().filter(|it| hub.carrier(it.id) == place);
    on.max_by_key(|request| request.since())
}
