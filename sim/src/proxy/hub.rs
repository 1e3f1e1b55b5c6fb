//! Where moments of a run meet directives: peers report the moments that they reach, and the
//! directives that wait for one reach the peers that they are about.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::exact;
use super::ledger::Ledger;
use crate::draw::{Domain, Draws};
use crate::plan::{Act, Moment, Plan, Span, When};

/// The subject of a directive.
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
    /// The subject that reached the moment.
    pub(crate) target: Target,
}

/// The run as peers see it.
pub(crate) struct Hub {
    pub(crate) plan: Rc<Plan>,
    pub(crate) draws: Draws,
    pub(crate) ledger: Ledger,
    start: Instant,
    /// The start in the exact time of the run, if there is one.
    exact_start: Option<u64>,
    mailboxes: RefCell<BTreeMap<Target, UnboundedSender<Order>>>,
    /// Orders about connections that no backend has accepted yet.
    early: RefCell<BTreeMap<Target, Vec<Order>>>,
    /// Directives that took effect, by their index.
    injected: RefCell<Vec<(u64, usize)>>,
    /// The requests of streams that pools have ordered, by backend, connection and stream.
    ordered: RefCell<BTreeMap<(u16, u32, u32), u32>>,
    healed: Cell<bool>,
    healing: Notify,
    /// Delays drawn so far.
    delays: Cell<u32>,
    /// Takes the orders that are the network's, and returns true for them.
    /// The connections of clients that requests are on, by request.
    carriers: RefCell<BTreeMap<u32, (u8, u32)>>,
    network: RefCell<Option<Route>>,
    watch: RefCell<Option<Rc<dyn Watch>>>,
}

type Route = Rc<dyn Fn(Order) -> bool>;

/// Watches a run.
pub(crate) trait Watch {
    /// The connection to a backend is dialled.
    fn dialled(&self, backend: u16, connection: u32);

    /// A directive, by its index, takes effect: its order is about to go to this target.
    fn injected(&self, directive: usize, order: Order, addressee: Target);

    /// Faults stop.
    fn healed(&self);
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
            exact_start: exact::exact_now(),
            mailboxes: RefCell::default(),
            early: RefCell::default(),
            injected: RefCell::default(),
            ordered: RefCell::default(),
            healed: Cell::new(false),
            healing: Notify::new(),
            delays: Cell::new(0),
            carriers: RefCell::default(),
            network: RefCell::default(),
            watch: RefCell::default(),
        })
    }

    /// Nanoseconds since the start.
    pub(crate) fn now(&self) -> u64 {
        match (self.exact_start, exact::exact_now()) {
            (Some(start), Some(now)) => now - start,
            _ => now().duration_since(self.start).as_nanos() as u64,
        }
    }

    /// Orders about this target go to the returned mailbox. A later mailbox of the same target
    /// takes the place of an earlier one.
    pub(crate) fn mailbox(&self, target: Target) -> UnboundedReceiver<Order> {
        let (sender, receiver) = unbounded_channel();
        for order in self.early.borrow_mut().remove(&target).unwrap_or_default() {
            // The receiver is about to be returned.
            let _ = sender.send(order);
        }
        self.mailboxes.borrow_mut().insert(target, sender);
        receiver
    }

    /// A moment is reached: the directives that wait for it take effect after their delay, unless
    /// faults have stopped by then.
    pub(crate) fn reached(self: &Rc<Self>, when: When, target: Target) {
        if let When::Dialled { backend, connection } = when {
            self.show(|watch| watch.dialled(backend, connection));
        }
        if let When::Request { request, moment } = when
            && self.is_for_client(moment, target)
        {
            self.reached_at_client(request, moment);
        }
        for (index, directive) in self.plan.directives.iter().enumerate() {
            if directive.when != when || self.is_for_another_report(directive.act, when, target) {
                continue;
            }
            if directive.after_us == 0 {
                self.inject(index, target);
                continue;
            }
            let (hub, directive) = (Rc::clone(self), *directive);
            exact::spawn(async move {
                exact::sleep(Duration::from_micros(directive.after_us)).await;
                hub.inject(index, target);
            });
        }
    }

    /// A request is on a connection of its client.
    pub(crate) fn carries(&self, request: u32, client: u8, connection: u32) {
        self.carriers.borrow_mut().insert(request, (client, connection));
    }

    /// The connection of a client that a request is on, if it is on one.
    pub(crate) fn carrier(&self, request: u32) -> Option<(u8, u32)> {
        self.carriers.borrow().get(&request).copied()
    }

    /// A request has reached a moment: this is about the connection of its client.
    fn reached_at_client(self: &Rc<Self>, request: u32, moment: Moment) {
        let carrier = self.carriers.borrow().get(&request).copied();
        if let Some((client, connection)) = carrier {
            let target = Target::Client(client, connection);
            self.reached(When::AtClient { request, moment }, target);
        }
    }

    /// Directives for a client's connection follow what the client reports, if it reports it.
    fn is_for_client(&self, moment: Moment, target: Target) -> bool {
        let by_client = matches!(target, Target::Request(_));
        by_client || !matches!(moment, Moment::HalfSent | Moment::Sent)
    }

    /// True if a directive waits for this moment.
    pub(crate) fn is_awaited(&self, when: When) -> bool {
        let at_client = match when {
            When::Request { request, moment } => Some(When::AtClient { request, moment }),
            _ => None,
        };
        let mut directives = self.plan.directives.iter().map(|directive| directive.when);
        directives.any(|awaited| awaited == when || Some(awaited) == at_client)
    }

    /// A pool has ordered a stream for a request; its head is not written yet.
    pub(crate) fn stream_ordered(
        self: &Rc<Self>,
        (backend, connection, stream): (u16, u32, u32),
        request: u32,
    ) {
        self.ordered.borrow_mut().insert((backend, connection, stream), request);
        let (moment, target) = (Moment::Ordered, Target::Stream(backend, connection, stream));
        self.reached(When::Stream { backend, connection, stream, moment }, target);
        self.reached(When::Request { request, moment }, target);
    }

    /// A directive takes effect, unless faults have stopped.
    fn inject(&self, index: usize, target: Target) {
        if !self.healed.get() {
            self.injected.borrow_mut().push((self.now(), index));
            let order = Order { act: self.plan.directives[index].act, target };
            let addressee = self.addressee(order);
            self.show(|watch| watch.injected(index, order, addressee));
            self.pass_on(addressee, order);
        }
    }

    /// The client and the backend both report how much of a request was sent. The directives for
    /// the client follow its own report, all others follow the backend's.
    fn is_for_another_report(&self, act: Act, when: When, target: Target) -> bool {
        let moment = match when {
            When::Request { moment, .. } => moment,
            _ => return false,
        };
        let by_client = matches!(target, Target::Request(_));
        matches!(moment, Moment::HalfSent | Moment::Sent) && is_for_client(act) != by_client
    }

    /// The target that an act is about, at what reached the moment.
    fn addressee(&self, order: Order) -> Target {
        let stream = match order.target {
            Target::Stream(backend, connection, stream) => Some((backend, connection, stream)),
            Target::Request(request) => self.ledger.stream_of(request),
            Target::Backend(..) | Target::Client(..) | Target::Process => None,
        };
        match order.act {
            _ if is_for_client(order.act) => match (order.target, stream) {
                (Target::Stream(..), Some((backend, connection, stream))) => {
                    let request = self.ledger.request_on(backend, connection, stream);
                    let ordered = self.ordered.borrow();
                    let place = (backend, connection, stream);
                    let request = request.or_else(|| ordered.get(&place).copied());
                    request.map_or(order.target, Target::Request)
                }
                _ => order.target,
            },
            Act::StarveUpload { .. }
            | Act::NeverFinish
            | Act::Status { .. }
            | Act::Reset { .. } => stream.map_or(order.target, |(backend, connection, stream)| {
                Target::Stream(backend, connection, stream)
            }),
            Act::GoAway { .. }
            | Act::Settings { .. }
            | Act::Break
            | Act::BreakAtPreface
            | Act::FailDial { .. }
            | Act::StallDial { .. }
            | Act::StopReading { .. } => stream.map_or(order.target, |(backend, connection, _)| {
                Target::Backend(backend, connection)
            }),
            // The network, the operator and whole backends.
            _ => Target::Process,
        }
    }

    /// From now on orders go to the network first, which returns true for its own.
    pub(crate) fn route(&self, network: impl Fn(Order) -> bool + 'static) {
        *self.network.borrow_mut() = Some(Rc::new(network));
    }

    /// A delay of the plan, in nanoseconds.
    pub(crate) fn delay(&self, domain: Domain, entity: u64, ordinal: u64, span: Span) -> u64 {
        let number = self.delays.get();
        self.delays.set(number.wrapping_add(1));
        let drawn = self.draws.between(domain, entity, ordinal, span.least_us, span.most_us);
        let deviations = self.plan.deviations.iter();
        let extra = deviations.filter(|deviation| deviation.delay == number);
        let delay = extra.fold(drawn, |delay, deviation| delay.saturating_add(deviation.by_us));
        delay.saturating_mul(1_000)
    }

    /// Sends an order to a peer. If that takes no orders, or is gone, the order goes from a stream
    /// to its connection, and then to the process. Orders of the network go to the network.
    pub(crate) fn pass_on(&self, to: Target, order: Order) {
        let network = self.network.borrow().clone();
        if network.is_some_and(|network| network(order)) {
            return;
        }
        let connection = match to {
            Target::Stream(backend, connection, _) => Some(Target::Backend(backend, connection)),
            _ => None,
        };
        let mailboxes = self.mailboxes.borrow();
        if matches!(to, Target::Backend(..)) && !mailboxes.contains_key(&to) {
            // The backend has not accepted the connection yet.
            self.early.borrow_mut().entry(to).or_default().push(order);
            return;
        }
        for target in [Some(to), connection, Some(Target::Process)].into_iter().flatten() {
            if mailboxes.get(&target).is_some_and(|mailbox| mailbox.send(order).is_ok()) {
                return;
            }
        }
    }

    /// From now on this watches the run.
    pub(crate) fn watch(&self, watch: Rc<dyn Watch>) {
        *self.watch.borrow_mut() = Some(watch);
    }

    fn show(&self, show: impl FnOnce(&dyn Watch)) {
        let watch = self.watch.borrow().clone();
        if let Some(watch) = watch {
            show(&*watch);
        }
    }

    /// Faults stop.
    pub(crate) fn heal(&self) {
        self.show(|watch| watch.healed());
        self.healed.set(true);
        self.healing.notify_waiters();
    }

    /// Waits until faults have stopped.
    pub(crate) async fn healed(&self) {
        let healing = self.healing.notified();
        if !self.is_healed() {
            healing.await;
        }
    }

    /// True once faults have stopped.
    pub(crate) fn is_healed(&self) -> bool {
        self.healed.get()
    }

    /// Notes that a directive took effect now.
    #[cfg(test)]
    pub(crate) fn note_injected(&self, index: usize) {
        self.injected.borrow_mut().push((self.now(), index));
    }

    /// The directives that took effect: when, and their index in the plan.
    pub(crate) fn injected(&self) -> Vec<(u64, usize)> {
        self.injected.borrow().clone()
    }
}

/// True for the acts of a client on its own request.
fn is_for_client(act: Act) -> bool {
    matches!(act, Act::Cancel | Act::ClientStopsReading { .. })
}

#[expect(clippy::disallowed_methods, reason = "the clock of the simulated runtime")]
fn now() -> Instant {
    Instant::now()
}
