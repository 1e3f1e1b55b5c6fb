//! JSON of the pool's enums: their names.

use std::borrow::Cow;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::pool::{BackendState, SlotState, StateCause};

macro_rules! by_name {
    ($($enum:ty),+) => {$(
        impl Serialize for $enum {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> Deserialize<'de> for $enum {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = Cow::<str>::deserialize(deserializer)?;
                name.parse().map_err(|()| D::Error::unknown_variant(&name, Self::NAMES))
            }
        }
    )+};
}

by_name!(BackendState, SlotState, StateCause);
