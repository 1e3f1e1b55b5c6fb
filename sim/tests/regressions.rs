//! Runs the plans that once failed and the corpora of the fuzzer on every `cargo test`.

use std::fs;
use std::path::{Path, PathBuf};

use sim::{fuzz, plan, run};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The files of a directory with an extension, or all files if `None`.
fn files(directory: &str, extension: Option<&str>) -> Vec<PathBuf> {
    let directory = root().join(directory);
    let entries = fs::read_dir(&directory).expect("the directory is part of the repository");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("the directory can be read").path())
        .filter(|path| extension.is_none_or(|wanted| path.extension().is_some_and(|e| e == wanted)))
        .collect();
    paths.sort();
    paths
}

#[test]
fn every_plan_that_once_failed_passes() {
    let paths = files("tests/regressions", Some("ron"));
    assert!(!paths.is_empty());
    for path in paths {
        let text = fs::read_to_string(&path).expect("the file can be read");
        let plan = plan::read(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let violation = run::judge(&plan).violation;
        assert_eq!(violation, None, "{}", path.display());
    }
}

#[test]
fn the_fuzzer_corpora_pass() {
    for (directory, run) in [
        ("fuzz/corpus/plans", fuzz::run_plan as fn(&[u8])),
        ("fuzz/corpus/inputs", fuzz::run_inputs as fn(&[u8])),
    ] {
        let paths = files(directory, None);
        assert!(!paths.is_empty(), "{directory} is empty");
        for path in paths {
            run(&fs::read(&path).expect("the file can be read"));
        }
    }
}
