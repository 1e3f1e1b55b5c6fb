//! Patches and their headers.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A patch and its header.
#[derive(Clone, Debug)]
pub struct Patch {
    /// Its name.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// The bug it plants.
    pub bug: String,
    /// The real bugs it is modelled on.
    pub source: String,
    /// The invariants expected to break, separated by `, `.
    pub caught_by: String,
}

impl Patch {
    /// The files that it changes, from the root.
    pub(super) fn files(&self) -> io::Result<Vec<String>> {
        let text = fs::read_to_string(&self.path)?;
        let files = text.lines().filter_map(|line| line.strip_prefix("+++ b/"));
        Ok(files.map(str::to_owned).collect())
    }
}

/// Reads all patches of a directory, in the order of their names.
pub(super) fn read_bank(directory: &Path) -> Result<Vec<Patch>, String> {
    let entries =
        fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut paths: Vec<_> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension() == Some(OsStr::new("patch")))
        .collect();
    paths.sort();
    paths.into_iter().map(read_patch).collect()
}

fn read_patch(path: PathBuf) -> Result<Patch, String> {
    let shown = path.display().to_string();
    let text = fs::read_to_string(&path).map_err(|error| format!("{shown}: {error}"))?;
    let header = |name: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(name));
        found
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
            .ok_or_else(|| format!("{shown}: expected a line `{name} …` before the diff"))
    };
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Patch {
        name: stem,
        bug: header("Bug:")?,
        source: header("Source:")?,
        caught_by: header("Caught-by:")?,
        path,
    })
}
