//! The description of a setting, and the macro that makes types from a table of settings. The
//! pool's table is [`settings`](super::settings).

use core::convert::Infallible;
use core::fmt;
use core::time::Duration;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;

/// The unit of a value as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds.
    Time,
    /// A number of items, or percent.
    Count,
    /// Bytes.
    Bytes,
}

/// Bounds of a value: from `min` to `max`, inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The unit of both bounds.
    pub unit: Unit,
    /// The lower bound.
    pub min: u64,
    /// The upper bound.
    pub max: u64,
}

impl Bounds {
    /// A time of at least `min`.
    #[must_use]
    pub const fn time(min: Duration) -> Self {
        Self { unit: Unit::Time, min: min.as_nanos() as u64, max: u64::MAX }
    }

    /// A count from 1.
    #[must_use]
    pub const fn count(max: u64) -> Self {
        Self { unit: Unit::Count, min: 1, max }
    }

    /// A number of bytes.
    #[must_use]
    pub const fn bytes(min: u64, max: u64) -> Self {
        Self { unit: Unit::Bytes, min, max }
    }

    /// The same bounds from zero.
    #[must_use]
    pub const fn or_zero(self) -> Self {
        Self { min: 0, ..self }
    }

    /// The same bounds from `min`.
    #[must_use]
    pub const fn at_least(self, min: u64) -> Self {
        Self { min, ..self }
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unit, min, max } = *self;
        match unit {
            Unit::Time if min <= 1 => formatter.write_str("more than zero"),
            Unit::Time if min.is_multiple_of(SECOND) => {
                write!(formatter, "at least {} s", min / SECOND)
            }
            Unit::Time => write!(formatter, "at least {} ms", min.div_ceil(MILLISECOND)),
            Unit::Count | Unit::Bytes => write!(formatter, "{min} to {max}"),
        }
    }
}

/// A value of a configuration that is out of bounds, or does not fit another value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The path of the value, such as `timeouts.connect`.
    pub value: &'static str,
    /// The values that are allowed.
    pub expected: Expected,
}

/// The values that are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A value within these bounds.
    Within(Bounds),
    /// A relation to other values.
    Relation(&'static str),
}

impl fmt::Display for Expected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Within(bounds) => bounds.fmt(formatter),
            Self::Relation(expected) => formatter.write_str(expected),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: expected {}", self.value, self.expected)
    }
}

impl core::error::Error for ConfigError {}

/// The type of a setting.
pub trait Field {
    /// True if the setting may be off.
    const OPTIONAL: bool = false;

    /// Returns the value as a number, times in nanoseconds; `None` if it is off.
    fn read(&self) -> Option<u64>;

    /// Makes a value from a number, times in nanoseconds; `None` is off.
    ///
    /// # Panics
    /// If the type cannot hold the number: it was not checked.
    fn write(value: Option<u64>) -> Self;
}

const CHECKED: &str = "the value was checked";

macro_rules! integers {
    ($($integer:ty)+) => {$(
        impl Field for $integer {
            fn read(&self) -> Option<u64> {
                Some(u64::try_from(*self).expect("at most 64 bits"))
            }

            fn write(value: Option<u64>) -> Self {
                Self::try_from(value.expect(CHECKED)).expect(CHECKED)
            }
        }
    )+};
}

integers!(u8 u32 usize);

impl Field for Option<u32> {
    const OPTIONAL: bool = true;

    fn read(&self) -> Option<u64> {
        self.map(u64::from)
    }

    fn write(value: Option<u64>) -> Self {
        value.map(|value| u32::try_from(value).expect(CHECKED))
    }
}

impl Field for Duration {
    fn read(&self) -> Option<u64> {
        Some(u64::try_from(self.as_nanos()).unwrap_or(u64::MAX))
    }

    fn write(value: Option<u64>) -> Self {
        Self::from_nanos(value.expect(CHECKED))
    }
}

/// An entry of a table of settings. The settings are fields of `Whole` or of its groups. `Live` is
/// the type of the names of those that may change while a pool runs.
#[derive(Debug)]
pub struct Entry<Whole, Live = Infallible> {
    /// The field, such as `timeouts.connect`.
    pub name: &'static str,
    /// The table of the configuration file.
    pub section: &'static str,
    /// The key in that table.
    pub key: &'static str,
    /// The long flag of `baton run`.
    pub flag: &'static str,
    /// A description: one sentence without a period.
    pub sentence: &'static str,
    /// The bounds.
    pub bounds: Bounds,
    /// True if the setting may be off.
    pub optional: bool,
    /// The name among the values that may change while a pool runs; `None` if a change needs a new
    /// pool.
    pub live: Option<Live>,
    /// Returns the value as [`Field::read`] does.
    pub get: fn(&Whole) -> Option<u64>,
    /// Sets the value as [`Field::write`] does.
    pub set: fn(&mut Whole, Option<u64>),
}

impl<Whole, Live> Entry<Whole, Live> {
    /// Checks the value of this setting alone.
    ///
    /// # Errors
    /// If the value is out of bounds.
    pub fn check(&self, whole: &Whole) -> Result<(), ConfigError> {
        self.check_value((self.get)(whole))
    }

    /// Checks a value; `None` is off.
    ///
    /// # Errors
    /// If the value is out of bounds.
    pub fn check_value(&self, value: Option<u64>) -> Result<(), ConfigError> {
        let Bounds { min, max, .. } = self.bounds;
        let within = value.map_or(self.optional, |value| (min..=max).contains(&value));
        let error = ConfigError { value: self.name, expected: Expected::Within(self.bounds) };
        if within { Ok(()) } else { Err(error) }
    }
}

/// Returns the first line of a doc comment, a sentence, without its period.
pub const fn sentence(doc: &'static str) -> &'static str {
    let doc = doc.trim_ascii();
    let (sentence, period) = doc.split_at(doc.len() - 1);
    assert!(period.as_bytes()[0] == b'.', "a sentence ends with a period");
    sentence
}

/// Declares settings. Makes the structs with their defaults, and `SETTINGS` with an entry for each
/// setting. The first struct has the settings in `own` as its fields, and a field for each group.
/// `live` in front also makes enums: the names of the values that may change while a pool runs.
macro_rules! settings {
    (
        $(live $Live:ident: $Timeout:ident, $Number:ident;)?

        $(#[$of_whole:meta])*
        pub struct $Whole:ident {
            $($(#[$of_other:meta])* pub $other:ident: $Other:ty = $other_default:expr,)*
        }

        $(
            $(#[$of_group:meta])*
            pub $group:ident: $Group:ident {$(
                #[doc = $sentence:literal]
                $(#[doc = $more:literal])*
                $field:ident: $Field:ty = $default:expr, $bounds:expr,
                    $section:ident.$key:ident, $flag:literal
                    $(, $live:ident $Name:ident)?;
            )*}
        )*

        own {$(
            #[doc = $own_sentence:literal]
            $(#[doc = $own_more:literal])*
            $own:ident: $Own:ty = $own_default:expr, $own_bounds:expr,
                $own_section:ident.$own_key:ident, $own_flag:literal
                $(, $own_live:ident $Own_name:ident)?;
        )*}
    ) => {
        $(#[$of_whole])*
        pub struct $Whole {
            $($(#[$of_other])* pub $other: $Other,)*
            $(
                #[doc = $own_sentence]
                $(#[doc = $own_more])*
                #[doc = concat!("\n\nDefault: `", stringify!($own_default), "`.")]
                pub $own: $Own,
            )*
            $(#[doc = concat!("See [`", stringify!($Group), "`].")] pub $group: $Group,)*
        }

        impl $Whole {
            /// Default values.
            pub const DEFAULT: Self = Self {
                $($other: $other_default,)*
                $($own: $own_default,)*
                $($group: $Group::DEFAULT,)*
            };

            /// All settings, in the order of the table.
            pub const SETTINGS: &'static [$crate::pool::setting::Entry<Self $(, $Live)?>] = &[
                $($($crate::pool::setting::Entry {
                    name: concat!(stringify!($group), ".", stringify!($field)),
                    section: stringify!($section),
                    key: stringify!($key),
                    flag: $flag,
                    sentence: $crate::pool::setting::sentence($sentence),
                    bounds: $bounds,
                    optional: <$Field as $crate::pool::setting::Field>::OPTIONAL,
                    live: $crate::pool::setting::live!($($live $Name)?),
                    get: |whole| $crate::pool::setting::Field::read(&whole.$group.$field),
                    set: |whole, value| {
                        whole.$group.$field = $crate::pool::setting::Field::write(value);
                    },
                },)*)*
                $($crate::pool::setting::Entry {
                    name: stringify!($own),
                    section: stringify!($own_section),
                    key: stringify!($own_key),
                    flag: $own_flag,
                    sentence: $crate::pool::setting::sentence($own_sentence),
                    bounds: $own_bounds,
                    optional: <$Own as $crate::pool::setting::Field>::OPTIONAL,
                    live: $crate::pool::setting::live!($($own_live $Own_name)?),
                    get: |whole| $crate::pool::setting::Field::read(&whole.$own),
                    set: |whole, value| {
                        whole.$own = $crate::pool::setting::Field::write(value);
                    },
                },)*
            ];
        }

        impl Default for $Whole {
            fn default() -> Self {
                Self::DEFAULT
            }
        }

        $(
            $(#[$of_group])*
            pub struct $Group {$(
                #[doc = $sentence]
                $(#[doc = $more])*
                #[doc = concat!("\n\nDefault: `", stringify!($default), "`.")]
                pub $field: $Field,
            )*}

            impl $Group {
                /// Default values.
                pub const DEFAULT: Self = Self { $($field: $default,)* };
            }

            impl Default for $Group {
                fn default() -> Self {
                    Self::DEFAULT
                }
            }
        )*

        $crate::pool::setting::live_names! {
            $($Live: $Timeout, $Number)?;
            $($($($live $Name,)?)*)*
            $($($own_live $Own_name,)?)*
        }
    };
}

macro_rules! live_names {
    (;) => {};
    ($Live:ident: $Timeout:ident, $Number:ident; $(timeout $time:ident,)* $(number $number:ident,)*) => {
        /// The name of a time that may change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "each is the field of the same name")]
        pub enum $Timeout {
            $($time,)*
        }

        /// The name of a number that may change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "each is the field of the same name")]
        pub enum $Number {
            $($number,)*
        }

        /// The name of a value that may change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $Live {
            /// A time.
            Timeout($Timeout),
            /// A number.
            Number($Number),
        }
    };
}

macro_rules! live {
    () => {
        None
    };
    (timeout $name:ident) => {
        Some(Live::Timeout(Timeout::$name))
    };
    (number $name:ident) => {
        Some(Live::Number(Number::$name))
    };
}

pub(crate) use {live, live_names, settings};
