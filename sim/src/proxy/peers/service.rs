//! The plan and the state of an HTTP/2 backend, which all its connections share.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::plan::{BackendPlan, Code};
use crate::proxy::hub::{Hub, Order};
use crate::proxy::peers::frames::Fault;

/// Time for the proxy to close after the backend has closed.
pub(crate) const LINGER: Duration = Duration::from_secs(1);
/// The time of what never comes, in nanoseconds since the start.
pub(crate) const NEVER: u64 = u64::MAX;

/// A connection that was accepted.
pub(crate) struct Incoming<Io> {
    /// Its bytes, without TLS.
    pub(crate) io: Io,
    /// Its number at the backend, from 1.
    pub(crate) number: u32,
    /// The orders about it and about its streams.
    pub(crate) orders: UnboundedReceiver<Order>,
    /// Breaks the connection so that both ends notice. Without it the connection is only closed.
    pub(crate) reset: Option<Box<dyn FnOnce()>>,
}

impl<Io> Incoming<Io> {
    /// Breaks the connection.
    pub(crate) fn break_off(self) {
        if let Some(reset) = self.reset {
            reset();
        }
    }
}

/// The treatment of a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is served.
    Accepts,
    /// It is refused.
    Refuses,
    /// It gets no answer.
    Hangs,
}

/// An order of the backend as a whole to each of its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Send GOAWAY with the truth as the last id, and finish the streams.
    GoAway(Code),
    /// Break.
    Break,
    /// Reset each open stream.
    ResetAll(Code),
    /// Faults stop: what waited for that goes on. If the backend is well, it also reads again and
    /// allows as many streams as planned.
    Heal {
        /// True if the backend is well from now on.
        well: bool,
    },
}

/// The result of health checks for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Override {
    /// False gives a failure; `None` no answer.
    passed: Option<bool>,
    /// In nanoseconds since the start.
    until: u64,
}

/// The state of a backend.
pub(crate) struct Service {
    pub(crate) hub: Rc<Hub>,
    pub(crate) backend: u16,
    pub(crate) plan: BackendPlan,
    /// Its connections.
    commands: RefCell<BTreeMap<u32, UnboundedSender<Command>>>,
    /// Connections are refused, or hang, until then.
    down_until: Cell<u64>,
    hangs: Cell<bool>,
    health_checks: Cell<Option<Override>>,
}

impl Service {
    pub(crate) fn new(hub: &Rc<Hub>, backend: u16) -> Self {
        Self {
            hub: Rc::clone(hub),
            backend,
            plan: hub.plan.backends[usize::from(backend)],
            commands: RefCell::default(),
            down_until: Cell::new(0),
            hangs: Cell::new(false),
            health_checks: Cell::new(None),
        }
    }

    /// The initial window of its streams.
    pub(crate) fn window(&self) -> u32 {
        match self.plan.wire.window {
            0 => super::frames::WINDOW,
            window => window.min(super::frames::GREATEST),
        }
    }

    /// The treatment of a connection that is made now.
    pub(crate) fn admission(&self) -> Admission {
        match self.hub.now() < self.down_until.get() {
            false => Admission::Accepts,
            true if self.hangs.get() => Admission::Hangs,
            true => Admission::Refuses,
        }
    }

    /// Refuses connections until a time; a later time that was set before stays.
    pub(crate) fn refuse_until(&self, time: u64) {
        self.down_until.set(self.down_until.get().max(time));
        self.hangs.set(false);
    }

    /// Refuses connections, or lets them hang, until a time.
    pub(crate) fn unreachable_until(&self, time: u64, hangs: bool) {
        self.down_until.set(time);
        self.hangs.set(hangs);
    }

    /// Gives health checks another result until a time.
    pub(crate) fn override_health_checks(&self, passed: Option<bool>, until: u64) {
        self.health_checks.set(Some(Override { passed, until }));
    }

    /// The result of a health check that is answered now.
    pub(crate) fn health_check(&self) -> Option<bool> {
        let now = self.hub.now();
        let result = self.health_checks.get().filter(|result| now < result.until);
        result.map_or(Some(true), |result| result.passed)
    }

    /// Adds a connection: what is ordered of all goes to the returned channel.
    pub(crate) fn join(&self, connection: u32) -> UnboundedReceiver<Command> {
        let (sender, receiver) = unbounded_channel();
        let mut commands = self.commands.borrow_mut();
        commands.retain(|_, sender| !sender.is_closed());
        commands.insert(connection, sender);
        receiver
    }

    /// Orders something of all connections.
    pub(crate) fn command(&self, command: Command) {
        for connection in self.commands.borrow().values() {
            // One that has ended is not affected.
            let _ = connection.send(command);
        }
    }

    /// The number of connections.
    #[cfg(test)]
    pub(crate) fn connections(&self) -> usize {
        self.commands.borrow().values().filter(|sender| !sender.is_closed()).count()
    }

    /// Notes what the proxy did against the RFC.
    pub(crate) fn fault(&self, connection: u32, fault: &Fault) {
        let backend = self.backend;
        let place = format!("backend {backend}, connection {connection}, HTTP/2");
        self.hub.ledger.fault(format!("{place}: {}", fault.what));
    }
}
