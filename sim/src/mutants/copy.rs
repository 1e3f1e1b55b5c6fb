//! A copy of the sources that costs little to bring up to date, and whose builds do not either.

use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;
use std::process::Output;

/// Directories that no build reads.
const SKIPPED: [&str; 2] = ["target", "corpus"];

/// Makes `to` equal to `from`. Writes only files whose content differs: Cargo rebuilds what is
/// newer than the last build, so what is the same must keep its time, and what changes back must
/// not.
pub(super) fn synchronise(from: &Path, to: &Path) -> io::Result<()> {
    if from.is_file() {
        let content = fs::read(from)?;
        if fs::read(to).is_ok_and(|present| present == content) {
            return Ok(());
        }
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        return fs::write(to, content);
    }
    fs::create_dir_all(to)?;
    let names = names(from)?;
    for superfluous in self::names(to)?.iter().filter(|name| !names.contains(name)) {
        let path = to.join(superfluous);
        if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    for name in names {
        synchronise(&from.join(&name), &to.join(&name))?;
    }
    Ok(())
}

/// A hash of the names and contents of all files in a directory.
pub(super) fn fingerprint(directory: &Path) -> io::Result<u64> {
    let mut hasher = DefaultHasher::new();
    let mut names = names(directory)?;
    names.sort();
    for name in names {
        let path = directory.join(&name);
        name.hash(&mut hasher);
        if path.is_dir() {
            fingerprint(&path)?.hash(&mut hasher);
        } else {
            fs::read(&path)?.hash(&mut hasher);
        }
    }
    Ok(hasher.finish())
}

fn names(directory: &Path) -> io::Result<Vec<OsString>> {
    let entries = fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.file_name()));
    let mut names = entries.collect::<io::Result<Vec<_>>>()?;
    names.retain(|name| !SKIPPED.iter().any(|skipped| name == skipped));
    Ok(names)
}

/// Returns the output of a program that has ended without an error.
pub(super) fn succeed(name: &str, output: io::Result<Output>) -> Result<Output, String> {
    let output = output.map_err(|error| format!("{name} cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let errors = text.lines().skip_while(|line| !line.starts_with("error"));
    let first: Vec<_> = errors.filter(|line| !line.trim().is_empty()).take(6).collect();
    Err(format!("{name}: {}", if first.is_empty() { text.into_owned() } else { first.join(" / ") }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    #[test]
    fn only_what_differs_is_written_and_what_is_gone_is_removed() {
        let place = std::env::temp_dir().join(format!("sim-copy-{}", std::process::id()));
        let (from, to) = (place.join("from"), place.join("to"));
        fs::create_dir_all(from.join("a/target")).expect("a directory");
        fs::write(from.join("a/same"), "1").expect("a file");
        fs::write(from.join("a/changed"), "1").expect("a file");
        fs::write(from.join("a/target/built"), "1").expect("a file");
        synchronise(&from, &to).expect("a copy");
        assert!(!to.join("a/target").exists());
        let of = |place: &Path| fingerprint(place).expect("files");
        assert_eq!(of(&from), of(&to));

        let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let age = |name: &str| {
            let file = fs::File::options().write(true).open(to.join(name)).expect("it is there");
            file.set_modified(past).expect("a time");
        };
        age("a/same");
        fs::write(to.join("a/changed"), "2").expect("a file");
        assert_ne!(of(&from), of(&to));
        age("a/changed");
        fs::create_dir_all(to.join("a/new")).expect("a directory");
        fs::write(to.join("a/new/file"), "1").expect("a file");
        synchronise(&from, &to).expect("a copy");
        let time = |name: &str| {
            let facts = fs::metadata(to.join(name)).expect("it is there");
            facts.modified().expect("the system has it")
        };
        assert_eq!(time("a/same"), past);
        assert!(
            time("a/changed") > past,
            "what changed back is newer than the build of the change"
        );
        assert_eq!(fs::read_to_string(to.join("a/changed")).expect("text"), "1");
        assert!(!to.join("a/new").exists());
        fs::remove_dir_all(place).expect("it is there");
    }
}
