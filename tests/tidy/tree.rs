//! The files of the repository.

use std::fs;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

/// Directories that hold nothing written by hand.
const SKIPPED: [&str; 4] = ["target", ".git", "corpus", "artifacts"];
/// A directory that others wrote.
const FOREIGN: &str = "third_party/h2";

/// A text file of the repository.
pub(crate) struct SourceFile {
    /// Path from the root, with `/` between its parts.
    pub(crate) path: String,
    /// Its content.
    pub(crate) text: String,
}

impl SourceFile {
    /// Each line with its number, counted from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file under a path of the repository whose name ends with one of `endings`, in order.
pub(crate) fn files(under: &str, endings: &[&str]) -> Vec<SourceFile> {
    let root = root();
    let skipped = |entry: &DirEntry| {
        let name = entry.file_name().to_string_lossy();
        let is_skipped = SKIPPED.contains(&&*name) || relative(&root, entry.path()) == FOREIGN;
        entry.depth() > 0 && entry.file_type().is_dir() && is_skipped
    };
    let walk = WalkDir::new(root.join(under)).sort_by_file_name();
    let entries = walk.into_iter().filter_entry(|entry| !skipped(entry));
    let files: Vec<_> = entries
        .map(|entry| entry.expect("the tree can be read"))
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| relative(&root, entry.path()))
        .filter(|path| endings.iter().any(|ending| path.ends_with(ending)))
        .map(|path| SourceFile { text: read(&path), path })
        .collect();
    assert!(!files.is_empty(), "no file ends with {endings:?} under {under:?}");
    files
}

/// The content of a file of the repository.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn relative(root: &Path, path: &Path) -> String {
    let path = path.strip_prefix(root).expect("found under the root");
    path.to_string_lossy().replace('\\', "/")
}
