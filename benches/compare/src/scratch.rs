//! A directory for the files of one run, removed at its end.

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

/// What a signal does too. There is nobody to tell about a failure.
pub(crate) fn remove() {
    let _ = fs::remove_dir_all(path());
}
