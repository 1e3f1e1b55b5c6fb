//! Detects changed files by polling their modification time, length and inode. Polling works the
//! same on every system and file system, for symbolic links and for replaced files, and its cost is
//! negligible at one poll a second.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::proxy::limits::FILE_WATCH_INTERVAL;
use crate::proxy::seams::{self, FileStamp};

/// The stamps of a set of files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamps(BTreeMap<PathBuf, Option<FileStamp>>);

impl Stamps {
    /// Adds a file with its present stamp.
    pub fn add(&mut self, path: &Path) {
        self.0.entry(path.to_owned()).or_insert_with(|| stamp(path));
    }

    /// Removes the files that are not in `files`.
    pub fn keep_only(&mut self, files: &[PathBuf]) {
        self.0.retain(|path, _| files.contains(path));
    }

    /// Returns the present stamps of the same files.
    fn again(&self) -> Self {
        Self(self.0.keys().map(|path| (path.clone(), stamp(path))).collect())
    }
}

/// The stamps of the watched files.
#[derive(Debug)]
pub struct Watch {
    /// The stamps before the files were last read, even if that reload failed.
    read: Stamps,
    /// The stamps at the last poll.
    last: Stamps,
}

impl Watch {
    /// Starts with the stamps from before the files were read.
    #[must_use]
    pub fn new(read: Stamps) -> Self {
        Self { last: read.clone(), read }
    }

    /// Returns the present stamps of the watched files.
    #[must_use]
    pub fn now(&self) -> Stamps {
        self.read.again()
    }

    /// Records the stamps from before the files were read again.
    pub fn was_read(&mut self, read: Stamps) {
        *self = Self::new(read);
    }

    /// Waits until the files differ from those last read, and stayed the same for
    /// [`FILE_WATCH_INTERVAL`].
    pub async fn changed(&mut self) {
        loop {
            seams::sleep(FILE_WATCH_INTERVAL).await;
            if self.look() {
                return;
            }
        }
    }

    fn look(&mut self) -> bool {
        let now = self.read.again();
        let still = now == self.last;
        self.last = now;
        still && self.last != self.read
    }
}

/// The stamp of a file; `None` if its metadata cannot be read.
fn stamp(path: &Path) -> Option<FileStamp> {
    seams::file_stamp(path).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A file path of this test only.
    fn file(name: &str) -> PathBuf {
        let name = format!("baton-watch-{}-{name}", std::process::id());
        std::env::temp_dir().join(name)
    }

    #[test]
    fn a_change_counts_until_read_and_only_when_stable() {
        let (path, other) = (file("file"), file("other"));
        fs::write(&path, "one").expect("a directory for temporary files");
        let stamps = |path: &Path| {
            let mut stamps = Stamps::default();
            stamps.add(path);
            stamps
        };
        let mut watch = Watch::new(stamps(&path));
        assert!(!watch.look() && !watch.look(), "nothing has happened");
        fs::write(&path, "three").expect("as above");
        assert!(!watch.look(), "it may still be written");
        fs::write(&path, "fourteen").expect("as above");
        assert!(!watch.look(), "it was still written");
        assert!(watch.look() && watch.look(), "until it is read");
        watch.was_read(stamps(&path));
        assert!(!watch.look() && !watch.look(), "it was read");
        // The same length and possibly the same time, but another file.
        fs::write(&other, "fourteen").expect("as above");
        fs::rename(&other, &path).expect("as above");
        assert!(!watch.look() && watch.look());
        watch.was_read(stamps(&path));
        fs::remove_file(&path).expect("as above");
        assert!(!watch.look() && watch.look(), "it is gone");
    }
}
