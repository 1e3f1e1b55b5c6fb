//! Reads the file that callgrind writes, and adds up its instructions by crate.
//!
//! Every cost has the object and function that spent it and the source file of its line, which is
//! that of an inlined function where there is one. So code counts for the crate that it was written
//! in, even where the compiler moved it into another one. The standard library is the exception:
//! inlined, it counts for the crate of the function around it.

use std::collections::{BTreeMap, HashMap};

/// The row of the pool's checks of itself, once a second. Valgrind makes requests slow but not the
/// clock, so it would be many times too large for a request.
pub(crate) const AUDIT: &str = "the audit";

/// Instructions by crate, and by object outside the program of this name. Returns `None` if the
/// text has another form.
pub(crate) fn by_crate(text: &str, program: &str) -> Option<BTreeMap<String, u64>> {
    let mut names = Names::default();
    let mut at = Place::default();
    let mut costs = BTreeMap::new();
    let mut is_of_a_call = false;
    if !text.lines().any(|line| line == "events: Ir") {
        return None;
    }
    for line in text.lines() {
        if let Some((key, value)) = line.split_once('=') {
            match key {
                "ob" => at.object = names.read("ob", value)?,
                "fl" => {
                    at.file = names.read("fl", value)?;
                    at.home = at.file;
                }
                "fi" | "fe" => at.file = names.read("fl", value)?,
                "fn" => at.function = names.read("fn", value)?,
                "cob" => drop(names.read("ob", value)?),
                "cfi" | "cfl" => drop(names.read("fl", value)?),
                "cfn" => drop(names.read("fn", value)?),
                "calls" => is_of_a_call = true,
                _ => {}
            }
            continue;
        }
        let Some(cost) = cost(line) else { continue };
        // The line after a call has what the callee spent, which is counted where it was spent.
        if !std::mem::take(&mut is_of_a_call) {
            let owner = at.owner(program);
            match costs.get_mut(&*owner) {
                Some(sum) => *sum += cost,
                None => drop(costs.insert(owner, cost)),
            }
        }
    }
    Some(costs)
}

/// The cost in a line like `+3 17`: a position, then the instructions.
fn cost(line: &str) -> Option<u64> {
    let (position, cost) = line.split_once(' ')?;
    let is_position = position.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c));
    if is_position { cost.parse().ok() } else { None }
}

/// The names that were written once, as `(3) name`, and are `(3)` from then on.
#[derive(Default)]
struct Names<'a>(HashMap<(&'static str, &'a str), &'a str>);

impl<'a> Names<'a> {
    fn read(&mut self, kind: &'static str, text: &'a str) -> Option<&'a str> {
        let Some((id, name)) = text.strip_prefix('(').and_then(|text| text.split_once(')')) else {
            return Some(text);
        };
        match name.strip_prefix(' ') {
            Some(name) => {
                self.0.insert((kind, id), name);
                Some(name)
            }
            None => self.0.get(&(kind, id)).copied(),
        }
    }
}

/// Where instructions were spent.
#[derive(Default)]
struct Place<'a> {
    object: &'a str,
    function: &'a str,
    /// The source file of the function.
    home: &'a str,
    /// The source file of the line.
    file: &'a str,
}

impl Place<'_> {
    /// The name of the row.
    fn owner(&self, program: &str) -> String {
        let object = self.object.rsplit('/').next().unwrap_or_default();
        if object != program {
            return object.split(".so").next().unwrap_or_default().to_owned();
        }
        if self.function.contains("::recount") || self.function.contains("::audit") {
            return AUDIT.to_owned();
        }
        of_file(self.file)
            .or_else(|| of_file(self.home))
            .or_else(|| of_function(self.function))
            .unwrap_or("std")
            .to_owned()
    }
}

/// The crate that a source file belongs to, and for Baton its part. `None` stands for the standard
/// library and for what has no file.
fn of_file(file: &str) -> Option<&str> {
    if let Some((_, path)) = file.split_once("/registry/src/") {
        return path.split('/').nth(1).map(without_version);
    }
    if file.contains("/library/") || file.starts_with("/rust/deps/") || matches!(file, "" | "???") {
        return None;
    }
    if let Some((_, path)) = file.split_once("/third_party/") {
        return path.split('/').next();
    }
    // The paths of its C and assembler files are cut off when it is built.
    if file.starts_with("/aws-lc/") {
        return Some("aws-lc-sys");
    }
    let parts = [("/pool/", "baton::pool"), ("/wire/", "baton::wire"), ("/proxy/", "baton::proxy")];
    let part = parts.into_iter().find(|(part, _)| file.contains(part));
    Some(part.map_or("baton, other parts", |(_, name)| name))
}

/// The name in a directory like `tokio-util-0.7.20`.
fn without_version(directory: &str) -> &str {
    let mut hyphens = directory.match_indices('-').map(|(index, _)| index);
    let version = hyphens.find(|index| directory.as_bytes()[index + 1].is_ascii_digit());
    version.map_or(directory, |index| &directory[..index])
}

/// The crate of a function without a source file: assembler code, and C.
fn of_function(function: &str) -> Option<&'static str> {
    let starts = [("ring_core", "ring"), ("mi_", "libmimalloc-sys"), ("_mi_", "libmimalloc-sys")];
    starts.into_iter().find_map(|(start, name)| function.starts_with(start).then_some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# callgrind format
version: 1
positions: line
events: Ir
summary: 5000

ob=(1) /opt/baton
fl=(1) /home/me/baton/src/proxy/relay.rs
fn=(1) baton::proxy::relay::relay
10 3
fi=(2) /rustc/123/library/core/src/option.rs
+2 20
fi=(3) /home/me/.cargo/registry/src/index-1/tokio-util-0.7.20/src/lib.rs
* 100
cob=(2) /usr/lib/libc.so.6
cfi=(4) ./string/memcpy.S
cfn=(2) memcpy
calls=4 0
-1 4000
fe=(1)
13 5

ob=(2)
fl=(4)
fn=(2)
7 4000

ob=(1)
fl=(2)
fn=(3) core::ptr::drop_in_place
1 50

fl=(6) /home/me/baton/third_party/h2/src/hpack/table.rs
fn=(6) h2::hpack::table::Table::index
3 60

fl=(5) ???
fn=(4) ring_core_0_17_aes_gcm
0 7
fn=(5) baton::pool::Pool::recount
2 900

totals: 5000
";

    #[test]
    fn costs_count_where_the_line_was_written() {
        let expected = [
            ("baton::proxy", 28),
            ("h2", 60),
            ("libc", 4_000),
            ("ring", 7),
            ("std", 50),
            ("tokio-util", 100),
            (AUDIT, 900),
        ];
        let expected = expected.map(|(name, cost)| (name.to_owned(), cost));
        assert_eq!(by_crate(TEXT, "baton"), Some(BTreeMap::from(expected)));
    }

    #[test]
    fn another_format_is_refused() {
        assert_eq!(by_crate(&TEXT.replace("events: Ir", "events: Ir Dr"), "baton"), None);
        assert_eq!(by_crate(&TEXT.replace("(3) /home", "(3)/home"), "baton"), None);
    }

    #[test]
    fn crates_have_no_versions() {
        let names = ["http-1.5.0", "libmimalloc-sys-0.1.49", "h2-0.4.20", "aws-lc-rs-1.0.0-rc.1"];
        assert_eq!(names.map(without_version), ["http", "libmimalloc-sys", "h2", "aws-lc-rs"]);
    }
}
