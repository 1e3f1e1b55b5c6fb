//! One HTTP/2 connection to a backend, over the `h2` crate. The task never waits for a stream's
//! consumer, a permit or a writer: a stalled client stalls only its own stream.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong, SendStream};

use super::attempt::{Attempt, NewAttempt};
use super::connection::{ConnectionOrder, Context, Ended, ordered_end, report};
use super::http2_attempt::Http2Attempt;
use super::shared_io::SharedIo;
use crate::pool::{ConnectFailure, Handled, Input, Protocol, StreamFailure, StreamToken, limits};
use crate::proxy::channel::Receiver;
use crate::proxy::client_limits::FrameBudgets;
use crate::proxy::dial::BoxedIo;
use crate::proxy::heads;
use crate::proxy::http2_wire::{Facts, Http2Wire, Side};
use crate::proxy::limits::{
    BACKEND_FRAME_BYTES_MAX, BACKEND_SEND_BUFFER_BYTES, POLITE_CLOSE_TIMEOUT, PROVOKED_RESETS_MAX,
    RESET_STREAMS_MAX, RESPONSE_HEAD_BYTES_MAX, STREAM_WINDOW_BYTES, WINDOW_BYTES_MAX,
};
use crate::proxy::metrics::Merge as _;
use crate::proxy::seams;

type WeakBody = Weak<RefCell<SendStream<Bytes>>>;

struct Task<'a> {
    context: &'a Context,
    sender: SendRequest<Bytes>,
    connection: Connection<Http2Wire<SharedIo>, Bytes>,
    io: SharedIo,
    facts: Rc<RefCell<Facts>>,
    ping_pong: Option<PingPong>,
    connected: bool,
    /// Keyed by `StreamToken::stream`. The references are weak: the owner of the attempt keeps the
    /// stream.
    streams: BTreeMap<u16, (StreamToken, WeakBody)>,
    resets: Vec<StreamToken>,
}

/// Serves the connection until it ends, and reports the end.
pub(super) async fn run(context: &Context, io: BoxedIo, orders: &mut Receiver<ConnectionOrder>) {
    let mut task = match start(context, io, orders).await {
        Ok(task) => task,
        Err(ended) => return report(context, ended),
    };
    let ended = poll_fn(|task_context| task.poll(task_context, orders)).await;
    let is_idle = matches!(ended, Ended::Ordered(_)) && !task.has_streams();
    report(context, ended);
    if is_idle {
        let _ = seams::timeout(POLITE_CLOSE_TIMEOUT, task.close()).await;
    }
}

/// Sends the preface.
async fn start<'a>(
    context: &'a Context,
    io: BoxedIo,
    orders: &mut Receiver<ConnectionOrder>,
) -> Result<Task<'a>, Ended> {
    let clock = context.pool.clock;
    let io = SharedIo::new(io);
    let (wire, facts) = Http2Wire::new(io.clone(), Side::Client, FrameBudgets::BACKEND, clock);
    let streams = context.pool.streams_per_connection;
    let window = (u64::from(STREAM_WINDOW_BYTES) * streams as u64).min(WINDOW_BYTES_MAX);
    let mut builder = Builder::new();
    builder
        .initial_max_send_streams(limits::STREAMS_BEFORE_SETTINGS as usize)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .max_frame_size(BACKEND_FRAME_BYTES_MAX)
        .max_send_buffer_size(BACKEND_SEND_BUFFER_BYTES)
        .initial_connection_window_size(u32::try_from(window).expect("at most 2^31 - 1"))
        .max_header_list_size(RESPONSE_HEAD_BYTES_MAX)
        .max_local_error_reset_streams(Some(PROVOKED_RESETS_MAX))
        .max_concurrent_reset_streams(RESET_STREAMS_MAX)
        // `h2` measures this duration on the system clock; the count above is meant to be the only
        // limit.
        .reset_stream_duration(Duration::from_secs(u64::from(u32::MAX)))
        .enable_push(false);
    // It ends once the preface is written, for which the backend must read.
    let handshake = tokio::select! {
        biased;
        ended = ordered_end(orders) => return Err(ended),
        handshake = builder.handshake(wire) => handshake,
    };
    let (sender, mut connection) = match handshake {
        Ok(parts) => parts,
        Err(error) => return Err(Ended::Dial(ConnectFailure::Protocol, error.to_string())),
    };
    let ping_pong = connection.ping_pong();
    Ok(Task {
        context,
        sender,
        connection,
        io,
        facts,
        ping_pong,
        connected: false,
        streams: BTreeMap::new(),
        resets: Vec::new(),
    })
}

impl Task<'_> {
    fn poll(
        &mut self,
        task_context: &mut TaskContext<'_>,
        orders: &mut Receiver<ConnectionOrder>,
    ) -> Poll<Ended> {
        while let Poll::Ready(order) = orders.poll_recv(task_context) {
            match order {
                Some(ConnectionOrder::Open(attempt)) => self.open(&attempt),
                Some(ConnectionOrder::Reset { stream, code }) => self.reset(stream, code),
                Some(ConnectionOrder::Ping) => self.ping(),
                Some(ConnectionOrder::CheckDelivery) => self.check_delivery(),
                Some(ConnectionOrder::Close { reason }) => {
                    let ended = if self.connected { Ended::Ordered } else { Ended::GivenUp };
                    return Poll::Ready(ended(reason));
                }
                None => return Poll::Ready(Ended::Dropped),
            }
        }
        let ended = Pin::new(&mut self.connection).poll(task_context);
        self.tell_facts();
        self.poll_pong(task_context);
        self.tell_resets();
        match ended {
            // `h2` may still wait to send; a backend that floods is closed at once.
            Poll::Pending if self.facts.borrow().flood().is_some() => {
                Poll::Ready(self.ended(Ok(())))
            }
            Poll::Pending => Poll::Pending,
            Poll::Ready(result) => Poll::Ready(self.ended(result)),
        }
    }

    /// True if a request still uses a stream.
    fn has_streams(&self) -> bool {
        self.streams.values().any(|(_, body)| body.strong_count() > 0)
    }

    /// Sends GOAWAY, and `close_notify` if it is TLS (RFC 9113, 6.8; RFC 8446, 6.1).
    async fn close(self) {
        let Self { context, sender, mut connection, facts, .. } = self;
        // `h2` sends GOAWAY and closes once it has neither streams nor senders.
        drop(sender);
        poll_fn(|task_context| {
            let closed = Pin::new(&mut connection).poll(task_context);
            count_ends(context, &facts);
            // The backend may have left.
            closed.map(drop)
        })
        .await;
    }

    fn open(&mut self, attempt: &NewAttempt) {
        let NewAttempt { order, head, .. } = attempt;
        let stream = order.stream;
        let pool = &self.context.pool;
        // A request that was cancelled meanwhile must not be sent: `h2` sends what it has accepted,
        // and the reset behind it.
        if !pool.facts.is_to_be_opened(stream) {
            return;
        }
        let scheme = self.context.backend.url.scheme;
        let upstream = head.for_backend(Protocol::Http2, scheme);
        let header_list_max = self.facts.borrow().header_list_max;
        if header_list_max.is_some_and(|most| heads::list_size(&upstream) > u64::from(most)) {
            let failure = StreamFailure::HeadTooLarge;
            let _ = pool.tell(Input::StreamFailed { stream, failure });
            return;
        }
        // A fresh clone has no stream of its own pending, so `h2` never rejects its request for
        // that.
        let opened = self.sender.clone().send_request(upstream, !head.has_body);
        let Ok((response, body)) = opened else {
            let failure = StreamFailure::NotSent;
            let _ = pool.tell(Input::StreamFailed { stream, failure });
            return;
        };
        let stream_id = body.stream_id().into();
        let handled = pool.tell(Input::StreamOpened { stream, stream_id });
        assert_eq!(handled, Handled::Done, "the pool has had no other fact since it was asked");
        let body = Rc::new(RefCell::new(body));
        self.streams.insert(stream.stream, (stream, Rc::downgrade(&body)));
        let begun = Http2Attempt::new(response, body, Rc::clone(&self.facts));
        // If the request has ended, dropping the attempt resets the stream.
        self.context.hand_over(attempt, stream_id, Attempt::Http2(begun));
    }

    fn reset(&mut self, stream: StreamToken, code: u32) {
        if let Some((known, body)) = self.streams.get(&stream.stream)
            && *known == stream
            && let Some(body) = body.upgrade()
        {
            body.borrow_mut().send_reset(code.into());
        }
        self.streams.remove(&stream.stream);
        self.resets.push(stream);
    }

    fn ping(&mut self) {
        if let Some(ping_pong) = &mut self.ping_pong {
            // It fails only if the connection failed, which the next poll reports.
            let _ = ping_pong.send_ping(Ping::opaque());
        }
    }

    fn check_delivery(&self) {
        let (connection, unanswered) = (self.context.connection, self.io.unanswered());
        let _ = self.context.pool.tell(Input::DeliveryChecked { connection, unanswered });
    }

    fn poll_pong(&mut self, task_context: &mut TaskContext<'_>) {
        if let Some(ping_pong) = &mut self.ping_pong
            && let Poll::Ready(Ok(_)) = ping_pong.poll_pong(task_context)
        {
            let connection = self.context.connection;
            let _ = self.context.pool.tell(Input::Pong { connection });
        }
    }

    /// Reports what the HTTP/2 wire has read; `h2` has already acted on it.
    fn tell_facts(&mut self) {
        let (max_streams, go_aways, received, carries_message) = {
            let mut facts = self.facts.borrow_mut();
            let go_aways = std::mem::take(&mut facts.go_aways);
            let carries_message = std::mem::take(&mut facts.message_seen);
            let received = std::mem::take(&mut facts.frame_seen);
            (facts.max_streams.take(), go_aways, received, carries_message)
        };
        count_ends(self.context, &self.facts);
        let pool = &self.context.pool;
        let connection = self.context.connection;
        if received && self.connected {
            let _ = pool.tell(Input::FrameReceived { connection, carries_message });
        }
        match max_streams {
            Some(max_streams) if self.connected => {
                let _ = pool.tell(Input::MaxStreamsChanged { connection, max_streams });
            }
            Some(_) if !go_aways.is_empty() => {}
            Some(max_streams) => {
                self.connected = true;
                self.context.connected(Protocol::Http2, Some(max_streams));
            }
            None => {}
        }
        for (last_stream_id, code) in go_aways {
            let backend = &*self.context.backend.name;
            tracing::info!(
                target: "baton",
                cluster = &*pool.cluster,
                worker = pool.worker,
                backend,
                %connection,
                last_stream_id,
                code,
                "goaway received"
            );
            let _ = pool.tell(Input::GoAwayReceived { connection, last_stream_id, code });
        }
    }

    /// Reports resets that are on the wire: `h2` was polled and the socket took everything.
    fn tell_resets(&mut self) {
        if self.facts.borrow().blocked {
            return;
        }
        for stream in std::mem::take(&mut self.resets) {
            let _ = self.context.pool.tell(Input::ResetSent { stream });
        }
    }

    fn ended(&self, result: Result<(), h2::Error>) -> Ended {
        let reason = match (self.facts.borrow().flood(), &result) {
            (Some(flood), _) => flood.name().to_owned(),
            (None, Ok(())) => "closed by the backend".to_owned(),
            (None, Err(error)) => error.to_string(),
        };
        if !self.connected {
            return Ended::Dial(ConnectFailure::Protocol, reason);
        }
        let sent_through = self.facts.borrow().sent_through;
        Ended::Closed { sent_through, reason }
    }
}

/// Counts the frames that ended streams and the connection.
fn count_ends(context: &Context, facts: &RefCell<Facts>) {
    if let Some(ends) = facts.borrow_mut().take_ends() {
        context.count(|metrics| metrics.frames.merge(&ends));
    }
}
