//! Numbers of several workers, added up.

use std::time::Duration;

/// Numbers that add up.
pub trait Merge {
    /// Adds the numbers of another worker, connection or pool.
    fn merge(&mut self, other: &Self);
}

impl Merge for u32 {
    fn merge(&mut self, other: &Self) {
        *self += other;
    }
}

impl Merge for u64 {
    fn merge(&mut self, other: &Self) {
        *self += other;
    }
}

impl Merge for Duration {
    fn merge(&mut self, other: &Self) {
        *self = self.saturating_add(*other);
    }
}

impl<T: Merge, const N: usize> Merge for [T; N] {
    fn merge(&mut self, other: &Self) {
        for (mine, others) in self.iter_mut().zip(other) {
            mine.merge(others);
        }
    }
}

/// Adds up structs field by field. A field that is neither listed nor excepted does not compile.
macro_rules! merge_fields {
    ($($type:ident { $($field:tt),+ } $(except { $($excepted:tt),+ })?;)+) => {$(
        impl $crate::proxy::metrics::Merge for $type {
            fn merge(&mut self, other: &Self) {
                let Self { $($field: _,)+ $($($excepted: _,)+)? } = other;
                $($crate::proxy::metrics::Merge::merge(&mut self.$field, &other.$field);)+
            }
        }
    )+};
}
pub(crate) use merge_fields;
