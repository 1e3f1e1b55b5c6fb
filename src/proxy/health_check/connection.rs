//! The connection of one health check.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use ::http::{Request, Response};
use bytes::Bytes;
use h2::RecvStream;
use h2::client::{Builder, Connection, SendRequest};
use tokio::sync::oneshot;

use super::check::Unanswered;
use crate::pool::input::code;
use crate::proxy::client_limits::FrameBudgets;
use crate::proxy::dial::BoxedIo;
use crate::proxy::http2_wire::{Facts, Http2Wire, Side};
use crate::proxy::limits::{
    HEALTH_CHECK_SEND_BUFFER_BYTES, HEALTH_CHECK_WINDOW_BYTES, RESPONSE_HEAD_BYTES_MAX,
};
use crate::proxy::seams::{self, Clock, Task};

/// A task that drives a connection until this is dropped.
pub(super) struct Kept {
    _task: Task,
    ended: oneshot::Receiver<()>,
}

impl Kept {
    pub(super) fn spawn(connection: impl Future<Output = ()> + 'static) -> Self {
        let (sender, ended) = oneshot::channel();
        let task = seams::spawn_bound(async move {
            connection.await;
            drop(sender);
        });
        Self { _task: task, ended }
    }

    /// Waits until the connection has ended.
    pub(super) async fn ended(self) {
        // The sender sends nothing; dropping it is the signal.
        let _ = self.ended.await;
    }
}

/// An HTTP/2 connection for one request.
pub(super) struct Http2 {
    sender: SendRequest<Bytes>,
    /// Why the backend ended the connection, if that says more than the stream's error.
    ended_by: Rc<RefCell<Option<Unanswered>>>,
    kept: Kept,
}

impl Http2 {
    pub(super) async fn open(io: BoxedIo) -> Result<Self, Unanswered> {
        let (wire, facts) = Http2Wire::new(io, Side::Client, FrameBudgets::BACKEND, Clock::start());
        let handshake = Builder::new()
            .initial_window_size(HEALTH_CHECK_WINDOW_BYTES)
            .initial_connection_window_size(HEALTH_CHECK_WINDOW_BYTES)
            .max_send_buffer_size(HEALTH_CHECK_SEND_BUFFER_BYTES)
            .max_header_list_size(RESPONSE_HEAD_BYTES_MAX)
            .enable_push(false)
            .handshake(wire)
            .await;
        let (sender, mut connection) = handshake.map_err(|error| failed(&error))?;
        let ended_by = Rc::new(RefCell::new(None));
        let reported = Rc::clone(&ended_by);
        let kept =
            Kept::spawn(poll_fn(move |context| poll(&mut connection, context, &facts, &reported)));
        Ok(Self { sender, ended_by, kept })
    }

    /// Sends a request with this body, and waits for the response head.
    pub(super) async fn send(
        &self,
        request: Request<()>,
        body: Option<Bytes>,
    ) -> Result<Response<RecvStream>, Unanswered> {
        let sender = self.sender.clone();
        let mut sender = sender.ready().await.map_err(|error| self.unanswered(&error))?;
        let sent = sender.send_request(request, body.is_none());
        let (response, mut stream) = sent.map_err(|error| self.unanswered(&error))?;
        if let Some(body) = body {
            stream.send_data(body, true).map_err(|error| self.unanswered(&error))?;
        }
        response.await.map_err(|error| self.unanswered(&error))
    }

    /// Returns the reason why a stream ended with this error.
    pub(super) fn unanswered(&self, error: &h2::Error) -> Unanswered {
        self.ended_by.take().unwrap_or_else(|| failed(error))
    }

    /// Closes the connection gracefully.
    pub(super) async fn close(self) {
        drop(self.sender);
        self.kept.ended().await;
    }
}

fn failed(error: &h2::Error) -> Unanswered {
    Unanswered::Failed(format!("HTTP/2: {error}"))
}

fn poll(
    connection: &mut Connection<Http2Wire<BoxedIo>, Bytes>,
    context: &mut Context<'_>,
    facts: &RefCell<Facts>,
    ended_by: &RefCell<Option<Unanswered>>,
) -> Poll<()> {
    let polled = Pin::new(connection).poll(context);
    let mut facts = facts.borrow_mut();
    let graceful = |(_, code): (u32, u32)| code == code::NO_ERROR;
    if facts.go_aways.drain(..).any(graceful) {
        ended_by.replace(Some(Unanswered::GoingAway));
    }
    if let Some(flood) = facts.flood() {
        ended_by.replace(Some(Unanswered::Failed(format!("HTTP/2: {}", flood.name()))));
        return Poll::Ready(());
    }
    polled.map(|_| ())
}
