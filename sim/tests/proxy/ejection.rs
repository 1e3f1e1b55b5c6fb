//! Tests ejection: failing backends are skipped for a while, tried, and used again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::baton::message;
use crate::support::scripts::ejection::{always, failing_while, start};
use crate::support::{Backend, Baton, Behaviour, Http2, within};
use crate::system::run;

/// Sends requests one after another. Returns the number answered with 502 to 504.
async fn get(client: &Http2, count: usize) -> usize {
    let mut failed = 0;
    for _ in 0..count {
        let answer = client.get("/").await.expect("answered");
        match answer.status.as_u16() {
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

#[test]
fn five_gateway_failures_in_a_row_eject_only_one_of_two_backends() {
    run(async {
        let (first, second) = (always(true), always(false));
        let (sick, well) = (failing_while(&first).await, failing_while(&second).await);
        let (baton, client) = start(&[&sick, &well], &FOR_LONG).await;
        assert_eq!(get(&client, 40).await, 5, "after five it gets none");
        assert_eq!(requests(&sick), 5);
        let line = changed(&baton, &sick, "ejected").await;
        assert_eq!(line["cause"], "gateway_failures", "{line}");
        assert_eq!(line["level"], "WARN", "{line}");
        second.store(true, Ordering::Relaxed);
        assert_eq!(get(&client, 10).await, 10);
        assert_eq!(requests(&sick), 5, "the other one stays: one of two is ejected");
        let metrics = baton.metrics().await;
        let url = sick.url();
        assert_eq!(metrics.sum("baton_ejections_total", &[("cluster", "default")]) as u64, 1);
        assert!(metrics.sum("baton_ejections_overflow_total", &[]) as u64 >= 1);
        let ejected = [("backend", url.as_str()), ("state", "ejected")];
        assert_eq!(metrics.sum("baton_backend_state_workers", &ejected) as u64, 1);
        let pools: Value = serde_json::from_str(&baton.ask("/pools").await).expect("JSON");
        let seen = &pools["workers"][0]["clusters"][0]["backends"][0];
        assert_eq!((&seen["state"], &seen["usable"]), (&"ejected".into(), &false.into()), "{seen}");
        assert_eq!(seen["cause"], "gateway_failures", "{seen}");
    });
}

/// The behaviour of the backend during the test.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Fail,
    Hold,
    Answer,
}

/// After the ejection, one trial request at a time shows if the backend is healthy.
#[test]
fn one_trial_request_at_a_time_and_two_end_the_ejection() {
    run(async {
        let mode = Arc::new(watch::Sender::new(Mode::Fail));
        let shared = Arc::clone(&mode);
        let behaviour = Behaviour { cleartext: true, ..Behaviour::default() };
        let sick = Backend::start(behaviour, move |exchange| {
            let mode = Arc::clone(&shared);
            async move {
                // Only the first five requests fail, however soon the ejection ends.
                if exchange.times_arrived() > 5 {
                    mode.send_if_modified(|mode| {
                        let failed = *mode == Mode::Fail;
                        *mode = if failed { Mode::Hold } else { *mode };
                        failed
                    });
                }
                let mut held = mode.subscribe();
                let mode = *held.wait_for(|mode| *mode != Mode::Hold).await.expect("it is shared");
                exchange.answer(if mode == Mode::Fail { 503 } else { 200 }, "").await;
            }
        })
        .await;
        let well = failing_while(&always(false)).await;
        let (baton, client) = start(&[&sick, &well], &["--ejection-min", "300ms"]).await;
        let client = Arc::new(client);
        while baton.lines("backend changed").is_empty() {
            get(&client, 1).await;
        }
        let line = changed(&baton, &sick, "half_open").await;
        assert_eq!((&line["cause"], &line["level"]), (&"ejection_over".into(), &"INFO".into()));
        let (tried, served) = (requests(&sick), requests(&well));
        let mut clients = JoinSet::new();
        for _ in 0..20 {
            let client = Arc::clone(&client);
            clients.spawn(async move { get(&client, 1).await });
        }
        well.wait_until("19 go to the other", |seen| seen.heads.len() == served + 19).await;
        sick.wait_until("one is the trial request", |seen| seen.open() == 1).await;
        assert_eq!(requests(&sick), tried + 1);
        mode.send_replace(Mode::Answer);
        while let Some(failed) = within("all are answered", clients.join_next()).await {
            assert_eq!(failed.expect("no panic"), 0);
        }
        get(&client, 10).await;
        let line = changed(&baton, &sick, "up").await;
        assert_eq!(line["cause"], "answered", "{line}");
        let before = requests(&sick);
        get(&client, 40).await;
        assert!(requests(&sick) - before >= 15, "it gets its full share at once");
    });
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

#[test]
fn slow_start_gives_a_returning_backend_few_requests_at_first() {
    run(async {
        let (sick, well, _baton, client) = came_back("1h").await;
        let (before, others) = (requests(&sick), requests(&well));
        assert_eq!(get(&client, 200).await, 0);
        let share = requests(&sick) - before;
        assert!((1..60).contains(&share), "{share} of 200");
        assert_eq!(requests(&well) - others, 200 - share);
    });
}
