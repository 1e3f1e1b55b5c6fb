//! One run: from a plan to a verdict.

#[cfg(feature = "proxy")]
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
#[cfg(feature = "proxy")]
use std::rc::Rc;

use crate::checker::{Invariant, Violation};
use crate::coverage::Coverage;
#[cfg(feature = "proxy")]
use crate::known::known;
#[cfg(feature = "proxy")]
use crate::outside::Tripwire;
use crate::panics::{catch_panics, take_panic};
use crate::plan::Plan;
#[cfg(feature = "proxy")]
use crate::plan::WorldName;
#[cfg(feature = "proxy")]
use crate::proxy::capture::Capture;
use crate::trace::Trace;
use crate::world::World;

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Run {
    /// The first invariant that did not hold, if any.
    pub violation: Option<Violation>,
    /// The name of the known fault that the run met instead, if any; see `known`.
    pub known: Option<&'static str>,
    /// Facts given to the pool.
    pub facts: u64,
    /// Virtual time, nanoseconds.
    pub time_ns: u64,
    /// See [`Trace::hash`].
    pub hash: u64,
}

/// Runs a plan. Adds what was met to `coverage` and what happened to `trace`.
#[must_use]
pub fn run(plan: &Plan, coverage: &mut Coverage, trace: &mut Trace) -> Run {
    catch_panics();
    #[cfg(feature = "proxy")]
    if plan.world == WorldName::Proxy {
        return run_proxy(plan, Tripwire::Count, None, coverage, trace).0;
    }
    let mut time_ns = 0;
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(plan, coverage, trace);
        let verdict = world.run();
        time_ns = world.now();
        world.finish();
        verdict
    }));
    let violation = match outcome {
        Ok(verdict) => verdict.err(),
        Err(_) => Some(Violation { invariant: Invariant::PoolAssert, what: take_panic() }),
    };
    Run { violation, known: None, facts: trace.fact_count(), time_ns, hash: trace.hash() }
}

/// The records of a run of the proxy's world.
#[cfg(feature = "proxy")]
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Everything on the wire, as a file for Wireshark.
    pub wire: Vec<u8>,
    /// The lines of the proxy's log and access log, each with its time in nanoseconds.
    pub log: Vec<(u64, String)>,
}

/// Runs a plan of the proxy's world and returns its records.
#[cfg(feature = "proxy")]
#[must_use]
pub fn record(plan: &Plan) -> Recorded {
    catch_panics();
    let capture = Rc::new(RefCell::new(Capture::new()));
    let (coverage, trace) = (&mut Coverage::default(), &mut Trace::hash_only());
    let (_, log) = run_proxy(plan, Tripwire::Count, Some(Rc::clone(&capture)), coverage, trace);
    Recorded { wire: capture.replace(Capture::new()).into_bytes(), log }
}

/// Runs a plan of the proxy's world and looks at each call for the clock or for entropy.
#[cfg(feature = "proxy")]
#[must_use]
pub fn watch(plan: &Plan) -> Run {
    catch_panics();
    let (coverage, trace) = (&mut Coverage::default(), &mut Trace::hash_only());
    run_proxy(plan, Tripwire::Watch, None, coverage, trace).0
}

#[cfg(feature = "proxy")]
fn run_proxy(
    plan: &Plan,
    tripwire: Tripwire,
    capture: Option<Rc<RefCell<Capture>>>,
    coverage: &mut Coverage,
    trace: &mut Trace,
) -> (Run, Vec<(u64, String)>) {
    let played = || crate::proxy::run::run(plan, tripwire, capture, coverage, trace);
    let played = AssertUnwindSafe(played);
    match panic::catch_unwind(played) {
        Ok(ended) => {
            let hash = trace.hash() ^ ended.bytes_hash;
            let (violation, time_ns) = (ended.violation, ended.time_ns);
            let known = violation.as_ref().and_then(known).map(|known| known.name);
            let violation = violation.filter(|_| known.is_none());
            (Run { violation, known, facts: trace.fact_count(), time_ns, hash }, ended.log)
        }
        Err(_) => {
            let violation = Violation { invariant: Invariant::PoolAssert, what: take_panic() };
            let violation = Some(violation);
            (Run { violation, known: None, facts: 0, time_ns: 0, hash: 0 }, Vec::new())
        }
    }
}

/// Runs a plan and returns only its result.
#[must_use]
pub fn judge(plan: &Plan) -> Run {
    run(plan, &mut Coverage::default(), &mut Trace::hash_only())
}
