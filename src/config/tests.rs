//! Tests that read files into configurations or errors, and print configurations.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::pool::Strategy;
use crate::proxy::config::{AccessLogFormat, HealthCheckKind, LogLevel};
use crate::proxy::limits::CLUSTERS_MAX;

mod broken;
mod mutated;

const WHOLE: &str = r#"
# Two clusters behind two listeners.
[process]
workers = 2
seed = 0x10
log_level = "debug"

[admin]
address = "127.0.0.1:9900"

[access_log]
format = "json"
file = "logs/access.log"

[[listener]]
address = "127.0.0.1:8443"
certificate = "front.pem"
key = "/keys/front.pem"
http2 = false

[[listener]]
address = "[::1]:8080"

[cluster.web]
strategy = "weighted"
authorities = "ca.pem"
certificate = "client.pem"
key = "client-key.pem"
limits = { requests = 64, waiting = 8 }
timeouts.connect = "1s"

[[cluster.web.backend]]
url = "https://10.0.0.1:8443"
weight = 3
tls_name = "web.internal"

[[cluster.web.backend]]
url = "https://10.0.0.2"
authorities = "other.pem"
insecure = true

[[cluster.web.backend]]
url = "http://10.0.0.3"

[cluster.web.retry]
replay_buffer = "1MiB"

[cluster.web.health_check]
kind = "http"
path = "/healthz?deep=1"
statuses = "200-204,404"
interval = "500ms"
rise = 9

[cluster.api]
[[cluster.api.backend]]
url = "h2c://api.internal:80"

[[route]]
host = "*.Example.com"
cluster = "web"

[[route]]
path_prefix = "/api"
cluster = "api"
"#;

fn read_text(text: &str) -> Result<ProxyConfig, Vec<ConfigError>> {
    read("baton.toml", text.as_bytes(), Path::new("/etc/baton"))
}

fn good(text: &str) -> ProxyConfig {
    read_text(text).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

#[test]
fn a_complete_file_is_read() {
    let config = good(WHOLE);
    assert_eq!((config.workers, config.seed), (Some(2), Some(16)));
    assert_eq!(config.log_level, LogLevel::Debug);
    assert_eq!(config.admin, "127.0.0.1:9900".parse().ok());
    assert_eq!(config.access_log.format, AccessLogFormat::Json);
    assert_eq!(config.access_log.file.as_deref(), Some(Path::new("/etc/baton/logs/access.log")));
    let [front, plain] = &config.listeners[..] else { panic!("two listeners") };
    let files = front.tls.as_ref().expect("TLS");
    assert_eq!(files.certificate, Path::new("/etc/baton/front.pem"));
    assert_eq!(files.key, Path::new("/keys/front.pem"));
    assert!(!front.http2 && plain.http2 && plain.tls.is_none());
    let [web, api] = &config.clusters[..] else { panic!("two clusters") };
    assert_eq!((web.name.as_str(), api.name.as_str()), ("web", "api"));
    assert_eq!(web.pool.strategy, Strategy::Weighted);
    assert_eq!((web.pool.limits.requests, web.pool.limits.waiting), (64, 8));
    assert_eq!(web.pool.timeouts.connect, Duration::from_secs(1));
    assert_eq!(web.pool.retry.replay_buffer_bytes, 1 << 20);
    assert_eq!(
        (web.health_check.kind, web.health_check.path.as_str()),
        (HealthCheckKind::Http, "/healthz?deep=1")
    );
    assert_eq!(web.pool.timeouts.health_check_interval, Duration::from_millis(500));
    assert_eq!((web.pool.health.rise, web.pool.health.fall), (9, 3));
    assert!(web.health_check.statuses.contains(404));
    assert_eq!(api.pool, ClusterConfig::new("api").pool);
    let [by_host, by_path] = &config.routes[..] else { panic!("two routes") };
    let host = by_host.host.as_ref().map(ToString::to_string);
    assert_eq!((host.as_deref(), by_host.path_prefix.as_str()), (Some("*.example.com"), "/"));
    assert_eq!((&by_path.host, by_path.path_prefix.as_str()), (&None, "/api"));
}

#[test]
fn a_backend_inherits_the_tls_values_of_its_cluster() {
    let config = good(WHOLE);
    let [first, second, third] = &config.clusters[0].backends[..] else { panic!("three") };
    assert_eq!(first.weight, 3);
    assert_eq!(first.tls.name.as_deref(), Some("web.internal"));
    assert_eq!(first.tls.authorities.as_deref(), Some(Path::new("/etc/baton/ca.pem")));
    assert_eq!(second.tls.authorities.as_deref(), Some(Path::new("/etc/baton/other.pem")));
    assert!(second.tls.insecure && !first.tls.insecure && !third.tls.insecure);
    assert_eq!(second.tls.name, None);
    for backend in [first, second] {
        let files = backend.tls.certificate.as_ref().expect("inherited from the cluster");
        assert_eq!(files.key, Path::new("/etc/baton/client-key.pem"));
    }
}

#[test]
fn everything_but_a_cluster_has_a_default() {
    let config = good("[[cluster.one.backend]]\nurl = \"https://backend.example\"\n");
    let mut expected = example();
    expected.clusters[0].name = "one".to_owned();
    expected.routes[0].cluster = "one".to_owned();
    assert_eq!(config, expected, "one listener, one route");
}

#[test]
fn a_printed_configuration_is_read_and_printed_the_same() {
    for config in [example(), good(WHOLE)] {
        let text = print::print(&config);
        let again = good(&text);
        assert_eq!(again, config);
        assert_eq!(print::print(&again), text);
        assert!(text.lines().all(|line| line.len() <= 160), "no line is too long");
    }
}

/// Every setting of the tables is printed, and has a comment.
#[test]
fn every_setting_is_printed_with_a_comment() {
    let text = print::print(&example());
    let mut previous = "";
    let mut values = 0;
    for line in text.lines() {
        if line.contains(" =") && !line.starts_with("# Expected") {
            assert!(previous.starts_with("# Expected: "), "{previous:?} before {line:?}");
            values += 1;
        }
        previous = line;
    }
    let tables = settings::of_process().count()
        + settings::LISTENER.len()
        + settings::CLUSTER.len()
        + settings::UPSTREAM_TLS.len()
        + settings::BACKEND.len()
        + settings::ROUTE.len();
    assert_eq!(values, tables);
}

/// The pool accepts the least and the greatest value of every setting.
#[test]
fn the_pool_agrees_with_the_bounds_of_the_tables() {
    use value::{Kind, Value};
    for setting in settings::CLUSTER.iter() {
        let ends = match setting.kind {
            Kind::Integer { min, max } | Kind::Bytes { min, max } => {
                vec![Value::Integer(min), Value::Integer(max)]
            }
            Kind::Duration { zero } => {
                let least = if zero { Duration::ZERO } else { Duration::from_millis(1) };
                vec![Value::Duration(least), Value::Duration(Duration::from_secs(365 * 86400))]
            }
            Kind::Choice(words) => words.iter().map(|word| Value::Text((*word).into())).collect(),
            Kind::Boolean | Kind::Path | Kind::Text { .. } => continue,
        };
        for end in ends {
            let mut cluster = example().clusters.remove(0);
            setting.access.set(&mut cluster, end.clone());
            assert_eq!(setting.access.get(&cluster), Some(end.clone()), "{}", setting.path());
            // Other values also bound these three.
            cluster.pool.limits.waiting =
                cluster.pool.limits.waiting.min(cluster.pool.limits.requests);
            let timeouts = &mut cluster.pool.timeouts;
            timeouts.backoff_max = timeouts.backoff_max.max(timeouts.backoff_min);
            timeouts.ejection_max = timeouts.ejection_max.max(timeouts.ejection_min);
            assert_eq!(cluster.pool_config(0).check(), Ok(()), "{} = {end:?}", setting.path());
        }
    }
}

/// Every value of the pool's configuration has a setting.
#[test]
fn every_value_of_the_pool_can_be_configured() {
    use value::{Kind, Value};
    let mut cluster = ClusterConfig::new("any");
    let defaults = format!("{:#?}", cluster.pool);
    for setting in settings::CLUSTER.iter() {
        let now = setting.access.get(&cluster);
        let other = match setting.kind {
            Kind::Integer { min, max } | Kind::Bytes { min, max } => {
                let least = Value::Integer(min);
                if now == Some(least.clone()) { Value::Integer(max) } else { least }
            }
            Kind::Duration { .. } => Value::Duration(Duration::from_millis(7)),
            Kind::Choice(words) => Value::Text(words[1].to_owned()),
            Kind::Boolean | Kind::Path | Kind::Text { .. } => continue,
        };
        setting.access.set(&mut cluster, other);
    }
    let changed = format!("{:#?}", cluster.pool);
    let stays = |line: &&str| line.contains(": ") && line.ends_with(',');
    let same = defaults.lines().filter(stays).filter(|line| changed.lines().any(|it| it == *line));
    let same: Vec<_> = same.map(str::trim).collect();
    // Backends have their own table; `health_checking` follows from the kind of the health check.
    assert_eq!(same, ["backends: [],", "health_checking: Off,"]);
}

#[test]
fn too_many_of_anything_is_an_error() {
    let cluster = |number| format!("[[cluster.c{number}.backend]]\nurl = \"http://a\"\n");
    let text: String = (0..=CLUSTERS_MAX).map(cluster).collect();
    let errors = read_text(&text).expect_err("one too many");
    let text: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(text, ["baton.toml:1:3: 'cluster' has 257 entries; expected at most 256"]);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let errors = load(Path::new("/nonexistent/baton.toml")).expect_err("the file does not exist");
    let text = errors[0].to_string();
    assert!(text.starts_with("/nonexistent/baton.toml: cannot be read: "), "{text}");
    assert!(text.ends_with("; expected a file that can be read"), "{text}");
}
