//! What a reload changed: for the log, and as the answer to whoever asked for it.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::Trigger;
use super::source::Contents;
use crate::config::difference::Difference;

/// The files of certificates, keys and authorities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Certificates {
    /// How many were read.
    pub read: usize,
    /// Those that hold something else than before, or were not named before.
    pub changed: Vec<PathBuf>,
}

impl Certificates {
    /// Compares what they held and hold.
    #[must_use]
    pub fn between(before: &Contents, after: &Contents) -> Self {
        let changed = after.iter().filter(|(path, short)| before.get(*path) != Some(*short));
        Self { read: after.len(), changed: changed.map(|(path, _)| path.clone()).collect() }
    }
}

/// What a reload changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What asked for it.
    pub trigger: String,
    /// Whether anything is other than before.
    pub changed: bool,
    /// Everything that is, each in a few words; `nothing changed` if nothing is.
    pub changes: Vec<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// The same by parts of the configuration.
    #[serde(flatten)]
    pub difference: Difference,
    /// The files of certificates, which are read every time.
    pub certificates: Certificates,
}

impl Report {
    /// A report of these.
    #[must_use]
    pub fn new(
        trigger: Trigger,
        difference: Difference,
        certificates: Certificates,
        took: Duration,
    ) -> Self {
        let changed = !difference.is_empty() || !certificates.changed.is_empty();
        let mut changes = difference.words();
        let files = certificates.changed.iter();
        changes.extend(files.map(|path| format!("file {} re-read", path.display())));
        if !changed {
            changes.push("nothing changed".to_owned());
        }
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        Self { trigger: trigger.to_string(), changed, changes, took_ms, difference, certificates }
    }
}
