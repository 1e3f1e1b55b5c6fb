//! The type of a setting: one entry for the file, the flag, its help and printing.

use super::value::{Kind, Value};

/// Gets and sets the value of a setting in a configuration.
#[derive(Debug)]
pub struct Access<T> {
    /// Returns the value; `None` if an optional one is not set.
    pub get: fn(&T) -> Option<Value>,
    /// Sets the value, which must be of the setting's kind.
    pub set: fn(&mut T, Value),
}

/// One setting of a part `T` of the configuration.
#[derive(Debug)]
pub struct Setting<T: 'static> {
    /// The name of its table within the table of `T`; empty for the table of `T` itself.
    pub section: &'static str,
    /// The key in that table.
    pub key: &'static str,
    /// The kind of its values.
    pub kind: Kind,
    /// Gets and sets the value.
    pub access: Access<T>,
    /// A description: one sentence without a period.
    pub description: &'static str,
    /// The long flag, if there is one.
    pub flag: Option<&'static str>,
    /// The short flag, if there is one.
    pub short: Option<char>,
    /// A description of what applies if the setting is not set, for settings without a default.
    pub unset: &'static str,
    /// True if the table must have the key.
    pub required: bool,
}

impl<T> Setting<T> {
    /// Creates a setting without a flag.
    #[must_use]
    pub const fn new(
        section: &'static str,
        key: &'static str,
        kind: Kind,
        access: Access<T>,
        description: &'static str,
    ) -> Self {
        Self {
            section,
            key,
            kind,
            access,
            description,
            flag: None,
            short: None,
            unset: "",
            required: false,
        }
    }

    /// Adds a long flag.
    #[must_use]
    pub const fn flag(mut self, flag: &'static str) -> Self {
        self.flag = Some(flag);
        self
    }

    /// Adds a short flag.
    #[must_use]
    pub const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    /// Makes the setting optional, and describes what applies if it is not set.
    #[must_use]
    pub const fn unset(mut self, unset: &'static str) -> Self {
        self.unset = unset;
        self
    }

    /// Makes the key required.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Returns section and key, joined by a dot.
    #[must_use]
    pub fn path(&self) -> String {
        match self.section {
            "" => self.key.to_owned(),
            section => format!("{section}.{}", self.key),
        }
    }

    /// Formats the value in `defaults` for people; returns `unset` if there is none.
    #[must_use]
    pub fn default_text(&self, defaults: &T) -> String {
        match (self.access.get)(defaults) {
            Some(value) => self.kind.write(&value),
            None => self.unset.to_owned(),
        }
    }
}

/// Creates the access to a field by its path.
macro_rules! field {
    ($part:ident: $($path:ident).+) => {
        $crate::config::setting::Access {
            get: |it: &$part| $crate::config::value::Field::to_value(&it.$($path).+),
            set: |it: &mut $part, value| it.$($path).+ = $crate::config::value::Field::from_value(value),
        }
    };
}

/// Creates the access to one of the two files of an optional certificate. While only one file is
/// set, the other is an empty path.
macro_rules! certificate_field {
    ($part:ident: $($path:ident).+ => $file:ident) => {
        $crate::config::setting::Access {
            get: |it: &$part| {
                let files = it.$($path).+.as_ref()?;
                $crate::config::value::Field::to_value(&files.$file)
            },
            set: |it: &mut $part, value| {
                let files = it.$($path).+.get_or_insert_default();
                files.$file = $crate::config::value::Field::from_value(value);
            },
        }
    };
}

pub(super) use {certificate_field, field};
