//! Rules about what is open, and about the end of a run.

use serde_json::json;

use super::scene::{MILLISECOND, SECOND, Scene};
use super::{all_are_allowed, all_are_found};
use crate::checker::Invariant::{Health, Liveness, Metrics, Quiescence, Recovery};
use crate::proxy::idle::IdleClient;
use crate::proxy::records::{Why, Withdrawn};

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

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_shutdown_waits_for_connections_only() {
    fn stops(scene: &mut Scene, at: u64) {
        scene.ended_at = Some(at);
    }
    all_are_found(&[
        (Liveness, "no connection since 101000000000 ns, and ended at 10200", |scene| {
            stops(scene, 102 * SECOND);
        }),
        (Liveness, "no connection since 103000000000 ns, and ended at 10400", |scene| {
            stops(scene, 104 * SECOND);
            scene.at_proxy.last_closed = 103 * SECOND;
        }),
        (Liveness, "idle client Parked was closed at 1030", |scene| {
            stops(scene, 103 * SECOND);
            scene.at_proxy.last_closed = 103 * SECOND;
            scene.idle_ended_at = vec![(IdleClient::Parked, 103 * SECOND)];
        }),
        (Liveness, "accepted a client at 1030", |scene| {
            stops(scene, 103 * SECOND);
            scene.at_proxy.last_accepted = 103 * SECOND;
        }),
        (Liveness, "1 connections that its system", |scene| {
            stops(scene, 101 * SECOND);
            scene.at_proxy.reset_unaccepted = 1;
        }),
    ]);
    all_are_allowed(&[("it ends with its last connection, an idle one at once", |scene| {
        stops(scene, 103 * SECOND);
        scene.at_proxy.last_closed = 103 * SECOND;
        scene.idle_ended_at = vec![(IdleClient::Http2, 101 * SECOND + 10 * MILLISECOND)];
    })]);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn what_is_open_agrees_with_the_network() {
    all_are_found(&[
        (Metrics, "baton_client_connections: 6, but 5 are open", |scene| {
            scene.sample("client_connections", 6.0);
        }),
        (Quiescence, "2 tasks of connections to backends, of which 1", |scene| {
            scene.open[0].tasks = vec!["baton::proxy::upstream::run"; 2];
        }),
    ]);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_withdrawn_backend_gets_no_new_requests() {
    fn withdraw(scene: &mut Scene, why: Why, since: u64, until: u64) {
        scene.withdrawn.push(Withdrawn { backend: 0, why, since, until });
    }
    fn reload(scene: &mut Scene, at: u64) {
        scene.log(at, json!({"level": "INFO", "message": "reloaded"}));
    }
    all_are_found(&[
        (Health, "request 1: executed", |scene| withdraw(scene, Why::Drained, 0, u64::MAX)),
        (Health, "Removed since 1 ns", |scene| {
            withdraw(scene, Why::Removed, 0, u64::MAX);
            reload(scene, 1);
        }),
    ]);
    all_are_allowed(&[
        ("requests that were begun before", |scene| {
            withdraw(scene, Why::Drained, 50 * SECOND, u64::MAX);
        }),
        ("requests after its return", |scene| withdraw(scene, Why::Drained, 0, SECOND)),
        ("a configuration that was not read", |scene| {
            withdraw(scene, Why::Removed, 0, u64::MAX);
        }),
    ]);
}
