//! An HTTP/1.1 backend: it reads requests, counts what it executes, and answers as the plan says.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::io;
use std::pin::pin;
use std::rc::Rc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::plan::{BackendPlan, Health};
use crate::proxy::hub::Hub;
use crate::proxy::peers::timing::{Changes, after, sleep_until};
use link::Link;
use state::{HealthChecks, State};

mod answer;
mod link;
mod state;

/// A connection that a backend has accepted.
pub(crate) struct Accepted<Opening> {
    /// Its number at the backend, from 1.
    pub(crate) number: u32,
    /// Resolves to the stream of bytes, after TLS if there is TLS.
    pub(crate) opening: Opening,
    /// Resets the connection: both ends see an error.
    pub(crate) reset: Box<dyn FnOnce()>,
}

/// Accepts connections. While a backend has none, dials are refused.
pub(crate) trait Listener {
    /// Resolves to the stream of bytes of a connection.
    type Opening;

    /// Waits for the next connection. Can be cancelled without a loss.
    fn accept(&mut self) -> impl Future<Output = Accepted<Self::Opening>>;
}

/// An HTTP/1.1 backend.
pub(crate) struct Http1Backend {
    hub: Rc<Hub>,
    /// Its index in the plan.
    index: u16,
    plan: BackendPlan,
    connections: RefCell<BTreeMap<u32, Rc<State>>>,
    /// Dials are refused before this time.
    down_until: Cell<u64>,
    /// All connections break at this time.
    breaks_at: Cell<u64>,
    health_checks: HealthChecks,
    changes: Changes,
}

impl Http1Backend {
    /// The backend with this index.
    pub(crate) fn new(hub: &Rc<Hub>, index: u16) -> Rc<Self> {
        Rc::new(Self {
            hub: Rc::clone(hub),
            index,
            plan: hub.plan.backends[usize::from(index)],
            connections: RefCell::default(),
            down_until: Cell::new(0),
            breaks_at: Cell::new(u64::MAX),
            health_checks: HealthChecks::default(),
            changes: Changes::default(),
        })
    }

    /// Accepts connections and serves them. `listen` begins to listen; the listener is dropped
    /// while the backend is down. Never returns.
    pub(crate) async fn serve<L, Io>(&self, listen: impl Fn() -> L)
    where
        L: Listener,
        L::Opening: Future<Output = io::Result<Io>>,
        Io: AsyncRead + AsyncWrite + Unpin,
    {
        let mut serving = FuturesUnordered::new();
        let mut listener = None;
        loop {
            let now = self.hub.now();
            if self.breaks_at.get() <= now {
                self.breaks_at.set(u64::MAX);
                self.break_all();
            }
            let down = now < self.down_until.get();
            listener = if down { None } else { listener.or_else(|| Some(listen())) };
            let until = if down { self.down_until.get() } else { u64::MAX };
            let next = (self.down_until.get(), self.breaks_at.get());
            tokio::select! {
                biased;
                () = self.changes.until(|| next != (self.down_until.get(), self.breaks_at.get())) => {}
                () = sleep_until(&self.hub, until.min(self.breaks_at.get())) => {}
                Some(()) = serving.next(), if !serving.is_empty() => {}
                accepted = accept(&mut listener) => serving.push(self.connection(accepted)),
            }
        }
    }

    /// Serves one connection until it is over.
    pub(crate) fn connection<Opening, Io>(
        &self,
        accepted: Accepted<Opening>,
    ) -> impl Future<Output = ()>
    where
        Opening: Future<Output = io::Result<Io>>,
        Io: AsyncRead + AsyncWrite + Unpin,
    {
        let Accepted { number, opening, reset } = accepted;
        let state = State::new(&self.hub, self.index, number, self.plan);
        self.connections.borrow_mut().insert(number, Rc::clone(&state));
        async move {
            let serving = async {
                // A failed handshake is reported by the proxy.
                if let Ok(io) = opening.await {
                    Link::new(&state, &self.health_checks).run(io).await;
                }
            };
            let mut serving = pin!(serving);
            tokio::select! {
                biased;
                // The stream of bytes is dropped after the reset.
                () = state.broken() => reset(),
                () = &mut serving => {}
            }
            self.connections.borrow_mut().remove(&number);
        }
    }

    /// Restarts: refuses dials for a while. If `graceful`, it closes each connection as soon as
    /// the connection is idle, and breaks the rest at half of the time; otherwise it breaks all
    /// of them now.
    pub(crate) fn restart(&self, graceful: bool, down_us: u64) {
        self.refuse_dials(down_us);
        if graceful {
            for connection in self.connections.borrow().values() {
                connection.close_when_idle();
            }
            let half = after(&self.hub, down_us / 2);
            self.breaks_at.set(half.min(self.breaks_at.get()));
            self.changes.note();
        } else {
            self.break_all();
        }
    }

    /// Refuses dials for a while. What becomes of connections that are open is not its matter.
    pub(crate) fn refuse_dials(&self, for_us: u64) {
        let until = after(&self.hub, for_us);
        self.down_until.set(until.max(self.down_until.get()));
        self.changes.note();
    }

    /// Breaks every connection.
    pub(crate) fn break_all(&self) {
        for connection in self.connections.borrow().values() {
            connection.break_now();
        }
    }

    /// For a while health checks get this answer; none if `None`.
    pub(crate) fn answer_health_checks(&self, passed: Option<bool>, for_us: u64) {
        let until = after(&self.hub, for_us);
        self.health_checks.set(until, passed);
    }

    /// Faults have stopped. A backend that is not well refuses every dial from now on or, as far
    /// as the network is concerned, is out of reach; so are its connections.
    pub(crate) fn heal(&self, health: Health) {
        self.health_checks.set(0, None);
        self.breaks_at.set(u64::MAX);
        self.down_until.set(if health == Health::Refuses { u64::MAX } else { 0 });
        self.changes.note();
    }
}

/// Accepts a connection; never without a listener.
async fn accept<L: Listener>(listener: &mut Option<L>) -> Accepted<L::Opening> {
    match listener {
        Some(listener) => listener.accept().await,
        None => pending().await,
    }
}
