//! Every rule of the judges finds a record that breaks it; a good run has none.

use super::judge;
use crate::checker::Invariant;
use scene::{MILLISECOND, Scene};

mod ends;
mod facts;
mod frames;
mod logs;
mod messages;
mod operation;
mod scene;
mod ways;

/// A change of a good run, and what must be found: the invariant, and a part of the message.
type Broken = (Invariant, &'static str, fn(&mut Scene));

/// Checks that each change is found.
fn all_are_found(changes: &[Broken]) {
    let mut missed = Vec::new();
    for (invariant, what, change) in changes {
        let mut scene = Scene::good();
        change(&mut scene);
        match judge(&scene.records()) {
            Err(found) if found.invariant == *invariant && found.what.contains(what) => {}
            other => missed.push(format!("{invariant}: {what}: {other:?}")),
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

type Change = fn(&mut Scene);

/// Checks that changes are allowed.
fn all_are_allowed(changes: &[(&str, Change)]) {
    for (what, change) in changes {
        let mut scene = Scene::good();
        change(&mut scene);
        assert_eq!(judge(&scene.records()), Ok(()), "{what}");
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_good_run_is_good() {
    assert_eq!(judge(&Scene::good().records()), Ok(()));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn the_first_violation_in_a_fixed_order_is_returned() {
    let mut scene = Scene::good();
    scene.tasks_left = vec!["a task"];
    scene.line(1)["status"] = 500.into();
    scene.ends[0].1.status = Some(500);
    let found = judge(&scene.records()).expect_err("three things are wrong");
    assert_eq!(found.invariant, Invariant::FaithfulResponse);
    scene.ends[0].1.status = Some(200);
    let found = judge(&scene.records()).expect_err("two things are wrong");
    assert_eq!(found.invariant, Invariant::Quiescence);
    scene.tasks_left = Vec::new();
    let found = judge(&scene.records()).expect_err("one thing is wrong");
    assert_eq!(found.invariant, Invariant::AccessLog);
}
