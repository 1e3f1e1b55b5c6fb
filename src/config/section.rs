//! Reads one table of a file. Known keys go into a configuration; anything else is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, Range};
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Finding;
use super::files::FileUse;
use super::setting::Setting;
use super::value::{Kind, Value};

/// The least similarity (1 is equal) at which an unknown key counts as a misspelt one.
const SIMILAR: f64 = 0.65;
/// The least similarity at which an unknown key counts as misspelt even if another table has a key
/// of that name.
const SAME: f64 = 0.95;
/// The maximal length of a compared word, in bytes: the cost of a comparison grows with the length.
const COMPARED_MAX: usize = 64;
/// The maximal number of characters of a wrong value in an error.
const SHOWN_MAX: usize = 60;

/// Notes taken while a file is read.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) findings: Vec<Finding>,
    /// The position of each key and table, by path.
    pub(super) spans: BTreeMap<String, Range<usize>>,
    /// The paths of keys and tables with findings.
    pub(super) broken: BTreeSet<String>,
    /// The files that are named, and where.
    pub(super) files: Vec<(FileUse, Range<usize>)>,
    /// The directory that relative paths start from.
    pub(super) base: PathBuf,
}

impl Notes {
    /// Notes that the key or table at a path is wrong.
    pub(super) fn wrong(
        &mut self,
        path: &str,
        span: Range<usize>,
        what: impl Into<String>,
        expected: impl Into<String>,
    ) {
        let (what, expected) = (what.into(), expected.into());
        self.note(path, Finding { span, absence: false, what, expected });
    }

    /// Notes a finding, and marks its path as broken.
    fn note(&mut self, path: &str, finding: Finding) {
        self.broken.insert(path.to_owned());
        self.findings.push(finding);
    }

    /// The position of a path, or of the nearest table around it.
    pub(super) fn span(&self, path: &str) -> Range<usize> {
        with_outer(path).find_map(|path| self.spans.get(path).cloned()).unwrap_or(0..0)
    }

    /// True if there is a finding at a path, inside it or around it.
    pub(super) fn is_broken(&self, path: &str) -> bool {
        let from_here = self.broken.range::<str, _>((Bound::Included(path), Bound::Unbounded));
        let mut in_it = from_here.take_while(|broken| broken.starts_with(path));
        in_it.any(|broken| with_outer(broken).any(|outer| outer == path))
            || with_outer(path).any(|outer| self.broken.contains(outer))
    }
}

/// Iterates over a path and the paths of everything around it.
fn with_outer(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| path.rfind(['.', '[']).map(|end| &path[..end]))
}

/// A table that is being read.
pub(super) struct Section<'table, 'text> {
    /// The table's path, such as `cluster.web.limits`; empty for the whole file.
    pub(super) path: String,
    pub(super) span: Range<usize>,
    table: &'table DeTable<'text>,
    known: Vec<&'static str>,
    /// Keys of sub-tables, each with the name of its sub-table.
    within: Vec<(&'static str, &'static str)>,
}

impl<'table, 'text> Section<'table, 'text> {
    pub(super) fn new(path: String, span: Range<usize>, table: &'table DeTable<'text>) -> Self {
        Self { path, span, table, known: Vec::new(), within: Vec::new() }
    }

    /// The path of a key of this table.
    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// True if a key is present, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn get(
        &mut self,
        notes: &mut Notes,
        key: &'static str,
    ) -> Option<&'table Spanned<DeValue<'text>>> {
        self.known.push(key);
        let (name, value) = self.table.get_key_value(key)?;
        notes.spans.insert(self.path_of(key), name.span());
        Some(value)
    }

    /// Notes the keys of a sub-table, for the error if its header is missing.
    pub(super) fn expect_within(
        &mut self,
        inner: &'static str,
        keys: impl Iterator<Item = &'static str>,
    ) {
        self.within.extend(keys.map(|key| (key, inner)));
    }

    /// Reads the settings of this table into a configuration.
    pub(super) fn apply<T: 'static>(
        &mut self,
        notes: &mut Notes,
        settings: impl Iterator<Item = &'static Setting<T>>,
        target: &mut T,
    ) {
        for setting in settings {
            let Some(value) = self.get(notes, setting.key) else {
                if setting.required {
                    self.require(notes, setting.key, setting.kind);
                }
                continue;
            };
            match setting.kind.read(value.get_ref()) {
                Some(read) => setting.access.set(target, resolved(setting.kind, read, notes)),
                None => {
                    let path = self.path_of(setting.key);
                    let what = format!("'{path}' is {}", description(value.get_ref()));
                    notes.wrong(&path, value.span(), what, setting.kind.to_string());
                }
            }
        }
    }

    /// Notes that a key is missing.
    pub(super) fn require(&self, notes: &mut Notes, key: &str, kind: Kind) {
        let what = format!("'{key}' is missing in {}", self.name());
        let (span, expected) = (self.span.clone(), kind.to_string());
        notes.note(&self.path_of(key), Finding { span, absence: true, what, expected });
    }

    /// Returns a sub-table.
    pub(super) fn table(
        &mut self,
        notes: &mut Notes,
        key: &'static str,
    ) -> Option<Section<'table, 'text>> {
        let value = self.get(notes, key)?;
        let path = self.path_of(key);
        match value.get_ref() {
            DeValue::Table(table) => {
                let span = notes.span(&path);
                Some(Section::new(path, span, table))
            }
            other => {
                let what = format!("'{path}' is {}", description(other));
                notes.wrong(&path, value.span(), what, format!("a table [{path}]"));
                None
            }
        }
    }

    /// Returns the tables of an array of tables.
    pub(super) fn tables(
        &mut self,
        notes: &mut Notes,
        key: &'static str,
    ) -> Vec<Section<'table, 'text>> {
        let Some(value) = self.get(notes, key) else { return Vec::new() };
        let path = self.path_of(key);
        let expected = format!("tables [[{path}]]");
        let DeValue::Array(array) = value.get_ref() else {
            let what = format!("'{path}' is {}", description(value.get_ref()));
            notes.wrong(&path, notes.span(&path), what, expected);
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (index, element) in array.iter().enumerate() {
            let path = format!("{path}[{index}]");
            notes.spans.insert(path.clone(), element.span());
            match element.get_ref() {
                DeValue::Table(table) => sections.push(Section::new(path, element.span(), table)),
                other => {
                    let what = format!("'{path}' is {}", description(other));
                    notes.wrong(&path, element.span(), what, expected.clone());
                }
            }
        }
        sections
    }

    /// Returns the sub-tables that the file itself names, in order of position.
    pub(super) fn named_tables(
        &self,
        notes: &mut Notes,
        kind: Kind,
    ) -> Vec<(&'table str, Section<'table, 'text>)> {
        let mut sections = Vec::new();
        for (name, value) in self.table {
            let (text, span) = (name.get_ref().as_ref(), name.span());
            let path = self.path_of(text);
            notes.spans.insert(path.clone(), span.clone());
            if kind.read_text(text).is_err() {
                let what = format!("'{}' cannot be a name in {}", shown(text), self.name());
                notes.wrong(&path, span, what, kind.to_string());
                continue;
            }
            match value.get_ref() {
                DeValue::Table(table) => sections.push((text, Section::new(path, span, table))),
                other => {
                    let what = format!("'{path}' is {}", description(other));
                    notes.wrong(&path, span, what, format!("a table [{path}]"));
                }
            }
        }
        sections.sort_by_key(|(_, section)| section.span.start);
        sections
    }

    /// Notes an error for every key that was not read.
    pub(super) fn finish(self, notes: &mut Notes) {
        for name in self.table.keys() {
            let key = name.get_ref().as_ref();
            if self.known.contains(&key) {
                continue;
            }
            let what = format!("unknown key '{}' in {}", shown(key), self.name());
            let comparable = key.len() <= COMPARED_MAX;
            let slip = comparable
                && self.known.iter().any(|known| strsim::jaro_winkler(key, known) >= SAME);
            let expected = match self.within.iter().find(|(inner, _)| *inner == key) {
                Some((_, table)) if !slip => format!("it in [{}]", self.path_of(table)),
                Some(_) | None => suggestion(key, &self.known),
            };
            notes.wrong(&self.path_of(key), name.span(), what, expected);
        }
    }

    /// The table's name in messages.
    fn name(&self) -> String {
        if self.path.is_empty() {
            return "the file".to_owned();
        }
        match self.path.strip_suffix(']').and_then(|path| path.rsplit_once('[')) {
            Some((path, _)) => format!("[[{path}]]"),
            None => format!("[{}]", self.path),
        }
    }
}

/// Suggests the most similar of the known words, or all of them if none is similar.
pub(super) fn suggestion(word: &str, known: &[&str]) -> String {
    let word = word.to_lowercase();
    let comparable = word.len() <= COMPARED_MAX;
    let similarity = |known: &str| {
        if !comparable {
            return 0.0;
        }
        // Damerau-Levenshtein favours swapped letters, Jaro-Winkler equal beginnings.
        let swapped = strsim::normalized_damerau_levenshtein(&word, known);
        swapped.max(strsim::jaro_winkler(&word, known))
    };
    let nearest = known.iter().max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    match nearest {
        Some(nearest) if known.len() == 1 || similarity(nearest) >= SIMILAR => {
            format!("'{nearest}'")
        }
        Some(_) => format!("one of {}", known.join(", ")),
        None => "nothing".to_owned(),
    }
}

/// Resolves a relative path against the directory of the file.
fn resolved(kind: Kind, value: Value, notes: &Notes) -> Value {
    match (kind, value) {
        (Kind::Path, Value::Text(path)) => {
            Value::Text(notes.base.join(path).to_string_lossy().into_owned())
        }
        (_, value) => value,
    }
}

/// Describes a wrong value for an error.
fn description(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string \"{}\"", shown(text)),
        DeValue::Integer(number) => shown(&number.to_string()),
        DeValue::Float(number) => format!("the number {}", shown(&number.to_string())),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// The beginning of a text, escaped so that it fits on one line.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_MAX).is_some() {
        shown.push('…');
    }
    shown
}
