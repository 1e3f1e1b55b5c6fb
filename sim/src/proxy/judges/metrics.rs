//! Counters and gauges against a recount from the log and the ledger.

use std::collections::{BTreeMap, BTreeSet};

use super::case::Case;
use super::exposition::{Labels, Samples};
use super::fields::NONE;
use super::line::{AccessLine, LogLine};
use crate::checker::{Invariant, Verdict, require};
use crate::plan::Act;
use crate::proxy::ledger::End;

/// Families that count requests.
const REQUEST_FAMILIES: [&str; 8] = [
    "baton_requests_total",
    "baton_refusals_total",
    "baton_rejections_total",
    "baton_retries_total",
    "baton_body_bytes_total",
    "baton_queue_wait_seconds_count",
    "baton_first_byte_seconds_count",
    "baton_request_duration_seconds_count",
];
/// Codes of RST_STREAM to clients of which none did anything wrong (RFC 9113, 7).
const RESETS_TO_CLIENTS: [&str; 4] = ["NO_ERROR", "INTERNAL_ERROR", "REFUSED_STREAM", "CANCEL"];
/// Codes of RST_STREAM and GOAWAY that would accuse the proxy.
const ACCUSING: [&str; 4] =
    ["FLOW_CONTROL_ERROR", "STREAM_CLOSED", "FRAME_SIZE_ERROR", "COMPRESSION_ERROR"];

/// The message of the log when the proxy is ordered to stop.
pub(super) const STOPS: &str = "draining";

/// Labels with their values, and the name of the family.
type Key = (&'static str, Vec<(&'static str, String)>);
/// The value of a counter, at least and at most.
type Counts = BTreeMap<Key, [u64; 2]>;

/// Judges the metrics, if the proxy was asked for them.
pub(super) fn judge(case: &Case<'_>) -> Verdict {
    let Some(samples) = &case.samples else { return Ok(()) };
    let asked_at = case.records.metrics_asked_at;
    if case.log.iter().any(|line| line.message() == STOPS && line.at < asked_at) {
        // Workers may have ended, whose counters are gone.
        return Ok(());
    }
    let recount = Recount::new(case);
    requests(case, samples, &recount)?;
    sums(case, samples, &recount)?;
    load(case, samples, &recount)?;
    connections(case, samples, &recount)?;
    frames(case, samples)?;
    limits(case, samples, &recount)?;
    process(case, samples)
}

fn holds(holds: bool, what: impl FnOnce() -> String) -> Verdict {
    require(holds, Invariant::Metrics, what)
}

/// When the metrics were read: after they were asked for, and before the order to stop.
struct Recount<'a> {
    since: u64,
    until: u64,
    lines: Vec<&'a AccessLine>,
    /// True if a pool was replaced, so that the counters of its cluster began at zero again.
    restarts: bool,
}

impl<'a> Recount<'a> {
    fn new(case: &'a Case<'_>) -> Self {
        let since = case.records.metrics_asked_at;
        let mut stops = case.log.iter().filter(|line| line.message() == STOPS);
        let stop = stops.find(|line| line.at >= since);
        let lines = case.requests.values().flat_map(|request| &request.lines);
        Self {
            since,
            until: stop.map_or(u64::MAX, |line| line.at),
            lines: lines.chain(&case.headless).collect(),
            restarts: case.was_injected(u64::MAX, |act| matches!(act, Act::Replace)),
        }
    }

    /// Adds what a line counts in each family.
    fn add(&self, counts: &mut Counts, line: &AccessLine) {
        let bounds = [u64::from(line.at < self.since), u64::from(line.at <= self.until)];
        for (key, count) in contributions(line) {
            let known = counts.entry(key).or_default();
            known[0] += bounds[0] * count;
            known[1] += bounds[1] * count;
        }
    }

    /// The lines of the log with a message, of a backend: certainly counted, and at most counted.
    fn logged(&self, log: &[LogLine], message: &str, backend: &str) -> [u64; 2] {
        let about = |line: &&LogLine| line.message() == message && line.text("backend") == backend;
        let count = |is: &dyn Fn(u64) -> bool| {
            log.iter().filter(about).filter(|line| is(line.at)).count() as u64
        };
        [count(&|at| at < self.since), count(&|at| at <= self.until)]
    }
}

fn key(name: &'static str, labels: &[(&'static str, &str)]) -> Key {
    (name, labels.iter().map(|(label, value)| (*label, (*value).to_owned())).collect())
}

/// The part of a request in the counters (`docs/metrics-and-log.md`).
fn contributions(line: &AccessLine) -> Vec<(Key, u64)> {
    let cluster = ("cluster", &*line.cluster);
    let class = match line.status {
        0 => "none".to_owned(),
        status => format!("{}xx", status / 100),
    };
    let labels = [
        cluster,
        ("backend", &*line.backend),
        ("status_class", &class),
        ("outcome", &*line.outcome),
    ];
    let mut all = vec![(key("baton_requests_total", &labels), 1)];
    let reason = ("reason", &*line.reason);
    if line.cluster == NONE {
        all.push((key("baton_refusals_total", &[reason]), 1));
        return all;
    }
    if line.outcome == "rejected" {
        all.push((key("baton_rejections_total", &[cluster, reason]), 1));
    }
    // The client may leave before the last attempt has a stream: it is not in the list then.
    for failed in line.attempt_list.iter().take(line.attempts.saturating_sub(1)) {
        let evidence = ("evidence", &*failed.evidence);
        all.push((key("baton_retries_total", &[cluster, evidence]), 1));
    }
    for (side, direction, bytes) in [
        ("client", "received", line.request_bytes),
        ("client", "sent", line.response_bytes),
        ("backend", "sent", line.backend_request_bytes),
        ("backend", "received", line.backend_response_bytes),
    ] {
        let labels = [cluster, ("side", side), ("direction", direction)];
        all.push((key("baton_body_bytes_total", &labels), bytes));
    }
    let given = |step: Option<f64>| u64::from(step.is_some());
    all.push((key("baton_queue_wait_seconds_count", &[cluster]), given(line.wait_ms)));
    all.push((key("baton_first_byte_seconds_count", &[cluster]), given(line.first_byte_ms)));
    all.push((key("baton_request_duration_seconds_count", &[cluster]), 1));
    all
}

/// Counters of requests.
fn requests(case: &Case<'_>, samples: &Samples<'_>, recount: &Recount<'_>) -> Verdict {
    let mut counts = Counts::new();
    for line in &recount.lines {
        recount.add(&mut counts, line);
    }
    for name in REQUEST_FAMILIES {
        for (labels, value) in samples.of(name) {
            let known = counts.keys().any(|(known, of)| {
                *known == name
                    && of.len() == labels.len()
                    && of.iter().all(|(label, value)| labels.get(label) == Some(value))
            });
            holds(known || value == 0.0, || format!("{name} {labels:?}: {value}, expected 0"))?;
        }
    }
    for ((name, labels), [least, most]) in &counts {
        let wanted: Vec<_> = labels.iter().map(|(label, value)| (*label, &**value)).collect();
        let value = samples.sum(name, &wanted);
        let restarts = recount.restarts || is_of_removed(case, &wanted);
        let least = if restarts { 0 } else { *least };
        let fits = least as f64 <= value && value <= *most as f64;
        holds(fits, || format!("{name} {wanted:?}: {value}, expected {least} to {most}"))?;
    }
    Ok(())
}

/// True if a series is of a backend that was removed, whose counters are gone.
fn is_of_removed(case: &Case<'_>, labels: &[(&str, &str)]) -> bool {
    let named = labels.iter().find(|(label, _)| *label == "backend");
    let backend = named.and_then(|(_, name)| case.backend(name));
    backend.is_some_and(|backend| {
        case.was_ordered(u64::MAX, backend, |act| matches!(act, Act::Remove { .. }))
    })
}

/// Sums of times.
fn sums(_case: &Case<'_>, samples: &Samples<'_>, recount: &Recount<'_>) -> Verdict {
    type Step = fn(&AccessLine) -> Option<f64>;
    let steps: [(&str, Step); 3] = [
        ("baton_queue_wait_seconds_sum", |line| line.wait_ms),
        ("baton_first_byte_seconds_sum", |line| line.first_byte_ms),
        ("baton_request_duration_seconds_sum", |line| Some(line.total_ms)),
    ];
    for (name, step) in steps {
        let of_cluster = || recount.lines.iter().filter(|line| line.cluster != NONE);
        let sum = |until: u64| {
            let counted = of_cluster().filter(|line| line.at < until);
            counted.filter_map(|line| step(line)).sum::<f64>() / 1e3
        };
        let slack = 1e-6 * of_cluster().count() as f64 + 1e-6;
        let least = if recount.restarts { 0.0 } else { sum(recount.since) } - slack;
        let most = sum(recount.until.saturating_add(1)) + slack;
        let value = samples.sum(name, &[]);
        let fits = (least..=most).contains(&value);
        holds(fits, || format!("{name}: {value}, expected {least} to {most}"))?;
    }
    Ok(())
}

/// Gauges of requests: those that have arrived and have no line yet.
fn load(case: &Case<'_>, samples: &Samples<'_>, recount: &Recount<'_>) -> Verdict {
    let open = |line: &&&AccessLine| line.arrived() <= recount.until && line.at >= recount.since;
    let most = recount.lines.iter().filter(open).count() as f64;
    let live = samples.sum("baton_requests_live", &[]);
    holds(live <= most, || format!("baton_requests_live: {live}, expected at most {most}"))?;
    for name in ["baton_requests_waiting", "baton_requests_deferred", "baton_requests_retrying"] {
        let value = samples.sum(name, &[]);
        holds(value <= live, || format!("{name}: {value}, but {live} are live"))?;
    }
    let open = samples.sum("baton_client_connections", &[]);
    let accepted = samples.sum("baton_client_connections_accepted_total", &[]);
    holds(open <= accepted, || format!("{open} clients are connected, {accepted} were"))?;
    let refused = samples.sum("baton_refused_facts_total", &[]);
    // Orders that come too late, and results of health checks that are off, are refused.
    let operated = case.was_injected(u64::MAX, |act| {
        matches!(
            act,
            Act::Undrain { .. }
                | Act::Drain { .. }
                | Act::Remove { .. }
                | Act::Weight { .. }
                | Act::Change { .. }
                | Act::ChangeAll { .. }
                | Act::Replace
        )
    });
    holds(refused == 0.0 || operated, || {
        format!("baton_refused_facts_total: {refused} events that were not possible, expected 0")
    })
}

/// Counters of dials and connections against the lines about them.
fn connections(case: &Case<'_>, samples: &Samples<'_>, recount: &Recount<'_>) -> Verdict {
    let backends: BTreeSet<&str> =
        samples.of("baton_dials_total").filter_map(|(labels, _)| labels.get("backend")).collect();
    for name in backends {
        let of = [("backend", name)];
        let restarts = recount.restarts || is_of_removed(case, &of);
        let [up_least, up_most] = recount.logged(&case.log, "connected", name);
        let [failed_least, failed_most] = recount.logged(&case.log, "connect failed", name);
        let [closed_least, closed_most] = recount.logged(&case.log, "connection closed", name);
        let in_state = |state| samples.sum("baton_connections", &[of[0], ("state", state)]);
        let connecting = in_state("connecting");
        let dials = samples.sum("baton_dials_total", &of) - connecting;
        let connected = samples.sum("baton_connections", &of) - connecting;
        // One that has closed drains while its responses are on their way to clients.
        let open = connected - in_state("draining");
        for (what, value, least, most) in [
            ("dials that ended", dials, up_least + failed_least, up_most + failed_most),
            (
                "failed dials",
                samples.sum("baton_dial_failures_total", &of),
                failed_least,
                failed_most,
            ),
            (
                "closed connections",
                samples.sum("baton_connections_closed_total", &of),
                closed_least,
                closed_most,
            ),
            ("connections", connected, up_least.saturating_sub(closed_most), u64::MAX),
            ("open connections", open, 0, up_most.saturating_sub(closed_least)),
        ] {
            let least = if restarts { 0 } else { least };
            let fits = least as f64 <= value && value <= most as f64;
            holds(fits, || format!("{name}: {what}: {value}, expected {least} to {most}"))?;
        }
        let checks = samples.sum("baton_health_checks_total", &of);
        let failed = samples.sum("baton_health_checks_failed_total", &of);
        holds(failed <= checks, || format!("{name}: {failed} of {checks} health checks failed"))?;
    }
    Ok(())
}

/// Codes of RST_STREAM and GOAWAY are those that there were.
fn frames(case: &Case<'_>, samples: &Samples<'_>) -> Verdict {
    let name = "baton_client_rst_stream_frames_total";
    let resets = samples.sum(name, &[("direction", "sent")]);
    for (labels, value) in samples.of(name) {
        let (direction, code) = (text(labels, "direction"), text(labels, "code"));
        // RFC 9113, 5.1: what a client sends on a stream that the proxy has reset is ignored only
        // for some time.
        let forgotten = code == "STREAM_CLOSED" && resets > value;
        let fits = direction != "sent" || RESETS_TO_CLIENTS.contains(&code) || forgotten;
        holds(fits, || format!("{name}: {value} sent with {code}: no client gave a reason"))?;
    }
    let mut seen = BTreeMap::<&str, u64>::new();
    for request in case.requests.values() {
        if let Some(End::Reset(code)) = request.end().map(|end| end.end) {
            *seen.entry(baton::proxy::metrics::code_name(code)).or_default() += 1;
        }
    }
    for (code, least) in seen {
        let value = samples.sum(name, &[("direction", "sent"), ("code", code)]);
        holds(least as f64 <= value, || {
            format!("{name}: {value} sent with {code}, but clients saw {least}")
        })?;
    }
    let slowed = case.was_injected(u64::MAX, |act| matches!(act, Act::Wire { .. }));
    let name = "baton_client_goaway_frames_total";
    for (labels, value) in
        samples.of(name).filter(|(labels, _)| text(labels, "direction") == "sent")
    {
        let code = text(labels, "code");
        let timeout = slowed && ["ENHANCE_YOUR_CALM", "SETTINGS_TIMEOUT"].contains(&code);
        holds(code == "NO_ERROR" || timeout, || {
            format!("{name}: {value} sent with {code}: no client gave a reason")
        })?;
    }
    for name in ["baton_rst_stream_frames_total", "baton_goaway_frames_total"] {
        for (labels, value) in samples.of(name) {
            let received = text(labels, "direction") == "received";
            let code = text(labels, "code");
            let accused = received && ACCUSING.contains(&code);
            holds(!accused, || format!("{name}: {value} received with {code}"))?;
        }
    }
    Ok(())
}

fn text<'a>(labels: &'a Labels<'_>, label: &str) -> &'a str {
    labels.get(label).unwrap_or_default()
}

/// The messages of the lines that say that a client reached a limit.
const LIMIT_MESSAGES: [&str; 2] = ["request refused", "client connection closed"];

/// Limits that clients reached, against the lines about them.
fn limits(case: &Case<'_>, samples: &Samples<'_>, recount: &Recount<'_>) -> Verdict {
    let name = "baton_client_limit_hits_total";
    let of_limits =
        |line: &&LogLine| LIMIT_MESSAGES.iter().any(|message| *message == line.message());
    let lines: Vec<_> = case.log.iter().filter(of_limits).collect();
    for (labels, value) in samples.of(name) {
        let limit = text(labels, "limit");
        // The log has no line for these.
        let unlogged = ["idle_timeout", "tls_handshake"];
        if unlogged.contains(&limit) {
            continue;
        }
        let count = |is: &dyn Fn(u64) -> bool| {
            let about = |line: &&&LogLine| is(line.at) && line.text("reason") == limit;
            lines.iter().filter(about).count() as f64
        };
        let (least, most) = (count(&|at| at < recount.since), count(&|at| at <= recount.until));
        let fits = (least..=most).contains(&value);
        holds(fits, || format!("{name} {limit}: {value}, expected {least} to {most}"))?;
    }
    Ok(())
}

/// The process itself.
fn process(case: &Case<'_>, samples: &Samples<'_>) -> Verdict {
    let dropped = samples.sum("baton_log_lines_dropped_total", &[]);
    holds(dropped == 0.0, || format!("{dropped} lines were dropped"))?;
    let workers = f64::from(case.plan.wire.workers.max(1));
    let up = samples.sum("baton_worker_up", &[]);
    holds(up == workers, || format!("{up} workers are up, expected {workers}"))?;
    let Some(text) = &case.records.pools else { return Ok(()) };
    let pools: Result<serde_json::Value, _> = serde_json::from_str(text);
    holds(pools.is_ok(), || format!("/pools is not JSON: {text}"))
}
