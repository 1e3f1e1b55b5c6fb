//! Describes this machine, for the header of the report.

use std::fs;
use std::process::Command;

use crate::children;

/// The core of the proxies, and the core of load and origin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    pub(crate) proxy: Option<usize>,
    pub(crate) load: Option<usize>,
}

impl Cores {
    /// Cores for this machine; with a single core nothing is pinned.
    pub(crate) fn of_this_machine() -> Self {
        match count() {
            0 | 1 => Self { proxy: None, load: None },
            _ => Self { proxy: Some(0), load: Some(1) },
        }
    }

    pub(crate) fn describe(self) -> String {
        match (self.proxy, self.load) {
            (Some(proxy), Some(load)) => {
                format!("the proxies on core {proxy}; load and origin on core {load}")
            }
            _ => "nothing: there is one core".to_owned(),
        }
    }
}

pub(crate) fn count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

pub(crate) fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(':')).map(|(_, model)| model.trim());
    model.unwrap_or("unknown").to_owned()
}

pub(crate) fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// The date and time in UTC.
pub(crate) fn date() -> String {
    let text = children::output(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]));
    text.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

/// The commit that Baton was built from, if this is a checkout.
pub(crate) fn commit() -> Option<String> {
    let mut command = Command::new("git");
    command.args(["describe", "--always", "--dirty"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    children::output(&mut command).ok().map(|text| text.trim().to_owned())
}
