//! Sizes, line widths and words.

use crate::expect_none;
use crate::tree::{self, SourceFile, files};

const FILE_LINES_MAX: usize = 500;
const COMMENT_CHARACTERS_MAX: usize = 100;
const README_LINES_MAX: usize = 250;
const WORDS: &str = "tests/tidy/words.txt";
/// Openings of a doc comment that no statement follows.
const FRAGMENTS: [&str; 8] =
    ["Whether", "Which", "Of which", "Since when", "What", "Who", "Whose", "Until when"];

#[test]
fn no_file_is_longer_than_500_lines() {
    let long = files("", &[".rs"]).into_iter().filter_map(|file| {
        let lines = file.text.lines().count();
        (lines > FILE_LINES_MAX)
            .then(|| format!("{}: {lines} lines, expected at most {FILE_LINES_MAX}", file.path))
    });
    expect_none(&long.collect::<Vec<_>>());
}

#[test]
fn the_readme_is_short() {
    let lines = tree::read("README.md").lines().count();
    assert!(lines <= README_LINES_MAX, "{lines} lines, expected at most {README_LINES_MAX}");
}

#[test]
fn comments_are_at_most_100_characters_wide() {
    let mut findings = Vec::new();
    for file in files("", &[".rs"]) {
        for (number, line) in file.lines() {
            let text = line.trim_start();
            // A row of a table and an address cannot be wrapped.
            let fixed =
                text.starts_with("//! |") || text.starts_with("/// |") || text.contains("://");
            let width = line.chars().count();
            if text.starts_with("//") && !fixed && width > COMMENT_CHARACTERS_MAX {
                let path = &file.path;
                findings.push(format!(
                    "{path}:{number}: {width} characters, expected at most {COMMENT_CHARACTERS_MAX}"
                ));
            }
        }
    }
    expect_none(&findings);
}

#[test]
fn every_concept_goes_by_its_one_term() {
    let words = words();
    let mut findings = Vec::new();
    for file in files("", &[".rs", ".md", ".toml", ".patch", ".html", ".yml", ".ci/run"]) {
        look_for_words(&file, &words, &mut findings);
    }
    expect_none(&findings);
}

/// Each word in lower case, with what to write instead.
fn words() -> Vec<(String, String)> {
    let text = tree::read(WORDS);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let words = lines.map(|line| {
        let (word, replacement) = line.split_once('\t').expect("a word, a tab, a replacement");
        (word.to_lowercase(), replacement.to_owned())
    });
    words.collect()
}

fn look_for_words(file: &SourceFile, words: &[(String, String)], findings: &mut Vec<String>) {
    let all = file.text.to_lowercase();
    let words: Vec<_> = words.iter().filter(|(word, _)| all.contains(word)).collect();
    // The lines that a patch changes or stands between are not ours.
    let foreign = |line: &str| {
        file.path.ends_with(".patch")
            && [" ", "-", "@@"].iter().any(|start| line.starts_with(start))
    };
    for (number, line) in file.lines().filter(|(_, line)| !foreign(line)) {
        for (word, replacement) in &words {
            if has_word(line, word) {
                let path = &file.path;
                findings.push(format!("{path}:{number}: {word:?}, expected {replacement}"));
            }
        }
    }
}

/// True if `line` has `word`, given in lower case, between two borders of words.
fn has_word(line: &str, word: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    lower.match_indices(word).any(|(start, _)| {
        let end = start + word.len();
        let hump = line[start..].starts_with(|first: char| first.is_ascii_uppercase())
            && line[..start].ends_with(|last: char| last.is_ascii_lowercase());
        let begins = hump || !line[..start].ends_with(|last: char| last.is_ascii_alphabetic());
        let all_caps = line[start..end].chars().all(|c| !c.is_ascii_lowercase());
        let goes_on =
            |next: char| next.is_ascii_lowercase() || (all_caps && next.is_ascii_uppercase());
        begins && !line[end..].starts_with(goes_on)
    })
}

#[test]
fn words_are_found_in_prose_and_in_names() {
    for line in ["a cat.", "Cat", "is_cat()", "CatKind", "WrongCat", "MAX_CAT_TIME"] {
        assert!(has_word(line, "cat"), "{line}");
    }
    for line in ["cats", "Catalogue", "educate", "CATS"] {
        assert!(!has_word(line, "cat"), "{line}");
    }
}

#[test]
fn doc_comments_open_with_a_statement() {
    let mut findings = Vec::new();
    for file in files("", &[".rs"]) {
        let mut inside = false;
        for (number, line) in file.lines() {
            let text = line.trim_start();
            let doc = text.strip_prefix("///").or_else(|| text.strip_prefix("//!"));
            let opens = |fragment: &&&str| {
                let rest = doc.and_then(|doc| doc.trim_start().strip_prefix(**fragment));
                rest.is_some_and(|rest| rest.starts_with(' '))
            };
            if !inside && let Some(fragment) = FRAGMENTS.iter().find(opens) {
                let path = &file.path;
                findings.push(format!("{path}:{number}: opens with {fragment:?}: {text}"));
            }
            inside = doc.is_some();
        }
    }
    expect_none(&findings);
}

#[test]
fn nothing_is_left_for_later() {
    let marks = ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!(", "dbg!("];
    let mut findings = Vec::new();
    for file in files("", &[".rs", ".md", ".toml"]) {
        for (number, line) in file.lines().filter(|_| file.path != "tests/tidy/text.rs") {
            if let Some(mark) = marks.iter().find(|mark| line.contains(**mark)) {
                findings.push(format!("{}:{number}: {mark}", file.path));
            }
        }
    }
    expect_none(&findings);
}
