//! Notices that files have changed, by looking at them once in a while: their modification time,
//! length and inode. That is the same on every system and file system, for symbolic links and files
//! that are replaced, and costs nothing worth sparing at one look a second.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::proxy::seams;

/// The time between two looks. A file that changes must stand still for as long.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// How a file looked. Symbolic links are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Stamp {
    /// `None` if it cannot be looked at.
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            seconds: metadata.mtime(),
            nanoseconds: metadata.mtime_nsec(),
        })
    }
}

/// How files looked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamps(BTreeMap<PathBuf, Option<Stamp>>);

impl Stamps {
    /// Looks at a file.
    pub fn add(&mut self, path: &Path) {
        self.0.entry(path.to_owned()).or_insert_with(|| Stamp::of(path));
    }

    /// Forgets all other files.
    pub fn keep_only(&mut self, files: &[PathBuf]) {
        self.0.retain(|path, _| files.contains(path));
    }

    /// Looks at the same files again.
    fn again(&self) -> Self {
        Self(self.0.keys().map(|path| (path.clone(), Stamp::of(path))).collect())
    }
}

/// What is known of files.
#[derive(Debug)]
pub struct Watch {
    /// How they looked before they were last read, whatever came of it.
    read: Stamps,
    /// How they looked last.
    last: Stamps,
}

impl Watch {
    /// They were read when they looked like this.
    #[must_use]
    pub fn new(read: Stamps) -> Self {
        Self { last: read.clone(), read }
    }

    /// How the files look now that are known so far.
    #[must_use]
    pub fn now(&self) -> Stamps {
        self.read.again()
    }

    /// They were read again when they looked like this.
    pub fn was_read(&mut self, read: Stamps) {
        *self = Self::new(read);
    }

    /// Waits until they have changed since they were read, and stood still for [`INTERVAL`].
    pub async fn changed(&mut self) {
        loop {
            seams::sleep(INTERVAL).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of this test's own.
    fn file(name: &str) -> PathBuf {
        let name = format!("baton-watch-{}-{name}", std::process::id());
        std::env::temp_dir().join(name)
    }

    #[test]
    fn a_change_counts_once_and_only_when_it_stands_still() {
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
        assert!(watch.look() && watch.look(), "until somebody reads it");
        watch.was_read(stamps(&path));
        assert!(!watch.look() && !watch.look(), "it was read, whatever came of it");
        // The same length and, perhaps, the same time: another file.
        fs::write(&other, "fourteen").expect("as above");
        fs::rename(&other, &path).expect("as above");
        assert!(!watch.look() && watch.look());
        watch.was_read(stamps(&path));
        fs::remove_file(&path).expect("as above");
        assert!(!watch.look() && watch.look(), "it is gone");
    }
}
