//! Values of settings: their kinds, parsing and formatting.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

/// The longest duration that can be configured.
const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// Units of time, in milliseconds, the longest first.
const TIME_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
/// Units of size, in bytes, the largest first.
const SIZE_UNITS: [(&str, u64); 4] =
    [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// A value of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A count, or a number of bytes.
    Integer(u64),
    /// A duration.
    Duration(Duration),
    /// True or false.
    Boolean(bool),
    /// Any other value as text, in canonical form.
    Text(String),
}

/// The kind of a value, with its bounds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A count within inclusive bounds.
    Integer {
        /// The minimum.
        min: u64,
        /// The maximum.
        max: u64,
    },
    /// A number of bytes within inclusive bounds: an integer, or text such as `64KiB`.
    Bytes {
        /// The minimum.
        min: u64,
        /// The maximum.
        max: u64,
    },
    /// A duration such as `500ms`, up to a year.
    Duration {
        /// True if zero is allowed.
        zero: bool,
    },
    /// True or false.
    Boolean,
    /// One of these names.
    Choice(&'static [&'static str]),
    /// The path of a file. In a configuration file, a relative path starts from the directory of
    /// that file.
    Path,
    /// Any other text.
    Text {
        /// The placeholder in the help of its flag.
        placeholder: &'static str,
        /// A description of valid text.
        expected: &'static str,
        /// Returns the canonical form of valid text.
        canonical: fn(&str) -> Option<String>,
    },
}

impl Kind {
    /// A count from 1 to `max`.
    #[must_use]
    pub const fn count(max: u64) -> Self {
        Self::Integer { min: 1, max }
    }

    /// Parses the value of a flag.
    ///
    /// # Errors
    /// A description of what was expected.
    pub fn read_text(&self, text: &str) -> Result<Value, String> {
        let value = match self {
            Self::Integer { min, max } => {
                text.parse().ok().filter(|number| (min..=max).contains(&number)).map(Value::Integer)
            }
            Self::Bytes { min, max } => {
                size(text).filter(|bytes| (min..=max).contains(&bytes)).map(Value::Integer)
            }
            Self::Duration { zero } => duration(text, *zero).map(Value::Duration),
            Self::Boolean => text.parse().ok().map(Value::Boolean),
            Self::Choice(words) => words.contains(&text).then(|| Value::Text(text.to_owned())),
            Self::Path => {
                (!text.is_empty() && !text.contains('\0')).then(|| Value::Text(text.to_owned()))
            }
            Self::Text { canonical, .. } => canonical(text).map(Value::Text),
        };
        value.ok_or_else(|| format!("expected {self}"))
    }

    /// Reads a value of a file. Returns `None` if it is not of this kind or out of bounds.
    pub(super) fn read(&self, value: &DeValue<'_>) -> Option<Value> {
        match (self, value) {
            (Self::Integer { .. } | Self::Bytes { .. }, DeValue::Integer(number)) => {
                let number = u64::from_str_radix(number.as_str(), number.radix()).ok()?;
                self.read_text(&number.to_string()).ok()
            }
            (Self::Boolean, DeValue::Boolean(boolean)) => Some(Value::Boolean(*boolean)),
            (
                Self::Bytes { .. }
                | Self::Duration { .. }
                | Self::Choice(_)
                | Self::Path
                | Self::Text { .. },
                DeValue::String(text),
            ) => self.read_text(text).ok(),
            _ => None,
        }
    }

    /// Formats a value for a file.
    #[must_use]
    pub fn write(&self, value: &Value) -> String {
        match (self, value) {
            (Self::Bytes { .. }, Value::Integer(bytes)) => match unit(&SIZE_UNITS, *bytes) {
                Some((count, name, factor)) if factor > 1 => format!("\"{count}{name}\""),
                _ => bytes.to_string(),
            },
            (_, Value::Integer(number)) => number.to_string(),
            (_, Value::Duration(duration)) => {
                let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
                let (count, name, _) = unit(&TIME_UNITS, milliseconds).unwrap_or((0, "s", 1_000));
                format!("\"{count}{name}\"")
            }
            (_, Value::Boolean(boolean)) => boolean.to_string(),
            (_, Value::Text(text)) => quoted(text),
        }
    }

    /// Returns the placeholder of a value in help texts.
    #[must_use]
    pub fn placeholder(&self) -> &'static str {
        match self {
            Self::Integer { .. } => "N",
            Self::Bytes { .. } => "BYTES",
            Self::Duration { .. } => "TIME",
            Self::Boolean => "BOOL",
            Self::Choice(_) => "NAME",
            Self::Path => "FILE",
            Self::Text { placeholder, .. } => placeholder,
        }
    }
}

/// Describes valid values, with bounds and units.
impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer { min, max } => write!(formatter, "an integer from {min} to {max}"),
            Self::Bytes { min, max } => {
                let max = unit(&SIZE_UNITS, *max)
                    .map_or_else(String::new, |(count, name, _)| format!("{count}{name}"));
                write!(formatter, "bytes from {min} to {max}, such as 4096 or \"64KiB\"")
            }
            Self::Duration { zero: false } => {
                formatter.write_str("a time above zero such as \"500ms\", \"5s\", \"1m\" or \"1h\"")
            }
            Self::Duration { zero: true } => {
                formatter.write_str("a time such as \"0s\", \"500ms\", \"5s\", \"1m\" or \"1h\"")
            }
            Self::Boolean => formatter.write_str("true or false"),
            Self::Choice(words) => write!(formatter, "one of {}", words.join(", ")),
            Self::Path => formatter.write_str("the path of a file"),
            Self::Text { expected, .. } => formatter.write_str(expected),
        }
    }
}

/// Formats a text as a quoted string for a file.
#[must_use]
pub fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Returns the value in the largest unit that divides it: the count, the unit and its factor.
/// Returns `None` for zero.
fn unit(units: &[(&'static str, u64)], value: u64) -> Option<(u64, &'static str, u64)> {
    let (name, factor) =
        units.iter().find(|(_, factor)| value > 0 && value.is_multiple_of(*factor))?;
    Some((value / factor, name, *factor))
}

/// Splits a text into the number that it starts with and the rest.
fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    Some((number.parse().ok()?, rest))
}

fn duration(text: &str, zero: bool) -> Option<Duration> {
    let (number, name) = split_number(text)?;
    let (_, factor) = TIME_UNITS.iter().find(|(unit, _)| *unit == name)?;
    let duration = Duration::from_millis(number.checked_mul(*factor)?);
    (duration <= DURATION_MAX && (zero || !duration.is_zero())).then_some(duration)
}

fn size(text: &str) -> Option<u64> {
    let (number, name) = split_number(text)?;
    if name.is_empty() {
        return Some(number);
    }
    let (_, factor) = SIZE_UNITS.iter().find(|(unit, _)| *unit == name)?;
    number.checked_mul(*factor)
}

/// A type of configuration fields, which can be converted to and from values.
pub trait Field {
    /// Returns the value; `None` if an optional field is not set.
    fn to_value(&self) -> Option<Value>;
    /// Converts a value of the right kind and within its bounds.
    ///
    /// # Panics
    /// If the value is of another kind or out of bounds. [`Kind::read_text`] checks both.
    fn from_value(value: Value) -> Self;
}

const CHECKED: &str = "the kind of the setting has been checked";

impl<T: Field> Field for Option<T> {
    fn to_value(&self) -> Option<Value> {
        self.as_ref().and_then(Field::to_value)
    }

    fn from_value(value: Value) -> Self {
        Some(T::from_value(value))
    }
}

macro_rules! integer_fields {
    ($($integer:ty),+) => {$(
        impl Field for $integer {
            fn to_value(&self) -> Option<Value> {
                Some(Value::Integer(u64::try_from(*self).expect("at most 64 bits")))
            }

            fn from_value(value: Value) -> Self {
                let Value::Integer(number) = value else { panic!("{CHECKED}") };
                Self::try_from(number).expect(CHECKED)
            }
        }
    )+};
}

integer_fields!(u8, u16, u32, u64, usize);

impl Field for Duration {
    fn to_value(&self) -> Option<Value> {
        Some(Value::Duration(*self))
    }

    fn from_value(value: Value) -> Self {
        let Value::Duration(duration) = value else { panic!("{CHECKED}") };
        duration
    }
}

impl Field for bool {
    fn to_value(&self) -> Option<Value> {
        Some(Value::Boolean(*self))
    }

    fn from_value(value: Value) -> Self {
        let Value::Boolean(boolean) = value else { panic!("{CHECKED}") };
        boolean
    }
}

impl Value {
    /// Returns the text.
    ///
    /// # Panics
    /// If the value is not text.
    #[must_use]
    pub fn into_text(self) -> String {
        let Self::Text(text) = self else { panic!("{CHECKED}") };
        text
    }
}

impl Field for String {
    fn to_value(&self) -> Option<Value> {
        Some(Value::Text(self.clone()))
    }

    fn from_value(value: Value) -> Self {
        value.into_text()
    }
}

impl Field for PathBuf {
    fn to_value(&self) -> Option<Value> {
        // A path is always read from text, so the conversion loses nothing.
        Some(Value::Text(self.to_string_lossy().into_owned()))
    }

    fn from_value(value: Value) -> Self {
        value.into_text().into()
    }
}

/// Implements [`Field`] for types that are parsed from text and formatted as text.
macro_rules! text_fields {
    ($($field:ty),+ $(,)?) => {$(
        impl $crate::config::value::Field for $field {
            fn to_value(&self) -> Option<$crate::config::value::Value> {
                Some($crate::config::value::Value::Text(self.to_string()))
            }

            fn from_value(value: $crate::config::value::Value) -> Self {
                match value.into_text().parse() {
                    Ok(field) => field,
                    Err(_) => panic!("the kind of the setting has been checked"),
                }
            }
        }
    )+};
}

pub(super) use text_fields;

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Kind = Kind::Duration { zero: false };
    const SIZE: Kind = Kind::Bytes { min: 0, max: 1 << 30 };

    #[test]
    fn times_are_read_and_written_in_the_largest_unit() {
        for (text, milliseconds, canonical) in [
            ("500ms", 500, "\"500ms\""),
            ("5s", 5_000, "\"5s\""),
            ("90s", 90_000, "\"90s\""),
            ("60000ms", 60_000, "\"1m\""),
            ("8760h", 31_536_000_000, "\"8760h\""),
        ] {
            let value = TIME.read_text(text).expect(text);
            assert_eq!(value, Value::Duration(Duration::from_millis(milliseconds)));
            assert_eq!(TIME.write(&value), canonical);
        }
        for wrong in ["", "5", "s", "0s", "-1s", "1.5s", "5 s", "8761h", "99999999999999999999h"] {
            assert!(TIME.read_text(wrong).is_err(), "{wrong}");
        }
        let zero = Kind::Duration { zero: true };
        assert_eq!(zero.write(&zero.read_text("0ms").expect("zero")), "\"0s\"");
    }

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes, canonical) in [
            ("0", 0, "0"),
            ("100", 100, "100"),
            ("100B", 100, "100"),
            ("64KiB", 65_536, "\"64KiB\""),
            ("1048576", 1 << 20, "\"1MiB\""),
            ("1GiB", 1 << 30, "\"1GiB\""),
        ] {
            let value = SIZE.read_text(text).expect(text);
            assert_eq!(value, Value::Integer(bytes));
            assert_eq!(SIZE.write(&value), canonical);
        }
        for wrong in ["", "KiB", "64KB", "2GiB", "99999999999999GiB", "1.5KiB"] {
            assert!(SIZE.read_text(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn quoted_text_is_parsed_as_the_same_text() {
        for text in ["plain", "a \"quote\"", "back\\slash", "line\nbreak", "'both\" '''", "\u{7f}"]
        {
            let file = format!("key = {}", quoted(text));
            let table: toml::Table = file.parse().expect("valid");
            assert_eq!(table["key"].as_str(), Some(text));
        }
    }
}
