//! One run: from a plan to a verdict.

#[cfg(feature = "proxy")]
use std::cell::RefCell;
#[cfg(feature = "proxy")]
use std::rc::Rc;

#[cfg(feature = "proxy")]
use crate::both::{compare, for_pool};
use crate::checker::Violation;
use crate::coverage::Coverage;
#[cfg(feature = "proxy")]
use crate::faults::narrow;
#[cfg(feature = "proxy")]
use crate::outside::Tripwire;
use crate::panics::catch_panics;
#[cfg(feature = "proxy")]
use crate::panics::caught;
use crate::plan::Plan;
#[cfg(feature = "proxy")]
use crate::plan::WorldName;
#[cfg(feature = "proxy")]
use crate::proxy::capture::Capture;
use crate::story::{self, State};
use crate::trace::Trace;
use crate::world::{Guide, play};

/// The result of a run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// The first invariant that did not hold, if any.
    pub violation: Option<Violation>,
    /// The model and the pool after the step that broke it, if a step of a pool did.
    pub state: Option<State>,
    /// Facts given to the pool.
    pub facts: u64,
    /// Virtual time, nanoseconds.
    pub time_ns: u64,
    /// See [`Trace::hash`].
    pub hash: u64,
    /// Requests whose accounts agree in both worlds, if these were compared.
    pub compared: u64,
}

/// Runs a plan. Adds what was met to `coverage` and what happened to `trace`.
#[must_use]
pub fn run(plan: &Plan, coverage: &mut Coverage, trace: &mut Trace) -> Run {
    catch_panics();
    #[cfg(feature = "proxy")]
    if plan.world == WorldName::Proxy {
        return run_proxy(plan, Tripwire::Count, None, coverage, trace).0;
    }
    #[cfg(feature = "proxy")]
    if plan.world == WorldName::Both {
        return run_both(plan, None, coverage, trace).0;
    }
    run_pool(plan, None, coverage, trace)
}

fn run_pool(plan: &Plan, guide: Option<Guide>, coverage: &mut Coverage, trace: &mut Trace) -> Run {
    let played = play(plan, guide, coverage, trace);
    Run {
        state: played.broken.map(|broken| story::state(plan, trace, &broken)),
        violation: played.violation,
        facts: trace.fact_count(),
        time_ns: played.time_ns,
        hash: trace.hash(),
        compared: 0,
    }
}

/// Runs a plan in the proxy's world, then in the pool's, and compares. The trace is that of the
/// pool's.
#[cfg(feature = "proxy")]
fn run_both(
    plan: &Plan,
    capture: Option<Rc<RefCell<Capture>>>,
    coverage: &mut Coverage,
    trace: &mut Trace,
) -> (Run, Vec<(u64, String)>) {
    let (mut plan, mut facts) = (plan.clone(), Trace::of_facts());
    narrow(&mut plan);
    let (real, log) = run_proxy(&plan, Tripwire::Count, capture, coverage, &mut facts);
    let guide = Guide::new(&facts);
    let plan = for_pool(&plan, &guide);
    *trace = Trace::whole();
    let model = run_pool(&plan, Some(guide), coverage, trace);
    let mut run = Run {
        facts: model.facts + real.facts,
        time_ns: model.time_ns + real.time_ns,
        hash: model.hash.rotate_left(1) ^ real.hash,
        state: if real.violation.is_some() { real.state } else { model.state },
        violation: real.violation.or(model.violation),
        compared: 0,
    };
    if run.violation.is_none() {
        match compare(&plan, trace, &log) {
            Ok(compared) => run.compared = compared,
            Err(violation) => run.violation = Some(violation),
        }
    }
    (run, log)
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

/// Runs a plan of the proxy's world, or of both, and returns the records of the proxy.
#[cfg(feature = "proxy")]
#[must_use]
pub fn record(plan: &Plan) -> Recorded {
    catch_panics();
    let capture = Rc::new(RefCell::new(Capture::new()));
    let (coverage, trace) = (&mut Coverage::default(), &mut Trace::hash_only());
    let wire = Some(Rc::clone(&capture));
    let (_, log) = match plan.world {
        WorldName::Both => run_both(plan, wire, coverage, trace),
        WorldName::Proxy | WorldName::Pool => {
            run_proxy(plan, Tripwire::Count, wire, coverage, trace)
        }
    };
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
pub(crate) fn run_proxy(
    plan: &Plan,
    tripwire: Tripwire,
    capture: Option<Rc<RefCell<Capture>>>,
    coverage: &mut Coverage,
    trace: &mut Trace,
) -> (Run, Vec<(u64, String)>) {
    let played = || Ok(crate::proxy::run::run(plan, tripwire, capture, coverage, trace));
    match caught(played) {
        Ok(ended) => {
            let named = |broken| {
                // In a comparison this trace still names requests as that of the proxy's world.
                let plan = Plan { world: WorldName::Proxy, ..plan.clone() };
                story::state(&plan, trace, &broken)
            };
            let run = Run {
                state: ended.broken.map(named),
                violation: ended.violation,
                facts: trace.fact_count(),
                time_ns: ended.time_ns,
                hash: trace.hash() ^ ended.bytes_hash,
                compared: 0,
            };
            (run, ended.log)
        }
        Err(violation) => (Run { violation: Some(violation), ..Run::default() }, Vec::new()),
    }
}

/// Runs a plan and returns only its result.
#[must_use]
pub fn judge(plan: &Plan) -> Run {
    run(plan, &mut Coverage::default(), &mut Trace::hash_only())
}
