//! What a setting is: one entry for file, flag, help and printing.

use super::value::{Kind, Value};

/// Reads a setting out of a configuration and puts it in.
#[derive(Debug)]
pub struct Access<T> {
    /// The value; `None` if an optional one is not set.
    pub get: fn(&T) -> Option<Value>,
    /// Puts in a value of the setting's kind.
    pub set: fn(&mut T, Value),
}

/// One setting of a part `T` of the configuration.
#[derive(Debug)]
pub struct Setting<T: 'static> {
    /// The table that it is in, within that of `T`; empty if in that itself.
    pub section: &'static str,
    /// Its key in that table.
    pub key: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// Reads and puts it.
    pub access: Access<T>,
    /// What it is for, one sentence without a period.
    pub description: &'static str,
    /// The long flag, if there is one.
    pub flag: Option<&'static str>,
    /// The short flag, if there is one.
    pub short: Option<char>,
    /// What applies if it is not set, for settings without a default value.
    pub unset: &'static str,
    /// Whether its table must have it.
    pub required: bool,
}

impl<T> Setting<T> {
    /// A setting without a flag.
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

    /// With a long flag.
    #[must_use]
    pub const fn flag(mut self, flag: &'static str) -> Self {
        self.flag = Some(flag);
        self
    }

    /// With a short flag.
    #[must_use]
    pub const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    /// Optional, and what applies if it is not set.
    #[must_use]
    pub const fn unset(mut self, unset: &'static str) -> Self {
        self.unset = unset;
        self
    }

    /// Without a default.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Section and key, with a dot between them.
    #[must_use]
    pub fn path(&self) -> String {
        match self.section {
            "" => self.key.to_owned(),
            section => format!("{section}.{}", self.key),
        }
    }

    /// What applies unless it is configured, for people.
    #[must_use]
    pub fn default_text(&self, defaults: &T) -> String {
        match (self.access.get)(defaults) {
            Some(value) => self.kind.write(&value),
            None => self.unset.to_owned(),
        }
    }
}

/// The access to a field by its path.
macro_rules! field {
    ($part:ident: $($path:ident).+) => {
        $crate::config::setting::Access {
            get: |it: &$part| $crate::config::value::Field::to_value(&it.$($path).+),
            set: |it: &mut $part, value| it.$($path).+ = $crate::config::value::Field::from_value(value),
        }
    };
}

/// The access to one of the two files of an optional certificate. While only one of them is known the
/// other is empty.
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
