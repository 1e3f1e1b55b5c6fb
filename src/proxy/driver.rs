//! Owns one worker's [`Pool`] for one cluster: reports facts to it, carries out its orders and
//! keeps its timer. Makes no decisions.

mod carry_out;
mod orders;
mod snapshot;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::access_log::AccessRecord;
use super::audit;
use super::backends::{BackendEntry, Backends};
use super::channel::Sender;
use super::config::{BackendSettings, ClusterConfig};
use super::control::Peers;
use super::health_check::HealthChecker;
use super::health_check::found::HealthCheckFound;
use super::metrics::ClusterMetrics;
use super::operator::Cuts;
use super::pool_handle::{PoolHandle, TakesFacts};
use super::seams::{self, Clock, DrivenPool, Point};
use super::telemetry::Telemetry;
use super::tls::BackendTls;
use super::upstream::ConnectionOrder;
use super::upstream::attempt::{RequestHead, RequestOrder};
use crate::pool::{
    BackendId, BackendToken, ConfigError, ConnectionToken, Handled, HealthChecking, Input, Instant,
    Pool, Rejection, RequestId, Setting, ShutdownCause, StreamToken,
};

struct DriverRequest {
    generation: u32,
    orders: Sender<RequestOrder>,
    head: Rc<RequestHead>,
    /// When the request arrived or was last given to a stream.
    since: Cell<Instant>,
    /// The backend of the present attempt; `None` while the request waits for a stream.
    on: RefCell<Option<Rc<BackendEntry>>>,
}

/// The pool, and the channels that its orders go to.
struct Core {
    pool: DrivenPool,
    connections: BTreeMap<ConnectionToken, Sender<ConnectionOrder>>,
    /// Indexed by `RequestId::index`; as long as the highest index used so far.
    requests: Vec<Option<DriverRequest>>,
}

/// One worker's pool for one cluster, shared by every task of that worker.
pub struct Driver {
    cluster: Rc<str>,
    core: RefCell<Core>,
    clock: Clock,
    backends: RefCell<Backends>,
    timer_changed: Notify,
    /// When `keep_time` wakes without a notification; `None` if never.
    wakes_at: Cell<Option<Instant>>,
    /// True once the cluster was removed or another driver has replaced this one.
    retired: Cell<bool>,
    telemetry: Rc<Telemetry>,
    metrics: Rc<RefCell<ClusterMetrics>>,
    health_checks: Rc<HealthChecker>,
    /// This driver, for the tasks that it starts.
    me: Weak<Self>,
    /// The requests that the deadlines of drains have cut.
    cuts: RefCell<BTreeMap<BackendToken, Cuts>>,
}

impl Driver {
    /// Starts a driver, the task that keeps its timer and the task that audits its pool. Both tasks
    /// end when the driver is retired and its pool is empty. `tls` has one entry for each backend
    /// of the cluster.
    ///
    /// # Errors
    /// If the pool's configuration is out of bounds.
    ///
    /// # Panics
    /// If `tls` and the backends differ in number.
    pub fn start(
        cluster: &ClusterConfig,
        tls: &[Option<BackendTls>],
        seed: u64,
        clock: Clock,
        telemetry: Rc<Telemetry>,
        peers: Rc<Peers>,
    ) -> Result<Rc<Self>, ConfigError> {
        assert_eq!(cluster.backends.len(), tls.len(), "one entry for each backend");
        let requests = cluster.pool.limits.requests;
        let pool = Pool::new(cluster.pool_config(peers.worker()), seed)?;
        let core = Core {
            pool: seams::drive(pool, peers.worker(), &cluster.name),
            connections: BTreeMap::new(),
            requests: Vec::with_capacity(requests),
        };
        let mut backends = Backends::new(cluster.pool.limits.backends);
        for (index, (settings, tls)) in cluster.backends.iter().zip(tls).enumerate() {
            let place = BackendId(u16::try_from(index).expect("the limits are checked"));
            let token = core.pool.backend(place).expect("it is configured").token;
            backends.put(token, settings, tls.clone());
        }
        let driver = Rc::new_cyclic(|me| Self {
            cluster: cluster.name.as_str().into(),
            core: RefCell::new(core),
            clock,
            backends: RefCell::new(backends),
            timer_changed: Notify::new(),
            wakes_at: Cell::new(None),
            retired: Cell::new(false),
            telemetry,
            metrics: Rc::new(RefCell::new(ClusterMetrics::new())),
            health_checks: Rc::new(HealthChecker::new(&cluster.health_check, peers)),
            me: Weak::clone(me),
            cuts: RefCell::default(),
        });
        seams::spawn(Rc::clone(&driver).keep_time());
        let audited = Rc::clone(&driver);
        let recount = move || (!audited.is_finished()).then(|| audited.audit());
        seams::spawn(audit::run(seed, recount));
        Ok(driver)
    }

    /// Returns the backend at an index.
    ///
    /// # Panics
    /// If no backend has that index. A caller's token is of a connection or health check of that
    /// backend.
    pub fn backend(&self, id: BackendId) -> Rc<BackendEntry> {
        self.backends.borrow().get(id).expect("the pool's tokens are of known backends")
    }

    /// Applies another configuration of the same cluster. `settings` are the values of the pool
    /// that change. Backends that stay keep their connections; removed ones finish their requests.
    ///
    /// # Panics
    /// If the configuration was not checked, or `settings` is not the difference to the present
    /// one.
    pub fn reconfigure(
        &self,
        cluster: &ClusterConfig,
        tls: &[Option<BackendTls>],
        settings: &[Setting],
    ) {
        self.health_checks.reconfigure(&cluster.health_check);
        self.change_settings(settings, cluster.health_checking(self.health_checks.worker()));
        let changes = self.backends.borrow_mut().compare(&cluster.backends, tls);
        for (backend, weight) in changes.weights {
            let _ = self.tell(Input::WeightChanged { backend, weight });
        }
        // New backends first, so that no request waits. Those without a free entry follow the
        // removals.
        let (_, left): (Vec<_>, Vec<_>) = changes
            .added
            .into_iter()
            .partition(|index| self.add(&cluster.backends[*index], &tls[*index]));
        for backend in changes.removed {
            let _ = self.tell(Input::BackendRemoved { backend });
        }
        for index in left {
            let added = self.add(&cluster.backends[index], &tls[index]);
            assert!(added, "the configuration fits the pool's limits");
        }
    }

    fn change_settings(&self, settings: &[Setting], health_checking: HealthChecking) {
        let mut settings = settings.to_vec();
        settings.push(Setting::HealthChecking(health_checking));
        let mut core = self.core.borrow_mut();
        let handled = core.pool.reconfigure(self.clock.now(), &settings);
        assert_eq!(handled, Handled::Done, "the configuration was checked: {settings:?}");
        self.carry_out(&mut core);
        self.see_timeout(&core);
    }

    /// Adds a backend, and registers its token before the pool's orders about it are carried out.
    fn add(&self, settings: &BackendSettings, tls: &Option<BackendTls>) -> bool {
        let exclusive = settings.is_exclusive();
        let input = Input::BackendAdded { weight: settings.weight, exclusive };
        let mut core = self.core.borrow_mut();
        let handled = core.pool.handle(self.clock.now(), input);
        if let Handled::Added(token) = handled {
            self.backends.borrow_mut().put(token, settings, tls.clone());
        }
        self.carry_out(&mut core);
        self.timer_changed.notify_one();
        matches!(handled, Handled::Added(_))
    }

    /// Ends the driver: the cluster was removed or another driver has replaced this one. Requests
    /// that were accepted are finished.
    pub fn retire(&self) {
        self.retired.set(true);
        let _ = self.tell(Input::ShutdownRequested { cause: ShutdownCause::PoolReplaced });
        self.timer_changed.notify_one();
    }

    /// Ends the pool because the process is about to end. Requests that were accepted are finished.
    /// Returns the deadline for that, if there is one.
    pub fn shut_down(&self) -> Option<Instant> {
        let _ = self.tell(Input::ShutdownRequested { cause: ShutdownCause::ProcessEnds });
        self.core.borrow().pool.shutdown_deadline()
    }

    /// True if the driver is retired and its pool is empty.
    pub fn is_finished(&self) -> bool {
        self.retired.get() && self.core.borrow().pool.is_empty()
    }

    /// Recounts the pool. Returns how long the recount took.
    ///
    /// # Panics
    /// If the pool is inconsistent, after logging its state. That is a bug in the pool, and its
    /// next orders cannot be trusted.
    pub fn audit(&self) -> Duration {
        let begun = self.clock.look();
        let recounted = self.core.borrow().pool.recount();
        let taken = self.clock.look().since(begun);
        self.count(|metrics| metrics.audit.observe(taken));
        if let Err(mismatch) = recounted {
            audit::log(
                &self.cluster,
                self.health_checks.worker(),
                &self.core.borrow().pool,
                mismatch,
            );
            panic!("the pool of cluster {} is inconsistent: {mismatch}", self.cluster);
        }
        taken
    }

    /// This worker's state of health checks.
    pub fn health_checks(&self) -> &HealthChecker {
        &self.health_checks
    }

    /// Applies the result of another worker's health check. The backend may be unknown to this
    /// worker; then nothing happens.
    pub fn health_check_found(&self, found: &HealthCheckFound) {
        let known = self.backends.borrow().identified(&found.backend);
        if let Some(backend) = known {
            self.health_checks.note(backend.token, found.failure.as_ref(), self.now());
            let (backend, passed) = (backend.token, found.failure.is_none());
            let _ = self.tell(Input::HealthCheckFinished { backend, number: 0, passed });
        }
    }

    /// The name of the cluster.
    pub fn cluster(&self) -> &Rc<str> {
        &self.cluster
    }

    /// The number of this driver's worker.
    pub fn worker(&self) -> usize {
        self.health_checks.worker()
    }

    /// The worker's log and metrics of requests.
    pub fn telemetry(&self) -> &Rc<Telemetry> {
        &self.telemetry
    }

    /// Updates the metrics. `count` must not call this function again: the metrics are borrowed.
    pub fn count(&self, count: impl FnOnce(&mut ClusterMetrics)) {
        count(&mut self.metrics.borrow_mut());
    }

    /// Logs and counts a request of this cluster that has ended.
    pub fn request_ended(&self, record: &AccessRecord) {
        let ended = self.telemetry.log(record);
        self.count(|metrics| metrics.request_ended(record, ended.since(record.arrived)));
    }

    /// The worker's clock.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Reads a value of the pool's configuration.
    pub fn config<T>(&self, read: impl FnOnce(&crate::pool::Config) -> T) -> T {
        read(self.core.borrow().pool.config())
    }

    /// The pool, as the tasks of its connections and health checks see it.
    fn handle(&self, core: &Core) -> PoolHandle {
        PoolHandle {
            facts: self.me.upgrade().expect("it is in use"),
            cluster: Rc::clone(&self.cluster),
            worker: self.worker(),
            clock: self.clock,
            metrics: Rc::clone(&self.metrics),
            streams_per_connection: core.pool.config().limits.streams_per_connection,
        }
    }

    /// Reports a fact to the pool and carries out the orders that follow.
    pub fn tell(&self, input: Input) -> Handled {
        let mut core = self.core.borrow_mut();
        let handled = core.pool.handle(self.clock.now(), input);
        self.carry_out(&mut core);
        self.see_timeout(&core);
        handled
    }

    /// Reports a new request to the pool. The request's orders go to `orders` from now on.
    ///
    /// # Errors
    /// The pool's reason for rejecting the request.
    pub fn arrive(
        &self,
        head: Rc<RequestHead>,
        orders: Sender<RequestOrder>,
    ) -> Result<RequestId, Rejection> {
        let input = Input::RequestArrived { idempotent: head.idempotent, has_body: head.has_body };
        seams::name_next(&head.parts.uri);
        let mut core = self.core.borrow_mut();
        let handled = core.pool.handle(self.clock.now(), input);
        let result = match handled {
            Handled::Accepted(request) => {
                let since = Cell::new(self.clock.now());
                let (generation, on) = (request.generation, RefCell::default());
                let live = DriverRequest { generation, orders, head, since, on };
                let place = request.index as usize;
                if core.requests.len() <= place {
                    core.requests.resize_with(place + 1, || None);
                }
                core.requests[place] = Some(live);
                Ok(request)
            }
            Handled::Rejected(rejection) => Err(rejection),
            Handled::Done | Handled::Stale | Handled::Refused | Handled::Added(_) => {
                unreachable!("an arrival is accepted or rejected")
            }
        };
        self.carry_out(&mut core);
        self.see_timeout(&core);
        result
    }

    /// Wakes the task that keeps the timer if it would sleep past the next deadline. Most requests
    /// move the next deadline to later; then that task wakes once too early, finds nothing due and
    /// sleeps again.
    fn see_timeout(&self, core: &Core) {
        if self.retired.get() && core.pool.is_empty() {
            return self.timer_changed.notify_one();
        }
        let Some((at, _)) = core.pool.poll_timeout() else { return };
        if self.wakes_at.get().is_none_or(|wakes_at| at < wakes_at) {
            self.wakes_at.set(Some(at));
            self.timer_changed.notify_one();
        }
    }

    /// The time in the middle between now and another time.
    fn half_way(&self, at: Instant) -> Instant {
        let now = self.clock.now();
        now.after(at.since(now) / 2)
    }

    async fn keep_time(self: Rc<Self>) {
        loop {
            let next = self.core.borrow().pool.poll_timeout();
            if self.is_finished() {
                return;
            }
            self.wakes_at.set(next.map(|(at, _)| at));
            match next {
                Some((at, _)) if at <= self.clock.now() => {
                    let _ = self.tell(Input::Timeout);
                }
                Some((at, _)) => {
                    let at = if seams::buggify(Point::EarlyTimer) { self.half_way(at) } else { at };
                    tokio::select! {
                        biased;
                        () = self.timer_changed.notified() => {}
                        () = self.clock.sleep_until(at) => {}
                    }
                }
                None => self.timer_changed.notified().await,
            }
        }
    }
}

impl TakesFacts for Driver {
    fn tell(&self, input: Input) -> Handled {
        Driver::tell(self, input)
    }

    fn is_to_be_opened(&self, stream: StreamToken) -> bool {
        self.core.borrow().pool.is_to_be_opened(stream)
    }

    fn forget_connection(&self, connection: ConnectionToken) {
        self.core.borrow_mut().connections.remove(&connection);
    }
}

impl Core {
    fn live(&self, request: RequestId) -> Option<&DriverRequest> {
        let live = self.requests.get(request.index as usize)?.as_ref()?;
        (live.generation == request.generation).then_some(live)
    }

    fn order(&self, connection: ConnectionToken, order: ConnectionOrder) {
        if let Some(orders) = self.connections.get(&connection) {
            // The task may have ended a moment ago; it reports that itself.
            orders.send(order);
        }
    }
}

#[cfg(test)]
mod tests;
