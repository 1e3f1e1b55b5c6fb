//! Acts on the process, its listeners and its files. Only the world of the proxy has these.

use arbitrary::Arbitrary;
use serde::{Deserialize, Serialize};

use super::wire::{ADDRESSES_MAX, Address};

/// An act of an operator on the process or its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(deny_unknown_fields)]
pub enum ProcessAct {
    /// A reload adds a listener, unless it is there.
    OpenListener {
        /// The index of its address, modulo their number.
        listener: u8,
    },
    /// A reload removes a listener, unless it is the last one.
    CloseListener {
        /// The index of its address, modulo their number.
        listener: u8,
    },
    /// A reload moves a listener to another address.
    MoveListener {
        /// The index of its address, modulo their number.
        from: u8,
        /// The index of the other address, modulo their number.
        to: u8,
    },
    /// The files of the listeners' certificate and key change. No signal follows: the proxy watches
    /// them.
    Certificate {
        /// The new contents.
        files: CertificateFiles,
        /// The time between the change of the certificate and that of the key.
        key_after_us: u64,
    },
    /// The configuration is wrong for a while. A reload follows when it becomes so, and another
    /// one once it is corrected.
    WrongConfiguration {
        /// The mistake.
        wrong: Wrong,
        /// Duration.
        for_us: u64,
    },
    /// Resolvers list other addresses for the name of a backend, if it has one, and these answer
    /// dials as they are to from now on.
    Name {
        /// The backend.
        backend: u16,
        /// The addresses.
        addresses: [Address; ADDRESSES_MAX],
    },
}

/// The contents of the files of a certificate and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
pub enum CertificateFiles {
    /// The certificate at the start of a run.
    First,
    /// Another one, with another key.
    Renewed,
    /// The certificate's file is cut short.
    CutShort,
    /// The key is that of the other certificate.
    OtherKey,
}

/// A reason for which the proxy refuses a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
pub enum Wrong {
    /// It cannot be read.
    Unreadable,
    /// A value of the pool is out of bounds.
    OutOfBounds,
    /// A value differs that cannot change while the process runs.
    NeedsRestart,
    /// Something else listens on the address of a new listener.
    AddressInUse,
}

impl ProcessAct {
    /// Calls `backend` for the backend that the act names, and `time` for each of its times.
    pub(super) fn visit(
        &mut self,
        mut backend: impl FnMut(&mut u16),
        mut time: impl FnMut(&mut u64),
    ) {
        match self {
            Self::Name { backend: named, .. } => backend(named),
            Self::Certificate { key_after_us: one, .. }
            | Self::WrongConfiguration { for_us: one, .. } => time(one),
            Self::OpenListener { .. } | Self::CloseListener { .. } | Self::MoveListener { .. } => {}
        }
    }
}
