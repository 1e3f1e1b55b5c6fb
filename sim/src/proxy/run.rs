//! One run of the proxy: from a plan to a verdict. It is a sequence of phases: faults, healing,
//! recovery, the order to stop, and the judgement of what is left.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use baton::proxy::log;
use baton::proxy::run::supervise;
use baton::proxy::seams::Signal;
use baton::proxy::seams::simulated::install;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::timeout;

use super::ask::{Reply, ask};
use super::bounds::{self, Bounds};
use super::capture::{Capture, Segment};
use super::cast::Cast;
use super::exact::{self, sleep};
use super::frame_count::FrameCounts;
use super::frame_log::FrameLog;
use super::host::Machine;
use super::hub::{Hub, Order, Target};
use super::idle::{Idle, IdleClient};
use super::ledger::{End, RECOVERY, Received};
use super::network::{Content, Host, Network, Packet, Point};
use super::operator::Operator;
use super::peers::tls;
use super::pools::Pools;
use super::records::{Open, Records};
use super::scrapes::Scraper;
use super::watch::Watch;
use super::{judges, ledger, settings};
use crate::checker::{Invariant, SideBySide, Violation};
use crate::coverage::Coverage;
use crate::draw::Domain;
use crate::memory;
use crate::outside::{self, Inside, Tripwire};
use crate::panics;
use crate::plan::{Act, ClientProtocol, Directive, Health, Plan, When};
use crate::trace::Trace;

/// Time for the proxy to begin to listen.
pub(crate) const START_TIME: Duration = Duration::from_millis(2);
/// Time for connections to close, beyond the deadlines of the pool: TCP's retransmissions, idle
/// clients, the lingering close.
const CLOSE_TIME: Duration = Duration::from_secs(400);
/// How often it looks, while clients wait, whether anything can still reach one.
const LOOKS: u32 = 50;
/// Recovery requests in a row that must succeed.
const RECOVERY_REQUESTS_IN_A_ROW: u32 = 3;
/// Maximum recovery requests.
const RECOVERY_REQUESTS_MAX: u32 = 80;
/// The request of a client that connects when the proxy is about to be ordered to stop.
const LATE: u32 = RECOVERY + RECOVERY_REQUESTS_MAX + 2 * IdleClient::ALL.len() as u32;
/// One run in so many has such a client.
const LATE_CLIENT_ONE_IN: u64 = 8;

/// The result of a run.
pub(crate) struct Ended {
    pub(crate) violation: Option<Violation>,
    /// The model and the pool after the step that broke it, if a step of a pool did.
    pub(crate) broken: Option<SideBySide>,
    pub(crate) time_ns: u64,
    /// The lines of the log and the access log, each with its time in nanoseconds.
    pub(crate) log: Vec<(u64, String)>,
    /// A hash of all bytes on the wire, with their times.
    pub(crate) bytes_hash: u64,
}

/// Runs a plan. What is on the wire goes to `capture`, if there is one.
pub(crate) fn run(
    plan: &Plan,
    tripwire: Tripwire,
    capture: Option<Rc<RefCell<Capture>>>,
    coverage: &mut Coverage,
    trace: &mut Trace,
) -> Ended {
    let (mut ended, left) = run_once(plan, tripwire, capture, coverage, trace);
    if ended.violation.is_none() && left.is_some() {
        // What a library makes once, in the first run that needs it, is not left by a second one.
        let (coverage, trace) = (&mut Coverage::default(), &mut Trace::hash_only());
        ended.violation = run_once(plan, Tripwire::Count, None, coverage, trace).1;
    }
    ended
}

/// Runs a plan. Returns also the violation that memory is left of the run, if it is.
fn run_once(
    plan: &Plan,
    tripwire: Tripwire,
    capture: Option<Rc<RefCell<Capture>>>,
    coverage: &mut Coverage,
    trace: &mut Trace,
) -> (Ended, Option<Violation>) {
    let pools = Pools::new(plan.pool.generations, std::mem::take(coverage), std::mem::take(trace));
    let inside = Inside::enter(plan.seed, tripwire);
    let charged = memory::Charged::begin();
    let scene = Scene::play(plan.clone(), capture, Rc::clone(&pools));
    let mut ended = exact::run_with(outside::follow_clock, scene);
    let left = bounds::left();
    drop(charged);
    if let Some(reached) = inside.leave().reached.first() {
        let (invariant, what) = (Invariant::NothingFromOutside, reached.to_string());
        ended.violation.get_or_insert(Violation { invariant, what });
    }
    (*coverage, *trace) = pools.take();
    (ended, left)
}

/// A run, and everything in it.
struct Scene {
    hub: Rc<Hub>,
    network: Rc<Network>,
    machine: Rc<Machine>,
    operator: Rc<Operator>,
    pools: Rc<Pools>,
    bounds: Rc<Bounds>,
    scraper: Scraper,
    cast: Cast,
    healed_at: Cell<u64>,
    recovered: Cell<Option<bool>>,
    metrics: RefCell<Option<String>>,
    asked_at: Cell<u64>,
    watch: Option<Rc<Watch>>,
    open: RefCell<[Open; 2]>,
    frame_log: Rc<FrameLog>,
    frames_counted: RefCell<[FrameCounts; 2]>,
    idle_ended_at: RefCell<Vec<(IdleClient, u64)>>,
    state: RefCell<Option<String>>,
    ended_at: Rc<Cell<Option<u64>>>,
}

impl Scene {
    async fn play(plan: Plan, capture: Option<Rc<RefCell<Capture>>>, pools: Rc<Pools>) -> Ended {
        let hub = Hub::start(plan);
        let network = Network::new(&hub);
        let frame_log = FrameLog::new();
        if !hub.plan.wire.tls {
            let log = Rc::clone(&frame_log);
            network.observe(Box::new(move |packet| log.see(packet)));
        }
        if let Some(capture) = capture {
            network.observe(Box::new(move |packet| add(&mut capture.borrow_mut(), packet)));
        }
        let machine = Machine::new(&hub, &network, settings::machine(), &pools);
        machine.write_file(settings::AUTHORITY_FILE, tls::AUTHORITY.into());
        let watch = Watch::start(&hub, &network, &machine, &pools);
        let _seeded = tls::Seeded::new(hub.draws);
        let _installed = install(Rc::clone(&machine) as Rc<_>);
        let _logging = tracing::subscriber::set_default(log::subscriber(tracing::Level::INFO));
        let operator = Operator::new(&hub, &network, &machine);
        let cast = Cast::new(&hub, &network);
        let scraper = Scraper::new(&hub, &network, &pools);
        let bounds = Bounds::new(&hub, &network, &pools);
        let scene = Rc::new(Self {
            bounds,
            scraper,
            hub,
            network,
            machine,
            operator,
            pools,
            cast,
            healed_at: Cell::new(0),
            recovered: Cell::new(None),
            metrics: RefCell::default(),
            asked_at: Cell::new(0),
            watch,
            open: RefCell::default(),
            frame_log,
            frames_counted: RefCell::default(),
            idle_ended_at: RefCell::default(),
            state: RefCell::default(),
            ended_at: Rc::default(),
        });
        let mut proxy = scene.start_proxy();
        let ended_in_time = tokio::select! {
            biased;
            () = scene.pools.violated() => false,
            ended = scene.phases(&mut proxy) => ended,
        };
        if !proxy.is_finished() {
            proxy.abort();
            // Its tasks are dropped here, while the machine still serves them.
            let _ = proxy.await;
        }
        scene.verdict(ended_in_time).await
    }

    #[expect(clippy::disallowed_methods, reason = "the worker's set of tasks is within this task")]
    fn start_proxy(&self) -> JoinHandle<bool> {
        let (config, source) = self.operator.source();
        let (hub, ended_at) = (Rc::clone(&self.hub), Rc::clone(&self.ended_at));
        let bounds = Rc::clone(&self.bounds);
        tokio::task::spawn_local(async move {
            let tasks = LocalSet::new();
            let work = tasks.run_until(supervise(config, source));
            let ended = memory::Work::new(work, move || bounds.look()).await.is_ok();
            ended_at.set(Some(hub.now()));
            ended
        })
    }

    /// Waits until all clients have ended, or until only those wait that nothing can reach. Returns
    /// false if one waits longer than the bound.
    async fn clients_end(&self, clients: impl Future, bound: Duration) -> bool {
        let mut clients = pin!(clients);
        for _ in 0..LOOKS {
            if timeout(bound / LOOKS, clients.as_mut()).await.is_ok() {
                return true;
            }
            if self.network.held().clients == 0 && self.give_up() {
                return true;
            }
        }
        self.give_up()
    }

    /// Plays all phases. Returns true if the proxy has ended in time.
    async fn phases(self: &Rc<Self>, proxy: &mut JoinHandle<bool>) -> bool {
        let mut backends = self.cast.start_backends();
        sleep(START_TIME).await;
        let orders = self.hub.mailbox(Target::Process);
        let orders = exact::spawn(Rc::clone(self).obey(orders));
        let scene = Rc::clone(self);
        let scrapes = exact::spawn(async move { scene.scraper.run().await });
        let clients = self.cast.start_clients();
        self.hub.reached(When::Start, Target::Process);
        let plan = &self.hub.plan;
        let heals_at = Duration::from_micros(plan.heal.at_us);
        sleep(heals_at).await;
        self.heal().await;
        orders.abort();
        scrapes.abort();
        let bound = Duration::from_nanos(plan.bound_ns(0)) + CLOSE_TIME;
        if !self.clients_end(clients, bound).await {
            return self.late("a request has not ended within the bound after faults stopped");
        }
        if self.is_recoverable() {
            self.recovered.set(Some(self.recover().await));
        }
        let idle =
            if self.recovered.get() == Some(true) { self.idle_clients().await } else { Vec::new() };
        self.asked_at.set(self.hub.now());
        let (before, frames) = (self.open(), self.frame_log.counts());
        let asked = self.operator.ask("GET", "/metrics");
        *self.metrics.borrow_mut() = self.scraper.read(asked).await;
        *self.open.borrow_mut() = [before, self.open()];
        *self.frames_counted.borrow_mut() = [frames, self.frame_log.counts()];
        *self.state.borrow_mut() = self.operator.ask("GET", "/pools").await.map(Reply::into_text);
        let late = self.late_client().await;
        self.machine.send_signal(Signal::Stop);
        for (place, idle) in idle {
            let scene = Rc::clone(self);
            exact::spawn(async move {
                idle.ended().await;
                scene.idle_ended_at.borrow_mut()[place].1 = scene.hub.now();
            });
        }
        let drain = plan.pool.config.timeouts.drain + CLOSE_TIME;
        let ended = timeout(drain, proxy).await;
        late.into_iter().for_each(|late| late.abort());
        // Peers see the end of their connections, and systems give up dead paths.
        sleep(CLOSE_TIME).await;
        backends.shutdown().await;
        matches!(ended, Ok(Ok(true)))
    }

    /// The things that the proxy has open now.
    fn open(&self) -> Open {
        let (clients, backends) = self.network.open_at_proxy();
        Open { clients, backends, tasks: self.machine.tasks_left() }
    }

    /// Ends the requests that still wait for something if the paths of all their clients are dead:
    /// such a client learns nothing, whatever the proxy does. Returns false if one has another
    /// reason to wait.
    fn give_up(&self) -> bool {
        let (plan, ledger) = (&self.hub.plan, &self.hub.ledger);
        let client_of = |request: u32| {
            let request = plan.requests.iter().find(|planned| planned.id == request);
            request.map(|request| plan.wire.client_of(&request.wire))
        };
        let cut_off: BTreeSet<usize> = self
            .hub
            .injected()
            .into_iter()
            .filter_map(|(_, index)| match plan.directives[index] {
                Directive { when: When::Client { client, .. }, act: Act::Wire { .. }, .. } => {
                    Some(usize::from(client))
                }
                Directive { when: When::AtClient { request, .. }, .. } => client_of(request),
                _ => None,
            })
            .collect();
        let ended: BTreeSet<u32> = ledger.received().iter().map(|(request, _)| *request).collect();
        let mut waiting = ledger.begun();
        waiting.retain(|(request, _)| !ended.contains(request));
        let is_cut_off =
            |request: u32| client_of(request).is_some_and(|client| cut_off.contains(&client));
        let taken_up: BTreeSet<u32> = ledger.begun().iter().map(|(request, _)| *request).collect();
        let not_sent: BTreeSet<u32> =
            ledger.all_not_sent().iter().map(|(request, _)| *request).collect();
        let all = plan.requests.iter().map(|request| request.id);
        let unsent: Vec<u32> =
            all.filter(|id| !taken_up.contains(id) && !not_sent.contains(id)).collect();
        let excused = waiting.iter().all(|(request, _)| is_cut_off(*request))
            && unsent.iter().all(|request| is_cut_off(*request));
        if excused {
            for request in unsent {
                ledger.not_sent(request, self.hub.now());
            }
            for (request, _) in waiting {
                ledger.end(request, Received::nothing(End::Broken, self.hub.now()));
            }
        }
        excused
    }

    fn late(&self, what: &str) -> bool {
        let invariant = Invariant::Liveness;
        self.pools.violate(Violation { invariant, what: what.to_owned() });
        false
    }

    /// Carries out the orders of directives that concern the process or whole backends.
    async fn obey(self: Rc<Self>, mut orders: UnboundedReceiver<Order>) {
        while let Some(order) = orders.recv().await {
            if !self.network.obey(order) && !self.cast.obey(order) {
                self.operator.act(order.act).await;
            }
        }
    }

    async fn heal(&self) {
        self.hub.heal();
        self.healed_at.set(self.hub.now());
        self.network.heal();
        self.cast.heal();
        self.operator.restore().await;
    }

    /// True if the proxy can succeed with this plan: it was not ordered to stop, and its timeouts
    /// leave time for a dial and a response of a healthy backend.
    fn is_recoverable(&self) -> bool {
        let plan = &self.hub.plan;
        let stopped = self.machine.signals().iter().any(|(_, signal)| *signal == Signal::Stop);
        !stopped && plan.is_recoverable() && {
            let mut backends = plan.heal.backends.iter().enumerate();
            backends.any(|(backend, health)| {
                *health == Health::Well && self.operator.serves(backend as u16)
            })
        }
    }

    /// Sends requests one after the other until some in a row succeed. Returns false if they do
    /// not.
    async fn recover(&self) -> bool {
        let timeouts = &self.hub.plan.pool.config.timeouts;
        let pause = timeouts.ejection_min.max(timeouts.backoff_max);
        let mut in_a_row = 0;
        for number in 0..RECOVERY_REQUESTS_MAX {
            let succeeded = self.recovery_request(RECOVERY + number).await;
            in_a_row = if succeeded { in_a_row + 1 } else { 0 };
            if in_a_row == RECOVERY_REQUESTS_IN_A_ROW {
                return true;
            }
            if !succeeded {
                sleep(pause).await;
            }
        }
        false
    }

    /// Clients that are idle, each with its place in what is noted of them.
    async fn idle_clients(&self) -> Vec<(usize, Idle)> {
        let mut all = Vec::new();
        for (number, client) in IdleClient::ALL.into_iter().enumerate() {
            let path = ledger::path(RECOVERY + RECOVERY_REQUESTS_MAX + 2 * number as u32);
            let Ok(stream) = self.cast.connect(client.protocol()).await else { continue };
            if let Ok(idle) = client.begin(stream, &path).await {
                all.push((all.len(), idle));
                self.idle_ended_at.borrow_mut().push((client, u64::MAX));
            }
        }
        all
    }

    /// A client that connects while the proxy has no file descriptor for its connection: only the
    /// system has accepted it when the proxy is ordered to stop. In some runs there is one.
    async fn late_client(self: &Rc<Self>) -> Option<JoinHandle<()>> {
        let one = self.hub.draws.between(Domain::LateClient, 0, 0, 1, LATE_CLIENT_ONE_IN) == 1;
        if self.recovered.get() != Some(true) || !one {
            return None;
        }
        self.machine.use_up_descriptors(true);
        let (scene, path) = (Rc::clone(self), ledger::path(LATE));
        let client = exact::spawn(async move {
            let Ok(stream) = scene.cast.connect(ClientProtocol::Http1).await else { return };
            // The proxy answers, or is about to end.
            let _ = ask(stream, "GET", &path).await;
        });
        // The handshake of TCP takes three ways.
        let way = Duration::from_micros(self.hub.plan.network.wire.most_us);
        sleep(3 * way).await;
        Some(client)
    }

    async fn recovery_request(&self, request: u32) -> bool {
        let Ok(stream) = self.cast.connect(ClientProtocol::Http1).await else { return false };
        let method = if request.is_multiple_of(2) { "GET" } else { "POST" };
        let reply = ask(stream, method, &ledger::path(request)).await;
        reply.is_ok_and(|reply| reply.status == 200)
    }

    async fn verdict(&self, ended_in_time: bool) -> Ended {
        let records = Records {
            hub: Rc::clone(&self.hub),
            lines: self.machine.lines(),
            metrics: self.metrics.take(),
            metrics_asked_at: self.asked_at.get(),
            scrapes: self.scraper.scrapes(),
            open: self.open.take(),
            frames: self.frames_counted.take(),
            wire: self.frame_log.connections(),
            reported: self.machine.reported(),
            resets_without_error: self.pools.resets_without_error(),
            idle_ended_at: self.idle_ended_at.take(),
            pools: self.state.take(),
            ended_in_time,
            ended_at: self.ended_at.get(),
            signals: self.machine.signals(),
            situations: self.operator.situations(),
            races: self.machine.races(),
            tasks_left: self.machine.tasks_left(),
            pools_left: self.pools.alive(),
            network_left: self.network.open_at(Host::Proxy),
            at_proxy: self.network.at_proxy(),
            client_resets: self.network.client_resets(),
            deliveries: self.network.deliveries(),
            withdrawn: self.operator.withdrawn(),
            healed_at: self.healed_at.get(),
            recovered: self.recovered.get(),
        };
        if let Some(watch) = &self.watch {
            watch.finish();
        }
        self.pools.with_coverage(|coverage| {
            coverage.proxy().map(|counts| judges::count(&records, counts)).unwrap_or_default();
        });
        let panicked = panics::panicked();
        let broken = self.pools.take_broken().filter(|_| panicked.is_none());
        let violation = panicked
            .map(|what| Violation { invariant: Invariant::PoolAssert, what })
            .or_else(|| self.pools.violation())
            .or_else(|| judges::judge(&records).err());
        let (time_ns, bytes_hash) = (self.hub.now(), self.network.hash());
        Ended { violation, broken, time_ns, log: self.machine.lines(), bytes_hash }
    }
}

/// Adds a packet to a capture when it arrives: there it is seen in the order that matters.
fn add(capture: &mut Capture, packet: &Packet<'_>) {
    if packet.point != Point::Delivered {
        return;
    }
    let segment = match packet.content {
        Content::Syn => Segment::Syn,
        Content::Bytes(bytes) => Segment::Data(bytes),
        Content::End => Segment::Fin,
        Content::Reset => Segment::Reset,
    };
    capture.add(packet.at, packet.from, packet.to, segment);
}
