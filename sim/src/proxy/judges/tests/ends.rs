//! Rules about the end of a run.

use super::all_are_found;
use crate::checker::Invariant::{Liveness, Quiescence, Recovery};

#[tokio::test(flavor = "local", start_paused = true)]
async fn nothing_is_left() {
    all_are_found(&[
        (Liveness, "request 3: its client took it up 0 times", |scene| {
            scene.forget(3);
        }),
        (Liveness, "request 3: it has not ended", |scene| {
            scene.ends.retain(|(id, _)| *id != 3);
        }),
        (Recovery, "no three requests", |scene| scene.recovered = Some(false)),
        (Liveness, "did not end in time", |scene| scene.ended_in_time = false),
        (Quiescence, "tasks have", |scene| scene.tasks_left = vec!["one", "two"]),
        (Quiescence, "1 pools", |scene| scene.pools_left = 1),
        (Quiescence, "left on the network: a socket", |scene| {
            scene.network_left.push("a socket".to_owned());
        }),
    ]);
}
