//! Where a configuration comes from: a file with flags beside it, or flags alone. Either may name
//! files of certificates.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use super::watch::Stamps;
use crate::proxy::config::{CertificateFiles, ProxyConfig};
use crate::proxy::tls::Certificates;

/// What each file of certificates held when it was read, in short.
pub type Contents = BTreeMap<PathBuf, u64>;

/// Reads a configuration, or says in a line each what is wrong.
pub type Read = Box<dyn Fn() -> Result<ProxyConfig, Vec<String>>>;

/// Where a configuration comes from.
pub struct Source {
    /// The file, if there is one.
    file: Option<PathBuf>,
    /// Opens no file but that one.
    read: Read,
    /// The same, and opens every file that is named, to say where one is named that cannot be used.
    check: Read,
    /// How the file looked when this was made.
    first: Stamps,
}

/// A configuration that is good, with all that its files hold.
pub struct Loaded {
    /// The configuration.
    pub config: Arc<ProxyConfig>,
    /// What its files hold, for TLS.
    pub certificates: Arc<Certificates>,
    /// The same, in short.
    pub contents: Contents,
    /// How the files looked just before they were read.
    pub stamps: Stamps,
}

impl Source {
    /// A file. `read` opens no other one, `check` every one that is named. To be made before the file
    /// is read for the first time, so that no change after that is missed.
    #[must_use]
    pub fn file(file: PathBuf, read: Read, check: Read) -> Self {
        let mut first = Stamps::default();
        first.add(&file);
        Self { file: Some(file), read, check, first }
    }

    /// A configuration that is always the same; the files that it names are not.
    #[must_use]
    pub fn fixed(config: &ProxyConfig) -> Self {
        let (one, other) = (config.clone(), config.clone());
        let (read, check) =
            (Box::new(move || Ok(one.clone())), Box::new(move || Ok(other.clone())));
        Self { file: None, read, check, first: Stamps::default() }
    }

    /// Goes on from a configuration that was read from here: what is a pipe can be read only once.
    ///
    /// # Errors
    /// Everything that is wrong, as [`Source::load`] says it.
    pub fn begin(&self, config: ProxyConfig) -> Result<Loaded, Vec<String>> {
        self.complete(config, &mut self.first.clone())
    }

    /// Reads everything. `stamps` says afterwards how each file looked before it was read. If it is
    /// unknown which files are named, those stay in it that were there.
    ///
    /// # Errors
    /// Everything that is wrong, in a line each, with its place in the file where it has one.
    pub fn load(&self, stamps: &mut Stamps) -> Result<Loaded, Vec<String>> {
        if let Some(file) = &self.file {
            stamps.add(file);
        }
        self.complete((self.read)()?, stamps)
    }

    /// Reads the files that a configuration names.
    fn complete(&self, config: ProxyConfig, stamps: &mut Stamps) -> Result<Loaded, Vec<String>> {
        let files = certificate_files(&config);
        let named: Vec<_> = files.iter().chain(&self.file).cloned().collect();
        stamps.keep_only(&named);
        for file in &named {
            stamps.add(file);
        }
        check(&config)?;
        let certificates = Certificates::load(&config).map_err(|errors| {
            // The same with a place in the file, unless it was put right in between.
            (self.check)().err().unwrap_or(errors)
        })?;
        let contents = files.into_iter().map(|file| {
            let short = short(&file);
            (file, short)
        });
        Ok(Loaded {
            contents: contents.collect(),
            config: Arc::new(config),
            certificates: Arc::new(certificates),
            stamps: stamps.clone(),
        })
    }
}

/// What pools and listeners will not take, in a line each.
fn check(config: &ProxyConfig) -> Result<(), Vec<String>> {
    let clusters = config.clusters.iter().filter_map(|cluster| {
        let error = cluster.pool_config(0).check().err()?;
        Some(format!("cluster {}: {error}", cluster.name))
    });
    let limits = config.client_limits.check().err();
    let limits = limits.map(|(name, expected)| format!("{name}: {expected}"));
    let errors: Vec<_> = clusters.chain(limits).collect();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Every file of certificates, keys and authorities that is named, once.
fn certificate_files(config: &ProxyConfig) -> Vec<PathBuf> {
    let pair = |files: &CertificateFiles| [files.certificate.clone(), files.key.clone()];
    let mut files = Vec::new();
    for listener in &config.listeners {
        files.extend(listener.tls.iter().flat_map(pair));
    }
    for backend in config.clusters.iter().flat_map(|cluster| &cluster.backends) {
        files.extend(backend.tls.certificate.iter().flat_map(pair));
        files.extend(backend.tls.authorities.clone());
    }
    files.sort();
    files.dedup();
    files
}

/// Tells contents apart. One that has become unreadable since it was read is yet another one.
fn short(file: &PathBuf) -> u64 {
    let mut hasher = DefaultHasher::new();
    std::fs::read(file).ok().hash(&mut hasher);
    hasher.finish()
}
