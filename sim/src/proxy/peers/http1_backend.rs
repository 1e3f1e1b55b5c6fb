//! An HTTP/1.1 backend: it reads requests, counts what it executes, and answers as the plan says.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::plan::BackendPlan;
use crate::proxy::exact::spawn;
use crate::proxy::hub::Hub;
use crate::proxy::peers::timing::{after, sleep_until};
use link::Link;
use state::{Break, HealthChecks, State};

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

/// An HTTP/1.1 backend.
pub(crate) struct Http1Backend {
    hub: Rc<Hub>,
    /// Its index in the plan.
    index: u16,
    plan: BackendPlan,
    connections: RefCell<BTreeMap<u32, Rc<State>>>,
    /// All connections break at this time of a restart.
    breaks_at: Cell<u64>,
    health_checks: HealthChecks,
}

impl Http1Backend {
    /// The backend with this index.
    pub(crate) fn new(hub: &Rc<Hub>, index: u16) -> Rc<Self> {
        Rc::new(Self {
            hub: Rc::clone(hub),
            index,
            plan: hub.plan.backends[usize::from(index)],
            connections: RefCell::default(),
            breaks_at: Cell::new(u64::MAX),
            health_checks: HealthChecks::default(),
        })
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
                how = state.broken() => {
                    // The stream of bytes is dropped afterwards, which ends what was not reset.
                    if how == Break::Reset {
                        reset();
                    }
                }
                () = &mut serving => {}
            }
            self.connections.borrow_mut().remove(&number);
        }
    }

    /// Restarts. If `graceful`, it closes each connection as soon as the connection is idle, and
    /// breaks the rest at half of the time; otherwise it breaks all of them now.
    pub(crate) fn restart(self: &Rc<Self>, graceful: bool, down_us: u64) {
        if !graceful {
            self.break_all();
            return;
        }
        for connection in self.connections.borrow().values() {
            connection.close_when_idle();
        }
        let breaks_at = after(&self.hub, down_us / 2).min(self.breaks_at.get());
        self.breaks_at.set(breaks_at);
        let backend = Rc::clone(self);
        spawn(async move {
            sleep_until(&backend.hub, breaks_at).await;
            // Faults may have stopped meanwhile.
            if backend.breaks_at.get() == breaks_at {
                backend.breaks_at.set(u64::MAX);
                backend.break_all();
            }
        });
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

    /// Faults have stopped.
    pub(crate) fn heal(&self) {
        self.health_checks.set(0, None);
        self.breaks_at.set(u64::MAX);
    }
}
