//! A plan in both worlds: the outcome, the attempts and the evidence of each request agree. The
//! differences that are allowed are left out of the plans (`faults::narrow`) or are differences of
//! time (`world::guide`).

use crate::account::{Account, of_pool};
use crate::checker::{Invariant, Violation};
use crate::plan::{Plan, When};
use crate::proxy::judges::accounts;
use crate::proxy::run::START_TIME;
use crate::trace::Trace;
use crate::world::Guide;

/// The plan for the pool's world, after a run in the proxy's. A request that the pool did not get
/// there is left out.
pub(crate) fn for_pool(plan: &Plan, guide: &Guide) -> Plan {
    let mut plan = plan.clone();
    plan.requests.retain(|request| guide.arrival(request.id).is_some());
    // The proxy's world starts its backends before the proxy.
    let start_us = START_TIME.as_micros() as u64;
    plan.heal.at_us += start_us;
    for directive in &mut plan.directives {
        if directive.when == When::Start {
            directive.after_us += start_us;
        }
    }
    plan
}

/// Compares what became of the requests of a plan in both worlds. Both runs have passed. The plan
/// is that for the pool's world. Returns the number of requests, whose accounts all agree.
///
/// # Errors
/// The first request whose accounts differ.
pub(crate) fn compare(plan: &Plan, model: &Trace, log: &[(u64, String)]) -> Result<u64, Violation> {
    let mut model = of_pool(plan, model);
    let mut compared = 0;
    for (id, real) in accounts(plan, log)? {
        let model = model.remove(&id);
        if model.as_ref() != Some(&real) {
            return Err(differ(id, model.as_ref(), Some(&real)));
        }
        compared += 1;
    }
    // What remains has no line in the log.
    match model.first_key_value() {
        Some((id, model)) => Err(differ(*id, Some(model), None)),
        None => Ok(compared),
    }
}

fn differ(id: u32, model: Option<&Account>, real: Option<&Account>) -> Violation {
    let (model, real) = (words(model), words(real));
    let what = format!("request {id}: {model} in the pool's world, {real} in the proxy's");
    Violation { invariant: Invariant::WorldsAgree, what }
}

/// An account in words.
fn words(account: Option<&Account>) -> String {
    account.map_or_else(|| "no account".to_owned(), Account::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coverage::Coverage;
    use crate::faults::{Profile, plan};
    use crate::outside::Tripwire;
    use crate::plan::WorldName;
    use crate::run::{judge, run_proxy};
    use crate::world::play;

    #[test]
    fn what_becomes_of_requests_agrees_in_both_worlds() {
        let mut total = 0;
        for seed in 0..8 {
            let run = judge(&plan(seed, Profile::Swarm, WorldName::Both));
            assert_eq!(run.violation, None, "seed {seed}");
            total += run.compared;
        }
        assert!(total > 30, "{total}");
    }

    #[test]
    fn another_account_is_a_violation() {
        let plan = plan(1, Profile::Calm, WorldName::Both);
        let (mut coverage, mut trace) = (Coverage::default(), Trace::of_facts());
        let log = run_proxy(&plan, Tripwire::Count, None, &mut coverage, &mut trace).1;
        let guide = Guide::new(&trace);
        let plan = for_pool(&plan, &guide);
        let mut trace = Trace::whole();
        let _ = play(&plan, Some(guide), &mut coverage, &mut trace);
        assert!(compare(&plan, &trace, &log).is_ok());
        let change = |(at, line): &(u64, String)| {
            (*at, line.replace(r#""outcome":"completed""#, r#""outcome":"cut_short""#))
        };
        let log: Vec<_> = log.iter().map(change).collect();
        let violation = compare(&plan, &trace, &log).expect_err("no response was cut short");
        assert_eq!(violation.invariant, Invariant::WorldsAgree);
        assert!(violation.what.contains("cut_short"), "{}", violation.what);
        let is_access = |(_, line): &&(u64, String)| line.contains(r#""outcome":"#);
        let lost: Vec<_> = log.iter().filter(|line| !is_access(line)).cloned().collect();
        let violation = compare(&plan, &trace, &lost).expect_err("no request has a line");
        assert!(violation.what.contains("no account in the proxy's"), "{}", violation.what);
    }
}
