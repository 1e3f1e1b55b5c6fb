//! Reads, checks and prints the configuration file.
//!
//! | module | what it is |
//! |---|---|
//! | [`settings`] | every setting, once: key, flag, kind, bounds, description |
//! | [`setting`], [`value`] | the type of an entry; kinds of values and their formats |
//! | [`rules`] | rules between values, for files and for flags |
//! | `syntax`, `section`, `reader` | from bytes to a configuration; errors have positions |
//! | `files` | checks of the certificates, keys and authorities that a file names |
//! | [`print`](mod@print) | writes a configuration as a file, with a comment for each value |
//! | [`difference`] | compares two configurations |
//! | [`error`] | errors with positions |
//!
//! Reading opens only the file itself. [`Certificates`](crate::proxy::tls::Certificates) reads the
//! certificate files. A reload does both again.

pub mod difference;
pub mod error;
mod files;
pub mod print;
mod reader;
pub mod rules;
mod section;
pub mod setting;
pub mod settings;
mod syntax;
pub mod value;

use std::io;
use std::path::Path;

use crate::proxy::backend_url::{BackendUrl, Scheme};
use crate::proxy::config::{BackendSettings, ClusterConfig, ListenerConfig, ProxyConfig};
use crate::proxy::route::Route;
use crate::proxy::seams;

pub use error::{ConfigError, Position};

/// The maximal size of a configuration file, in bytes.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// The name of the only cluster if flags alone describe the configuration.
pub const DEFAULT_CLUSTER: &str = "default";

/// Reads a configuration file. Does not open the files that it names.
///
/// # Errors
/// All errors in the file, in order of position.
pub fn load(path: &Path) -> Result<ProxyConfig, Vec<ConfigError>> {
    read(&path.display().to_string(), &bytes(path)?, &directory(path))
}

/// Reads a configuration file and checks every file that it names.
///
/// # Errors
/// All errors in these files, in order of position.
pub fn check(path: &Path) -> Result<ProxyConfig, Vec<ConfigError>> {
    let (name, bytes) = (path.display().to_string(), bytes(path)?);
    let reading = reader::read(&bytes, &directory(path));
    let unusable = files::check(&reading.files);
    let findings = reading.findings.into_iter().chain(unusable).collect();
    result(reading.config, findings, &name, &bytes)
}

/// Parses the bytes of a configuration file. Errors call the file `name`; relative paths start from
/// `base`. Opens no file.
///
/// # Errors
/// All errors in the bytes, in order of position.
pub fn read(name: &str, bytes: &[u8], base: &Path) -> Result<ProxyConfig, Vec<ConfigError>> {
    let reading = reader::read(bytes, base);
    result(reading.config, reading.findings, name, bytes)
}

fn result(
    config: ProxyConfig,
    findings: Vec<error::Finding>,
    name: &str,
    bytes: &[u8],
) -> Result<ProxyConfig, Vec<ConfigError>> {
    let errors = error::in_file(findings, name, bytes);
    if errors.is_empty() { Ok(config) } else { Err(errors) }
}

/// Reads the bytes of a file of at most [`FILE_BYTES_MAX`] bytes.
fn bytes(path: &Path) -> Result<Vec<u8>, Vec<ConfigError>> {
    let failed = |what: String, expected: String| {
        let file = path.display().to_string();
        vec![ConfigError { file, position: None, what, expected }]
    };
    let unreadable = |error: io::Error| {
        failed(format!("cannot be read: {error}"), "a file that can be read".to_owned())
    };
    seams::read_file(path, FILE_BYTES_MAX).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => {
            failed("is too long".to_owned(), format!("at most {FILE_BYTES_MAX} bytes"))
        }
        _ => unreadable(error),
    })
}

/// The absolute path of the directory of a file.
fn directory(path: &Path) -> std::path::PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    whole.parent().map_or_else(|| whole.clone(), Path::to_path_buf)
}

/// Parses bytes as a configuration file. If they are valid, prints the configuration and parses it
/// again. For tests and fuzzing.
///
/// # Panics
/// If the second configuration differs from the first, or its printed text does.
pub fn round_trip(bytes: &[u8]) {
    let base = Path::new("/");
    if let Ok(config) = read("bytes", bytes, base) {
        let text = print::print(&config);
        match read("printed", text.as_bytes(), base) {
            Ok(again) => {
                assert_eq!(again, config, "{text}");
                assert_eq!(print::print(&again), text);
            }
            Err(errors) => panic!("{errors:?} in what was printed:\n{text}"),
        }
    }
}

/// Returns the defaults with an example backend, because backends have no default.
#[must_use]
pub fn example() -> ProxyConfig {
    let mut cluster = ClusterConfig::new(DEFAULT_CLUSTER);
    let url = BackendUrl { scheme: Scheme::Https, host: "backend.example".to_owned(), port: 443 };
    let tls = cluster.tls.clone();
    cluster.backends.push(BackendSettings { url, weight: 1, tls });
    ProxyConfig {
        listeners: vec![ListenerConfig::default()],
        clusters: vec![cluster],
        routes: vec![Route::everything(DEFAULT_CLUSTER)],
        ..ProxyConfig::default()
    }
}

#[cfg(test)]
mod tests;
