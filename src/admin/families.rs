//! All families of metrics, with names, help texts and labels. The manual lists them as well:
//! `docs/metrics-and-log.md`.

use super::Answer;
use super::exposition::{Family, Text};
use super::process;
use super::reloads;
use super::sums::{BackendSum, ClusterSum, Sums};
use crate::pool::{BackendState, SlotState};
use crate::proxy::access_log::AccessLog;
use crate::proxy::log;
use crate::proxy::metrics::{Codes, Counts, EndFrames, Histogram, Requests};
use crate::proxy::reload::counts::Counts as ReloadCounts;

/// Returns the body of the response to `GET /metrics`.
pub(super) fn encode(answers: &[Answer], access_log: &AccessLog, reloads: &ReloadCounts) -> String {
    let sums = Sums::of(answers);
    let mut text = Text::default();
    requests(&mut text, &sums);
    load(&mut text, &sums);
    durations(&mut text, &sums);
    backends(&mut text, &sums);
    health(&mut text, &sums);
    dials(&mut text, &sums);
    frames(&mut text, &sums);
    clients(&mut text, &sums);
    of_this_process(&mut text, answers, access_log);
    reloads::encode(&mut text, reloads);
    process::encode(&mut text);
    text.into_text()
}

/// Calls `add` for every backend, with the labels of cluster and backend.
fn each_backend(sums: &Sums<'_>, mut add: impl FnMut([(&'static str, &str); 2], &BackendSum)) {
    for (cluster, sum) in &sums.clusters {
        for (backend, sum) in &sum.backends {
            add([("cluster", cluster), ("backend", backend)], sum);
        }
    }
}

/// Adds a sample for every cluster.
fn by_cluster(mut family: Family<'_>, sums: &Sums<'_>, read: fn(&ClusterSum<'_>) -> u64) {
    for (cluster, sum) in &sums.clusters {
        family.sample(&[("cluster", cluster)], read(sum));
    }
}

/// Adds a sample for every backend.
fn by_backend(mut family: Family<'_>, sums: &Sums<'_>, read: fn(&BackendSum) -> u64) {
    each_backend(sums, |labels, sum| family.sample(&labels, read(sum)));
}

/// Adds a sample for every cluster and value of `label`.
fn by_cluster_and(
    label: &'static str,
    mut family: Family<'_>,
    sums: &Sums<'_>,
    read: for<'a> fn(&'a ClusterSum<'_>) -> &'a Counts,
) {
    for (cluster, sum) in &sums.clusters {
        for (value, count) in read(sum).iter() {
            family.sample(&[("cluster", cluster), (label, value)], count);
        }
    }
}

/// Adds a sample for every backend and value of `label`.
fn by_backend_and(
    label: &'static str,
    mut family: Family<'_>,
    sums: &Sums<'_>,
    read: fn(&BackendSum) -> &Counts,
) {
    each_backend(sums, |[cluster, backend], sum| {
        for (value, count) in read(sum).iter() {
            family.sample(&[cluster, backend, (label, value)], count);
        }
    });
}

/// Adds the samples of counters without further labels.
fn by(label: &'static str, mut family: Family<'_>, counts: &Counts) {
    for (value, count) in counts.iter() {
        family.sample(&[(label, value)], count);
    }
}

fn requests(text: &mut Text, sums: &Sums<'_>) {
    let mut family = text.counter(
        "baton_requests_total",
        "Requests that ended, by the backend of the last attempt, class of status and outcome.",
    );
    add_requests(&mut family, "-", "-", &sums.workers.refused);
    for (cluster, sum) in &sums.clusters {
        add_requests(&mut family, cluster, "-", &sum.metrics.without_backend);
        for (backend, sum) in &sum.backends {
            add_requests(&mut family, cluster, backend, &sum.metrics.requests);
        }
    }
    let help = "Requests answered before a cluster was chosen, by reason.";
    by("reason", text.counter("baton_refusals_total", help), &sums.workers.refusals);
    let help = "Requests that got no response from a backend, by reason.";
    let family = text.counter("baton_rejections_total", help);
    by_cluster_and("reason", family, sums, |sum| &sum.metrics.rejections);
    let help = "Further attempts, by the evidence that the failed one may be repeated.";
    let family = text.counter("baton_retries_total", help);
    by_cluster_and("evidence", family, sums, |sum| &sum.metrics.retries);
    let help = "Body bytes of requests that ended, by side and by direction as Baton sees it.";
    let mut family = text.counter("baton_body_bytes_total", help);
    for (cluster, sum) in &sums.clusters {
        let bytes = &sum.metrics.bytes;
        for (side, direction, count) in [
            ("client", "received", bytes.from_clients),
            ("client", "sent", bytes.to_clients),
            ("backend", "sent", bytes.to_backends),
            ("backend", "received", bytes.from_backends),
        ] {
            let labels = [("cluster", &**cluster), ("side", side), ("direction", direction)];
            family.sample(&labels, count);
        }
    }
}

fn add_requests(family: &mut Family<'_>, cluster: &str, backend: &str, requests: &Requests) {
    for (class, outcome, count) in requests.counted() {
        let labels = [
            ("cluster", cluster),
            ("backend", backend),
            ("status_class", class),
            ("outcome", outcome),
        ];
        family.sample(&labels, count);
    }
}

fn load(text: &mut Text, sums: &Sums<'_>) {
    let family = text.gauge("baton_requests_live", "Requests that wait or are in flight.");
    by_cluster(family, sums, |sum| sum.requests.live.into());
    let family = text.gauge("baton_requests_waiting", "Requests that wait for a connection.");
    by_cluster(family, sums, |sum| sum.requests.waiting.into());
    let help = "Requests that wait for a place in the retry budget.";
    let family = text.gauge("baton_requests_deferred", help);
    by_cluster(family, sums, |sum| sum.requests.deferred.into());
    let help = "Requests on a further attempt, or waiting for a connection for one.";
    let family = text.gauge("baton_requests_retrying", help);
    by_cluster(family, sums, |sum| sum.requests.retrying.into());
    let help = "Events about something that no longer existed; they change nothing.";
    let family = text.counter("baton_stale_facts_total", help);
    by_cluster(family, sums, |sum| sum.counters.stale);
    let help = "Events that were not possible; they change nothing.";
    let family = text.counter("baton_refused_facts_total", help);
    by_cluster(family, sums, |sum| sum.counters.refused);
    let family = text.counter("baton_pings_total", "PINGs to silent backends.");
    by_cluster(family, sums, |sum| sum.counters.pings);
}

fn durations(text: &mut Text, sums: &Sums<'_>) {
    type Durations = (&'static str, &'static str, for<'a> fn(&'a ClusterSum<'_>) -> &'a Histogram);
    let families: [Durations; 6] = [
        ("baton_queue_wait_seconds", "From a request's arrival to its first stream.", |sum| {
            &sum.metrics.queue_wait
        }),
        ("baton_connect_seconds", "TCP connections to backends.", |sum| &sum.metrics.connect),
        ("baton_tls_handshake_seconds", "TLS handshakes with backends.", |sum| &sum.metrics.tls),
        ("baton_first_byte_seconds", "From a request's arrival to its response head.", |sum| {
            &sum.metrics.first_byte
        }),
        ("baton_request_duration_seconds", "From a request's arrival to its end.", |sum| {
            &sum.metrics.total
        }),
        ("baton_pool_audit_seconds", "Recounts of the pools; a recount blocks its worker.", {
            |sum| &sum.metrics.audit
        }),
    ];
    for (name, help, read) in families {
        let mut family = text.histogram(name, help);
        for (cluster, sum) in &sums.clusters {
            family.durations(&[("cluster", cluster)], read(sum));
        }
    }
}

fn backends(text: &mut Text, sums: &Sums<'_>) {
    let mut family = text.gauge("baton_connections", "Connections to backends, by state.");
    each_backend(sums, |[cluster, backend], sum| {
        let states = SlotState::ALL.iter().zip(sum.connections);
        for (state, count) in states.filter(|(state, _)| **state != SlotState::Empty) {
            family.sample(&[cluster, backend, ("state", state.name())], count);
        }
    });
    let family = text.gauge("baton_streams", "Streams in use on connections to backends.");
    by_backend(family, sums, |sum| sum.streams);
    let family = text.gauge("baton_streams_available", "Streams that could be opened at once.");
    by_backend(family, sums, |sum| sum.available_streams);
    let help = "Workers for which the backend is healthy.";
    by_backend(text.gauge("baton_backend_healthy_workers", help), sums, |sum| sum.healthy);
}

fn health(text: &mut Text, sums: &Sums<'_>) {
    let states = BackendState::NAMES.join(", ");
    let help = format!("Workers that have the backend in the state: {states}.");
    let mut family = text.gauge("baton_backend_state_workers", &help);
    each_backend(sums, |[cluster, backend], sum| {
        for (state, workers) in BackendState::NAMES.iter().zip(sum.states) {
            family.sample(&[cluster, backend, ("state", state)], workers);
        }
    });
    let help = "Workers that ignore the health of backends because too few are healthy.";
    by_cluster(text.gauge("baton_fail_open_workers", help), sums, |sum| sum.fail_open);
    let help = "Ejections of backends, counted by each worker.";
    let family = text.counter("baton_ejections_total", help);
    by_cluster(family, sums, |sum| sum.counters.ejections);
    let help = "Ejections that did not happen because enough backends were ejected.";
    let family = text.counter("baton_ejections_overflow_total", help);
    by_cluster(family, sums, |sum| sum.counters.ejection_overflow);
    let family = text.counter("baton_health_checks_total", "Active health checks that ended.");
    by_backend(family, sums, |sum| sum.metrics.health_checks);
    let family =
        text.counter("baton_health_checks_failed_total", "Active health checks that failed.");
    by_backend(family, sums, |sum| sum.metrics.health_checks_failed);
}

fn dials(text: &mut Text, sums: &Sums<'_>) {
    let family = text.counter("baton_dials_total", "Dials to backends.");
    by_backend(family, sums, |sum| sum.metrics.dials);
    let family = text.counter("baton_dial_failures_total", "Dials that failed, by phase.");
    by_backend_and("phase", family, sums, |sum| &sum.metrics.dial_failures);
    let help = "Ready connections to backends that ended, by reason.";
    let family = text.counter("baton_connections_closed_total", help);
    by_backend_and("reason", family, sums, |sum| &sum.metrics.closes);
}

/// The counts of one kind of frame, in both directions.
type Sides<'a> = [(&'static str, &'a Codes); 2];

fn go_aways(frames: &EndFrames) -> Sides<'_> {
    [("received", &frames.go_aways_received), ("sent", &frames.go_aways_sent)]
}

fn resets(frames: &EndFrames) -> Sides<'_> {
    [("received", &frames.resets_received), ("sent", &frames.resets_sent)]
}

fn frames(text: &mut Text, sums: &Sums<'_>) {
    let help = "GOAWAY frames on connections to backends, by direction and error code.";
    let mut family = text.counter("baton_goaway_frames_total", help);
    each_backend(sums, |labels, sum| {
        add_codes(&mut family, &labels, go_aways(&sum.metrics.frames));
    });
    let help = "RST_STREAM frames on connections to backends, by direction and error code.";
    let mut family = text.counter("baton_rst_stream_frames_total", help);
    each_backend(sums, |labels, sum| add_codes(&mut family, &labels, resets(&sum.metrics.frames)));
    let frames = &sums.workers.client_frames;
    let help = "GOAWAY frames on connections of clients, by direction and error code.";
    let mut family = text.counter("baton_client_goaway_frames_total", help);
    add_codes(&mut family, &[], go_aways(frames));
    let help = "RST_STREAM frames on connections of clients, by direction and error code.";
    let mut family = text.counter("baton_client_rst_stream_frames_total", help);
    add_codes(&mut family, &[], resets(frames));
}

fn add_codes(family: &mut Family<'_>, labels: &[(&'static str, &str)], sides: Sides<'_>) {
    for (direction, codes) in sides {
        for (code, count) in codes.counted() {
            let more = [("direction", direction), ("code", code)];
            family.sample(&[labels, &more].concat(), count);
        }
    }
}

fn clients(text: &mut Text, sums: &Sums<'_>) {
    text.gauge("baton_client_connections", "Connections from clients.")
        .sample(&[], sums.workers.clients_open);
    text.counter("baton_client_connections_accepted_total", "Connections accepted from clients.")
        .sample(&[], sums.workers.clients_accepted);
    let help = "Bytes of responses that wait for clients, at most.";
    text.gauge("baton_client_buffered_bytes", help).sample(&[], sums.workers.client_buffered_bytes);
    let help = "Limits that clients reached, and rules that they broke.";
    let family = text.counter("baton_client_limit_hits_total", help);
    by("limit", family, &sums.workers.client_limits);
}

fn of_this_process(text: &mut Text, answers: &[Answer], access_log: &AccessLog) {
    let mut family = text.gauge(
        "baton_worker_up",
        "1 if the worker answered in time; otherwise its numbers are the last known ones.",
    );
    for (number, answer) in answers.iter().enumerate() {
        family.sample(&[("worker", &number.to_string())], u8::from(answer.in_time));
    }
    let mut family = text.counter(
        "baton_log_lines_dropped_total",
        "Log lines that could not be written in time. If both logs share a file, both count them.",
    );
    family.sample(&[("log", "access")], access_log.dropped());
    family.sample(&[("log", "standard_error")], log::standard_error().dropped());
    text.gauge("baton_build_info", "Always 1; the labels say what is running.")
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
}
