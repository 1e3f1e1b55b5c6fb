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
    in_order(settings, &["", "limits", "timeouts", "retry", "health", "health_check"])
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
            "health_check",
            "kind",
            Kind::Choice(text::HEALTH_CHECK_KINDS),
            field!(ClusterConfig: health_check.kind),
            "Active health check: http (a GET), tcp (a connection), grpc (grpc.health.v1) or off",
        )
        .flag("health-check"),
        Setting::new(
            "health_check",
            "path",
            text::HEALTH_CHECK_PATH,
            field!(ClusterConfig: health_check.path),
            "Path and query of an HTTP check",
        )
        .flag("health-check-path"),
        Setting::new(
            "health_check",
            "host",
            text::HEALTH_CHECK_HOST,
            field!(ClusterConfig: health_check.host),
            "Host that an HTTP or gRPC check asks for",
        )
        .flag("health-check-host")
        .unset("host and port of the backend"),
        Setting::new(
            "health_check",
            "statuses",
            text::STATUSES,
            field!(ClusterConfig: health_check.statuses),
            "Statuses that an HTTP check expects",
        )
        .flag("health-check-statuses"),
        Setting::new(
            "health_check",
            "service",
            text::GRPC_SERVICE,
            field!(ClusterConfig: health_check.service),
            "Service that a gRPC check asks for; the whole server if empty",
        )
        .flag("health-check-service"),
    ]
}
