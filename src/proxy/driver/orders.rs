//! Carries out an operator's orders about backends, and reports the requests in flight.

use std::rc::Rc;

use super::{Core, Driver, DriverRequest};
use crate::pool::{
    BackendState, BackendToken, ConnectionToken, Handled, Input, Instant, SlotState, Strategy,
    StreamView,
};
use crate::proxy::backends::BackendEntry;
use crate::proxy::limits::{CUT_REQUESTS_LISTED_MAX, REPORTED_PATH_CHARS_MAX};
use crate::proxy::operator::{HeldConnection, HeldStream, Order, WorkerReport};
use crate::proxy::snapshot::milliseconds;

impl Driver {
    /// The backends of the present configuration.
    pub fn configured(&self) -> Vec<Rc<BackendEntry>> {
        self.backends.borrow().configured().collect()
    }

    /// The backends of the present configuration, and removed ones that still have connections.
    pub fn all_backends(&self) -> Vec<Rc<BackendEntry>> {
        self.backends.borrow().iter().cloned().collect()
    }

    /// Carries out an operator's order about a backend. Returns true if that changed anything.
    pub fn carry_out_order(&self, backend: BackendToken, order: Order) -> bool {
        match order {
            Order::Show => false,
            Order::Drain { within } => {
                self.tell(Input::DrainRequested { backend, within }) == Handled::Done
            }
            Order::Undrain => {
                self.cuts.borrow_mut().remove(&backend);
                self.tell(Input::DrainCancelled { backend }) == Handled::Done
            }
            Order::Weight(weight) => {
                let before = self.weight(backend);
                let _ = self.tell(Input::WeightChanged { backend, weight });
                self.weight(backend) != before
            }
        }
    }

    fn drain_deadline(&self, backend: BackendToken) -> Option<Instant> {
        let view = self.core.borrow().pool.backend(backend.backend)?;
        view.drain_deadline.filter(|_| view.token == backend)
    }

    fn weight(&self, backend: BackendToken) -> Option<u16> {
        self.core.borrow().pool.backend(backend.backend).map(|view| view.weight)
    }

    /// Takes over the operator's orders (drains with their deadlines, and weights) from `before`,
    /// the previous driver of the same cluster.
    pub fn inherit(&self, before: &Self) {
        let known = before.backends.borrow();
        for backend in self.configured() {
            for old in known.named(&backend.name) {
                if let Some(deadline) = before.drain_deadline(old.token) {
                    let within = Some(deadline.since(self.now()));
                    let _ = self.tell(Input::DrainRequested { backend: backend.token, within });
                }
                if let Some(cuts) = before.cuts.borrow().get(&old.token) {
                    self.cuts.borrow_mut().insert(backend.token, cuts.clone());
                }
                let configured = known.weight(old.token);
                let ordered = before.weight(old.token).filter(|weight| Some(*weight) != configured);
                if let Some(weight) = ordered
                    && self.backends.borrow().weight(backend.token) == configured
                {
                    let _ = self.tell(Input::WeightChanged { backend: backend.token, weight });
                }
            }
        }
    }

    /// Reports the state of one configured backend, its connections and their requests. `backends`
    /// are its entries in the pool: the same URL may be configured with several TLS names.
    ///
    /// # Panics
    /// If none of `backends` is in the pool.
    pub fn report(&self, backends: &[Rc<BackendEntry>], changed: bool) -> WorkerReport {
        let (core, cuts, now) = (self.core.borrow(), self.cuts.borrow(), self.now());
        let views = || backends.iter().filter_map(|it| core.pool.backend(it.token.backend));
        // The backend accepts requests if any of its entries does.
        let view = views().min_by_key(|view| view.state == BackendState::Draining);
        let view = view.expect("a backend that was found has an entry");
        let places: Vec<_> = backends.iter().map(|backend| backend.token.backend).collect();
        let others = self.configured().into_iter().map(|other| other.token.backend);
        let others = others.filter(|place| !places.contains(place));
        let known: Vec<_> = backends.iter().filter_map(|it| cuts.get(&it.token)).collect();
        let connections = places.iter().flat_map(|place| core.pool.connections(*place));
        let cut = known.iter().flat_map(|cuts| cuts.cut.iter().cloned());
        let deadline = views().filter_map(|view| view.drain_deadline).max();
        WorkerReport {
            worker: self.worker(),
            answered: true,
            state: Some(view.state),
            state_ms: Some(milliseconds(now.since(view.since))),
            cause: Some(view.cause),
            connections: connections.map(|connection| core.connection(connection, now)).collect(),
            cut: cut.take(CUT_REQUESTS_LISTED_MAX).collect(),
            cut_total: known.iter().map(|cuts| cuts.cut_total).sum(),
            weight: view.weight,
            weights_count: core.pool.config().strategy == Strategy::Weighted,
            others: others.filter(|place| core.pool.may_be_used(*place)).count(),
            changed,
            deadline_ms: deadline.map(|deadline| milliseconds(deadline.since(now))),
        }
    }
}

impl DriverRequest {
    /// Describes the request on a stream; 0 if it waits for a connection.
    pub(super) fn held(&self, now: Instant, stream: u32, response_begun: bool) -> HeldStream {
        let parts = &self.head.parts;
        let path = parts.uri.path_and_query().map_or("-", |path| path.as_str());
        HeldStream {
            stream,
            age_ms: milliseconds(now.since(self.since.get())),
            method: parts.method.to_string(),
            path: shortened(path),
            response_begun,
        }
    }
}

impl Core {
    /// Returns the state of a connection and the requests on it.
    fn connection(&self, connection: ConnectionToken, now: Instant) -> HeldConnection {
        let view = self.pool.slot(connection.backend, connection.slot);
        let view = view.expect("a token names a slot");
        let held = |view: StreamView| {
            let live = self.live(view.request)?;
            Some(live.held(now, view.stream_id, view.response_began))
        };
        let streams: Vec<_> = self.pool.streams(connection).filter_map(held).collect();
        let requests = u32::try_from(streams.len()).unwrap_or(u32::MAX);
        HeldConnection {
            connection: connection.to_string(),
            state: view.state,
            resetting: match view.state {
                SlotState::Empty | SlotState::Connecting => 0,
                SlotState::Available
                | SlotState::InUse
                | SlotState::Suspect
                | SlotState::Draining => view.streams.saturating_sub(requests),
            },
            streams,
        }
    }
}

fn shortened(path: &str) -> String {
    if path.len() <= REPORTED_PATH_CHARS_MAX {
        return path.to_owned();
    }
    let mut text: String = path.chars().take(REPORTED_PATH_CHARS_MAX).collect();
    text.push('…');
    text
}
