//! Gives lines to the simulated system, which keeps them: there are no threads and no files.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::proxy::seams::simulated::system;

/// The reason why no lock is poisoned.
pub(super) const NO_PANIC: &str = "a panic ends the process";

/// The writing end of a log.
pub struct LineWriter {
    /// The file; `None` for standard error.
    file: Option<PathBuf>,
}

impl LineWriter {
    /// Writes lines to standard error.
    #[must_use]
    pub fn standard_error() -> Self {
        Self { file: None }
    }

    /// Appends lines to a file.
    ///
    /// # Errors
    /// None; as for a file of the system.
    pub fn file(path: &Path) -> io::Result<Self> {
        Ok(Self { file: Some(path.to_owned()) })
    }

    /// Writes one line, its line break included.
    pub fn push(&self, line: &[u8]) {
        system().write_lines(self.file.as_deref(), line);
    }

    /// Does nothing: no simulated file is rotated.
    pub fn reopen(&self) {}

    /// The number of lines dropped since the start, which is none.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        0
    }
}

/// Does nothing: lines are written at once.
pub fn flush_all(_most: Duration) {}

/// Each call of `write` is one line, as `tracing` does it.
impl Write for &LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
