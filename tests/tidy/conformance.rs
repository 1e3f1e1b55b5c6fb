//! The tests that `docs/conformance.md` and the pages about h2 name.

use std::collections::BTreeSet;
use std::fs;

use crate::expect_none;
use crate::tree;

#[test]
fn tests_that_hold_a_rule_exist() {
    let text = tree::read("docs/conformance.md");
    let missing = names(&text).into_iter().filter(|name| !exists(name));
    expect_none(&missing.map(|name| format!("there is no test {name}")).collect::<Vec<_>>());
}

/// They leave out the name of the program that most of them are in.
#[test]
fn tests_of_h2_exist() {
    let mut missing = Vec::new();
    for page in ["docs/h2.md", "third_party/h2-patches/README.md"] {
        let text = tree::read(page);
        // Others are names of functions and types.
        let is_test = |name: &&str| {
            let module = name.split("::").next().unwrap_or_default();
            module == "loopback"
                || tree::root().join(format!("tests/h2_limits/{module}.rs")).exists()
        };
        let tests = names(&text).into_iter().filter(is_test);
        let unknown = tests.filter(|name| !exists(name) && !exists(&format!("h2_limits::{name}")));
        missing.extend(unknown.map(|name| format!("{page}: there is no test {name}")));
    }
    expect_none(&missing);
}

/// The paths of items that a page names.
fn names(text: &str) -> BTreeSet<&str> {
    // Every second part stands between backticks.
    let quoted = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let names: BTreeSet<_> = quoted.filter(|name| name.contains("::")).collect();
    assert!(!names.is_empty(), "the page names tests");
    names
}

/// True if one of the files that the path of a test can stand for has a function of its name.
fn exists(test: &str) -> bool {
    let (module, name) = test.rsplit_once("::").expect("a path has two parts");
    let function = format!("fn {name}() {{");
    let path = module.replace("::", "/");
    let files = if let Some(path) = path.strip_prefix("loopback/") {
        vec![format!("tests/loopback/{path}.rs")]
    } else if path.starts_with("h2_limits/") {
        vec![format!("tests/{path}.rs")]
    } else if path.ends_with("/tests") {
        let parent = path.trim_end_matches("/tests");
        vec![format!("src/{path}.rs"), format!("src/{parent}.rs"), format!("src/{parent}/mod.rs")]
    } else {
        vec![format!("sim/tests/proxy/{path}.rs")]
    };
    let texts = files.iter().filter_map(|file| fs::read_to_string(tree::root().join(file)).ok());
    texts.into_iter().any(|text| text.contains(&function))
}
