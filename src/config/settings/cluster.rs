//! Settings of a cluster: those of its pools, from the pool's [table](crate::pool::settings), and
//! its own. Each worker has its own pool, so the capacities are those of one worker.

use std::sync::LazyLock;

use super::{in_order, text};
use crate::config::setting::{Setting, field};
use crate::config::value::Kind;
use crate::pool;
use crate::proxy::config::ClusterConfig;

/// Settings of a cluster, without TLS and backends.
pub static CLUSTER: LazyLock<Vec<Setting<ClusterConfig>>> = LazyLock::new(|| {
    let mut settings = own();
    settings.extend(pool::Config::SETTINGS.iter().map(Setting::of_table));
    in_order(settings, &["", "limits", "timeouts", "retry", "health", "probe"])
});

fn own() -> Vec<Setting<ClusterConfig>> {
    vec![
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
    ]
}
