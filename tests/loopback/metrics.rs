//! Tests the metrics: each changes with its cause, and all are well-formed.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::exposition::Exposition;
use crate::support::scripts::metrics::{answer_by_path, count, start};
use crate::support::{Backend, Behaviour, Http1, Http2};

#[tokio::test(flavor = "local")]
async fn process_metrics_are_reported() {
    let backend = Backend::healthy().await;
    let baton = start(&backend.url(), &["--workers", "3"]).await;
    let metrics = baton.metrics().await;
    for (name, least) in [
        ("process_resident_memory_bytes", 1e6),
        ("process_open_fds", 5.0),
        ("process_max_fds", 5.0),
        ("process_threads", 4.0),
        ("process_start_time_seconds", 1.7e9),
        ("process_cpu_seconds_total", 0.0),
        ("baton_build_info", 1.0),
    ] {
        assert!(metrics.sum(name, &[]) >= least, "{name}");
    }
    assert_eq!(metrics.sum("baton_worker_up", &[]) as u64, 3);
    let resident = metrics.sum("process_resident_memory_bytes", &[]);
    assert!(resident < 4.0 * baton.process.resident_bytes() as f64, "{resident}");
    for name in ["baton_stale_facts_total", "baton_refused_facts_total"] {
        assert_eq!(count(&metrics, name, &[]), 0, "{name}");
    }
}

/// Checks the metrics with Prometheus' own tool, if it is installed.
#[tokio::test(flavor = "local")]
async fn promtool_finds_nothing_wrong() {
    let backend = Backend::start(Behaviour::default(), answer_by_path).await;
    let baton = start(&backend.url(), &[]).await;
    let client = Http2::connect(baton.address).await;
    for path in ["/", "/refuse", "/reset", "/404"] {
        client.get(path).await.expect("answered");
    }
    Http1::connect(baton.address).await.get("/").await.expect("answered");
    let text = baton.ask("/metrics").await;
    Exposition::parse(&text);
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("skipped: promtool (part of Prometheus) is not installed: {error}");
            return;
        }
    };
    child
        .stdin
        .take()
        .expect("it is piped")
        .write_all(text.as_bytes())
        .expect("promtool reads its input");
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}
