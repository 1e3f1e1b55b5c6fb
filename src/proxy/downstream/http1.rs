//! Serves a client over HTTP/1.1: `hyper` behind a [`Guarded`] socket, with deadlines.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::client::Client;
use super::client_io::ClientIo;
use super::deadlines::Expired;
use super::refusal;
use super::waits::{Waited, Waits};
use crate::pool::Instant;
use crate::proxy::client_limits::ClientLimit;
use crate::proxy::limits::HTTP1_BUFFER_BYTES;
use crate::proxy::linger::Unread;
use crate::proxy::message_guard::{GuardFacts, Guarded};
use crate::proxy::seams;
use crate::wire::http1::HeadLimits;

/// The response to a head that took too long (RFC 9110, 15.5.9), without its date.
const TIMED_OUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\
    content-length: 0\r\nproxy-status: baton; error=http_request_error\r\ndate: ";

/// Serves a client until its connection closes. Returns the connection if it is idle, to be
/// parked.
pub(super) fn serve<Io>(
    client: Client,
    io: ClientIo<Io>,
) -> impl Future<Output = Option<(Client, ClientIo<Io>)>>
where
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let limits = &client.downstream.limits;
    let head = HeadLimits { bytes: limits.head_bytes, fields: limits.head_fields };
    let (mut io, facts) = Guarded::new(io, head, client.downstream.clock());
    // An `async fn` would reserve space for its arguments twice.
    async move {
        let expired = serve_while_busy(&client, &facts, &mut io).await;
        if expired == Some(Expired::Parked) {
            return Some((client, io.into_inner()));
        }
        // The socket is closed afterwards, also if the deadline passes.
        let ending = end(&client, &facts, expired, &mut io);
        let _ = seams::timeout(client.downstream.limits.lingering_close_timeout, ending).await;
        None
    }
}

/// Closes the connection: sends a 408 if a head took too long, and lingers after an error or within
/// a request body, so that the client can read the response.
async fn end<Io>(
    client: &Client,
    facts: &GuardFacts,
    expired: Option<Expired>,
    io: &mut Guarded<ClientIo<Io>>,
) -> io::Result<()>
where
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
{
    match expired {
        Some(Expired::Head) => {
            client.refused(ClientLimit::HeadTimeout, 408, "head incomplete after the head timeout");
            let date = client.downstream.clusters.telemetry().dates().present();
            io.write_all(&[TIMED_OUT, date.as_bytes(), b"\r\n\r\n"].concat()).await?;
        }
        Some(Expired::Idle) => client.count(ClientLimit::IdleTimeout),
        Some(Expired::WriteStall) => {
            client.closed(ClientLimit::WriteStall, "the client does not read");
            return Ok(());
        }
        // Neither happens here: HTTP/1.1 has no GOAWAY, and a parked connection stays open.
        Some(Expired::Closing | Expired::Parked) | None => {}
    }
    io.shutdown().await?;
    // Within a message the client may still be sending.
    if !facts.is_between_messages() {
        let mut unread = Unread::default();
        poll_fn(|context| unread.poll_discard(io, context)).await;
    }
    Ok(())
}

/// Serves a client's requests until the connection closes or a deadline passes. Returns that
/// deadline.
async fn serve_while_busy<Io>(
    client: &Client,
    facts: &GuardFacts,
    io: &mut Guarded<ClientIo<Io>>,
) -> Option<Expired>
where
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let limits = &client.downstream.limits;
    let service = service_fn(|request| client.answer(request));
    let mut drained = client.draining();
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None)
        // Only its own responses to malformed heads come without one.
        .auto_date_header(seams::LIBRARY_DATES)
        .max_headers(limits.head_fields)
        .max_header_size(limits.head_bytes as usize)
        .max_buf_size(HTTP1_BUFFER_BYTES.max(limits.head_bytes as usize))
        .half_close(false)
        .keep_alive(!drained);
    let mut connection = builder.serve_connection(TokioIo::new(io), service);
    loop {
        let expired = expired(client, facts);
        let mut waits = Waits::new(client.downstream.draining.clone(), drained, expired);
        let waited = tokio::select! {
            biased;
            // It ends once everything is written; `poll_without_shutdown` would drop what is not.
            served = &mut connection => {
                report(client, facts, served);
                return None;
            }
            waited = waits.next() => waited,
        };
        match waited {
            Waited::Drain => {
                drained = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            Waited::Expired(expired) => return Some(expired),
        }
    }
}

/// Waits for a deadline of the connection.
fn expired(client: &Client, facts: &GuardFacts) -> impl Future<Output = Expired> {
    let limits = &client.downstream.limits;
    client.watch.expired(
        limits,
        limits.http1_idle_timeout,
        || head_since(client, facts),
        || client.watch.idle_since().filter(|_| facts.head_open_since.get().is_none()),
        || parkable_since(client, facts),
    )
}

/// Returns when the connection became parkable: every head was answered, no body is in flight, and
/// no byte of a next request was read. Only then does `hyper` hold no state that matters.
fn parkable_since(client: &Client, facts: &GuardFacts) -> Option<Instant> {
    let answered = facts.heads_begun.get() == client.watch.served();
    let ended = client.arrival.open_requests() == 0;
    client.watch.idle_since().filter(|_| answered && ended && facts.is_between_messages())
}

/// Returns when the head deadline started; `None` if it does not run. It does not run for the next
/// head while a response is due.
fn head_since(client: &Client, facts: &GuardFacts) -> Option<Instant> {
    let since = facts.head_open_since.get()?;
    let idle_since = client.watch.idle_since()?;
    let first = facts.heads_begun.get() <= 1;
    Some(if first { client.accepted } else { since.max(idle_since) })
}

/// Logs why a connection ended, unless it ended without an error.
fn report(client: &Client, facts: &GuardFacts, served: hyper::Result<()>) {
    if let Some(violation) = facts.violation.get() {
        let (limit, status) = refusal::of_violation(violation);
        match limit {
            // The request has begun and gets its own access log line.
            ClientLimit::MalformedBody => client.count(limit),
            _ => client.refused(limit, status, &violation.to_string()),
        }
        return;
    }
    match served {
        Ok(()) => {}
        Err(error) if error.is_parse_too_large() => {
            client.refused(ClientLimit::HeadBytes, 431, "head too large");
        }
        // Errors that the message guard does not detect, such as a target that is not a URI.
        Err(error) if error.is_parse() => {
            client.refused(ClientLimit::MalformedHead, 400, &error.to_string());
        }
        Err(error) => {
            if error.is_incomplete_message() && facts.heads_begun.get() > client.watch.served() {
                client.left();
            }
            tracing::debug!(target: "baton", client = %client.peer(), %error, "client connection ended");
        }
    }
}
