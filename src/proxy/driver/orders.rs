//! Carries out an operator's orders about backends, reports the requests in flight, and logs those
//! that a drain deadline or a shutdown cuts.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::{Core, Driver};
use crate::pool::{
    BackendId, BackendState, BackendToken, CloseReason, ConnectionToken, Handled, Input, Instant,
    RequestId, SlotState, SlotView, Strategy, StreamToken, StreamView, TimerReason,
};
use crate::proxy::backends::BackendEntry;
use crate::proxy::control::milliseconds;
use crate::proxy::limits::{CUT_REQUESTS_LISTED_MAX, REPORTED_PATH_CHARS_MAX};
use crate::proxy::operator::{CutStream, HeldConnection, HeldStream, Order, WorkerReport};

/// A request in flight, which a deadline may end.
pub(super) struct AtStake {
    request: RequestId,
    /// `None` while the request waits for a connection.
    stream: Option<StreamToken>,
    held: HeldStream,
}

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
    pub fn carry_out_order(self: &Rc<Self>, backend: BackendToken, order: Order) -> bool {
        match order {
            Order::Show => false,
            Order::Drain { within } => self.drain(backend, within),
            Order::Undrain => {
                let undrained = self.tell(Input::DrainCancelled { backend }) == Handled::Done;
                self.drains.borrow_mut().remove(&backend);
                undrained
            }
            Order::Weight(weight) => {
                let before = self.weight(backend);
                let _ = self.tell(Input::WeightChanged { backend, weight });
                self.weight(backend) != before
            }
        }
    }

    fn drain(self: &Rc<Self>, backend: BackendToken, within: Option<Duration>) -> bool {
        let given = within.is_some();
        let within = within.unwrap_or_else(|| self.config(|config| config.timeouts.drain));
        let deadline = self.now().after(within);
        let known = self.drains.borrow().get(&backend).map(|drain| drain.deadline);
        // A repeated order with an earlier deadline shortens the drain; any other changes nothing.
        if known.is_some_and(|known| !given || deadline >= known) {
            return false;
        }
        if self.tell(Input::DrainRequested { backend, within }) != Handled::Done {
            return false;
        }
        self.drains.borrow_mut().entry(backend).or_default().deadline = deadline;
        true
    }

    fn weight(&self, backend: BackendToken) -> Option<u16> {
        self.core.borrow().pool.backend(backend.backend).map(|view| view.weight)
    }

    /// Takes over the operator's orders (drains with their deadlines, and weights) from `before`,
    /// the previous driver of the same cluster.
    pub fn inherit(self: &Rc<Self>, before: &Self) {
        let known = before.backends.borrow();
        for backend in self.configured() {
            for old in known.named(&backend.name) {
                let drain = before.drains.borrow().get(&old.token).cloned();
                if let Some(drain) = drain {
                    let within = drain.deadline.since(self.now());
                    let _ = self.tell(Input::DrainRequested { backend: backend.token, within });
                    self.drains.borrow_mut().insert(backend.token, drain);
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
        let (core, drains, now) = (self.core.borrow(), self.drains.borrow(), self.now());
        let views = backends.iter().filter_map(|it| core.pool.backend(it.token.backend));
        // The backend accepts requests if any of its entries does.
        let view = views.min_by_key(|view| view.state == BackendState::Draining);
        let view = view.expect("a backend that was found has an entry");
        let places: Vec<_> = backends.iter().map(|backend| backend.token.backend).collect();
        let others = self.configured().into_iter().map(|other| other.token.backend);
        let others = others.filter(|place| !places.contains(place));
        let known: Vec<_> = backends.iter().filter_map(|it| drains.get(&it.token)).collect();
        let connections = places.iter().flat_map(|place| core.pool.connections(*place));
        let cut = known.iter().flat_map(|drain| drain.cut.iter().cloned());
        let deadline = known.iter().map(|drain| milliseconds(drain.deadline.since(now))).max();
        WorkerReport {
            worker: self.worker(),
            answered: true,
            state: Some(view.state),
            state_ms: Some(milliseconds(now.since(view.since))),
            cause: Some(view.cause),
            connections: connections.map(|connection| core.connection(connection, now)).collect(),
            cut: cut.take(CUT_REQUESTS_LISTED_MAX).collect(),
            cut_total: known.iter().map(|drain| drain.cut_total).sum(),
            weight: view.weight,
            weights_count: core.pool.config().strategy == Strategy::Weighted,
            others: others.filter(|place| core.pool.may_be_used(*place)).count(),
            changed,
            deadline_ms: deadline,
        }
    }

    /// Has the pool handle a timer that is due, and logs the requests that were cut by it.
    pub(super) fn time_passed(self: &Rc<Self>, reason: TimerReason) {
        let at_stake = match reason {
            TimerReason::ConnectionLife => self.core.borrow().draining(self.now()),
            TimerReason::Shutdown => self.core.borrow().all(self.now()),
            TimerReason::ConnectionQuiet
            | TimerReason::RequestDeadline
            | TimerReason::Backoff
            | TimerReason::Ejection
            | TimerReason::HealthCheck => Vec::new(),
        };
        let _ = self.tell(Input::Timeout);
        if !at_stake.is_empty() {
            let by_shutdown = reason == TimerReason::Shutdown;
            self.note_cut(at_stake, by_shutdown);
        }
    }

    /// Logs the requests that lost their stream, or ended without one, and keeps them for reports
    /// about the drain of their backend.
    fn note_cut(&self, at_stake: Vec<AtStake>, by_shutdown: bool) {
        let core = self.core.borrow();
        let is_cut = |it: &AtStake| match it.stream {
            _ if by_shutdown => core.live(it.request).is_none(),
            Some(stream) => !core.pool.is_current(stream.connection),
            None => false,
        };
        let mut count = 0;
        for it in at_stake.into_iter().filter(is_cut) {
            count += 1;
            let connection = it.stream.map(|stream| stream.connection);
            let retried = core.live(it.request).is_some();
            let name = connection.map_or_else(|| "-".to_owned(), |token| token.to_string());
            let cut = CutStream { connection: name, stream: it.held, retried };
            let backend = connection.and_then(|it| self.backends.borrow().get(it.backend));
            if count <= CUT_REQUESTS_LISTED_MAX {
                self.log_cut(backend.as_deref(), &cut, by_shutdown);
            }
            if let Some(backend) = backend
                && let Some(drain) = self.drains.borrow_mut().get_mut(&backend.token)
            {
                drain.note(cut);
            }
        }
        if count > CUT_REQUESTS_LISTED_MAX {
            let (cluster, count) = (&**self.cluster(), count - CUT_REQUESTS_LISTED_MAX);
            tracing::warn!(target: "baton", cluster, count, "further requests cut");
        }
    }

    fn log_cut(&self, backend: Option<&BackendEntry>, cut: &CutStream, by_shutdown: bool) {
        let by = if by_shutdown { CloseReason::Shutdown } else { CloseReason::DrainDeadline };
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
}

impl Core {
    fn view(&self, connection: ConnectionToken) -> SlotView {
        let view = self.pool.slot(connection.backend, connection.slot);
        view.expect("a token names a slot")
    }

    /// Returns the state of a connection and the requests on it.
    fn connection(&self, connection: ConnectionToken, now: Instant) -> HeldConnection {
        let view = self.view(connection);
        let streams = self.pool.streams(connection).filter_map(|view| self.on_stream(&view, now));
        let streams: Vec<_> = streams.map(|it| it.held).collect();
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

    /// Returns the request on a stream.
    fn on_stream(&self, view: &StreamView, now: Instant) -> Option<AtStake> {
        let mut found = self.waiting(view.request, now)?;
        found.stream = Some(view.stream);
        (found.held.stream, found.held.response_begun) = (view.stream_id, view.response_began);
        Some(found)
    }

    /// Returns a request without its stream, as if it waited for a connection.
    fn waiting(&self, request: RequestId, now: Instant) -> Option<AtStake> {
        let live = self.live(request)?;
        let parts = &live.head.parts;
        let path = parts.uri.path_and_query().map_or("-", |path| path.as_str());
        let held = HeldStream {
            stream: 0,
            age_ms: milliseconds(now.since(live.since.get())),
            method: parts.method.to_string(),
            path: shortened(path),
            response_begun: false,
        };
        Some(AtStake { request, stream: None, held })
    }

    /// Returns the requests on connections that are draining.
    fn draining(&self, now: Instant) -> Vec<AtStake> {
        let connections = self.all_connections();
        let draining =
            connections.filter(|connection| self.view(*connection).state == SlotState::Draining);
        let streams = draining.flat_map(|connection| self.pool.streams(connection));
        streams.filter_map(|view| self.on_stream(&view, now)).collect()
    }

    /// Returns all requests, including those that wait for a connection.
    fn all(&self, now: Instant) -> Vec<AtStake> {
        let requests = (0_u32..).zip(&self.requests).filter_map(|(index, live)| {
            Some(RequestId { index, generation: live.as_ref()?.generation })
        });
        let all = requests.filter_map(|request| self.waiting(request, now));
        let streams = self.all_connections().flat_map(|connection| self.pool.streams(connection));
        let all = all.chain(streams.filter_map(|view| self.on_stream(&view, now)));
        // A request on a stream is listed twice; its second entry, with the stream, replaces the
        // first.
        let all: BTreeMap<_, _> = all.map(|it| (it.request, it)).collect();
        all.into_values().collect()
    }

    fn all_connections(&self) -> impl Iterator<Item = ConnectionToken> + '_ {
        let places = 0..self.pool.config().limits.backends;
        let places = places.filter_map(|place| u16::try_from(place).ok());
        places.flat_map(|place| self.pool.connections(BackendId(place)))
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
