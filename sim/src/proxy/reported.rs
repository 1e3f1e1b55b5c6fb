//! The facts that pools learn about connections to backends, and their orders, by the names of the
//! plan: the contract of these facts (`src/pool/input.rs`) is judged against the wire.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use baton::pool::{
    FailedAttempt, FailureCause, Handled, Input, Limit, Output, Pool, StreamFailure, StreamToken,
};

use super::orders::Orders;

/// A fact or an order about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reported {
    /// The dial is done, and the backend allows so many streams, if that is known.
    Connected(Option<u32>),
    /// The number of streams that the backend allows has changed.
    Streams(u32),
    /// HEADERS or DATA arrived.
    Message,
    /// The backend has sent GOAWAY.
    GoAway {
        last: u32,
        code: u32,
    },
    /// The attempt on the stream with this identifier failed.
    Failed {
        stream: u32,
        failure: StreamFailure,
    },
    /// The reset of the stream is on the wire, or needs not be.
    ResetSent(u32),
    /// The order to reset the stream.
    ResetOrdered(u32),
    /// The connection is closed.
    Closed,
    /// The order to close it: the pool learns nothing more about it.
    CloseOrdered,
    /// The order to ask the system if the backend's host acknowledges, and the answer.
    DeliveryOrdered,
    Delivery(Option<u32>),
    /// The order to send PING, and the silence after which the settings allow one.
    Ping {
        silence: Duration,
    },
}

/// A response that a pool has cut because it stood still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stalled {
    pub(crate) at: u64,
    pub(crate) request: u32,
    /// The least time between progress and the cut: settings, and the accuracy of reports.
    pub(crate) after: Duration,
}

/// Everything that was reported.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conversation {
    /// By the backend, and the number of the connection there.
    pub(crate) connections: BTreeMap<(u16, u32), Vec<(u64, Reported)>>,
    pub(crate) stalled: Vec<Stalled>,
    streams: BTreeMap<(u64, StreamToken), u32>,
}

/// Listens to pools.
#[derive(Debug, Default)]
pub(crate) struct Listener(RefCell<Conversation>);

impl Listener {
    /// A fact was reported to a pool, by its number, which has given orders.
    pub(crate) fn note(
        &self,
        at: u64,
        (number, pool): (u64, &Pool),
        input: Input,
        (handled, orders): (Handled, &[Output]),
        names: &Orders,
    ) {
        let mut conversation = self.0.borrow_mut();
        let id = |conversation: &Conversation, stream: StreamToken| {
            conversation.streams.get(&(number, stream)).copied()
        };
        let reported = match input {
            Input::StreamOpened { stream, stream_id } => {
                conversation.streams.insert((number, stream), stream_id);
                None
            }
            Input::Connected { connection, max_streams, .. } => {
                Some((connection, Reported::Connected(max_streams)))
            }
            Input::MaxStreamsChanged { connection, max_streams } => {
                Some((connection, Reported::Streams(max_streams)))
            }
            Input::FrameReceived { connection, carries_message: true } => {
                Some((connection, Reported::Message))
            }
            Input::GoAwayReceived { connection, last_stream_id: last, code } => {
                Some((connection, Reported::GoAway { last, code }))
            }
            Input::StreamFailed { stream: token, failure } if handled == Handled::Done => {
                id(&conversation, token)
                    .map(|stream| (token.connection, Reported::Failed { stream, failure }))
            }
            Input::ResetSent { stream } if handled == Handled::Done => {
                id(&conversation, stream).map(|id| (stream.connection, Reported::ResetSent(id)))
            }
            Input::ConnectionClosed { connection, .. } => Some((connection, Reported::Closed)),
            Input::DeliveryChecked { connection, unanswered } => {
                Some((connection, Reported::Delivery(unanswered)))
            }
            _ => None,
        };
        let silence = pool.config().timeouts.silence;
        let ordered: Vec<_> = orders
            .iter()
            .filter_map(|order| match order {
                Output::Ping { connection } => Some((*connection, Reported::Ping { silence })),
                Output::Close { connection, .. } => Some((*connection, Reported::CloseOrdered)),
                Output::CheckDelivery { connection } => {
                    Some((*connection, Reported::DeliveryOrdered))
                }
                Output::ResetStream { stream, .. } => {
                    let id = id(&conversation, *stream)?;
                    Some((stream.connection, Reported::ResetOrdered(id)))
                }
                _ => None,
            })
            .collect();
        for (connection, reported) in reported.into_iter().chain(ordered) {
            conversation.add(at, names.place_of(number, connection), reported);
        }
        conversation.note_stalls(at, (number, pool), orders, names);
    }

    /// Takes what was reported so far.
    pub(crate) fn take(&self) -> Conversation {
        self.0.take()
    }
}

impl Conversation {
    fn add(&mut self, at: u64, place: Option<(u16, u32)>, reported: Reported) {
        if let Some(place) = place {
            self.connections.entry(place).or_default().push((at, reported));
        }
    }

    /// Time has passed for a pool. Responses that it cuts although it closes no connection stood
    /// still.
    fn note_stalls(
        &mut self,
        at: u64,
        (number, pool): (u64, &Pool),
        orders: &[Output],
        names: &Orders,
    ) {
        let timeouts = &pool.config().timeouts;
        // Progress is reported four times in the shortest of these times, and every second.
        let late = timeouts.body_stall.min(timeouts.response_stall) / 4;
        let after = timeouts.response_stall.saturating_sub(late.min(Duration::from_secs(1)));
        for order in orders {
            if let Output::AttemptFailed(FailedAttempt { request, cause, .. }) = order
                && *cause == FailureCause::Limit(Limit::ResponseStalled)
                && let Some(request) = names.request_of(number, *request)
            {
                self.stalled.push(Stalled { at, request, after });
            }
        }
    }
}
