//! Enums whose variants have names.

/// Declares enums whose variants have names. Logs, metrics, JSON, files and the command line share
/// the names. Each enum is `Copy`, comparable and hashable, and has `ALL`, `NAMES`, `name`,
/// `Display` (the name) and `FromStr` (which fails with `()`). Attributes, such as further derives,
/// are kept.
///
/// ```
/// baton::words! {
///     /// The brightness.
///     pub enum Light {
///         /// Nothing can be seen.
///         Dark = "dark",
///         /// The sun is up.
///         BroadDay = "broad_day",
///     }
/// }
/// assert_eq!(Light::NAMES, ["dark", "broad_day"]);
/// assert_eq!("broad_day".parse(), Ok(Light::BroadDay));
/// ```
#[macro_export]
macro_rules! words {
    ($(
        $(#[$attribute:meta])*
        $visibility:vis enum $enum:ident {
            $($(#[$of_variant:meta])* $variant:ident = $name:literal,)+
        }
    )+) => {$(
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $visibility enum $enum {
            $($(#[$of_variant])* $variant,)+
        }

        #[allow(dead_code, reason = "not every enum uses every item")]
        impl $enum {
            /// All variants, in the order of declaration.
            $visibility const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The names, in the same order.
            $visibility const NAMES: &'static [&'static str] = &[$($name,)+];

            /// The name.
            #[must_use]
            $visibility const fn name(self) -> &'static str {
                Self::NAMES[self as usize]
            }
        }

        impl ::core::fmt::Display for $enum {
            fn fmt(&self, formatter: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                formatter.write_str(self.name())
            }
        }

        impl ::core::str::FromStr for $enum {
            type Err = ();

            fn from_str(name: &str) -> Result<Self, ()> {
                Self::ALL.iter().copied().find(|variant| variant.name() == name).ok_or(())
            }
        }
    )+};
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    words! {
        /// The first.
        #[derive(Default)]
        enum Light {
            Dark = "dark",
            #[default]
            BroadDay = "broad_day",
        }

        /// The second.
        enum Sound {
            Silent = "silent",
        }
    }

    #[test]
    fn each_variant_has_its_name_and_is_read_back_from_it() {
        assert_eq!(Light::ALL, [Light::Dark, Light::BroadDay]);
        for (light, name) in Light::ALL.iter().zip(Light::NAMES) {
            assert_eq!((light.name(), light.to_string()), (*name, (*name).to_string()));
            assert_eq!(name.parse(), Ok(*light));
        }
        assert_eq!(Light::default().name(), "broad_day");
        assert_eq!("Dark".parse::<Light>(), Err(()));
        assert_eq!(Sound::NAMES, ["silent"]);
    }
}
