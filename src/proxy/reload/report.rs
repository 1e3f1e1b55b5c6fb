//! The changes made by a reload, for the log and for the requester.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::source::Contents;
use crate::config::difference::Difference;
use crate::words;

words! {
    /// The source of a request for a reload.
    pub enum Trigger {
        /// SIGHUP.
        Signal = "SIGHUP",
        /// A request to the admin interface.
        Admin = "admin",
        /// A changed file.
        Watch = "changed file",
    }
}

/// The files of certificates, keys and authorities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Certificates {
    /// The number of files read.
    pub read: usize,
    /// Files with changed contents, and files that were not named before.
    pub changed: Vec<PathBuf>,
}

impl Certificates {
    /// Compares the contents before and after.
    #[must_use]
    pub fn between(before: &Contents, after: &Contents) -> Self {
        let changed = after.iter().filter(|(path, short)| before.get(*path) != Some(*short));
        Self { read: after.len(), changed: changed.map(|(path, _)| path.clone()).collect() }
    }
}

/// The changes made by a reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The source of the request.
    pub trigger: String,
    /// True if anything changed.
    pub changed: bool,
    /// Each change in a few words; `nothing changed` if there is none.
    pub changes: Vec<String>,
    /// The duration of the reload, in milliseconds.
    pub took_ms: u64,
    /// The changes by parts of the configuration.
    #[serde(flatten)]
    pub difference: Difference,
    /// The certificate files, which are read on every reload.
    pub certificates: Certificates,
}

impl Report {
    /// Creates a report.
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
