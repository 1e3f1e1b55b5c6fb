//! Compares two configurations, in terms of the configuration file. A reload acts on the
//! differences and reports them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::setting::Setting;
use super::settings::{CLUSTER, of_process};
use crate::pool;
use crate::proxy::config::{BackendSettings, ClusterConfig, ListenerConfig, ProxyConfig};
use crate::proxy::route::Route;

/// The paths of the values that cannot change while the process runs.
const FIXED: [&str; 4] = ["process.workers", "process.seed", "process.log_level", "admin.address"];

/// The named parts of one kind in two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Parts<Name> {
    /// Parts that only the new configuration has.
    pub added: Vec<Name>,
    /// Parts that only the old configuration has.
    pub removed: Vec<Name>,
    /// The number of parts that both have.
    pub kept: usize,
}

impl<Name> Parts<Name> {
    fn none() -> Self {
        Self { added: Vec::new(), removed: Vec::new(), kept: 0 }
    }

    fn is_same(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

/// A backend of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackendName {
    /// The cluster.
    pub cluster: String,
    /// The backend's URL.
    pub backend: String,
}

/// A change of a backend's weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WeightChange {
    /// The cluster.
    pub cluster: String,
    /// The backend's URL.
    pub backend: String,
    /// The old weight.
    pub before: u16,
    /// The new weight.
    pub after: u16,
}

/// A change of a setting's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ValueChange {
    /// The setting's path, such as `cluster.web.timeouts.connect`.
    pub path: String,
    /// The old value as written in a file; the default's description if it was not set.
    pub before: String,
    /// The new value, in the same form.
    pub after: String,
}

/// All differences between two configurations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Clusters, by name.
    pub clusters: Parts<String>,
    /// Kept clusters whose pools are replaced, because the sizes of their tables change.
    pub pools_replaced: Vec<String>,
    /// Backends. A backend with another TLS name is another backend.
    pub backends: Parts<BackendName>,
    /// Kept backends with another weight.
    pub weights: Vec<WeightChange>,
    /// Kept backends with other TLS files or another verification.
    pub backend_tls: Vec<BackendName>,
    /// Listeners, by their configured address.
    pub listeners: Parts<String>,
    /// Kept listeners with another certificate or protocol.
    pub listeners_changed: Vec<String>,
    /// Routes.
    pub routes: Parts<String>,
    /// Changed values of the process and of kept clusters.
    pub settings: Vec<ValueChange>,
    /// Changed settings of the pools that stay, by cluster.
    /// [`pool::Setting::HealthChecking`] is not among them: it differs between workers.
    #[serde(skip)]
    pool_settings: BTreeMap<String, Vec<pool::Setting>>,
}

impl Difference {
    /// Compares two configurations.
    #[must_use]
    pub fn between(before: &ProxyConfig, after: &ProxyConfig) -> Self {
        let listeners = match_up(&before.listeners, &after.listeners, same_address);
        let kept = listeners.kept.iter().filter(|(before, after)| before != after);
        let listeners_changed = kept.map(|(_, after)| after.address.to_string()).collect();
        let routes = match_up(&before.routes, &after.routes, |one, other| one == other);
        let mut difference = Self {
            clusters: Parts::none(),
            pools_replaced: Vec::new(),
            backends: Parts::none(),
            weights: Vec::new(),
            backend_tls: Vec::new(),
            listeners: listeners.named(|listener| listener.address.to_string()),
            listeners_changed,
            routes: routes.named(route_name),
            settings: of_process()
                .filter_map(|setting| value_change("", setting, before, after))
                .collect(),
            pool_settings: BTreeMap::new(),
        };
        let named = |one: &ClusterConfig, other: &ClusterConfig| one.name == other.name;
        let clusters = match_up(&before.clusters, &after.clusters, named);
        for (before, after) in &clusters.kept {
            difference.compare_backends(before, after);
            difference.compare_settings(before, after);
        }
        for cluster in &clusters.added {
            difference.compare_backends(&ClusterConfig::new(&cluster.name), cluster);
        }
        for cluster in &clusters.removed {
            difference.compare_backends(cluster, &ClusterConfig::new(&cluster.name));
        }
        difference.clusters = clusters.named(|cluster| cluster.name.clone());
        difference
    }

    fn compare_backends(&mut self, before: &ClusterConfig, after: &ClusterConfig) {
        let name = |backend: &BackendSettings| BackendName {
            cluster: after.name.clone(),
            backend: backend.url.to_string(),
        };
        let backends = match_up(&before.backends, &after.backends, BackendSettings::is_same);
        for (before, after) in &backends.kept {
            let BackendName { cluster, backend } = name(after);
            if before.weight != after.weight {
                let (before, after) = (before.weight, after.weight);
                self.weights.push(WeightChange { cluster, backend, before, after });
            }
            if before.tls != after.tls {
                self.backend_tls.push(name(after));
            }
        }
        let parts = backends.named(name);
        self.backends.added.extend(parts.added);
        self.backends.removed.extend(parts.removed);
        self.backends.kept += parts.kept;
    }

    /// Compares the settings of a kept cluster.
    fn compare_settings(&mut self, before: &ClusterConfig, after: &ClusterConfig) {
        let prefix = format!("cluster.{}.", after.name);
        let (mut live, mut replaced) = (Vec::new(), false);
        for setting in CLUSTER.iter() {
            let Some(change) = value_change(&prefix, setting, before, after) else { continue };
            self.settings.push(change);
            match setting.access.of_pool().map(|entry| entry.setting(&after.pool)) {
                Some(Some(setting)) => live.push(setting),
                Some(None) => replaced = true,
                None => {}
            }
        }
        if before.pool.strategy != after.pool.strategy {
            live.push(pool::Setting::Strategy(after.pool.strategy));
        }
        if replaced {
            self.pools_replaced.push(after.name.clone());
        } else {
            self.pool_settings.insert(after.name.clone(), live);
        }
    }

    /// Returns the changed settings of a cluster's pools; `None` if the cluster needs new pools.
    #[must_use]
    pub fn of_pool(&self, cluster: &str) -> Option<&[pool::Setting]> {
        self.pool_settings.get(cluster).map(Vec::as_slice)
    }

    /// True if nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clusters.is_same()
            && self.pools_replaced.is_empty()
            && self.backends.is_same()
            && self.weights.is_empty()
            && self.backend_tls.is_empty()
            && self.listeners.is_same()
            && self.listeners_changed.is_empty()
            && self.routes.is_same()
            && self.settings.is_empty()
    }

    /// Describes each difference in a few words.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let backend = |it: &BackendName| format!("{} of {}", it.backend, it.cluster);
        let mut words = Vec::new();
        let mut say = |what: &str, names: Vec<String>, became: &str| {
            words.extend(names.iter().map(|name| format!("{what} {name} {became}")));
        };
        say("cluster", self.clusters.added.clone(), "added");
        say("cluster", self.clusters.removed.clone(), "removed");
        say("pools of cluster", self.pools_replaced.clone(), "replaced");
        say("backend", self.backends.added.iter().map(backend).collect(), "added");
        say("backend", self.backends.removed.iter().map(backend).collect(), "removed");
        for WeightChange { cluster, backend, before, after } in &self.weights {
            let became = format!("weight {before} to {after}");
            say("backend", vec![format!("{backend} of {cluster}")], &became);
        }
        say("backend", self.backend_tls.iter().map(backend).collect(), "with other TLS settings");
        say("listener", self.listeners.added.clone(), "added");
        say("listener", self.listeners.removed.clone(), "removed");
        say("listener", self.listeners_changed.clone(), "changed");
        say("route", self.routes.added.clone(), "added");
        say("route", self.routes.removed.clone(), "removed");
        for ValueChange { path, before, after } in &self.settings {
            words.push(format!("{path} {before} to {after}"));
        }
        words
    }
}

/// Describes, one per line, the differences that need a restart.
#[must_use]
pub fn needing_restart(before: &ProxyConfig, after: &ProxyConfig) -> Vec<String> {
    let fixed = of_process().filter(|setting| FIXED.contains(&&*setting.path()));
    let changes = fixed.filter_map(|setting| value_change("", setting, before, after));
    let lines = changes.filter(|change| {
        // An explicit number of workers may equal the default.
        change.path != "process.workers" || before.worker_count() != after.worker_count()
    });
    lines
        .map(|ValueChange { path, before, after }| {
            format!("{path} cannot change from {before} to {after} without a restart; expected {before}, or restart")
        })
        .collect()
}

/// True if both are the same listener, which then keeps its sockets.
#[must_use]
pub fn same_address(one: &ListenerConfig, other: &ListenerConfig) -> bool {
    one.address == other.address
}

/// The entries of two lists, matched up.
struct Matched<'a, T> {
    added: Vec<&'a T>,
    removed: Vec<&'a T>,
    kept: Vec<(&'a T, &'a T)>,
}

impl<T> Matched<'_, T> {
    fn named<Name>(&self, name: impl Fn(&T) -> Name) -> Parts<Name> {
        Parts {
            added: self.added.iter().map(|it| name(it)).collect(),
            removed: self.removed.iter().map(|it| name(it)).collect(),
            kept: self.kept.len(),
        }
    }
}

/// Returns, for each entry of `after`, the index of the same entry in `before`, if there is one. No
/// two entries share an index.
pub fn places<T>(before: &[T], after: &[T], same: impl Fn(&T, &T) -> bool) -> Vec<Option<usize>> {
    let mut taken = vec![false; before.len()];
    let place = |wanted: &T| {
        let free = |place: &usize| !taken[*place] && same(&before[*place], wanted);
        let place = (0..before.len()).find(free)?;
        taken[place] = true;
        Some(place)
    };
    after.iter().map(place).collect()
}

fn match_up<'a, T>(
    before: &'a [T],
    after: &'a [T],
    same: impl Fn(&T, &T) -> bool,
) -> Matched<'a, T> {
    let places = places(before, after, same);
    let mut matched = Matched { added: Vec::new(), removed: Vec::new(), kept: Vec::new() };
    for (after, place) in after.iter().zip(&places) {
        match place {
            Some(place) => matched.kept.push((&before[*place], after)),
            None => matched.added.push(after),
        }
    }
    let gone = before.iter().enumerate().filter(|(place, _)| !places.contains(&Some(*place)));
    matched.removed.extend(gone.map(|(_, before)| before));
    matched
}

fn value_change<T>(
    prefix: &str,
    setting: &Setting<T>,
    before: &T,
    after: &T,
) -> Option<ValueChange> {
    let (before, after) = (setting.default_text(before), setting.default_text(after));
    let path = format!("{prefix}{}", setting.path());
    (before != after).then_some(ValueChange { path, before, after })
}

fn route_name(route: &Route) -> String {
    let host = route.host.as_ref().map_or_else(|| "*".to_owned(), ToString::to_string);
    format!("{host}{} to {}", route.path_prefix, route.cluster)
}

#[cfg(test)]
mod tests;
