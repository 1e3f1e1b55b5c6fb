//! Links, anchors and file names in documents and comments.

use std::collections::BTreeSet;

use crate::expect_none;
use crate::tree::{self, SourceFile, files};

#[test]
fn links_lead_somewhere() {
    let mut findings = Vec::new();
    for file in files("", &[".md"]) {
        for (number, line) in file.lines() {
            let links = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            for target in links {
                if !target.contains("://") && !leads_somewhere(&file, target) {
                    findings.push(format!("{}:{number}: {target} leads nowhere", file.path));
                }
            }
        }
    }
    expect_none(&findings);
}

fn leads_somewhere(from: &SourceFile, target: &str) -> bool {
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let directory = from.path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let path = if path.is_empty() { from.path.clone() } else { join(directory, path) };
    if !tree::root().join(&path).exists() {
        return false;
    }
    anchor.is_empty() || anchors(&tree::read(&path)).contains(anchor)
}

/// A relative path as seen from the root.
fn join(directory: &str, path: &str) -> String {
    let mut parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." => {}
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// The anchors of the headings, as GitHub and crates.io make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn files_that_documents_and_comments_name_exist() {
    let roots = ["src/", "sim/", "tests/", "docs/", "benches/", "fuzz/", "third_party/", ".ci/"];
    let mut findings = Vec::new();
    for file in files("", &[".md", ".rs", ".toml"]) {
        for (number, line) in file.lines().filter(|(_, line)| line.contains('`')) {
            // Every second part stands between backticks.
            let quoted = line.split('`').skip(1).step_by(2);
            let is_path = |name: &&str| {
                roots.iter().any(|root| name.starts_with(root))
                    && name.chars().all(|c| c.is_ascii_alphanumeric() || "_./-".contains(c))
            };
            for name in quoted.filter(is_path) {
                if !tree::root().join(name).exists() {
                    findings.push(format!("{}:{number}: there is no {name}", file.path));
                }
            }
        }
    }
    expect_none(&findings);
}
