//! Where moments of a run meet directives: peers report the moments that they reach, and the
//! directives that wait for one reach the peers that they are about.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::ledger::Ledger;
use crate::draw::Draws;
use crate::plan::{Act, Plan, When};

/// What a directive is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// A connection to a backend, with its number from 1.
    Backend(u16, u32),
    /// The stream with this number, from 1, of such a connection.
    Stream(u16, u32, u32),
    /// A request of a client.
    Request(u32),
    /// A connection of a client, with its number from 1.
    Client(u8, u32),
    /// The process and its operator, or a whole backend.
    Process,
}

/// A directive that takes effect now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    /// The effect.
    pub(crate) act: Act,
    /// What reached the moment.
    pub(crate) target: Target,
}

/// The run as peers see it.
pub(crate) struct Hub {
    pub(crate) plan: Rc<Plan>,
    pub(crate) draws: Draws,
    pub(crate) ledger: Ledger,
    start: Instant,
    mailboxes: RefCell<BTreeMap<Target, UnboundedSender<Order>>>,
    /// Directives that took effect, by their index.
    injected: RefCell<Vec<(u64, usize)>>,
    healed: Cell<bool>,
}

impl Hub {
    /// Starts a run now.
    pub(crate) fn start(plan: Plan) -> Rc<Self> {
        let draws = Draws::new(plan.seed);
        Rc::new(Self {
            plan: Rc::new(plan),
            draws,
            ledger: Ledger::default(),
            start: now(),
            mailboxes: RefCell::default(),
            injected: RefCell::default(),
            healed: Cell::new(false),
        })
    }

    /// Nanoseconds since the start.
    pub(crate) fn now(&self) -> u64 {
        now().duration_since(self.start).as_nanos() as u64
    }

    /// Orders about this target go to the returned mailbox. A later mailbox of the same target
    /// takes the place of an earlier one.
    pub(crate) fn mailbox(&self, target: Target) -> UnboundedReceiver<Order> {
        let (sender, receiver) = unbounded_channel();
        self.mailboxes.borrow_mut().insert(target, sender);
        receiver
    }

    /// A moment is reached: the directives that wait for it take effect after their delay, unless
    /// faults have stopped by then.
    pub(crate) fn reached(self: &Rc<Self>, when: When, target: Target) {
        for (index, directive) in self.plan.directives.iter().enumerate() {
            if directive.when != when {
                continue;
            }
            let (hub, directive) = (Rc::clone(self), *directive);
            tokio::task::spawn_local(async move {
                tokio::time::sleep(Duration::from_micros(directive.after_us)).await;
                if !hub.healed.get() {
                    hub.injected.borrow_mut().push((hub.now(), index));
                    hub.deliver(Order { act: directive.act, target });
                }
            });
        }
    }

    /// Sends an order to its target, and to the process if the target takes no orders.
    fn deliver(&self, order: Order) {
        let mailboxes = self.mailboxes.borrow();
        let target = mailboxes.get(&order.target).or_else(|| mailboxes.get(&Target::Process));
        if let Some(target) = target {
            // A target that is gone is not affected.
            let _ = target.send(order);
        }
    }

    /// Faults stop.
    pub(crate) fn heal(&self) {
        self.healed.set(true);
    }

    /// True once faults have stopped.
    pub(crate) fn is_healed(&self) -> bool {
        self.healed.get()
    }

    /// The directives that took effect: when, and their index in the plan.
    pub(crate) fn injected(&self) -> Vec<(u64, usize)> {
        self.injected.borrow().clone()
    }
}

#[expect(clippy::disallowed_methods, reason = "the clock of the simulated runtime")]
fn now() -> Instant {
    Instant::now()
}
