//! Serves a client over HTTP/2: `h2` behind a [`Http2Wire`] socket, with deadlines and frame
//! budgets.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::{Builder, Connection, Handshake, SendResponse};
use h2::{Ping, PingPong, Reason, RecvStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};

use super::buffered::{Buffered, Piece};
use super::client::Client;
use super::deadlines::Expired;
use super::waits::{Waited, Waits};
use super::{http2_stream, refusal};
use crate::pool::Instant;
use crate::proxy::access_log::Unrouted;
use crate::proxy::client_limits::{ClientLimit, ClientLimits};
use crate::proxy::http2_wire::{Facts, Http2Wire, NotServed, Side};
use crate::proxy::limits::{
    CLIENT_CONNECTION_WINDOW_BYTES, CLIENT_RESET_STREAMS_MAX, CLIENT_SEND_BUFFER_BYTES,
    PROVOKED_RESETS_MAX, RESET_STREAM_TIME, STREAM_WINDOW_BYTES,
};

enum Step {
    Ending,
    Shed,
    Served(Result<(), h2::Error>),
    Waited(Waited),
}

/// The connection, before and after its preface was exchanged.
enum Stage<Io> {
    Handshake(Handshake<Http2Wire<Io>, Piece>),
    Serving(Connection<Http2Wire<Io>, Piece>),
}

/// A connection that hands each request to a task of its own.
struct Server<Io> {
    stage: Stage<Io>,
    ping_pong: Option<PingPong>,
    is_closing: bool,
    /// The bytes that wait for the client.
    buffered: Rc<Buffered>,
}

impl<Io: AsyncRead + AsyncWrite + Unpin + 'static> Server<Io> {
    fn new(wire: Http2Wire<Io>, limits: &ClientLimits, buffered: Rc<Buffered>) -> Self {
        let handshake = builder(limits).handshake(wire);
        let stage = Stage::Handshake(handshake);
        Self { stage, ping_pong: None, is_closing: false, buffered }
    }

    /// Serves until the connection ends.
    fn poll(
        &mut self,
        client: &Client,
        facts: &RefCell<Facts>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), h2::Error>> {
        loop {
            match &mut self.stage {
                Stage::Handshake(handshake) => {
                    let mut connection = ready!(Pin::new(handshake).poll(context))?;
                    self.ping_pong = connection.ping_pong();
                    if self.is_closing {
                        connection.graceful_shutdown();
                    }
                    self.stage = Stage::Serving(connection);
                }
                Stage::Serving(connection) => {
                    let accepted = poll_accept(connection, &self.buffered, facts, context);
                    if let Some(ping_pong) = &mut self.ping_pong {
                        // Makes room for the next PING. The answer is a frame like any other.
                        let _ = ping_pong.poll_pong(context);
                    }
                    match ready!(accepted) {
                        Some(accepted) => {
                            let (request, respond) = accepted?;
                            facts.borrow_mut().arriving.serve(respond.stream_id().into());
                            http2_stream::start(client, &self.buffered, request, respond);
                        }
                        None => return Poll::Ready(Ok(())),
                    }
                }
            }
        }
    }

    /// Sends GOAWAY, and closes after the last request.
    fn close(&mut self) {
        self.is_closing = true;
        if let Stage::Serving(connection) = &mut self.stage {
            connection.graceful_shutdown();
        }
    }

    /// Sends GOAWAY and closes.
    fn close_now(&mut self) {
        if let Stage::Serving(connection) = &mut self.stage {
            connection.abrupt_shutdown(Reason::NO_ERROR);
        }
    }

    /// Has the wire close the connection. It writes what the socket takes at once.
    async fn end(&mut self) {
        if let Stage::Serving(connection) = &mut self.stage {
            poll_fn(|context| Poll::Ready(connection.poll_closed(context).is_ready())).await;
        }
    }

    /// Sends PING to a client that is silent.
    fn ping(&mut self) {
        if let Some(ping_pong) = &mut self.ping_pong {
            // It fails if the last one was not answered, which is waited for then.
            let _ = ping_pong.send_ping(Ping::opaque());
        }
    }
}

/// A request and the means to respond to it.
type Accepted = (Request<RecvStream>, SendResponse<Piece>);

/// Accepts the next request. While too much waits for the client, its requests wait in `h2`.
fn poll_accept<Io: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<Http2Wire<Io>, Piece>,
    buffered: &Buffered,
    facts: &RefCell<Facts>,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Accepted, h2::Error>>> {
    if !buffered.may_surely_take_up() {
        match connection.poll_closed(context) {
            Poll::Ready(Ok(())) => return Poll::Ready(None),
            Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
            // The client may just have taken something.
            Poll::Pending if facts.borrow().arriving.is_waiting() && !buffered.may_take_up() => {
                return Poll::Pending;
            }
            Poll::Pending => {}
        }
    }
    connection.poll_accept(context)
}

/// Serves a client until its connection closes; these bytes of it were received.
pub(super) async fn serve<Io>(client: Client, io: Io, first_bytes: Bytes)
where
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let limits = &client.downstream.limits;
    let clock = client.downstream.clock();
    let (mut wire, facts) = Http2Wire::new(io, Side::Server, limits.frames, clock);
    wire.replay(first_bytes);
    let buffered = client.buffered(poll_fn(|context| Poll::Ready(context.waker().clone())).await);
    let mut server = Server::new(wire, limits, Rc::clone(&buffered));
    let (mut drained, mut ending) = (false, false);
    loop {
        let mut waits = waits(&client, &facts, &buffered, drained);
        let step = tokio::select! {
            biased;
            step = poll_fn(|context| {
                poll_step(&mut server, &client, &facts, ending, context)
            }) => step,
            waited = waits.next() => Step::Waited(waited),
        };
        drop(waits);
        match step {
            Step::Waited(Waited::Drain) => {
                drained = true;
                server.close();
            }
            Step::Ending => {
                ending = true;
                client.watch.close_soon();
                report(&client, &facts, Ok(()));
            }
            Step::Shed => return shed(&client, &facts, &mut server).await,
            Step::Served(_) if ending => return,
            Step::Served(served) => return report(&client, &facts, served),
            Step::Waited(Waited::Expired(Expired::Idle)) => {
                client.count(ClientLimit::IdleTimeout);
                server.close();
                client.watch.close_soon();
            }
            Step::Waited(Waited::Expired(Expired::Silent)) => {
                server.ping();
                client.watch.note_pinged();
            }
            Step::Waited(Waited::Expired(Expired::Unanswered)) => {
                client.closed(ClientLimit::KeepaliveTimeout, "the client does not answer PING");
                ending = true;
                server.close_now();
                client.watch.close_soon();
            }
            Step::Waited(Waited::Expired(Expired::Parked)) => unreachable!("HTTP/2 is not parked"),
            Step::Waited(Waited::Expired(Expired::Head)) => {
                client.closed(ClientLimit::HeadTimeout, "incomplete header block or SETTINGS");
                if facts.borrow_mut().arriving.take_opening() {
                    client.cut_off(ClientLimit::HeadTimeout);
                }
                facts.borrow_mut().close_for_timeout();
            }
            Step::Waited(Waited::Expired(Expired::WriteStall)) => {
                settle(&client, &facts, true, true);
                return client.closed(ClientLimit::WriteStall, "the client does not read");
            }
            Step::Waited(Waited::Expired(Expired::Closing))
                if !ending && client.watch.is_busy() =>
            {
                // A request arrived while the GOAWAY was sent: let it finish.
                client.watch.stay();
            }
            Step::Waited(Waited::Expired(Expired::Closing)) => {
                return settle(&client, &facts, true, true);
            }
        }
    }
}

/// Closes the connection with its requests, because it is the most stalled one.
async fn shed<Io: AsyncRead + AsyncWrite + Unpin + 'static>(
    client: &Client,
    facts: &RefCell<Facts>,
    server: &mut Server<Io>,
) {
    client.shed();
    settle(client, facts, true, true);
    facts.borrow_mut().close_for_calm();
    server.end().await;
}

/// Polls the connection, and takes the facts that this has found.
fn poll_step<Io: AsyncRead + AsyncWrite + Unpin + 'static>(
    server: &mut Server<Io>,
    client: &Client,
    facts: &RefCell<Facts>,
    ending: bool,
    context: &mut Context<'_>,
) -> Poll<Step> {
    let polled = server.poll(client, facts, context);
    let all_accepted = polled.is_ready() || !server.buffered.holds_back();
    settle(client, facts, all_accepted, polled.is_ready());
    match polled {
        Poll::Ready(served) => Poll::Ready(Step::Served(served)),
        Poll::Pending if server.buffered.is_closed() => Poll::Ready(Step::Shed),
        Poll::Pending if !ending && facts.borrow().is_ending() => Poll::Ready(Step::Ending),
        Poll::Pending => Poll::Pending,
    }
}

fn builder(limits: &ClientLimits) -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CLIENT_CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(CLIENT_SEND_BUFFER_BYTES)
        .max_concurrent_streams(limits.streams_per_connection)
        .max_header_list_size(limits.head_bytes)
        // A burst of requests that is cancelled before the worker accepts them is not an attack by
        // itself.
        .max_pending_accept_reset_streams(limits.streams_per_connection as usize)
        .max_local_error_reset_streams(Some(PROVOKED_RESETS_MAX))
        .max_concurrent_reset_streams(CLIENT_RESET_STREAMS_MAX)
        .reset_stream_duration(RESET_STREAM_TIME);
    builder
}

/// Takes the facts that a poll of the connection has found. `over` is true if it has ended;
/// `all_accepted` is false if requests wait to be accepted.
fn settle(client: &Client, facts: &RefCell<Facts>, all_accepted: bool, over: bool) {
    if std::mem::take(&mut facts.borrow_mut().frame_seen) {
        client.watch.note_received();
    }
    if all_accepted {
        report_unserved(client, &mut facts.borrow_mut(), over);
    }
    if let Some(ends) = facts.borrow_mut().take_ends() {
        client.downstream.clusters.telemetry().client_frames(&ends);
    }
}

/// Waits for the drain order or a deadline of the connection.
fn waits<'a>(
    client: &'a Client,
    facts: &'a RefCell<Facts>,
    buffered: &'a Buffered,
    drained: bool,
) -> Waits<'a> {
    let limits = &client.downstream.limits;
    let expired = client.watch.expired(
        limits,
        limits.http2_idle_timeout,
        || head_since(client, facts),
        || client.watch.idle_since(),
        || None,
        || buffered.stalled_since(),
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

/// Reports requests that were never handed over. Call after polling the connection: a request that
/// has ended and that the poll did not hand over never will be. `over` is true if the connection
/// has ended: then the client has left with its requests.
fn report_unserved(client: &Client, facts: &mut Facts, over: bool) {
    // A flood that has ended the connection has as many lines as its budget.
    let budget = client.downstream.limits.frames.provoked_resets as usize;
    let most = if facts.is_ending() { budget } else { usize::MAX };
    for _ in 0..most {
        let Some(how) = facts.arriving.take_ended() else { break };
        match how {
            NotServed::TakenBack => {
                client.left_with(Unrouted::LeftUnserved);
                continue;
            }
            NotServed::Refused => {
                client.refused(ClientLimit::StreamsPerConnection, 0, "REFUSED_STREAM");
            }
            NotServed::Malformed => {
                client.refused(ClientLimit::MalformedHead, 0, "PROTOCOL_ERROR");
            }
            NotServed::Answered => client.refused(ClientLimit::HeadBytes, 431, "head too large"),
        }
        facts.note_refused_head();
    }
    if facts.is_ending() {
        // `h2` may have ignored those that wait.
        return facts.arriving.close();
    }
    if over {
        let left = facts.arriving.take_waiting();
        (0..left).for_each(|_| client.left_with(Unrouted::LeftUnserved));
        if facts.arriving.take_opening() {
            client.left_with(Unrouted::IncompleteHead);
        }
    }
}

/// Logs why a connection ended, unless it ended without an error.
fn report(client: &Client, facts: &RefCell<Facts>, served: Result<(), h2::Error>) {
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
        Err(error) => {
            tracing::debug!(target: "baton", client = %client.peer(), %error, "client connection ended");
        }
    }
}
