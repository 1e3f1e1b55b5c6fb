//! The text format of Prometheus, version 0.0.4.

use std::collections::BTreeMap;

use crate::checker::{Invariant, Violation};

/// The labels of a series, sorted.
type Labels = BTreeMap<String, String>;

/// The samples of `/metrics`, by the names of their families.
#[derive(Debug)]
pub(super) struct Samples(BTreeMap<String, BTreeMap<Labels, f64>>);

impl Samples {
    /// Reads the text.
    ///
    /// # Errors
    /// If it is not in the format, or names a series twice.
    pub(super) fn read(text: &str) -> Result<Self, Violation> {
        let mut samples = BTreeMap::<String, BTreeMap<Labels, f64>>::new();
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let wrong = || Violation {
                invariant: Invariant::Metrics,
                what: format!("unreadable or repeated: {line}"),
            };
            let (name, labels, value) = sample(line).ok_or_else(wrong)?;
            let family = match samples.get_mut(name) {
                Some(family) => family,
                None => samples.entry(name.to_owned()).or_default(),
            };
            if family.insert(labels, value).is_some() {
                return Err(wrong());
            }
        }
        Ok(Self(samples))
    }

    /// The series of a family, each with its labels and value.
    pub(super) fn of(&self, name: &str) -> impl Iterator<Item = (&Labels, f64)> + use<'_> {
        let family = self.0.get(name).into_iter().flatten();
        family.map(|(labels, value)| (labels, *value))
    }

    /// The sum of the series of a family that have these labels.
    pub(super) fn sum(&self, name: &str, with: &[(&str, &str)]) -> f64 {
        let has = |labels: &Labels| {
            with.iter().all(|(label, value)| labels.get(*label).is_some_and(|it| it == value))
        };
        self.of(name).filter(|(labels, _)| has(labels)).map(|(_, value)| value).sum()
    }
}

/// The name, the labels and the value of a line.
fn sample(line: &str) -> Option<(&str, Labels, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, labels)) = series.split_once('{') else {
        return Some((series, Labels::new(), value));
    };
    let mut rest = labels.strip_suffix('}')?;
    let mut all = Labels::new();
    while !rest.is_empty() {
        let (label, quoted) = rest.split_once("=\"")?;
        let (value, after) = unquoted(quoted)?;
        all.insert(label.to_owned(), value);
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    Some((name, all, value))
}

/// Reads a value up to its closing quote. Returns it and what follows.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let plain = text.find(['"', '\\'])?;
    if text[plain..].starts_with('"') {
        return Some((text[..plain].to_owned(), &text[plain + 1..]));
    }
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((place, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[place + 1..])),
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
    }

    #[test]
    fn what_is_not_the_format_is_found() {
        for text in ["a", "a{x=\"1} 2", "a{x=1} 2", "a b", "a 1\na 1"] {
            assert!(Samples::read(text).is_err(), "{text}");
        }
    }
}
