//! The configuration file: read, checked and printed.
//!
//! | module | what it is |
//! |---|---|
//! | [`settings`] | every setting, once: key, flag, kind, bounds, description |
//! | [`setting`], [`value`] | what an entry is; kinds of values, and how each is read and written |
//! | [`rules`] | what must hold between values, wherever they came from |
//! | `syntax`, `section`, `reader` | text, tables, configuration: every error with its place |
//! | `files` | certificates, keys and authorities that a file names |
//! | [`print`](mod@print) | a configuration as a file, with a comment for each value |
//! | [`difference`] | what differs between two configurations |
//! | [`error`] | what is wrong, and where |
//!
//! Reading opens nothing but the file itself; what certificates hold is read by
//! [`Certificates`](crate::proxy::tls::Certificates), so that a reload can do both again.

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

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::proxy::backend_url::{BackendUrl, Scheme};
use crate::proxy::config::{BackendSettings, ClusterConfig, ListenerConfig, ProxyConfig};
use crate::proxy::route::Route;

pub use error::{ConfigError, Position};

/// Longest file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// Name of the only cluster when flags alone describe the configuration.
pub const DEFAULT_CLUSTER: &str = "default";

/// Reads a file. The files that it names are not opened.
///
/// # Errors
/// Everything that is wrong with it, in the order of the file.
pub fn load(path: &Path) -> Result<ProxyConfig, Vec<ConfigError>> {
    read(&path.display().to_string(), &bytes(path)?, &directory(path))
}

/// Reads a file and every file that it names.
///
/// # Errors
/// Everything that is wrong with it or them, in the order of the file.
pub fn check(path: &Path) -> Result<ProxyConfig, Vec<ConfigError>> {
    let (name, bytes) = (path.display().to_string(), bytes(path)?);
    let reading = reader::read(&bytes, &directory(path));
    let unusable = files::check(&reading.files);
    let findings = reading.findings.into_iter().chain(unusable).collect();
    result(reading.config, findings, &name, &bytes)
}

/// Reads the bytes of a file. `name` is what errors call it; relative paths in it start from `base`.
/// Opens nothing.
///
/// # Errors
/// Everything that is wrong with it, in the order of the file.
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

/// What a file holds, if it is not too long.
fn bytes(path: &Path) -> Result<Vec<u8>, Vec<ConfigError>> {
    let failed = |what: String, expected: String| {
        let file = path.display().to_string();
        vec![ConfigError { file, position: None, what, expected }]
    };
    let unreadable =
        |error| failed(format!("cannot be read: {error}"), "a file that can be read".to_owned());
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > FILE_BYTES_MAX {
        let expected = format!("at most {FILE_BYTES_MAX} bytes");
        return Err(failed("is too long".to_owned(), expected));
    }
    Ok(bytes)
}

/// The directory that a file is in, from the root.
fn directory(path: &Path) -> std::path::PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    whole.parent().map_or_else(|| whole.clone(), Path::to_path_buf)
}

/// Reads bytes as a file, and whatever is good in them has to survive being printed and read again.
/// For tests and fuzzing.
///
/// # Panics
/// If it does not.
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

/// The defaults, with a backend that stands for those that have to be named.
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
