//! The backends of one pool, as the driver needs them, by their index in the pool.

use std::cell::RefCell;
use std::rc::Rc;

use super::backend_url::BackendUrl;
use super::config::BackendSettings;
use super::tls::BackendTls;
use crate::pool::{BackendId, BackendToken};

/// A backend, from the time it is configured until its last connection is closed.
pub struct BackendEntry {
    /// The pool's token of the backend.
    pub token: BackendToken,
    /// The backend's URL.
    pub url: BackendUrl,
    /// The URL in canonical form, for logs.
    pub name: Rc<str>,
    /// The TLS server name, if it is not the URL's host.
    tls_name: Option<String>,
    /// TLS towards the backend for future connections; `None` for cleartext.
    tls: RefCell<Option<BackendTls>>,
}

impl BackendEntry {
    /// TLS for a connection that is dialled now; `None` for cleartext.
    pub fn tls(&self) -> Option<BackendTls> {
        self.tls.borrow().clone()
    }

    /// The backend's identity, for other workers.
    pub fn identity(&self) -> BackendIdentity {
        BackendIdentity { url: self.url.clone(), tls_name: self.tls_name.clone() }
    }
}

/// Distinguishes a backend from the others of its cluster; the same in every worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendIdentity {
    url: BackendUrl,
    tls_name: Option<String>,
}

impl BackendIdentity {
    /// The identity of a backend with these settings.
    #[must_use]
    pub fn of(settings: &BackendSettings) -> Self {
        Self { url: settings.url.clone(), tls_name: settings.tls.name.clone() }
    }
}

/// The backends of a pool, by their index.
pub struct Backends {
    places: Vec<Option<Rc<BackendEntry>>>,
    weights: Vec<u16>,
    /// The backends of the present configuration.
    configured: Vec<BackendToken>,
}

/// The changes that another configuration makes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New backends, by their index in the configuration.
    pub added: Vec<usize>,
    /// Removed backends.
    pub removed: Vec<BackendToken>,
    /// Backends with another weight.
    pub weights: Vec<(BackendToken, u16)>,
}

impl Backends {
    /// Creates an empty table for a number of backends.
    pub fn new(places: usize) -> Self {
        Self { places: vec![None; places], weights: vec![1; places], configured: Vec::new() }
    }

    /// Adds a backend at its index, and forgets any previous one there.
    pub fn put(
        &mut self,
        token: BackendToken,
        settings: &BackendSettings,
        tls: Option<BackendTls>,
    ) {
        let backend = BackendEntry {
            token,
            url: settings.url.clone(),
            name: settings.url.to_string().into(),
            tls_name: settings.tls.name.clone(),
            tls: RefCell::new(tls),
        };
        let place = usize::from(token.backend.0);
        self.places[place] = Some(Rc::new(backend));
        self.weights[place] = settings.weight;
        self.configured.push(token);
    }

    /// Returns the backend at an index.
    pub fn get(&self, place: BackendId) -> Option<Rc<BackendEntry>> {
        self.places.get(usize::from(place.0)).cloned().flatten()
    }

    /// Returns the backend that a token names, if it still exists.
    pub fn find(&self, token: BackendToken) -> Option<Rc<BackendEntry>> {
        self.get(token.backend).filter(|backend| backend.token == token)
    }

    /// All backends, removed ones with connections included.
    pub fn iter(&self) -> impl Iterator<Item = &Rc<BackendEntry>> {
        self.places.iter().flatten()
    }

    /// The backends of the present configuration.
    pub fn configured(&self) -> impl Iterator<Item = Rc<BackendEntry>> + '_ {
        self.configured.iter().filter_map(|token| self.find(*token))
    }

    /// The configured weight of a backend, if it still exists.
    pub fn weight(&self, token: BackendToken) -> Option<u16> {
        let there = self.find(token).is_some();
        there.then(|| self.weights[usize::from(token.backend.0)])
    }

    /// Returns the backends of the present configuration with this name. The same URL may be
    /// configured twice with different TLS names.
    pub fn named(&self, name: &str) -> Vec<Rc<BackendEntry>> {
        self.configured().filter(|backend| &*backend.name == name).collect()
    }

    /// Returns the backend of the present configuration with this identity.
    pub fn identified(&self, identity: &BackendIdentity) -> Option<Rc<BackendEntry>> {
        self.configured()
            .find(|backend| backend.url == identity.url && backend.tls_name == identity.tls_name)
    }

    /// Removes a backend whose last connection is closed.
    pub fn remove(&mut self, token: BackendToken) {
        let place = &mut self.places[usize::from(token.backend.0)];
        if place.as_ref().is_some_and(|backend| backend.token == token) {
            *place = None;
        }
    }

    /// Compares with another configuration, which becomes the present one. Backends with the same
    /// identity stay: they keep their connections and use its TLS from now on.
    pub fn compare(&mut self, all: &[BackendSettings], tls: &[Option<BackendTls>]) -> Changes {
        let mut changes = Changes::default();
        let mut kept = Vec::new();
        for (index, (settings, tls)) in all.iter().zip(tls).enumerate() {
            let Some(backend) = self.identified(&BackendIdentity::of(settings)) else {
                changes.added.push(index);
                continue;
            };
            backend.tls.replace(tls.clone());
            kept.push(backend.token);
            let weight = &mut self.weights[usize::from(backend.token.backend.0)];
            if *weight != settings.weight {
                *weight = settings.weight;
                changes.weights.push((backend.token, settings.weight));
            }
        }
        let before = std::mem::take(&mut self.configured);
        changes.removed = before.into_iter().filter(|token| !kept.contains(token)).collect();
        self.configured = kept;
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::config::UpstreamTlsSettings;

    fn settings(url: &str, weight: u16) -> BackendSettings {
        let url = url.parse().expect("a URL");
        BackendSettings { url, weight, tls: UpstreamTlsSettings::default() }
    }

    fn token(place: u16) -> BackendToken {
        BackendToken { backend: BackendId(place), generation: 1 }
    }

    #[test]
    fn only_what_differs_changes() {
        let mut backends = Backends::new(4);
        backends.put(token(0), &settings("http://a", 1), None);
        backends.put(token(1), &settings("http://b", 1), None);
        let same = [settings("http://b", 1), settings("http://a", 1)];
        assert_eq!(backends.compare(&same, &[None, None]), Changes::default());
        let other = [settings("http://c", 1), settings("http://b", 7)];
        let expected =
            Changes { added: vec![0], removed: vec![token(0)], weights: vec![(token(1), 7)] };
        assert_eq!(backends.compare(&other, &[None, None]), expected);
        assert!(backends.find(token(0)).is_some(), "it finishes its requests");
        assert_eq!(backends.named("http://a:80").len(), 0, "it is no longer configured");
        backends.remove(token(0));
        assert!(backends.find(token(0)).is_none());
    }

    #[test]
    fn another_name_in_tls_is_another_backend() {
        let mut backends = Backends::new(4);
        backends.put(token(0), &settings("https://a", 1), None);
        let mut renamed = settings("https://a", 1);
        renamed.tls.name = Some("b".to_owned());
        let changes = backends.compare(&[renamed], &[None]);
        assert_eq!((changes.added, changes.removed), (vec![0], vec![token(0)]));
    }
}
