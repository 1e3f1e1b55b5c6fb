//! Keeps the tree as it is meant to be: sizes, words, import circles, and documents that agree with
//! the code. Each failure names file and line, and says what is expected.

mod commands;
mod conformance;
mod documents;
mod imports;
mod packages;
mod tables;
mod text;
mod tree;

/// Fails with all findings, one a line.
fn expect_none(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n{} findings", findings.join("\n"), findings.len());
}
