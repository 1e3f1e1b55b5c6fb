//! Requests that every backend fails: with a reset, or by closing the connection. A client can
//! send them as often as it likes, so they must not cost a healthy backend its place.

use super::Profile;
use crate::draw::{Domain, Draws, RandomStream};
use crate::plan::{
    BackendPlan, BackendWire, Code, Heal, Health, Plan, Poison, PoolPlan, RequestPlan, Span,
};

/// Codes of resets that do not ask for another attempt.
const CODES: [Code; 3] = [Code::Internal, Code::Protocol, Code::EnhanceYourCalm];

/// Adds poisoned requests to some plans: beside other faults, or as the only ones.
pub(super) fn add(plan: &mut Plan, profile: Profile) {
    let mut stream = Draws::new(plan.seed).stream(Domain::Poison, 0);
    if profile != Profile::Swarm {
        return;
    }
    if stream.chance(5) {
        stand_alone(plan, &mut stream);
    } else if stream.chance(15) {
        for request in &mut plan.requests {
            request.poison = stream.chance(20).then(|| poison(&mut stream));
        }
    }
}

fn poison(stream: &mut RandomStream) -> Poison {
    if stream.chance(30) { Poison::Close } else { Poison::Reset(stream.pick(&CODES)) }
}

/// Makes poisoned requests the only fault, among honest requests, with room for all and with time
/// to connect to every backend before the first of them.
fn stand_alone(plan: &mut Plan, stream: &mut RandomStream) {
    let span = |us| Span { least_us: us, most_us: us };
    let backends = stream.between(2, 4);
    let backend = BackendPlan {
        http1: stream.chance(30),
        max_streams: None,
        settings_late_us: None,
        streams_per_connection: None,
        ping_strikes: None,
        work: span(stream.pick(&[300, 5_000])),
        body: span(200),
        spare: false,
        wire: BackendWire::default(),
    };
    plan.backends = vec![backend; backends as usize];
    plan.directives.clear();
    plan.deviations.clear();
    plan.network.wire = span(100);
    plan.network.shell = span(0);
    plan.network.timer = span(0);
    plan.network.dial = span(500);
    plan.pool = PoolPlan { config: PoolPlan::poisoned(stream.pick(&[2, 3])), ..PoolPlan::DEFAULT };
    let count = stream.between(20, 120);
    plan.requests = (0..count)
        .map(|index| RequestPlan {
            at_us: index * 100_000,
            idempotent: true,
            poison: (index >= 12 && stream.chance(60)).then(|| poison(stream)),
            ..RequestPlan::plain(index as u32)
        })
        .collect();
    let heals_at_us = 100_000 * (count + 100);
    plan.heal = Heal { at_us: heals_at_us, backends: vec![Health::Well; backends as usize] };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::plan;
    use crate::plan::WorldName;

    #[test]
    fn some_plans_have_poison_as_their_only_fault_and_are_valid() {
        let plans = (0..300).map(|seed| plan(seed, Profile::Swarm, WorldName::Pool));
        let alone: Vec<_> = plans.filter(Plan::has_only_poison).collect();
        assert!(alone.len() > 5, "{}", alone.len());
        for plan in alone {
            assert_eq!(plan.check(), Ok(()));
            assert!(plan.requests.iter().any(|request| request.poison.is_some()));
        }
    }
}
