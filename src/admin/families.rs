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
use crate::proxy::metrics::{Codes, EndFrames, Histogram, Requests};
use crate::proxy::reload::counts::Counts;

/// The answer to `GET /metrics`.
pub(super) fn encode(answers: &[Answer], access_log: &AccessLog, reloads: &Counts) -> String {
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

/// Calls `add` for every cluster.
fn each_cluster(sums: &Sums<'_>, mut add: impl FnMut(&str, &ClusterSum<'_>)) {
    for (name, cluster) in &sums.clusters {
        add(name, cluster);
    }
}

/// Calls `add` for every backend, with the labels of cluster and backend.
fn each_backend(sums: &Sums<'_>, mut add: impl FnMut([(&'static str, &str); 2], &BackendSum)) {
    for (cluster, sum) in &sums.clusters {
        for (backend, sum) in &sum.backends {
            add([("cluster", cluster), ("backend", backend)], sum);
        }
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
    let mut family = text.counter(
        "baton_refusals_total",
        "Requests answered before a cluster was chosen, by reason.",
    );
    for (reason, count) in sums.workers.refusals.iter() {
        family.sample(&[("reason", reason)], count);
    }
    let mut family = text.counter(
        "baton_rejections_total",
        "Requests that got no response from a backend, by reason.",
    );
    each_cluster(sums, |cluster, sum| {
        for (reason, count) in sum.metrics.rejections.iter() {
            family.sample(&[("cluster", cluster), ("reason", reason)], count);
        }
    });
    let mut family = text.counter(
        "baton_retries_total",
        "Further attempts, by the evidence that the failed one may be repeated.",
    );
    each_cluster(sums, |cluster, sum| {
        for (evidence, count) in sum.metrics.retries.iter() {
            family.sample(&[("cluster", cluster), ("evidence", evidence)], count);
        }
    });
    let mut family = text.counter(
        "baton_body_bytes_total",
        "Body bytes of requests that ended, by side and by direction as Baton sees it.",
    );
    each_cluster(sums, |cluster, sum| {
        let bytes = &sum.metrics.bytes;
        for (side, direction, count) in [
            ("client", "received", bytes.from_clients),
            ("client", "sent", bytes.to_clients),
            ("backend", "sent", bytes.to_backends),
            ("backend", "received", bytes.from_backends),
        ] {
            let labels = [("cluster", cluster), ("side", side), ("direction", direction)];
            family.sample(&labels, count);
        }
    });
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

type Load = (&'static str, &'static str, fn(&ClusterSum<'_>) -> u64);

fn load(text: &mut Text, sums: &Sums<'_>) {
    let gauges: [Load; 3] = [
        ("baton_requests_live", "Requests that wait or are in flight.", |sum| {
            sum.stats.requests.into()
        }),
        ("baton_requests_waiting", "Requests that wait for a connection.", |sum| {
            sum.stats.waiting.into()
        }),
        ("baton_requests_retrying", "Requests on a further attempt, or waiting for one.", |sum| {
            sum.stats.retrying.into()
        }),
    ];
    for (name, help, read) in gauges {
        let mut family = text.gauge(name, help);
        each_cluster(sums, |cluster, sum| family.sample(&[("cluster", cluster)], read(sum)));
    }
    let counters: [Load; 3] = [
        ("baton_stale_facts_total", "Facts about what no longer existed; they change nothing.", {
            |sum| sum.stats.counters.stale
        }),
        ("baton_refused_facts_total", "Facts that could not be true; they change nothing.", {
            |sum| sum.stats.counters.refused
        }),
        ("baton_pings_total", "PINGs to backends that fell silent.", |sum| {
            sum.stats.counters.pings
        }),
    ];
    for (name, help, read) in counters {
        let mut family = text.counter(name, help);
        each_cluster(sums, |cluster, sum| family.sample(&[("cluster", cluster)], read(sum)));
    }
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
        each_cluster(sums, |cluster, sum| family.durations(&[("cluster", cluster)], read(sum)));
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
    let mut family = text.gauge("baton_streams", "Streams in use on connections to backends.");
    each_backend(sums, |labels, sum| family.sample(&labels, sum.streams));
    let mut family = text.gauge("baton_streams_available", "Streams that could be opened at once.");
    each_backend(sums, |labels, sum| family.sample(&labels, sum.available_streams));
    let mut family =
        text.gauge("baton_backend_healthy_workers", "Workers for which the backend is healthy.");
    each_backend(sums, |labels, sum| family.sample(&labels, sum.healthy));
}

fn health(text: &mut Text, sums: &Sums<'_>) {
    let mut family = text.gauge(
        "baton_backend_state_workers",
        &format!("Workers that have the backend in the state: {}.", BackendState::NAMES.join(", ")),
    );
    each_backend(sums, |[cluster, backend], sum| {
        for (state, workers) in BackendState::NAMES.iter().zip(sum.states) {
            family.sample(&[cluster, backend, ("state", state)], workers);
        }
    });
    let mut family = text.gauge(
        "baton_panic_workers",
        "Workers that ignore the health of backends because too few are healthy.",
    );
    each_cluster(sums, |cluster, sum| family.sample(&[("cluster", cluster)], sum.panicking));
    let counters: [Load; 2] = [
        ("baton_ejections_total", "Ejections of backends, counted by each worker.", {
            |sum| sum.stats.counters.ejections
        }),
        (
            "baton_ejections_spared_total",
            "Ejections that did not happen because enough backends were ejected.",
            { |sum| sum.stats.counters.spared },
        ),
    ];
    for (name, help, read) in counters {
        let mut family = text.counter(name, help);
        each_cluster(sums, |cluster, sum| family.sample(&[("cluster", cluster)], read(sum)));
    }
    let mut family = text.counter("baton_probes_total", "Active health checks that ended.");
    each_backend(sums, |labels, sum| family.sample(&labels, sum.metrics.probes));
    let mut family = text.counter("baton_probes_failed_total", "Active health checks that failed.");
    each_backend(sums, |labels, sum| family.sample(&labels, sum.metrics.probes_failed));
}

fn dials(text: &mut Text, sums: &Sums<'_>) {
    let mut family = text.counter("baton_dials_total", "Dials to backends.");
    each_backend(sums, |labels, sum| family.sample(&labels, sum.metrics.dials));
    let mut family = text.counter("baton_dial_failures_total", "Dials that failed, by phase.");
    each_backend(sums, |[cluster, backend], sum| {
        for (phase, count) in sum.metrics.dial_failures.iter() {
            family.sample(&[cluster, backend, ("phase", phase)], count);
        }
    });
    let mut family = text.counter(
        "baton_connections_closed_total",
        "Ready connections to backends that ended, by reason.",
    );
    each_backend(sums, |[cluster, backend], sum| {
        for (reason, count) in sum.metrics.closes.iter() {
            family.sample(&[cluster, backend, ("reason", reason)], count);
        }
    });
}

/// The counts of one kind of frame, in both directions.
type Sides = fn(&EndFrames) -> [(&'static str, &Codes); 2];

fn go_aways(frames: &EndFrames) -> [(&'static str, &Codes); 2] {
    [("received", &frames.go_aways_received), ("sent", &frames.go_aways_sent)]
}

fn resets(frames: &EndFrames) -> [(&'static str, &Codes); 2] {
    [("received", &frames.resets_received), ("sent", &frames.resets_sent)]
}

fn frames(text: &mut Text, sums: &Sums<'_>) {
    let families: [(&'static str, &str, Sides); 2] = [
        (
            "baton_goaway_frames_total",
            "GOAWAY frames on connections to backends, by direction and error code.",
            go_aways,
        ),
        (
            "baton_rst_stream_frames_total",
            "RST_STREAM frames on connections to backends, by direction and error code.",
            resets,
        ),
    ];
    for (name, help, sides) in families {
        let mut family = text.counter(name, help);
        each_backend(sums, |labels, sum| {
            add_codes(&mut family, &labels, sides(&sum.metrics.frames));
        });
    }
    let families: [(&'static str, &str, Sides); 2] = [
        (
            "baton_client_goaway_frames_total",
            "GOAWAY frames on connections of clients, by direction and error code.",
            go_aways,
        ),
        (
            "baton_client_rst_stream_frames_total",
            "RST_STREAM frames on connections of clients, by direction and error code.",
            resets,
        ),
    ];
    for (name, help, sides) in families {
        add_codes(&mut text.counter(name, help), &[], sides(&sums.workers.client_frames));
    }
}

fn add_codes(
    family: &mut Family<'_>,
    labels: &[(&'static str, &str)],
    sides: [(&'static str, &Codes); 2],
) {
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
    let mut family = text.counter(
        "baton_client_limit_hits_total",
        "Limits that clients reached, and rules that they broke.",
    );
    for (limit, hits) in sums.workers.client_limits.iter() {
        family.sample(&[("limit", limit)], hits);
    }
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
