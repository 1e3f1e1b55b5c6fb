//! The type of a setting: one entry for the file, the flag, its help and printing.

use std::fmt;
use std::time::Duration;

use super::value::{Kind, Value};
use crate::pool;
use crate::pool::setting::{Bounds, Entry, Unit};
use crate::pool::settings::Live;
use crate::proxy::client_limits::ClientLimits;
use crate::proxy::config::{ClusterConfig, ProxyConfig};

/// Gets and sets the value of a setting in a configuration.
pub trait Access<T>: fmt::Debug + Sync {
    /// Returns the value; `None` if an optional one is not set.
    fn get(&self, part: &T) -> Option<Value>;

    /// Sets the value, which must be of the setting's kind.
    fn set(&self, part: &mut T, value: Value);

    /// Returns the entry of the pool's table if this is a setting of the pool.
    fn of_pool(&self) -> Option<&Entry<pool::Config, Live>> {
        None
    }
}

/// Gets and sets a field. Made by [`field!`] and [`certificate_field!`].
#[derive(Debug)]
pub(super) struct FieldAccess<T> {
    pub(super) get: fn(&T) -> Option<Value>,
    pub(super) set: fn(&mut T, Value),
}

impl<T: fmt::Debug> Access<T> for FieldAccess<T> {
    fn get(&self, part: &T) -> Option<Value> {
        (self.get)(part)
    }

    fn set(&self, part: &mut T, value: Value) {
        (self.set)(part, value);
    }
}

impl Access<ClusterConfig> for Entry<pool::Config, Live> {
    fn get(&self, cluster: &ClusterConfig) -> Option<Value> {
        read(self, &cluster.pool)
    }

    fn set(&self, cluster: &mut ClusterConfig, value: Value) {
        write(self, &mut cluster.pool, value);
    }

    fn of_pool(&self) -> Option<&Entry<pool::Config, Live>> {
        Some(self)
    }
}

impl Access<ProxyConfig> for Entry<ClientLimits> {
    fn get(&self, config: &ProxyConfig) -> Option<Value> {
        read(self, &config.client_limits)
    }

    fn set(&self, config: &mut ProxyConfig, value: Value) {
        write(self, &mut config.client_limits, value);
    }
}

fn read<Whole, Live>(entry: &Entry<Whole, Live>, whole: &Whole) -> Option<Value> {
    let value = (entry.get)(whole)?;
    Some(match entry.bounds.unit {
        Unit::Time => Value::Duration(Duration::from_nanos(value)),
        Unit::Count | Unit::Bytes => Value::Integer(value),
    })
}

fn write<Whole, Live>(entry: &Entry<Whole, Live>, whole: &mut Whole, value: Value) {
    let value = match value {
        Value::Duration(time) => u64::try_from(time.as_nanos()).expect("at most a year"),
        Value::Integer(number) => number,
        Value::Boolean(_) | Value::Text(_) => unreachable!("the kind was checked"),
    };
    (entry.set)(whole, Some(value));
}

impl From<Bounds> for Kind {
    fn from(Bounds { unit, min, max }: Bounds) -> Self {
        match unit {
            Unit::Time => Self::Duration { zero: min == 0 },
            Unit::Count => Self::Integer { min, max },
            Unit::Bytes => Self::Bytes { min, max },
        }
    }
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
    pub access: &'static dyn Access<T>,
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
        access: &'static dyn Access<T>,
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

    /// Creates a setting from an entry of a table, with its flag.
    #[must_use]
    pub fn of_table<Whole, Live>(entry: &'static Entry<Whole, Live>) -> Self
    where
        Entry<Whole, Live>: Access<T>,
    {
        let kind = entry.bounds.into();
        let setting = Self::new(entry.section, entry.key, kind, entry, entry.sentence);
        setting.flag(entry.flag).unset(if entry.optional { "off" } else { "" })
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
        match self.access.get(defaults) {
            Some(value) => self.kind.write(&value),
            None => self.unset.to_owned(),
        }
    }
}

/// Creates the access to a field by its path.
macro_rules! field {
    ($part:ident: $($path:ident).+) => {
        &$crate::config::setting::FieldAccess {
            get: |it: &$part| $crate::config::value::Field::to_value(&it.$($path).+),
            set: |it: &mut $part, value| it.$($path).+ = $crate::config::value::Field::from_value(value),
        }
    };
}

/// Creates the access to one of the two files of an optional certificate. While only one file is
/// set, the other is an empty path.
macro_rules! certificate_field {
    ($part:ident: $($path:ident).+ => $file:ident) => {
        &$crate::config::setting::FieldAccess {
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
