//! The settings of a cluster. The capacities are those of one worker: each has a pool of its own.

use super::text;
use crate::config::setting::{Setting, field};
use crate::config::value::Kind;
use crate::pool::limits::{self, Limits};
use crate::proxy::config::ClusterConfig;

const PERCENT: Kind = Kind::Integer { min: 0, max: 100 };
/// Nobody counts further.
const IN_A_ROW_MAX: u64 = 1_000_000;
const TIME: Kind = Kind::Duration { zero: false };

/// What each cluster has, besides TLS and backends.
pub static CLUSTER: &[Setting<ClusterConfig>] = &[
    Setting::new(
        "",
        "strategy",
        Kind::Choice(text::STRATEGIES),
        field!(ClusterConfig: pool.strategy),
        "How the next backend is chosen",
    )
    .flag("strategy")
    .short('s'),
    Setting::new(
        "limits",
        "backends",
        Kind::count(limits::BACKENDS_MAX as u64),
        field!(ClusterConfig: pool.limits.backends),
        "Backends that there is room for",
    )
    .flag("max-backends"),
    Setting::new(
        "limits",
        "connections_per_backend",
        Kind::count(limits::CONNECTIONS_PER_BACKEND_MAX as u64),
        field!(ClusterConfig: pool.limits.connections_per_backend),
        "Connections per backend and worker that are not draining",
    )
    .flag("max-connections"),
    Setting::new(
        "limits",
        "streams_per_connection",
        Kind::count(Limits::STREAMS_PER_CONNECTION_CEILING as u64),
        field!(ClusterConfig: pool.limits.streams_per_connection),
        "Streams per connection, whatever the backend allows",
    )
    .flag("max-streams"),
    Setting::new(
        "limits",
        "requests",
        Kind::count(limits::REQUESTS_MAX as u64),
        field!(ClusterConfig: pool.limits.requests),
        "Requests waiting or in flight, per worker",
    )
    .flag("max-requests"),
    Setting::new(
        "limits",
        "waiting",
        Kind::count(limits::REQUESTS_MAX as u64),
        field!(ClusterConfig: pool.limits.waiting),
        "Requests waiting for a connection, per worker; no more than limits.requests",
    )
    .flag("max-waiting"),
    Setting::new(
        "limits",
        "requests_per_connection",
        Kind::count(limits::STREAM_ORDINAL_MAX as u64),
        field!(ClusterConfig: pool.max_requests_per_connection),
        "Requests after which a connection drains",
    )
    .flag("max-requests-per-connection")
    .unset("off"),
    Setting::new(
        "limits",
        "body_rate_min",
        Kind::Bytes { min: 0, max: 1 << 30 },
        field!(ClusterConfig: pool.body_rate_min),
        "Slowest request body that is put up with, in bytes per second; off if 0",
    )
    .flag("body-rate-min"),
    Setting::new(
        "timeouts",
        "connect",
        TIME,
        field!(ClusterConfig: pool.timeouts.connect),
        "Time to connect: TCP, TLS and SETTINGS together",
    )
    .flag("connect-timeout"),
    Setting::new(
        "timeouts",
        "queue",
        TIME,
        field!(ClusterConfig: pool.timeouts.queue),
        "Time to wait for a connection",
    )
    .flag("queue-timeout"),
    Setting::new(
        "timeouts",
        "response_head",
        TIME,
        field!(ClusterConfig: pool.timeouts.response_head),
        "Time from the end of a request to the head of its response",
    )
    .flag("response-timeout"),
    Setting::new(
        "timeouts",
        "idle",
        TIME,
        field!(ClusterConfig: pool.timeouts.idle),
        "Time after which an unused connection is closed",
    )
    .flag("idle-timeout"),
    Setting::new(
        "timeouts",
        "max_age",
        TIME,
        field!(ClusterConfig: pool.timeouts.max_age),
        "Age at which a connection drains, ±10 %",
    )
    .flag("max-age"),
    Setting::new(
        "timeouts",
        "drain",
        TIME,
        field!(ClusterConfig: pool.timeouts.drain),
        "Time for a draining connection without a frame, and for the shutdown",
    )
    .flag("drain-timeout"),
    Setting::new(
        "timeouts",
        "silence",
        TIME,
        field!(ClusterConfig: pool.timeouts.silence),
        "Silence, with requests outstanding, after which a connection gets a PING",
    )
    .flag("silence-timeout"),
    Setting::new(
        "timeouts",
        "suspect",
        TIME,
        field!(ClusterConfig: pool.timeouts.suspect),
        "Further silence after which it is closed",
    )
    .flag("suspect-timeout"),
    Setting::new(
        "timeouts",
        "backoff_min",
        TIME,
        field!(ClusterConfig: pool.timeouts.backoff_min),
        "First wait after a failed dial; doubles each time",
    )
    .flag("backoff-min"),
    Setting::new(
        "timeouts",
        "backoff_max",
        TIME,
        field!(ClusterConfig: pool.timeouts.backoff_max),
        "Longest such wait",
    )
    .flag("backoff-max"),
    Setting::new(
        "timeouts",
        "ejection_min",
        TIME,
        field!(ClusterConfig: pool.timeouts.ejection_min),
        "Time for which a failing backend is left out; grows with each further time",
    )
    .flag("ejection-min"),
    Setting::new(
        "timeouts",
        "ejection_max",
        TIME,
        field!(ClusterConfig: pool.timeouts.ejection_max),
        "Longest such time",
    )
    .flag("ejection-max"),
    Setting::new(
        "timeouts",
        "body_stall",
        TIME,
        field!(ClusterConfig: pool.timeouts.body_stall),
        "Time after which a request ends whose body stands still or is too slow",
    )
    .flag("body-stall-timeout"),
    Setting::new(
        "timeouts",
        "response_stall",
        TIME,
        field!(ClusterConfig: pool.timeouts.response_stall),
        "Time after which a response that stands still is cut",
    )
    .flag("response-stall-timeout"),
    Setting::new(
        "timeouts",
        "slow_start",
        Kind::Duration { zero: true },
        field!(ClusterConfig: pool.timeouts.slow_start),
        "Time until a backend that comes back gets its full share",
    )
    .flag("slow-start"),
    Setting::new(
        "retry",
        "attempts",
        Kind::count(u8::MAX as u64),
        field!(ClusterConfig: pool.retry.attempts),
        "Attempts at one request, the first included",
    )
    .flag("attempts"),
    Setting::new(
        "retry",
        "budget_percent",
        PERCENT,
        field!(ClusterConfig: pool.retry.budget_percent),
        "Requests on a retry, as a share of all live ones, in percent",
    )
    .flag("retry-budget"),
    Setting::new(
        "retry",
        "budget_floor",
        Kind::Integer { min: 0, max: limits::REQUESTS_MAX as u64 },
        field!(ClusterConfig: pool.retry.budget_floor),
        "Requests on a retry that are always allowed",
    )
    .flag("retry-floor"),
    Setting::new(
        "retry",
        "replay_buffer",
        Kind::Bytes { min: 0, max: 1 << 30 },
        field!(ClusterConfig: pool.retry.replay_buffer_bytes),
        "Bytes of a request body that are kept for a retry",
    )
    .flag("replay-buffer"),
    Setting::new(
        "health",
        "failures",
        Kind::count(IN_A_ROW_MAX),
        field!(ClusterConfig: pool.health.failures),
        "Failures in a row that eject a backend",
    )
    .flag("failures"),
    Setting::new(
        "health",
        "gateway_failures",
        Kind::Integer { min: 0, max: IN_A_ROW_MAX },
        field!(ClusterConfig: pool.health.gateway_failures),
        "Responses in a row with 502, 503 or 504 that eject a backend; not counted if 0",
    )
    .flag("gateway-failures"),
    Setting::new(
        "health",
        "successes",
        Kind::count(IN_A_ROW_MAX),
        field!(ClusterConfig: pool.health.successes),
        "Requests in a row that bring an ejected backend back",
    )
    .flag("successes"),
    Setting::new(
        "health",
        "ejected_percent_max",
        PERCENT,
        field!(ClusterConfig: pool.health.ejected_percent_max),
        "Share of the backends that may be ejected at a time, in percent; one always may",
    )
    .flag("ejected-percent-max"),
    Setting::new(
        "health",
        "panic_percent",
        PERCENT,
        field!(ClusterConfig: pool.health.panic_percent),
        "Share of healthy backends, in percent, below which all are used; never if 0",
    )
    .flag("panic-percent"),
    Setting::new(
        "probe",
        "kind",
        Kind::Choice(text::PROBE_KINDS),
        field!(ClusterConfig: probe.kind),
        "Active health check: http (a GET), tcp (a connection), grpc (grpc.health.v1) or off",
    )
    .flag("probe"),
    Setting::new(
        "probe",
        "path",
        text::PROBE_PATH,
        field!(ClusterConfig: probe.path),
        "Path and query of an HTTP check",
    )
    .flag("probe-path"),
    Setting::new(
        "probe",
        "host",
        text::PROBE_HOST,
        field!(ClusterConfig: probe.host),
        "Host that an HTTP or gRPC check asks for",
    )
    .flag("probe-host")
    .unset("host and port of the backend"),
    Setting::new(
        "probe",
        "statuses",
        text::STATUSES,
        field!(ClusterConfig: probe.statuses),
        "Statuses that an HTTP check expects",
    )
    .flag("probe-statuses"),
    Setting::new(
        "probe",
        "service",
        text::GRPC_SERVICE,
        field!(ClusterConfig: probe.service),
        "Service that a gRPC check asks for; the whole server if empty",
    )
    .flag("probe-service"),
    Setting::new(
        "probe",
        "interval",
        TIME,
        field!(ClusterConfig: pool.timeouts.probe_interval),
        "Time from the end of a check to the next, ±10 %",
    )
    .flag("probe-interval"),
    Setting::new(
        "probe",
        "timeout",
        TIME,
        field!(ClusterConfig: pool.timeouts.probe_timeout),
        "Time for the answer to a check",
    )
    .flag("probe-timeout"),
    Setting::new(
        "probe",
        "fall",
        Kind::count(IN_A_ROW_MAX),
        field!(ClusterConfig: pool.health.fall),
        "Checks in a row that must fail before a backend is down",
    )
    .flag("probe-fall"),
    Setting::new(
        "probe",
        "rise",
        Kind::count(IN_A_ROW_MAX),
        field!(ClusterConfig: pool.health.rise),
        "Checks in a row that must pass before it is up again",
    )
    .flag("probe-rise"),
];
