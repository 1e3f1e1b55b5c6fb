//! Carries out the orders of the pool. Logs changes of backends, and the requests that a drain
//! deadline or a shutdown cuts.

use std::rc::Rc;

use super::{Core, Driver, DriverRequest};
use crate::pool::{
    BackendState, BackendToken, CloseReason, Evidence, FailedAttempt, FailureCause, Outcome,
    Output, Rejection, StateCause,
};
use crate::proxy::access_log::AttemptRecord;
use crate::proxy::backends::BackendEntry;
use crate::proxy::health_check;
use crate::proxy::limits::CUT_REQUESTS_LISTED_MAX;
use crate::proxy::operator::{CutStream, HeldStream};
use crate::proxy::upstream::attempt::{AttemptOrder, NewAttempt, RequestOrder};
use crate::proxy::upstream::{self, ConnectionOrder};

/// The number of requests that one fact has cut.
#[derive(Default)]
struct CutNow(usize);

impl Driver {
    /// Carries out all orders that the pool has given.
    pub(super) fn carry_out(&self, core: &mut Core) {
        let mut cut = CutNow::default();
        while let Some(output) = core.pool.poll_output() {
            match output {
                Output::Connect { connection } => {
                    let backend = self.backend(connection.backend);
                    let orders = upstream::dial(self.handle(core), backend, connection);
                    core.connections.insert(connection, orders);
                }
                Output::OpenStream { stream, request, attempt } => {
                    let Some(live) = core.live(request) else { continue };
                    live.since.set(self.clock.now());
                    live.on.replace(Some(self.backend(stream.connection.backend)));
                    let attempt = NewAttempt {
                        order: AttemptOrder { stream, number: attempt },
                        head: Rc::clone(&live.head),
                        request: live.orders.clone(),
                    };
                    core.order(stream.connection, ConnectionOrder::Open(attempt));
                }
                Output::ResetStream { stream, code } => {
                    core.order(stream.connection, ConnectionOrder::Reset { stream, code });
                }
                Output::Ping { connection } => core.order(connection, ConnectionOrder::Ping),
                Output::CheckDelivery { connection } => {
                    core.order(connection, ConnectionOrder::CheckDelivery);
                }
                Output::Close { connection, reason } => {
                    core.order(connection, ConnectionOrder::Close { reason });
                    core.connections.remove(&connection);
                }
                Output::CheckHealth { backend, number } => {
                    let time = core.pool.config().timeouts.health_check_timeout;
                    let checker = Rc::clone(&self.health_checks);
                    let backend = self.backend(backend.backend);
                    health_check::start(checker, self.handle(core), backend, number, time);
                }
                Output::HealthCheckJudged { backend, passed } => {
                    self.count(|metrics| {
                        metrics.count_at(backend, |metrics| metrics.health_check_finished(passed));
                    });
                    let backend = self.backend(backend.backend);
                    self.health_checks.judged(&self.cluster, &backend, passed, self.now());
                }
                Output::BackendChanged { backend, state, cause } => {
                    self.log_state(backend, state, cause);
                }
                Output::BackendGone { backend } => {
                    self.backends.borrow_mut().remove(backend);
                    self.health_checks.forget(backend);
                    self.cuts.borrow_mut().remove(&backend);
                }
                Output::AttemptFailed(failed) => self.attempt_failed(core, &mut cut, failed),
                Output::RequestEnded { request, outcome, attempts, by } => {
                    if let Some(live) = core.live(request) {
                        self.note_cut_in_queue(&mut cut, live, outcome);
                        // The request's task may have ended already; then the order is dropped.
                        live.orders.send(RequestOrder::Ended { outcome, attempts, by });
                        core.requests[request.index as usize] = None;
                    }
                }
            }
        }
        self.note_further(&cut);
    }

    /// Reports to a request that its attempt has failed. Logs it if a drain deadline or a shutdown
    /// cut it.
    fn attempt_failed(&self, core: &Core, cut: &mut CutNow, failed: FailedAttempt) {
        let FailedAttempt { stream, stream_id, request, number, evidence, cause, retried } = failed;
        let Some(live) = core.live(request) else { return };
        let connection = stream.connection;
        let backend = live.on.borrow().clone().expect("the attempt was ordered");
        if let FailureCause::Closed(by @ (CloseReason::DrainDeadline | CloseReason::Shutdown)) =
            cause
        {
            let begun = evidence == Evidence::Responding;
            let held = live.held(self.now(), stream_id, begun);
            let lost = CutStream { connection: connection.to_string(), stream: held, retried };
            self.log_cut(cut, Some(&backend), &lost, by);
            let view = core.pool.backend(connection.backend);
            if view.is_some_and(|view| view.drain_deadline.is_some()) {
                self.cuts.borrow_mut().entry(backend.token).or_default().note(lost);
            }
        }
        if retried {
            live.on.take();
        }
        let backend = (backend.token, Rc::clone(&backend.name));
        let mut record = AttemptRecord::new(number, backend, stream, stream_id);
        record.failed = Some((evidence, cause));
        // The opening of another stream, or the end, wakes the request's task.
        live.orders.send_quietly(RequestOrder::Failed(record));
    }

    /// Logs a request that a shutdown has ended while it waited for a stream.
    fn note_cut_in_queue(&self, cut: &mut CutNow, live: &DriverRequest, outcome: Outcome) {
        if outcome == Outcome::Rejected(Rejection::ShuttingDown) && live.on.borrow().is_none() {
            let held = live.held(self.now(), 0, false);
            let lost = CutStream { connection: "-".to_owned(), stream: held, retried: false };
            self.log_cut(cut, None, &lost, CloseReason::Shutdown);
        }
    }

    /// Logs the number of requests that were cut, if not each of them was logged.
    fn note_further(&self, cut: &CutNow) {
        if cut.0 > CUT_REQUESTS_LISTED_MAX {
            let (cluster, count) = (&**self.cluster(), cut.0 - CUT_REQUESTS_LISTED_MAX);
            tracing::warn!(target: "baton", cluster, count, "further requests cut");
        }
    }

    fn log_cut(
        &self,
        count: &mut CutNow,
        backend: Option<&BackendEntry>,
        cut: &CutStream,
        by: CloseReason,
    ) {
        count.0 += 1;
        if count.0 > CUT_REQUESTS_LISTED_MAX {
            return;
        }
        let HeldStream { stream, age_ms, method, path, response_begun } = &cut.stream;
        tracing::warn!(
            target: "baton",
            cluster = &**self.cluster(),
            worker = self.worker(),
            backend = backend.map_or("-", |backend| &*backend.name),
            connection = cut.connection,
            stream,
            age_ms,
            method,
            path,
            response_begun,
            retried = cut.retried,
            %by,
            "request cut"
        );
    }

    fn log_state(&self, backend: BackendToken, state: BackendState, cause: StateCause) {
        let known = self.backends.borrow().find(backend);
        let name = known.as_ref().map_or("-", |backend| &*backend.name);
        let (cluster, worker) = (&*self.cluster, self.worker());
        match state {
            BackendState::Up
            | BackendState::HalfOpen
            | BackendState::Draining
            | BackendState::Removed => {
                tracing::info!(target: "baton", cluster, worker, backend = name, %state, %cause, "backend changed");
            }
            BackendState::Ejected => {
                tracing::warn!(target: "baton", cluster, worker, backend = name, %state, %cause, "backend changed");
            }
            BackendState::Down => {
                let failure = self.health_checks.failure(backend);
                let reason = failure.as_ref().map(|failure| &*failure.reason);
                tracing::warn!(target: "baton", cluster, worker, backend = name, %state, %cause, reason, "backend changed");
            }
        }
    }
}
