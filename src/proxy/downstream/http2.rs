//! Serves a client over HTTP/2: `hyper` behind a [`Http2Wire`] socket, with deadlines and frame
//! budgets.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::client::Client;
use super::client_io::ClientIo;
use super::deadlines::Expired;
use super::waits::{Waited, Waits};
use super::{LocalExecutor, refusal};
use crate::pool::Instant;
use crate::proxy::client_limits::{ClientLimit, ClientLimits};
use crate::proxy::http2_wire::{Facts, Http2Wire, Side};
use crate::proxy::limits::{
    CLIENT_CONNECTION_WINDOW_BYTES, CLIENT_SEND_BUFFER_BYTES, PROVOKED_RESETS_MAX,
    STREAM_WINDOW_BYTES,
};

enum Step {
    Ending,
    Served(hyper::Result<()>),
    Waited(Waited),
}

/// Serves a client until its connection closes.
pub(super) async fn serve<Io>(client: Client, io: ClientIo<Io>)
where
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let limits = &client.downstream.limits;
    let clock = client.downstream.clock();
    let (wire, facts) = Http2Wire::new(io, Side::Server, limits.frames, clock);
    let answering = client.clone();
    let service = service_fn(move |request| answering.answer(request));
    let builder = builder(limits);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(wire), service));
    let refused = Refused::default();
    let (mut drained, mut ending) = (false, false);
    loop {
        let mut waits = waits(&client, &facts, drained);
        let step = tokio::select! {
            biased;
            step = poll_fn(|context| {
                let polled = connection.as_mut().poll(context);
                refused.settle(&client, &facts, polled.is_ready());
                if let Some(ends) = facts.borrow_mut().take_ends() {
                    client.downstream.clusters.telemetry().client_frames(&ends);
                }
                match polled {
                    Poll::Ready(served) => Poll::Ready(Step::Served(served)),
                    Poll::Pending if !ending && facts.borrow().is_ending() => {
                        Poll::Ready(Step::Ending)
                    }
                    Poll::Pending => Poll::Pending,
                }
            }) => step,
            waited = waits.next() => Step::Waited(waited),
        };
        drop(waits);
        match step {
            Step::Waited(Waited::Drain) => {
                drained = true;
                connection.as_mut().graceful_shutdown();
            }
            Step::Ending => {
                ending = true;
                client.watch.close_soon();
                report(&client, &facts, Ok(()));
            }
            Step::Served(_) if ending => return,
            Step::Served(served) => return report(&client, &facts, served),
            Step::Waited(Waited::Expired(Expired::Idle)) => {
                client.count(ClientLimit::IdleTimeout);
                connection.as_mut().graceful_shutdown();
                client.watch.close_soon();
            }
            Step::Waited(Waited::Expired(Expired::Parked)) => unreachable!("HTTP/2 is not parked"),
            Step::Waited(Waited::Expired(Expired::Head)) => {
                client.closed(ClientLimit::HeadTimeout, "incomplete header block or SETTINGS");
                facts.borrow_mut().close_for_timeout();
            }
            Step::Waited(Waited::Expired(Expired::WriteStall)) => {
                return client.closed(ClientLimit::WriteStall, "the client does not read");
            }
            Step::Waited(Waited::Expired(Expired::Closing))
                if !ending && client.watch.is_busy() =>
            {
                // A request arrived while the GOAWAY was sent: let it finish.
                client.watch.stay();
            }
            Step::Waited(Waited::Expired(Expired::Closing)) => return,
        }
    }
}

fn builder(limits: &ClientLimits) -> http2::Builder<LocalExecutor> {
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .auto_date_header(false)
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CLIENT_CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(CLIENT_SEND_BUFFER_BYTES)
        .max_concurrent_streams(limits.streams_per_connection)
        .max_header_list_size(limits.head_bytes)
        // A burst of requests that is cancelled before the worker accepts them is not an attack by
        // itself.
        .max_pending_accept_reset_streams(limits.streams_per_connection as usize)
        .max_local_error_reset_streams(PROVOKED_RESETS_MAX)
        .keep_alive_interval(limits.keepalive_interval)
        .keep_alive_timeout(limits.keepalive_timeout);
    builder
}

/// Waits for the drain order or a deadline of the connection.
fn waits<'a>(client: &'a Client, facts: &'a RefCell<Facts>, drained: bool) -> Waits<'a> {
    let limits = &client.downstream.limits;
    let expired = client.watch.expired(
        limits,
        limits.http2_idle_timeout,
        || head_since(client, facts),
        || client.watch.idle_since(),
        || None,
    );
    Waits::new(client.downstream.draining.clone(), drained, expired)
}

/// Returns when the wait for SETTINGS, or for the rest of a header block, began.
fn head_since(client: &Client, facts: &RefCell<Facts>) -> Option<Instant> {
    let facts = facts.borrow();
    if facts.is_ending() {
        return None;
    }
    if facts.settings_seen { facts.block_open_since } else { Some(client.accepted) }
}

/// Counts requests that never reached the service although each opened a stream: `h2` refused them
/// by itself, or the client took them back before `h2` handed them over.
#[derive(Default)]
struct Refused {
    reported: Cell<u64>,
    streams: Cell<u64>,
    resets: Cell<u64>,
    cancelled: Cell<u64>,
}

impl Refused {
    /// Reports requests that `h2` refused since the last call. Call after polling the connection: a
    /// request that the poll did not hand over never will be. `over` is true if the connection has
    /// ended: then the client has left with its requests.
    fn settle(&self, client: &Client, facts: &RefCell<Facts>, over: bool) {
        let mut facts = facts.borrow_mut();
        if facts.going_away || facts.is_ending() || (facts.blocked && !over) {
            return;
        }
        let refused = facts.opened.saturating_sub(client.watch.served());
        while self.reported.get() < refused {
            self.reported.set(self.reported.get() + 1);
            if self.streams.get() < facts.streams_refused {
                self.streams.set(self.streams.get() + 1);
                client.refused(ClientLimit::StreamsPerConnection, 0, "REFUSED_STREAM");
            } else if self.resets.get() < facts.resets_unanswered {
                self.resets.set(self.resets.get() + 1);
                client.refused(ClientLimit::MalformedHead, 0, "PROTOCOL_ERROR");
            } else if over || self.cancelled.get() < facts.resets_received {
                self.cancelled.set(self.cancelled.get() + 1);
                client.took_back();
                continue;
            } else {
                client.refused(ClientLimit::HeadBytes, 431, "head too large");
            }
            facts.note_refused_head();
        }
        // Forget resets that had another reason, so that they are not taken for refused requests
        // later.
        self.streams.set(facts.streams_refused);
        self.resets.set(facts.resets_unanswered);
        self.cancelled.set(facts.resets_received);
    }
}

/// Logs why a connection ended, unless it ended without an error.
fn report(client: &Client, facts: &RefCell<Facts>, served: hyper::Result<()>) {
    let facts = facts.borrow();
    if let Some(flood) = facts.flood() {
        return client.flooded(flood);
    }
    if let Some((code, debug)) = &facts.h2_goaway {
        let limit = refusal::of_h2_goaway(debug);
        return client.closed(limit, code.description());
    }
    match served {
        Ok(()) => {}
        Err(error) if error.is_timeout() => {
            client.closed(ClientLimit::KeepaliveTimeout, "the client does not answer PING");
        }
        Err(error) => {
            tracing::debug!(target: "baton", client = %client.peer(), %error, "client connection ended");
        }
    }
}
