//! Rules between values, for files and for flags.

use std::collections::{BTreeMap, BTreeSet};

use super::section::suggestion;
use super::settings::CLUSTER;
use crate::pool::limits::CONNECTIONS_MAX;
use crate::pool::setting::Entry;
use crate::proxy::backend_url::Scheme;
use crate::proxy::client_limits::ClientLimits;
use crate::proxy::config::{ClusterConfig, HealthCheckKind, ProxyConfig};
use crate::proxy::limits::{CLUSTERS_MAX, LISTENERS_MAX, ROUTES_MAX};

/// A violation of a rule: values that contradict each other, or something that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The path of the invalid value in a file, such as `cluster.web.limits.waiting` or
    /// `listener[1].address`.
    pub path: String,
    /// The paths of all values that the rule depends on.
    pub depends_on: Vec<String>,
    /// True if something is missing.
    pub absence: bool,
    /// A description of the problem.
    pub what: String,
    /// A description of a valid value.
    pub expected: String,
}

impl Problem {
    fn new(path: String, what: impl Into<String>, expected: impl Into<String>) -> Self {
        let depends_on = vec![path.clone()];
        Self { path, depends_on, absence: false, what: what.into(), expected: expected.into() }
    }

    fn absence(path: String, what: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { absence: true, ..Self::new(path, what, expected) }
    }

    fn depends_on(mut self, path: String) -> Self {
        self.depends_on.push(path);
        self
    }
}

/// Returns the first client limit that breaks a bound which the tables of settings cannot express.
fn client_problems(config: &ProxyConfig) -> Option<Problem> {
    let limits = &config.client_limits;
    let wrong = |entry: &'static Entry<_>| Some((entry, entry.check(limits).err()?));
    let (entry, error) = ClientLimits::SETTINGS.iter().find_map(wrong)?;
    let path = format!("{}.{}", entry.section, entry.key);
    let what = format!("'{path}' is out of bounds");
    Some(Problem::new(path, what, error.expected.to_string()))
}

/// Returns all problems of a configuration whose values are each valid by themselves.
#[must_use]
pub fn problems(config: &ProxyConfig) -> Vec<Problem> {
    let mut problems = counts(config);
    if !problems.is_empty() {
        return problems;
    }
    problems.extend(listener_problems(config));
    problems.extend(client_problems(config));
    if config.clusters.is_empty() {
        let expected = "a table [cluster.NAME] and a [[cluster.NAME.backend]]";
        problems.push(Problem::absence("cluster".to_owned(), "there is no cluster", expected));
    }
    for cluster in &config.clusters {
        problems.extend(cluster_problems(cluster));
    }
    problems.extend(route_problems(config));
    problems
}

/// Checks the lengths of the lists.
fn counts(config: &ProxyConfig) -> Vec<Problem> {
    let counts = [
        ("listener", config.listeners.len(), LISTENERS_MAX),
        ("cluster", config.clusters.len(), CLUSTERS_MAX),
        ("route", config.routes.len(), ROUTES_MAX),
    ];
    let too_many = counts.into_iter().filter(|(_, count, max)| count > max);
    let problem = |(path, count, max): (&str, usize, usize)| {
        let what = format!("'{path}' has {count} entries");
        Problem::new(path.to_owned(), what, format!("at most {max}"))
    };
    too_many.map(problem).collect()
}

fn listener_problems(config: &ProxyConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut taken = BTreeMap::new();
    if config.listeners.is_empty() {
        let expected = "a table [[listener]]";
        problems.push(Problem::absence("listener".to_owned(), "there is no listener", expected));
    }
    let mut addresses: Vec<_> = config
        .listeners
        .iter()
        .enumerate()
        .map(|(index, listener)| (format!("listener[{index}].address"), listener.address))
        .collect();
    addresses.extend(config.admin.map(|address| ("admin.address".to_owned(), address)));
    for (path, address) in addresses {
        // The system chooses another port for each port 0.
        if address.port() == 0 {
            continue;
        }
        if let Some(first) = taken.get(&address) {
            let what = format!("{address} is used twice");
            let expected = "a different address for each listener and the admin interface";
            problems.push(Problem::new(path, what, expected).depends_on(String::clone(first)));
        } else {
            taken.insert(address, path);
        }
    }
    problems
}

fn cluster_problems(cluster: &ClusterConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    let path = |key: &str| format!("cluster.{}.{key}", cluster.name);
    let limits = &cluster.pool.limits;
    if cluster.backends.is_empty() {
        let what = format!("cluster '{}' has no backend", cluster.name);
        let expected = format!("at least one [[cluster.{}.backend]]", cluster.name);
        problems.push(Problem::absence(path("backend"), what, expected));
    }
    if cluster.backends.len() > limits.backends {
        let what = format!("there are {} backends", cluster.backends.len());
        let expected = format!("at most {}, which is limits.backends", limits.backends);
        let problem = Problem::new(path("limits.backends"), what, expected);
        problems.push(problem.depends_on(path("backend")));
    }
    let most = CONNECTIONS_MAX / limits.backends.max(1);
    if limits.connections_per_backend > most {
        let key = path("limits.connections_per_backend");
        let what = format!("'{key}' is {}", limits.connections_per_backend);
        let expected =
            format!("at most {most}, which is {CONNECTIONS_MAX} divided by limits.backends");
        problems.push(Problem::new(key, what, expected).depends_on(path("limits.backends")));
    }
    for (key, other, relation) in crossed_bounds(cluster) {
        let value = |key: &str| {
            let setting = CLUSTER.iter().find(|setting| setting.path() == key);
            setting.map_or_else(String::new, |setting| setting.default_text(cluster))
        };
        let what = format!("'{}' is {}", path(key), value(key));
        let expected = format!("{relation} {other}, which is {}", value(other));
        problems.push(Problem::new(path(key), what, expected).depends_on(path(other)));
    }
    problems.extend(backend_problems(cluster));
    // Any other refusal by the pool is a bug in the tables. Even then, Baton must not start.
    if problems.is_empty()
        && let Err(error) = cluster.pool_config(0).check()
    {
        let cluster_path = format!("cluster.{}", cluster.name);
        problems.push(Problem::new(cluster_path, error.value, error.expected.to_string()));
    }
    problems
}

/// Returns the values that break a bound set by another value: the path of the value, the path of
/// the other value, and the relation that must hold.
fn crossed_bounds(cluster: &ClusterConfig) -> Vec<(&'static str, &'static str, &'static str)> {
    let (limits, timeouts) = (&cluster.pool.limits, &cluster.pool.timeouts);
    let bounds = [
        (limits.waiting <= limits.requests, ("limits.waiting", "limits.requests", "at most")),
        (
            timeouts.backoff_min <= timeouts.backoff_max,
            ("timeouts.backoff_max", "timeouts.backoff_min", "at least"),
        ),
        (
            timeouts.ejection_min <= timeouts.ejection_max,
            ("timeouts.ejection_max", "timeouts.ejection_min", "at least"),
        ),
    ];
    bounds.into_iter().filter(|(holds, _)| !holds).map(|(_, crossed)| crossed).collect()
}

fn backend_problems(cluster: &ClusterConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, backend) in cluster.backends.iter().enumerate() {
        let path = format!("cluster.{}.backend[{index}].url", cluster.name);
        let (url, name) = (backend.url.to_string(), backend.tls.name.clone());
        if cluster.health_check.kind == HealthCheckKind::Grpc && backend.url.scheme == Scheme::Http
        {
            let what = format!("{url} cannot have a gRPC health check");
            let expected = "https:// or h2c://, or another health_check.kind";
            let kind = format!("cluster.{}.health_check.kind", cluster.name);
            problems.push(Problem::new(path.clone(), what, expected).depends_on(kind));
        }
        if !seen.insert((url.clone(), name)) {
            let what = format!("{url} occurs twice in cluster '{}'", cluster.name);
            problems.push(Problem::new(
                path,
                what,
                "each backend once; a weight changes its share",
            ));
        }
    }
    problems
}

fn route_problems(config: &ProxyConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    let names: Vec<_> = config.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    let mut seen = BTreeMap::new();
    for (index, route) in config.routes.iter().enumerate() {
        let path = |key: &str| format!("route[{index}].{key}");
        if !names.contains(&route.cluster.as_str()) {
            let what = format!("there is no cluster '{}'", route.cluster);
            let expected = suggestion(&route.cluster, &names);
            let problem = Problem::absence(path("cluster"), what, expected);
            problems.push(problem.depends_on("cluster".to_owned()));
        }
        let host = route.host.as_ref().map_or_else(|| "any host".to_owned(), ToString::to_string);
        let what = format!("a second route for {host} and '{}'", route.path_prefix);
        let key = (route.host.clone(), route.path_prefix.clone());
        if let Some(first) = seen.insert(key, index) {
            let expected = "another host or path_prefix";
            let problem = Problem::new(path("path_prefix"), what, expected)
                .depends_on(path("host"))
                .depends_on(format!("route[{first}]"));
            problems.push(problem);
        }
    }
    if config.routes.is_empty() && config.clusters.len() > 1 {
        let what = format!("there are {} clusters and no route", names.len());
        problems.push(Problem::absence("route".to_owned(), what, "a table [[route]]"));
    }
    problems
}
