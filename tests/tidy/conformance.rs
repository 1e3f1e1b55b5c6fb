//! The tests that `docs/conformance.md` names.

use std::collections::BTreeSet;
use std::fs;

use crate::expect_none;
use crate::tree;

#[test]
fn tests_that_hold_a_rule_exist() {
    let text = tree::read("docs/conformance.md");
    // Every second part stands between backticks.
    let quoted = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let names: BTreeSet<_> = quoted.filter(|name| name.contains("::")).collect();
    assert!(!names.is_empty(), "the page names tests");
    let missing = names.into_iter().filter(|name| !exists(name));
    expect_none(&missing.map(|name| format!("there is no test {name}")).collect::<Vec<_>>());
}

/// True if one of the files that the path of a test can stand for has a function of its name.
fn exists(test: &str) -> bool {
    let (module, name) = test.rsplit_once("::").expect("a path has two parts");
    let function = format!("fn {name}() {{");
    let path = module.replace("::", "/");
    let files = if let Some(path) = path.strip_prefix("loopback/") {
        vec![format!("tests/loopback/{path}.rs")]
    } else if path.ends_with("/tests") {
        let parent = path.trim_end_matches("/tests");
        vec![format!("src/{path}.rs"), format!("src/{parent}.rs"), format!("src/{parent}/mod.rs")]
    } else {
        vec![format!("sim/tests/proxy/{path}.rs")]
    };
    let texts = files.iter().filter_map(|file| fs::read_to_string(tree::root().join(file)).ok());
    texts.into_iter().any(|text| text.contains(&function))
}
