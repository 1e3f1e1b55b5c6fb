//! A request that the pool has accepted, until its end is logged.

use std::cell::RefCell;
use std::rc::Rc;

use super::replay_body::ReplayBody;
use crate::pool::{EndedBy, Input, Rejection, RequestId, StreamFailure, StreamToken};
use crate::proxy::access_log::{AccessRecord, AttemptRecord};
use crate::proxy::channel::Receiver;
use crate::proxy::driver::Driver;
use crate::proxy::seams::Task;
use crate::proxy::upstream::attempt::{AttemptOrder, Opened, RequestHead, RequestOrder};

/// A request that the pool knows. Dropping it before its end cancels it: the client is gone.
pub struct RelayedRequest {
    pub(super) driver: Rc<Driver>,
    pub(super) request: RequestId,
    pub(super) orders: Receiver<RequestOrder>,
    pub(super) record: Box<AccessRecord>,
    pub(super) head: Rc<RequestHead>,
    pub(super) body: Rc<RefCell<ReplayBody>>,
    /// The task that sends the body of the present attempt.
    pub(super) upload: Option<Task>,
}

impl RelayedRequest {
    /// Records attempts and the end that were ordered but not yet received.
    pub(super) fn note_end(&mut self) {
        while self.record.outcome.is_none()
            && let Some(order) = self.orders.try_recv()
        {
            self.note(&order);
        }
    }

    /// Records an order for the access log.
    pub(super) fn note(&mut self, order: &RequestOrder) {
        match order {
            RequestOrder::Opened(Opened { order, stream_id, at, backend }, _) => {
                let AttemptOrder { stream, number } = *order;
                let attempt = AttemptRecord::new(number, backend.clone(), stream, *stream_id);
                self.record.opened.get_or_insert(*at);
                self.record.attempts.push(attempt);
            }
            RequestOrder::Failed(attempt) => self.record.attempt_failed(attempt),
            RequestOrder::Ended { outcome, attempts, by } => {
                self.record.ended(*outcome, *attempts, *by);
            }
        }
    }

    /// Reports to the pool that an attempt failed. The pool decides what that proves and what
    /// follows, unless it has already given up the attempt for another reason.
    pub(super) fn fail(&self, stream: StreamToken, failure: StreamFailure) {
        let _ = self.driver.tell(Input::StreamFailed { stream, failure });
    }
}

impl Drop for RelayedRequest {
    fn drop(&mut self) {
        self.upload = None;
        self.note_end();
        if self.record.outcome.is_none() {
            let _ = self.driver.tell(Input::RequestCancelled { request: self.request });
            self.note_end();
            if self.driver.telemetry().is_stopping() {
                self.record.ended_by = EndedBy::Proxy;
                self.record.reason = Rejection::ShuttingDown.name();
            } else if let Some(limit) = self.record.arrival.cut_by() {
                self.record.ended_by = EndedBy::Proxy;
                self.record.reason = limit.name();
            }
        }
        let body = self.body.borrow();
        self.record.request_bytes = body.received();
        self.record.backend_request_bytes = body.sent();
        let sent_at = if self.head.has_body { body.sent_at() } else { self.record.opened };
        self.record.uploaded = sent_at;
        drop(body);
        self.driver.request_ended(&self.record);
    }
}
