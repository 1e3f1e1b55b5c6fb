//! The orders, ends and reports that the tasks of all connections to backends have in common.

use std::rc::Rc;

use super::attempt::{Attempt, NewAttempt, Opened, RequestOrder};
use crate::pool::{CloseReason, ConnectFailure, ConnectionToken, Input, Protocol, StreamToken};
use crate::proxy::backends::BackendEntry;
use crate::proxy::channel::Receiver;
use crate::proxy::metrics::{self, BackendMetrics};
use crate::proxy::pool_handle::PoolHandle;

/// An order of the pool for one connection.
pub enum ConnectionOrder {
    /// Send a request.
    Open(NewAttempt),
    /// Reset a stream.
    Reset {
        /// The stream to reset.
        stream: StreamToken,
        /// The error code to reset with (RFC 9113, 7).
        code: u32,
    },
    /// Send a PING frame.
    Ping,
    /// Ask the system if what was sent reaches the backend's host.
    CheckDelivery,
    /// Close the connection, or give up its dial.
    Close {
        /// The pool's reason, for the log.
        reason: CloseReason,
    },
}

/// The end of a connection's task.
pub(super) enum Ended {
    /// The dial failed.
    Dial(ConnectFailure, String),
    /// The peer or the network closed the connection.
    Closed { sent_through: u32, reason: String },
    /// The pool gave up the dial; nothing is reported to it.
    GivenUp(CloseReason),
    /// The pool closed the connection; nothing is reported to it.
    Ordered(CloseReason),
    /// The driver is gone.
    Dropped,
}

/// The context of a connection's task, for reports and logs.
pub(super) struct Context {
    pub(super) pool: PoolHandle,
    pub(super) connection: ConnectionToken,
    /// The connection's backend, kept here because it may be removed before the connection closes.
    pub(super) backend: Rc<BackendEntry>,
}

impl Context {
    /// Logs and reports that the connection is ready.
    pub(super) fn connected(&self, protocol: Protocol, max_streams: Option<u32>) {
        let (backend, connection) = (&*self.backend.name, self.connection);
        let (cluster, worker) = (&*self.pool.cluster, self.pool.worker);
        tracing::info!(target: "baton", cluster, worker, backend, %connection, %protocol, "connected");
        let _ = self.pool.tell(Input::Connected { connection, protocol, max_streams });
    }

    /// Updates the metrics of the connection's backend.
    pub(super) fn count(&self, count: impl FnOnce(&mut BackendMetrics)) {
        self.pool.count_at(self.backend.token, count);
    }

    /// Hands an attempt to its request: the attempt is now on a stream.
    pub(super) fn hand_over(&self, attempt: &NewAttempt, stream_id: u32, mut begun: Attempt) {
        let NewAttempt { order, head, request } = attempt;
        // An attempt without a body to send and without an earlier attempt to drop needs no wake-up
        // before its response arrives.
        let sleeps_on = order.number == 1
            && !head.has_body
            && request.waiting().is_some_and(|waker| begun.will_wake(&waker));
        let at = self.pool.now();
        let backend = (self.backend.token, Rc::clone(&self.backend.name));
        let opened = Opened { order: *order, stream_id, at, backend };
        let opened = RequestOrder::Opened(opened, begun);
        if sleeps_on { request.send_quietly(opened) } else { request.send(opened) }
    }
}

/// Waits for the order that ends a dial. The pool orders nothing else of a dial.
pub(super) async fn ordered_end(orders: &mut Receiver<ConnectionOrder>) -> Ended {
    match orders.recv().await {
        Some(ConnectionOrder::Close { reason }) => Ended::GivenUp(reason),
        Some(_) | None => Ended::Dropped,
    }
}

/// Logs, counts and reports the end of a connection or dial.
pub(super) fn report(context: &Context, ended: Ended) {
    let connection = context.connection;
    let backend = &*context.backend.name;
    let (cluster, worker) = (&*context.pool.cluster, context.pool.worker);
    let (was_ready, label, reason, fact) = match ended {
        Ended::Dropped => return,
        Ended::Ordered(reason) => (true, reason.name(), reason.to_string(), None),
        Ended::GivenUp(reason) => (false, metrics::given_up(reason), reason.to_string(), None),
        Ended::Closed { sent_through, reason } => {
            let fact = Input::ConnectionClosed { connection, sent_through };
            (true, metrics::CLOSED_BY_PEER, reason, Some(fact))
        }
        Ended::Dial(failure, reason) => {
            let fact = Input::ConnectFailed { connection, reason: failure };
            (false, failure.name(), reason, Some(fact))
        }
    };
    context.count(|metrics| {
        let ends = if was_ready { &mut metrics.closes } else { &mut metrics.dial_failures };
        ends.add(label);
    });
    if was_ready {
        tracing::info!(target: "baton", cluster, worker, backend, %connection, reason, "connection closed");
    } else {
        tracing::warn!(target: "baton", cluster, worker, backend, %connection, reason, "connect failed");
    }
    if let Some(fact) = fact {
        let _ = context.pool.tell(fact);
        context.pool.facts.forget_connection(connection);
    }
}
