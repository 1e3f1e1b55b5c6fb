//! The answers of a system, real or simulated.

/// The metadata that identifies a version of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    /// The device that holds it.
    pub device: u64,
    /// Its number on the device.
    pub inode: u64,
    /// Its length in bytes.
    pub length: u64,
    /// When it was last modified, in seconds since 1970.
    pub seconds: i64,
    /// The nanoseconds after `seconds`.
    pub nanoseconds: i64,
}

/// A place in the shell where a simulated system can make something rare happen often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// An item of a channel is taken at a later poll than it could be: what happens between an
    /// order and its execution happens then.
    LateItem,
    /// A timer fires before its time and must be armed again.
    EarlyTimer,
    /// The consumer of DATA frames runs after each of them.
    FewFrames,
    /// A buffer has room for one byte.
    SmallBuffer,
}

/// The meaning of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: drain and stop; the second one stops at once.
    Stop,
    /// SIGHUP: reload, and open the access log again.
    HangUp,
}
