//! Commands and configuration files that documents show. Each `baton …` line of a block marked `sh`
//! must be one that the command line accepts; each block marked `toml` must be a good file.

use std::path::Path;

use baton::cli::Cli;
use clap::Parser as _;

use crate::expect_none;
use crate::tree::{SourceFile, files};

#[test]
fn commands_in_documents_are_accepted() {
    let mut findings = Vec::new();
    let mut count = 0;
    for file in files("", &[".md"]) {
        for (number, command) in commands(&file) {
            count += 1;
            let refused = Cli::try_parse_from(&command).err().filter(clap::Error::use_stderr);
            if let Some(error) = refused {
                let (path, command) = (&file.path, command.join(" "));
                findings.push(format!("{path}:{number}: {command}\n{error}"));
            }
        }
    }
    expect_none(&findings);
    assert!(count >= 20, "only {count} commands were found");
}

/// The words of each command, with the number of its first line.
fn commands(file: &SourceFile) -> Vec<(usize, Vec<String>)> {
    let mut commands = Vec::new();
    let mut inside = false;
    let mut whole = String::new();
    for (number, line) in file.lines() {
        if line.trim_start().starts_with("```") {
            inside = line.trim() == "```sh";
            continue;
        }
        if !inside {
            continue;
        }
        if let Some(begun) = line.strip_suffix('\\') {
            whole.push_str(begun);
            continue;
        }
        whole.push_str(line);
        commands.extend(command(&whole).map(|words| (number, words)));
        whole.clear();
    }
    commands
}

/// The words of a line that runs Baton, without what the shell does with them.
fn command(line: &str) -> Option<Vec<String>> {
    let line = line.split(" #").next().unwrap_or_default().trim();
    let line = line
        .strip_prefix("cargo run --release -- ")
        .map_or_else(|| line.to_owned(), |arguments| format!("baton {arguments}"));
    if !line.starts_with("baton ") {
        return None;
    }
    let words = line.split_whitespace();
    let own = words.take_while(|word| !matches!(*word, "&" | "||" | "&&" | "|" | ">" | "2>"));
    Some(own.map(|word| word.trim_matches(['\'', '"']).replace("$port", "1")).collect())
}

#[test]
fn configuration_files_in_documents_are_good() {
    let mut findings = Vec::new();
    let mut count = 0;
    for file in files("", &[".md"]) {
        for block in file.text.split("```toml\n").skip(1) {
            let text = block.split("```").next().unwrap_or_default();
            let read = baton::config::read(&file.path, text.as_bytes(), Path::new(""));
            findings.extend(read.err().into_iter().flatten().map(|error| error.to_string()));
            count += 1;
        }
    }
    expect_none(&findings);
    assert!(count >= 2, "only {count} files were found");
}
