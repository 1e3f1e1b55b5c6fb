//! The pools of the proxy, each judged by a model of its own at every fact.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use baton::pool::{Handled, Input, Instant, Output, Pool, Setting};
use tokio::sync::Notify;

use crate::checker::{Checker, Invariant, SideBySide, Violation};
use crate::coverage::Coverage;
use crate::plan::Code;
use crate::trace::{Trace, What};

/// The accuracy of the proxy's timers: tokio's have a resolution of a millisecond.
const LATE_MAX: Duration = Duration::from_millis(5);

/// A pool of one worker.
struct Judged {
    worker: usize,
    cluster: String,
    checker: Checker,
    /// When the pool last had a fact, by its worker's clock.
    last: Option<Instant>,
    /// True once the pool was asked to end.
    ends: bool,
}

/// All pools of a run.
pub(crate) struct Pools {
    generations: Option<u32>,
    judged: RefCell<Vec<Judged>>,
    alive: Cell<u64>,
    resets_without_error: Cell<u64>,
    coverage: RefCell<Coverage>,
    trace: RefCell<Trace>,
    /// The least and the most requests that have not ended, since they were last counted.
    live: Cell<[u64; 2]>,
    violation: RefCell<Option<Violation>>,
    /// The model and the pool after the step that broke the first invariant, if a step did.
    broken: RefCell<Option<SideBySide>>,
    violated: Notify,
}

impl Pools {
    /// No pools yet. Slots of their connections are retired after `generations`, if set.
    pub(crate) fn new(generations: Option<u32>, coverage: Coverage, trace: Trace) -> Rc<Self> {
        Rc::new(Self {
            generations,
            judged: RefCell::default(),
            alive: Cell::new(0),
            resets_without_error: Cell::new(0),
            coverage: RefCell::new(coverage),
            trace: RefCell::new(trace),
            live: Cell::default(),
            violation: RefCell::new(None),
            broken: RefCell::new(None),
            violated: Notify::new(),
        })
    }

    /// A pool starts. Returns its number.
    pub(crate) fn start(&self, worker: usize, cluster: &str, core: &mut Pool) -> u64 {
        let mut checker = Checker::new(core.config());
        if let Some(most) = self.generations {
            core.narrow_generations(most);
            checker.narrow_generations(most);
        }
        self.alive.set(self.alive.get() + 1);
        self.trace.borrow_mut().add_pool(worker);
        let mut judged = self.judged.borrow_mut();
        judged.push(Judged {
            worker,
            cluster: cluster.to_owned(),
            checker,
            last: None,
            ends: false,
        });
        judged.len() as u64 - 1
    }

    /// The next fact is about this request, if it is one that has a number.
    pub(crate) fn name_next(&self, time: u64, request: Option<u32>) {
        if let Some(request) = request {
            self.trace.borrow_mut().note(time, What::Arrived(request));
        }
    }

    /// Gives a pool a fact and judges what follows. `time` is that of the run, `now` that of the
    /// worker's clock.
    pub(crate) fn step(
        &self,
        time: u64,
        pool: u64,
        core: &mut Pool,
        now: Instant,
        input: Input,
        orders: &mut Vec<Output>,
    ) -> Handled {
        self.check_timer(pool, core, now);
        self.judged.borrow_mut()[pool as usize].ends |=
            matches!(input, Input::ShutdownRequested { .. });
        let mut answer = None;
        let mut seen = |handled, orders: &[Output], core: &Pool| {
            let mut trace = self.trace.borrow_mut();
            trace.enter_pool(pool as usize);
            trace.record(time, now, input, handled, orders, core);
            answer = Some(handled);
        };
        if self.violation.borrow().is_some() {
            // What follows a violation is not judged: the model no longer agrees.
            let handled = core.handle(now, input);
            fetch(core, orders);
            seen(handled, orders, core);
        } else {
            let coverage = &mut *self.coverage.borrow_mut();
            let judged = &mut self.judged.borrow_mut()[pool as usize];
            let verdict = judged.checker.step(core, now, input, coverage, orders, seen);
            self.note(pool, judged, core, verdict);
        }
        let (live, [least, most]) = (self.live(), self.live.get());
        self.live.set([least.min(live), most.max(live)]);
        self.count(orders);
        answer.expect("the checker shows the pool's answer")
    }

    /// Changes the settings of a pool, all at once, and judges what follows.
    pub(crate) fn reconfigure(
        &self,
        time: u64,
        pool: u64,
        core: &mut Pool,
        now: Instant,
        settings: &[Setting],
        orders: &mut Vec<Output>,
    ) -> Handled {
        let mut answer = None;
        let mut seen = |handled, orders: &[Output], core: &Pool| {
            let mut trace = self.trace.borrow_mut();
            trace.enter_pool(pool as usize);
            trace.record_settings(time, now, settings, handled, orders, core);
            answer = Some(handled);
        };
        if self.violation.borrow().is_some() {
            let handled = core.reconfigure(now, settings);
            fetch(core, orders);
            seen(handled, orders, core);
        } else {
            let coverage = &mut *self.coverage.borrow_mut();
            let judged = &mut self.judged.borrow_mut()[pool as usize];
            let verdict = judged.checker.reconfigure(core, now, settings, coverage, orders, seen);
            self.note(pool, judged, core, verdict);
        }
        self.count(orders);
        answer.expect("the checker shows the pool's answer")
    }

    /// No fact comes long after a deadline that the pool has not been called for. In simulated time
    /// the proxy is never busy.
    fn check_timer(&self, pool: u64, core: &Pool, now: Instant) {
        let judged = &mut self.judged.borrow_mut()[pool as usize];
        let last = judged.last.replace(now);
        if judged.ends && core.is_empty() {
            // Such a pool has ended, and late results change nothing.
            return;
        }
        let Some(((due, reason), last)) = core.poll_timeout().zip(last) else { return };
        // A deadline may be past when it is set.
        let late = now.since(due.max(last));
        if late > LATE_MAX {
            let invariant = Invariant::Timers;
            let what = format!("the deadline {reason:?} was due {late:?} ago, and was not handled");
            self.violate(Violation { invariant, what });
        }
    }

    fn count(&self, orders: &[Output]) {
        let resets = orders.iter().filter(|order| {
            matches!(order, Output::ResetStream { code, .. } if *code == Code::NoError.number())
        });
        self.resets_without_error.set(self.resets_without_error.get() + resets.count() as u64);
    }

    /// How often pools have ordered a reset with NO_ERROR.
    pub(crate) fn resets_without_error(&self) -> u64 {
        self.resets_without_error.get()
    }

    /// Notes the verdict of a pool's checker.
    fn note(&self, pool: u64, judged: &Judged, core: &Pool, verdict: Result<Handled, Violation>) {
        if let Err(violation) = verdict {
            let (pool, step) = (pool as usize, self.trace.borrow().fact_count());
            *self.broken.borrow_mut() = Some(judged.checker.side_by_side(core, pool, step));
            let what =
                format!("worker {}, cluster {}: {}", judged.worker, judged.cluster, violation.what);
            self.violate(Violation { what, ..violation });
        }
    }

    /// A pool has ended.
    pub(crate) fn end(&self, _pool: u64, core: &Pool) {
        self.alive.set(self.alive.get() - 1);
        self.coverage.borrow_mut().transitions(core.transitions());
    }

    /// Pools that have not ended.
    pub(crate) fn alive(&self) -> u64 {
        self.alive.get()
    }

    /// Requests that have not ended for their pools.
    pub(crate) fn live(&self) -> u64 {
        self.judged.borrow().iter().map(|judged| u64::from(judged.checker.live())).sum()
    }

    /// Counts the requests that have not ended from now on.
    pub(crate) fn count_live(&self) {
        self.live.set([self.live(); 2]);
    }

    /// The least and the most of them since then.
    pub(crate) fn counted_live(&self) -> [u64; 2] {
        self.live.get()
    }

    /// Notes that an invariant does not hold, unless one did not hold before.
    pub(crate) fn violate(&self, violation: Violation) {
        self.violation.borrow_mut().get_or_insert(violation);
        self.violated.notify_one();
    }

    /// Waits until an invariant does not hold.
    pub(crate) async fn violated(&self) {
        self.violated.notified().await;
    }

    /// The first invariant that did not hold, if any.
    pub(crate) fn violation(&self) -> Option<Violation> {
        self.violation.borrow().clone()
    }

    /// The model and the pool after the step that broke that invariant, if a step did.
    pub(crate) fn take_broken(&self) -> Option<SideBySide> {
        self.broken.take()
    }

    /// Uses the coverage of the run.
    pub(crate) fn with_coverage(&self, use_it: impl FnOnce(&mut Coverage)) {
        use_it(&mut self.coverage.borrow_mut());
    }

    /// Uses the trace of the run.
    pub(crate) fn with_trace(&self, use_it: impl FnOnce(&mut Trace)) {
        use_it(&mut self.trace.borrow_mut());
    }

    /// The coverage and the trace of the run.
    pub(crate) fn take(&self) -> (Coverage, Trace) {
        (self.coverage.take(), self.trace.take())
    }
}

fn fetch(core: &mut Pool, orders: &mut Vec<Output>) {
    orders.clear();
    while let Some(order) = core.poll_output() {
        orders.push(order);
    }
}
