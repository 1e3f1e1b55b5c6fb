//! All bugs of a bank in one build. Each function that patches change gets the bodies of all of
//! them, and the one to run is chosen when the process starts.
//!
//! It works on text that rustfmt has formatted: there a function ends at the first line that is
//! its closing brace with its own indentation.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use super::copy::succeed;
use super::patch::Patch;

/// The environment variable with the number of the bug.
pub(super) const CHOICE: &str = "SIM_PLANTED";

/// Added to the crate that has the bugs.
const SWITCH: &str = "
/// The number of the bug that this process has; 0 for none.
pub mod planted {
    use core::sync::atomic::{AtomicU32, Ordering};

    static CHOSEN: AtomicU32 = AtomicU32::new(0);

    /// Chooses a bug.
    pub fn choose(number: u32) {
        CHOSEN.store(number, Ordering::Relaxed);
    }

    /// The number of the bug.
    #[must_use]
    pub fn chosen() -> u32 {
        CHOSEN.load(Ordering::Relaxed)
    }
}
";
const MAIN: &str = "fn main() -> ExitCode {\n";

/// A function: the places of its lines.
#[derive(Debug, PartialEq)]
struct Function {
    signature: Range<usize>,
    /// Without the line of the closing brace.
    body: Range<usize>,
}

/// The bodies that a patch gives to functions, by the number of the function in its file.
type Bodies = BTreeMap<usize, String>;

/// Plants the bugs of all patches in a copy of the sources. Returns the number of each patch, by
/// its place in the list; a patch that changes more than bodies of functions has none.
pub(super) fn plant(copy: &Path, patches: &[Patch]) -> Result<Vec<Option<u32>>, String> {
    let mut changes: BTreeMap<String, Vec<(u32, Bodies)>> = BTreeMap::new();
    let mut numbers = Vec::new();
    for (place, patch) in patches.iter().enumerate() {
        let number = place as u32 + 1;
        let bodies = bodies_of(copy, patch)?;
        numbers.push(bodies.is_some().then_some(number));
        for (file, bodies) in bodies.into_iter().flatten() {
            changes.entry(file).or_default().push((number, bodies));
        }
    }
    let add = || {
        for (file, variants) in &changes {
            let path = copy.join(file);
            fs::write(&path, combine(&fs::read_to_string(&path)?, variants))?;
        }
        let library = copy.join("src/lib.rs");
        fs::write(&library, fs::read_to_string(&library)? + SWITCH)?;
        let main = copy.join("sim/src/main.rs");
        let text = fs::read_to_string(&main)?;
        let choose = format!(
            "{MAIN}    let chosen = std::env::var(\"{CHOICE}\").ok();\n    \
             baton::planted::choose(chosen.and_then(|text| text.parse().ok()).unwrap_or(0));\n"
        );
        fs::write(main, text.replacen(MAIN, &choose, 1))
    };
    add().map_err(|error: io::Error| format!("planting bugs: {error}"))?;
    Ok(numbers)
}

/// The bodies that a patch changes, by file; `None` if it changes more than bodies.
fn bodies_of(copy: &Path, patch: &Patch) -> Result<Option<Vec<(String, Bodies)>>, String> {
    let scratch = copy.join("target/scratch");
    let _ = fs::remove_dir_all(&scratch);
    let files = patch.files().map_err(|error| format!("{}: {error}", patch.name))?;
    for file in &files {
        let to = scratch.join(file);
        fs::create_dir_all(to.parent().expect("it is in a directory"))
            .and_then(|()| fs::copy(copy.join(file), to))
            .map_err(|error| format!("{}: {file}: {error}", patch.name))?;
    }
    apply(patch, &scratch)?;
    let mut all = Vec::new();
    for file in files {
        let read = |path: &Path| fs::read_to_string(path).map_err(|error| error.to_string());
        let (original, patched) = (read(&copy.join(&file))?, read(&scratch.join(&file))?);
        match changed_bodies(&original, &patched) {
            Some(bodies) => all.push((file, bodies)),
            None => return Ok(None),
        }
    }
    Ok(Some(all))
}

/// Applies a patch to sources.
pub(super) fn apply(patch: &Patch, sources: &Path) -> Result<(), String> {
    let ceiling = sources.parent().expect("it is in a directory");
    // Outside of any repository, so that git applies the patch to the copy and not to a repository
    // around it.
    let output = Command::new("git")
        .args(["apply", "--whitespace=nowarn"])
        .arg(fs::canonicalize(&patch.path).map_err(|error| error.to_string())?)
        .env("GIT_CEILING_DIRECTORIES", ceiling)
        .current_dir(sources)
        .output();
    succeed(&format!("{}: git apply", patch.name), output).map(drop)
}

fn functions(lines: &[&str]) -> Vec<Function> {
    let mut all = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let function = is_function(lines[at]).then(|| function(lines, at)).flatten();
        at = function.as_ref().map_or(at, |function| function.body.end) + 1;
        all.extend(function);
    }
    all
}

fn is_function(line: &str) -> bool {
    let words = line.split_whitespace();
    let mut words = words
        .skip_while(|word| word.starts_with("pub") || ["async", "const", "unsafe"].contains(word));
    words.next() == Some("fn")
}

/// The function whose signature begins at a line; `None` if it has no body, or one on that line.
fn function(lines: &[&str], start: usize) -> Option<Function> {
    let ends = |line: &&str| line.ends_with(['{', '}', ';']);
    let opening = start + lines[start..].iter().position(ends)?;
    if !lines[opening].ends_with('{') {
        return None;
    }
    let indentation = lines[start].len() - lines[start].trim_start().len();
    let closing = format!("{}}}", &lines[start][..indentation]);
    let end = opening + lines[opening..].iter().position(|line| *line == closing)?;
    Some(Function { signature: start..opening + 1, body: opening + 1..end })
}

/// The bodies that differ; `None` if something else does, or if a body cannot be chosen at run
/// time.
fn changed_bodies(original: &str, patched: &str) -> Option<Bodies> {
    let (original, patched): (Vec<_>, Vec<_>) =
        (original.lines().collect(), patched.lines().collect());
    let (before, after) = (functions(&original), functions(&patched));
    if without_bodies(&original, &before) != without_bodies(&patched, &after) {
        return None;
    }
    let mut bodies = Bodies::new();
    for (number, (old, new)) in before.iter().zip(&after).enumerate() {
        let body = &patched[new.body.clone()];
        if original[old.body.clone()] != *body {
            let signature = original[old.signature.clone()].join(" ");
            if signature.contains("const fn") || signature.contains("-> impl") {
                return None;
            }
            bodies.insert(number, body.join("\n"));
        }
    }
    Some(bodies)
}

fn without_bodies<'a>(lines: &[&'a str], functions: &[Function]) -> Vec<&'a str> {
    let is_within = |place: &usize| functions.iter().any(|function| function.body.contains(place));
    let places = (0..lines.len()).filter(|place| !is_within(place));
    places.map(|place| lines[place]).collect()
}

/// A file whose functions have all bodies.
fn combine(original: &str, variants: &[(u32, Bodies)]) -> String {
    let lines: Vec<_> = original.lines().collect();
    let functions = functions(&lines);
    let mut text = String::new();
    for (place, line) in lines.iter().enumerate() {
        let starts = functions.iter().position(|function| function.body.start == place);
        let ends = functions.iter().position(|function| function.body.end == place);
        let bodies = |function: usize| {
            let all = variants.iter();
            all.filter_map(move |(number, bodies)| Some((number, bodies.get(&function)?)))
        };
        // A body without lines begins and ends at the same one.
        if let Some(function) = starts.filter(|function| bodies(*function).next().is_some()) {
            text.push_str("match crate::planted::chosen() {\n");
            for (number, body) in bodies(function) {
                text.push_str(&format!("{number} => {{\n{body}\n}}\n"));
            }
            text.push_str("_ => {\n");
        }
        if ends.is_some_and(|function| bodies(function).next().is_some()) {
            text.push_str("}\n}\n");
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "const ONE: u32 = 1;

fn short() -> u32 { ONE }

impl Thing {
    pub(super) async fn long(
        &self,
        other: u32,
    ) -> Result<u32, ()> {
        if other == ONE {
            return Err(());
        }
        Ok(other)
    }

    fn empty(&self) {
    }
}
";

    #[test]
    fn a_body_that_a_patch_changes_becomes_one_of_two() {
        let patched = FILE.replace("return Err(());", "return Ok(2);");
        let bodies = changed_bodies(FILE, &patched).expect("only a body changed");
        assert_eq!(bodies.keys().collect::<Vec<_>>(), [&0]);
        let combined = combine(FILE, &[(7, bodies)]);
        let expected = "    ) -> Result<u32, ()> {
match crate::planted::chosen() {
7 => {
        if other == ONE {
            return Ok(2);
        }
        Ok(other)
}
_ => {
        if other == ONE {
            return Err(());
        }
        Ok(other)
}
}
    }
";
        assert!(combined.contains(expected), "{combined}");
        assert_eq!(combine(FILE, &[]), FILE);
    }

    #[test]
    fn an_empty_body_can_be_filled() {
        let patched = FILE.replace("empty(&self) {\n", "empty(&self) {\n        panic!();\n");
        let bodies = changed_bodies(FILE, &patched).expect("only a body changed");
        let combined = combine(FILE, &[(1, bodies)]);
        let expected = "{
match crate::planted::chosen() {
1 => {
        panic!();
}
_ => {
}
}
    }";
        assert!(combined.contains(expected), "{combined}");
    }

    #[test]
    fn a_change_outside_of_bodies_needs_a_build_of_its_own() {
        for (old, new) in [
            ("u32 = 1", "u32 = 2"),
            ("other: u32", "other: u64"),
            ("{ ONE }", "{ 2 }"),
            ("    fn empty(&self) {\n    }\n", ""),
        ] {
            assert_eq!(changed_bodies(FILE, &FILE.replacen(old, new, 1)), None, "{new}");
        }
        let constant = "const fn one() -> u32 {\n    1\n}\n";
        assert_eq!(changed_bodies(constant, &constant.replace("    1", "    2")), None);
    }
}
