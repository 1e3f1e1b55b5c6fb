//! Serves a client over HTTP/1.1, with deadlines.

use std::future::{Future, poll_fn};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::{Request, Response, request};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::buffered::{Buffered, ResponseWaits};
use super::client::{Answering, Client};
use super::deadlines::{Expired, Tracked};
use super::refusal;
use super::waits::{Waited, Waits};
use crate::pool::Instant;
use crate::proxy::client_limits::ClientLimit;
use crate::proxy::http1_server::{Ended, Facts, Http1RequestBody, Server, Service};
use crate::proxy::request_body::RequestBody;
use crate::proxy::{exchange, linger, seams};
use crate::wire::http1::{HeadLimits, Violation};

/// The response to a head that took too long (RFC 9110, 15.5.9), without its date.
const TIMED_OUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\
    content-length: 0\r\nproxy-status: baton; error=http_request_error\r\ndate: ";

impl Service for Client {
    type Body = Tracked;
    type Answer = Answering;

    fn answer(&self, request: Request<Option<Http1RequestBody>>) -> Answering {
        Self::answer(self, request.map(RequestBody::http1))
    }

    fn unserved(&self, head: request::Parts) {
        exchange::unserved(&self.downstream.clusters, &self.arrival, head);
    }

    fn refuse(&self, violation: Violation) -> Response<Tracked> {
        let (limit, status) = refusal::of_violation(violation);
        self.refused(limit, status, &violation.to_string());
        self.own_response(refusal::of_head(status))
    }

    fn until_close(&self) {
        // TLS marks the end of an orderly close itself (RFC 8446, 6.1).
        self.watch.note_until_close(self.downstream.tls.is_none());
    }

    fn body_refused(&self, violation: Violation) {
        // The request has begun and gets its own access log line.
        self.count(refusal::of_violation(violation).0);
    }
}

/// The event that ended the service of a connection.
enum Event {
    Ended(Ended),
    Shed,
    Expired(Expired),
}

/// Serves a client until its connection closes; these bytes of it were received. Returns the
/// connection if it is idle, to be parked.
pub(super) fn serve<Io>(
    client: Client,
    io: Io,
    first_bytes: &[u8],
) -> impl Future<Output = Option<(Client, Io)>> + use<Io>
where
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let limits = &client.downstream.limits;
    let limits = HeadLimits { bytes: limits.head_bytes, fields: limits.head_fields };
    let mut server = Server::new(io, limits, client.downstream.clock(), client.clone());
    server.receive(first_bytes);
    // An `async fn` would reserve space for its arguments twice.
    async move {
        match serve_while_busy(&client, &mut server).await {
            Event::Expired(Expired::Parked) => {
                debug_assert!(!server.is_within_request(), "bytes would be lost");
                return Some((client, server.into_io()));
            }
            Event::Ended(Ended::CutShort) => {}
            Event::Shed => client.shed(),
            event => {
                // The socket is closed afterwards, also if the deadline passes.
                let ending = end(&client, &event, &mut server);
                let timeout = client.downstream.limits.lingering_close_timeout;
                let _ = seams::timeout(timeout, ending).await;
            }
        }
        None
    }
}

/// Closes the connection: sends a 408 if a head took too long, and lingers within a request, so
/// that the client can read the response.
async fn end<Io>(client: &Client, event: &Event, server: &mut Server<Io, Client>) -> io::Result<()>
where
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
{
    // The client may still send after a response, and not on an idle connection.
    let lingers = server.is_within_request() || !server.facts().is_quiet.get();
    let io = server.io();
    match event {
        Event::Expired(Expired::Head) => {
            client.refused(ClientLimit::HeadTimeout, 408, "head incomplete after the head timeout");
            let date = client.downstream.clusters.telemetry().dates().present();
            io.write_all(&[TIMED_OUT, date.as_bytes(), b"\r\n\r\n"].concat()).await?;
        }
        Event::Expired(Expired::Idle) => client.count(ClientLimit::IdleTimeout),
        Event::Expired(Expired::WriteStall) => {
            client.closed(ClientLimit::WriteStall, "the client does not read");
            return Ok(());
        }
        Event::Ended(Ended::Left { within_head: true }) => client.left(),
        Event::Ended(Ended::Closing) => client.watch.note_until_close(false),
        Event::Ended(_) => {}
        Event::Shed => unreachable!("closed at once"),
        Event::Expired(expired) => unreachable!("not of HTTP/1.1: {expired:?}"),
    }
    if lingers {
        linger::close(io).await;
        return Ok(());
    }
    io.shutdown().await
}

/// Serves a client's requests until the connection ends or a deadline passes.
async fn serve_while_busy<Io>(client: &Client, server: &mut Server<Io, Client>) -> Event
where
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let facts = server.facts();
    let mut waiting = None;
    let mut is_drained = client.draining();
    if is_drained {
        server.drain();
    }
    loop {
        let expired = expired(client, &facts);
        let mut waits = Waits::new(client.downstream.draining.clone(), is_drained, expired);
        let waited = tokio::select! {
            biased;
            event = poll_fn(|context| {
                let polled = server.poll(context);
                if waiting.is_some() || server.unsent() > 0 {
                    note_waiting(client, server, &mut waiting, context);
                }
                match polled {
                    Poll::Ready(ended) => Poll::Ready(Event::Ended(ended)),
                    Poll::Pending if is_shed(waiting.as_ref()) => Poll::Ready(Event::Shed),
                    Poll::Pending => Poll::Pending,
                }
            }) => return event,
            waited = waits.next() => waited,
        };
        match waited {
            Waited::Drain => {
                is_drained = true;
                server.drain();
            }
            Waited::Expired(expired) => return Event::Expired(expired),
        }
    }
}

/// The bytes that wait for a client, which is only known while there are any.
struct Waiting {
    buffered: Rc<Buffered>,
    /// The value of [`Server::written`] when it was last noted.
    written: u64,
    response: Option<ResponseWaits>,
}

/// True if the connection is to close at once, because it is the most stalled one.
fn is_shed(waiting: Option<&Waiting>) -> bool {
    waiting.is_some_and(|waiting| waiting.buffered.is_closed())
}

/// Notes what waits for the client, after a poll of the connection.
#[cold]
fn note_waiting<Io: AsyncRead + AsyncWrite + Unpin>(
    client: &Client,
    server: &Server<Io, Client>,
    waiting: &mut Option<Waiting>,
    context: &Context<'_>,
) {
    let unsent = server.unsent();
    if unsent == 0 {
        *waiting = None;
        return;
    }
    let Waiting { buffered, written, response } = waiting.get_or_insert_with(|| {
        let buffered = client.buffered(context.waker().clone());
        Waiting { buffered, written: server.written(), response: None }
    });
    let now_written = server.written();
    let progress = now_written - std::mem::replace(written, now_written);
    buffered.set_unsent(unsent as u64, progress);
    if progress > 0 || response.is_none() {
        // The body may be another one than before.
        *response = None;
        *response = server.waiting_body().map(|body| buffered.wait(body.waiting()));
    }
}

/// Waits for a deadline of the connection.
fn expired(client: &Client, facts: &Facts) -> impl Future<Output = Expired> {
    let limits = &client.downstream.limits;
    client.watch.expired(
        limits,
        limits.http1_idle_timeout,
        || head_since(client, facts),
        || client.watch.idle_since().filter(|_| facts.head_open_since.get().is_none()),
        || parkable_since(client, facts),
        || None,
    )
}

/// Returns when the connection became parkable: nothing of it is unfinished, and its last request
/// has its line in the log.
fn parkable_since(client: &Client, facts: &Facts) -> Option<Instant> {
    let has_ended = client.arrival.open_requests() == 0;
    client.watch.idle_since().filter(|_| has_ended && facts.is_quiet.get())
}

/// Returns when the head deadline started; `None` if it does not run. It does not run for the next
/// head while a response is due.
fn head_since(client: &Client, facts: &Facts) -> Option<Instant> {
    let since = facts.head_open_since.get()?;
    let idle_since = client.watch.idle_since()?;
    let first = facts.heads_begun.get() <= 1;
    Some(if first { client.accepted } else { since.max(idle_since) })
}
