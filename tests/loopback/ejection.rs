//! Backends that fail requests are left out for a time, tried, and taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use h2::Reason;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::baton::message;
use crate::support::{Backend, Baton, Behaviour, Exchange, Http2, within};

/// Answers with 502, 503 and 504 in turn while `failing`, with 200 otherwise.
async fn failing_while(failing: &Arc<AtomicBool>) -> Backend {
    let failing = Arc::clone(failing);
    let failures = AtomicU16::new(0);
    let behaviour = Behaviour { cleartext: true, ..Behaviour::default() };
    Backend::start(behaviour, move |exchange| {
        let status = match failing.load(Ordering::Relaxed) {
            true => 502 + failures.fetch_add(1, Ordering::Relaxed) % 3,
            false => 200,
        };
        exchange.answer(status, "")
    })
    .await
}

fn always(failing: bool) -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(failing))
}

async fn start(backends: &[&Backend], flags: &[&str]) -> (Baton, Http2) {
    let urls: Vec<_> = backends.iter().map(|backend| backend.url()).collect();
    let baton = Baton::start(&urls, &[&["--admin", "127.0.0.1:0"], flags].concat()).await;
    let client = Http2::connect(baton.address).await;
    (baton, client)
}

/// Sends requests one after another, and returns how many were answered with 502 to 504.
async fn get(client: &Http2, count: usize) -> usize {
    let mut failed = 0;
    for _ in 0..count {
        match client.get("/").await.expect("answered").status.as_u16() {
            200 => {}
            502..=504 => failed += 1,
            other => panic!("nobody answers {other}"),
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

#[tokio::test]
async fn five_gateway_failures_in_a_row_eject_one_backend_and_no_second() {
    let (first, second) = (always(true), always(false));
    let (sick, well) = (failing_while(&first).await, failing_while(&second).await);
    let (baton, client) = start(&[&sick, &well], &FOR_LONG).await;
    assert_eq!(get(&client, 40).await, 5, "then it gets none");
    assert_eq!(requests(&sick), 5);
    let line = changed(&baton, &sick, "ejected").await;
    assert_eq!(line["cause"], "gateway_failures", "{line}");
    assert_eq!(line["level"], "WARN", "{line}");
    second.store(true, Ordering::Relaxed);
    assert_eq!(get(&client, 10).await, 10);
    assert_eq!(requests(&sick), 5, "the other is spared: one of two is out");
    let metrics = baton.metrics().await;
    let url = sick.url();
    assert_eq!(metrics.sum("baton_ejections_total", &[("cluster", "default")]) as u64, 1);
    assert!(metrics.sum("baton_ejections_spared_total", &[]) as u64 >= 1);
    let ejected = [("backend", url.as_str()), ("state", "ejected")];
    assert_eq!(metrics.sum("baton_backend_state_workers", &ejected) as u64, 1);
    let pools: Value = serde_json::from_str(&baton.ask("/pools").await).expect("JSON");
    let seen = &pools["workers"][0]["clusters"][0]["backends"][0];
    assert_eq!((&seen["state"], &seen["usable"]), (&"ejected".into(), &false.into()), "{seen}");
    assert_eq!(seen["cause"], "gateway_failures", "{seen}");
}

#[tokio::test]
async fn three_failures_in_a_row_eject_and_no_get_fails() {
    let behaviour = Behaviour { cleartext: true, ..Behaviour::default() };
    let reset = |exchange: Exchange| async { exchange.reset(Reason::INTERNAL_ERROR) };
    let sick = Backend::start(behaviour, reset).await;
    let well = failing_while(&always(false)).await;
    let (baton, client) = start(&[&sick, &well], &FOR_LONG).await;
    assert_eq!(get(&client, 40).await, 0, "each is tried again at the other");
    assert_eq!(requests(&sick), 3);
    let line = changed(&baton, &sick, "ejected").await;
    assert_eq!(line["cause"], "failures", "{line}");
}

#[tokio::test]
async fn at_most_a_tenth_of_the_backends_is_out() {
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
    assert!(metrics.sum("baton_ejections_spared_total", &[]) as u64 >= 18);
    assert_eq!(metrics.sum("baton_backend_state_workers", &[("state", "up")]) as u64, 18);
    assert_eq!(metrics.sum("baton_panic_workers", &[]) as u64, 0);
}

/// What a backend on trial does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Fail,
    Hold,
    Answer,
}

/// When the ejection is over, one request at a time shows whether the backend is well again.
#[tokio::test]
async fn one_request_tries_an_ejected_backend_and_two_bring_it_back() {
    let mode = Arc::new(watch::Sender::new(Mode::Fail));
    let shared = Arc::clone(&mode);
    let behaviour = Behaviour { cleartext: true, ..Behaviour::default() };
    let sick = Backend::start(behaviour, move |exchange| {
        let mode = Arc::clone(&shared);
        async move {
            // The fifth failure is the last, however soon the ejection is over.
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
    let line = changed(&baton, &sick, "on_trial").await;
    assert_eq!((&line["cause"], &line["level"]), (&"ejection_over".into(), &"INFO".into()));
    let (tried, served) = (requests(&sick), requests(&well));
    let mut clients = JoinSet::new();
    for _ in 0..20 {
        let client = Arc::clone(&client);
        clients.spawn(async move { get(&client, 1).await });
    }
    well.wait_until("19 go to the other", |seen| seen.heads.len() == served + 19).await;
    sick.wait_until("one is the trial", |seen| seen.open() == 1).await;
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
    assert!(requests(&sick) - before >= 15, "it has its full share at once");
}

/// Lets a backend be ejected and come back, and returns when it is up.
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

#[tokio::test]
async fn with_slow_start_a_backend_that_comes_back_gets_little_at_first() {
    let (sick, well, _baton, client) = came_back("1h").await;
    let (before, others) = (requests(&sick), requests(&well));
    assert_eq!(get(&client, 200).await, 0);
    let share = requests(&sick) - before;
    assert!((1..60).contains(&share), "{share} of 200");
    assert_eq!(requests(&well) - others, 200 - share);
}

#[tokio::test]
async fn with_slow_start_a_backend_has_its_full_share_in_the_end() {
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
