//! Tests ejection: failing backends are skipped for a while, tried, and used again.

use std::sync::atomic::Ordering;

use h2::Reason;
use serde_json::Value;

use crate::support::baton::message;
use crate::support::scripts::ejection::{always, failing_while, start};
use crate::support::{Backend, Baton, Behaviour, Exchange, Http2, within};

/// Sends requests one after another. Returns the number answered with 502 to 504.
async fn get(client: &Http2, count: usize) -> usize {
    let mut failed = 0;
    for _ in 0..count {
        match client.get("/").await.expect("answered").status.as_u16() {
            200 => {}
            502..=504 => failed += 1,
            other => panic!("unexpected status {other}"),
        }
    }
    failed
}

fn requests(backend: &Backend) -> usize {
    backend.seen(|seen| seen.heads.len())
}

async fn changed(baton: &Baton, backend: &Backend, state: &str) -> Value {
    let url = backend.url();
    let wanted = |line: &Value| {
        message(line) == "backend changed" && line["backend"] == url && line["state"] == state
    };
    baton.wait_for_log(&format!("{url} is {state}"), wanted).await
}

const FOR_LONG: [&str; 4] = ["--ejection-min", "1h", "--ejection-max", "1h"];

#[tokio::test(flavor = "local")]
async fn three_failures_in_a_row_eject_and_no_get_fails() {
    let behaviour = Behaviour { cleartext: true, ..Behaviour::default() };
    let reset = |exchange: Exchange| async { exchange.reset(Reason::INTERNAL_ERROR) };
    let sick = Backend::start(behaviour, reset).await;
    let well = failing_while(&always(false)).await;
    let (baton, client) = start(&[&sick, &well], &FOR_LONG).await;
    assert_eq!(get(&client, 40).await, 0, "each is retried at the other");
    assert_eq!(requests(&sick), 3);
    let line = changed(&baton, &sick, "ejected").await;
    assert_eq!(line["cause"], "failures", "{line}");
}

#[tokio::test(flavor = "local")]
async fn at_most_a_tenth_of_the_backends_is_ejected() {
    let failing = always(true);
    let mut backends = Vec::new();
    for _ in 0..20 {
        backends.push(failing_while(&failing).await);
    }
    let all: Vec<_> = backends.iter().collect();
    let (baton, client) = start(&all, &FOR_LONG).await;
    assert_eq!(get(&client, 200).await, 200);
    let metrics = baton.metrics().await;
    assert_eq!(metrics.sum("baton_ejections_total", &[]) as u64, 2);
    assert!(metrics.sum("baton_ejections_overflow_total", &[]) as u64 >= 18);
    assert_eq!(metrics.sum("baton_backend_state_workers", &[("state", "up")]) as u64, 18);
    assert_eq!(metrics.sum("baton_fail_open_workers", &[]) as u64, 0);
}

/// Lets a backend be ejected and return. Returns once it is up.
async fn came_back(slow_start: &str) -> (Backend, Backend, Baton, Http2) {
    let failing = always(true);
    let (sick, well) = (failing_while(&failing).await, failing_while(&always(false)).await);
    let flags = ["--ejection-min", "50ms", "--slow-start", slow_start];
    let (baton, client) = start(&[&sick, &well], &flags).await;
    while baton.lines("backend changed").is_empty() {
        get(&client, 1).await;
    }
    failing.store(false, Ordering::Relaxed);
    let up = |line: &Value| line["state"] == "up";
    within("it is back", async {
        while !baton.lines("backend changed").iter().any(up) {
            get(&client, 1).await;
        }
    })
    .await;
    (sick, well, baton, client)
}

#[tokio::test(flavor = "local")]
async fn slow_start_ends_with_the_full_share() {
    let (sick, _well, _baton, client) = came_back("500ms").await;
    within("half of the requests go there", async {
        loop {
            let before = requests(&sick);
            get(&client, 20).await;
            if requests(&sick) - before >= 9 {
                return;
            }
        }
    })
    .await;
}
