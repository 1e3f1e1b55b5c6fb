//! Failures that are made up: a function says which stories pass.

use super::*;
use crate::plan::{
    Act, BackendPlan, Code, FORMAT, Family, Heal, Health, Moment, Network, PoolPlan, RequestPlan,
    Span, Ties, When, WirePlan, WorldName,
};

fn span(time_us: u64) -> Span {
    Span { least_us: time_us, most_us: time_us }
}

/// Two requests, the second of which is reset by the backend.
fn plan() -> Plan {
    Plan {
        format: FORMAT,
        origin: "a test".to_owned(),
        world: WorldName::Pool,
        seed: 1,
        pool: PoolPlan::DEFAULT,
        network: Network {
            wire: span(1_000),
            shell: span(0),
            timer: span(0),
            dial: span(1_000),
            dead_path_us: 1_000_000,
            ties: Ties::Fifo,
            hides_delivery: false,
        },
        backends: vec![BackendPlan {
            http1: false,
            max_streams: None,
            settings_late_us: None,
            streams_per_connection: None,
            ping_strikes: None,
            work: span(5_000),
            body: span(1_000),
            spare: false,
            wire: Default::default(),
        }],
        requests: vec![
            RequestPlan::plain(0),
            RequestPlan { at_us: 50_000, ..RequestPlan::plain(1) },
        ],
        directives: vec![Directive {
            family: Family::Reset,
            when: When::Request { request: 1, moment: Moment::Read },
            after_us: 0,
            act: Act::Reset { code: Code::Internal },
        }],
        deviations: Vec::new(),
        heal: Heal { at_us: 1_000_000, backends: vec![Health::Well] },
        wire: WirePlan::default(),
    }
}

#[test]
fn the_nearest_plan_differs_where_the_failure_is() {
    let plan = plan();
    plan.check().expect("the plan is sound");
    let (_, story) = replay(&plan);
    let fails = |lines: &[Line]| lines.iter().any(|line| line.text.starts_with("RST_STREAM"));
    assert!(fails(&story), "the request is reset");
    let search = nearest_by(&plan, &story, |candidate| {
        let (_, lines) = replay(candidate);
        (!fails(&lines)).then_some(lines)
    });
    let nearest = search.nearest.as_ref().expect("without the directive there is no reset");
    assert!(nearest.change.starts_with("without the 1st directive"), "{}", nearest.change);
    assert_eq!((nearest.plan.requests.len(), nearest.plan.directives.len()), (2, 0));
    assert!(nearest.same > 10, "{nearest:?}");
    let reset = story.iter().position(|line| line.text.starts_with("RST_STREAM"));
    let steps = story[..reset.expect("it is there")].iter().rev();
    let last = steps.filter_map(|line| line.step).next();
    assert_eq!(nearest.from_step, last.map(|step| step + 1));
    assert!(nearest.lines.iter().any(|line| line.text.starts_with("response head")));
    assert!(nearest.lines.len() <= LINES_MAX);
    assert!(search.text().contains("Its run differs from step"), "{}", search.text());
}

#[test]
fn another_time_is_a_difference_in_words() {
    let plan = plan();
    let (_, story) = replay(&plan);
    let search = nearest_by(&plan, &story, |candidate| {
        let late = candidate.directives.first().is_some_and(|it| it.after_us > 0);
        late.then(|| replay(candidate).1)
    });
    let nearest = search.nearest.expect("a later reset passes");
    assert!(nearest.change.ends_with("after 0.1 ms instead of 0 ms"), "{}", nearest.change);
    assert_eq!(nearest.plan.directives[0].after_us, 100);
}

#[test]
fn the_arrival_of_the_request_that_is_left_out_is_not_a_consequence() {
    let mut plan = Plan { directives: Vec::new(), ..plan() };
    plan.requests[1].at_us = 500;
    let (_, story) = replay(&plan);
    // The second stream opens only for the second request, which arrives during the dial.
    let search = nearest_by(&plan, &story, |candidate| {
        let one = candidate.requests.len() == 1;
        one.then(|| replay(candidate).1)
    });
    let nearest = search.nearest.expect("one request passes");
    assert_eq!(nearest.change, "without request r1");
    let opened = nearest.lines.iter().any(|line| line.text.contains("is connected"));
    assert!(opened && nearest.from_step == Some(2), "{nearest:?}");
}

#[test]
fn a_search_without_success_is_reported() {
    let search = nearest_by(&plan(), &[], |_| None);
    assert!(search.nearest.is_none() && search.runs > 3);
    assert!(search.text().contains("No plan near it passes"), "{}", search.text());
    assert_eq!(search.json()["change"], serde_json::Value::Null);
}

#[test]
fn places_are_written_as_ordinals() {
    let written: Vec<_> = [0, 1, 2, 3, 10, 11, 12, 20, 110].map(nth).into();
    let expected = ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "111th"];
    assert_eq!(written, expected);
}
