//! The source of a configuration: a file with flags, or flags only. Either may name certificate
//! files.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::watch::Stamps;
use crate::proxy::config::{CertificateFiles, ProxyConfig};
use crate::proxy::limits::CERTIFICATE_FILE_BYTES_MAX;
use crate::proxy::seams;
use crate::proxy::tls::Certificates;

/// A hash of the contents of each certificate file when it was read.
pub type Contents = BTreeMap<PathBuf, u64>;

/// Reads a configuration, or returns its errors, one line each.
pub type Read = Box<dyn Fn() -> Result<ProxyConfig, Vec<String>>>;

/// The source of a configuration.
pub struct Source {
    /// The configuration file, if there is one.
    file: Option<PathBuf>,
    /// Reads the configuration and opens no other file.
    read: Read,
    /// Reads the configuration and opens every file that it names, to report where it names an
    /// unusable one.
    check: Read,
    /// The stamp of the file when this source was created.
    first: Stamps,
}

/// A valid configuration, with the contents of its files.
pub struct Loaded {
    /// The configuration.
    pub config: Arc<ProxyConfig>,
    /// The contents of its files, for TLS.
    pub certificates: Arc<Certificates>,
    /// The hashes of these contents.
    pub contents: Contents,
    /// The stamps of the files just before they were read.
    pub stamps: Stamps,
}

impl Source {
    /// Creates the source of a file. `read` opens only that file, `check` also every file that it
    /// names. Must be called before the file is first read, so that no later change is missed.
    #[must_use]
    pub fn file(file: PathBuf, read: Read, check: Read) -> Self {
        let mut first = Stamps::default();
        first.add(&file);
        Self { file: Some(file), read, check, first }
    }

    /// Creates the source of a constant configuration; the files that it names may change.
    #[must_use]
    pub fn fixed(config: &ProxyConfig) -> Self {
        let (one, other) = (config.clone(), config.clone());
        let (read, check) =
            (Box::new(move || Ok(one.clone())), Box::new(move || Ok(other.clone())));
        Self { file: None, read, check, first: Stamps::default() }
    }

    /// The same source, with a change to each configuration that it reads.
    #[cfg(feature = "simulation")]
    #[must_use]
    pub fn changed(self, change: fn(&mut ProxyConfig)) -> Self {
        let changed = |read: Read| -> Read {
            Box::new(move || {
                let mut config = read()?;
                change(&mut config);
                Ok(config)
            })
        };
        Self { read: changed(self.read), check: changed(self.check), ..self }
    }

    /// Completes a configuration that was already read from this source: a pipe can be read only
    /// once.
    ///
    /// # Errors
    /// All errors, as in [`Source::load`].
    pub fn begin(&self, config: ProxyConfig) -> Result<Loaded, Vec<String>> {
        self.complete(config, &mut self.first.clone())
    }

    /// Reads everything. Afterwards `stamps` has the stamp of each file from before it was read. If
    /// the configuration cannot be read, the files named before stay in it.
    ///
    /// # Errors
    /// All errors, one line each, with their position in the file if they have one.
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
            // Reports the same errors with their positions in the file, unless the file was
            // corrected meanwhile.
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

/// Checks what pools and listeners accept. Returns the errors, one line each.
fn check(config: &ProxyConfig) -> Result<(), Vec<String>> {
    let clusters = config.clusters.iter().filter_map(|cluster| {
        let error = cluster.pool_config(0).check().err()?;
        Some(format!("cluster {}: {error}", cluster.name))
    });
    let limits = config.client_limits.check().err();
    let limits = limits.map(|error| error.to_string());
    let errors: Vec<_> = clusters.chain(limits).collect();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Returns every certificate, key and authority file that is named, once.
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

/// Hashes the contents of a file. A file that cannot be read has its own hash.
fn short(file: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    seams::read_file(file, CERTIFICATE_FILE_BYTES_MAX).ok().hash(&mut hasher);
    hasher.finish()
}
