//! The text format of Prometheus, version 0.0.4.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;

use crate::checker::{Invariant, Violation};

/// The labels of a series, in the order of the text.
#[derive(Default)]
pub(super) struct Labels<'a>(Vec<(&'a str, Cow<'a, str>)>);

impl fmt::Debug for Labels<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.0.iter().map(|(label, value)| (label, value))).finish()
    }
}

impl Labels<'_> {
    /// The value of a label.
    pub(super) fn get(&self, label: &str) -> Option<&str> {
        let found = self.0.iter().find(|(name, _)| *name == label);
        found.map(|(_, value)| &**value)
    }

    /// True if they have these labels.
    pub(super) fn have(&self, wanted: &[(&str, &str)]) -> bool {
        wanted.iter().all(|(label, value)| self.get(label) == Some(value))
    }

    /// The number of labels.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// A series and its value.
#[derive(Debug)]
struct Sample<'a> {
    labels: Labels<'a>,
    value: f64,
}

/// The samples of `/metrics`, by the names of their families.
#[derive(Debug)]
pub(super) struct Samples<'a>(BTreeMap<&'a str, Vec<Sample<'a>>>);

impl<'a> Samples<'a> {
    /// Reads the text.
    ///
    /// # Errors
    /// If it is not in the format, or names a series twice.
    pub(super) fn read(text: &'a str) -> Result<Self, Violation> {
        Self::read_lines(text.lines())
    }

    /// Reads some families of the text.
    ///
    /// # Errors
    /// If their lines are not in the format, or name a series twice.
    pub(super) fn read_only(text: &'a str, names: &[&str]) -> Result<Self, Violation> {
        let is_of_them = |line: &&str| {
            names.iter().any(|name| {
                let rest = line.strip_prefix(name);
                rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
            })
        };
        Self::read_lines(text.lines().filter(is_of_them))
    }

    fn read_lines(lines: impl Iterator<Item = &'a str>) -> Result<Self, Violation> {
        let mut samples = BTreeMap::<&str, Vec<Sample<'_>>>::new();
        let mut all_series = HashSet::new();
        for line in lines.filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let wrong = || Violation {
                invariant: Invariant::Metrics,
                what: format!("unreadable or repeated: {line}"),
            };
            let (series, value) = line.rsplit_once(' ').ok_or_else(wrong)?;
            let value = value.parse().map_err(|_| wrong())?;
            let (name, labels) = read_series(series).ok_or_else(wrong)?;
            if !all_series.insert(series) {
                return Err(wrong());
            }
            samples.entry(name).or_default().push(Sample { labels, value });
        }
        Ok(Self(samples))
    }

    /// The series of a family, each with its labels and value.
    pub(super) fn of(&self, name: &str) -> impl Iterator<Item = (&Labels<'a>, f64)> + use<'_, 'a> {
        let family = self.0.get(name).into_iter().flatten();
        family.map(|sample| (&sample.labels, sample.value))
    }

    /// The sum of the series of a family that have these labels.
    pub(super) fn sum(&self, name: &str, wanted: &[(&str, &str)]) -> f64 {
        self.of(name).filter(|(labels, _)| labels.have(wanted)).map(|(_, value)| value).sum()
    }
}

/// The name and the labels of a series.
fn read_series(series: &str) -> Option<(&str, Labels<'_>)> {
    let Some((name, labels)) = series.split_once('{') else {
        return Some((series, Labels::default()));
    };
    let mut rest = labels.strip_suffix('}')?;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (label, quoted) = rest.split_once("=\"")?;
        let (value, after) = unquoted(quoted)?;
        all.push((label, value));
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    Some((name, Labels(all)))
}

/// Reads a value up to its closing quote. Returns it and what follows.
fn unquoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let plain = text.find(['"', '\\'])?;
    if text[plain..].starts_with('"') {
        return Some((text[..plain].into(), &text[plain + 1..]));
    }
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((place, character)) = characters.next() {
        match character {
            '"' => return Some((value.into(), &text[place + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read_with_their_labels() {
        let text = "# HELP a b\na{x=\"1\",y=\"c\\\"d,e}\"} 3\na{x=\"2\",y=\"\"} 4.5\nb 7\n";
        let samples = Samples::read(text).expect("it is the format");
        assert_eq!(samples.sum("a", &[]), 7.5);
        assert_eq!(samples.sum("a", &[("x", "1"), ("y", "c\"d,e}")]), 3.0);
        assert_eq!((samples.sum("b", &[]), samples.sum("c", &[])), (7.0, 0.0));
        let samples = Samples::read_only("a{x=\"1\"} 1\na_b 2\nb 3\nwrong", &["a", "b"]);
        let samples = samples.expect("these are in the format");
        assert_eq!(["a", "b", "a_b"].map(|name| samples.sum(name, &[])), [1.0, 3.0, 0.0]);
    }

    #[test]
    fn what_is_not_the_format_is_found() {
        for text in ["a", "a{x=\"1} 2", "a{x=1} 2", "a b", "a 1\na 1"] {
            assert!(Samples::read(text).is_err(), "{text}");
        }
    }
}
