//! A directory for the files of one run, removed at the end.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Outcome;

/// The directory of this process.
pub(crate) fn path() -> PathBuf {
    std::env::temp_dir().join(format!("baton-compare-{}", std::process::id()))
}

/// Removes the directory when dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn make() -> Outcome<Self> {
        fs::create_dir_all(path()).map_err(|error| format!("{}: {error}", path().display()))?;
        Ok(Self(path()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove();
    }
}

/// Removes the directory, also on a signal. Failure is ignored: the process is about to end.
pub(crate) fn remove() {
    let _ = fs::remove_dir_all(path());
}
