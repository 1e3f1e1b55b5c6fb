//! Child processes that do not outlive the run: each is the head of a process group, which is
//! killed when its handle is dropped, and all of which are killed on a signal.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::Outcome;

/// For a server to end before it is killed.
const FAREWELL: Duration = Duration::from_secs(2);

/// The groups that live, for the thread that waits for signals.
static GROUPS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Kills every group that was started and not yet ended, for a process that is about to exit: no other
/// thread can start one after it, since the lock is kept.
pub(crate) fn kill_all() {
    let groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
    groups.iter().filter_map(|group| Pid::from_raw(*group)).for_each(kill);
    std::mem::forget(groups);
}

/// A group that is gone already is what was wanted.
fn kill(group: Pid) {
    let _ = kill_process_group(group, Signal::KILL);
}

/// A process and all that it starts.
pub(crate) struct Running {
    child: Child,
    log: Option<PathBuf>,
}

impl Running {
    /// Starts a server, with what it prints in a file for the case that it does not come up.
    pub(crate) fn server(command: &mut Command, log: PathBuf) -> Outcome<Self> {
        let file = File::create(&log)?;
        command.stdout(file.try_clone()?).stderr(file);
        let mut running = Self::start(command)?;
        running.log = Some(log);
        Ok(running)
    }

    /// Starts a process whose output the caller has directed.
    pub(crate) fn start(command: &mut Command) -> Outcome<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        // Registered under the lock, so that a signal cannot fall between the start and the entry.
        let mut groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command.stdin(Stdio::null()).process_group(0).spawn();
        let child = child.map_err(|error| format!("{name} could not be started: {error}"))?;
        groups.insert(child.id() as i32);
        Ok(Self { child, log: None })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// A server that ends by itself takes its workers with it; one that is killed leaves them to a system
    /// that may not care for them. So it has a moment.
    fn ask_to_end(&mut self) {
        if let Some(id) = Pid::from_raw(self.child.id() as i32).filter(|_| self.is_alive()) {
            let _ = kill_process(id, Signal::TERM);
        }
        let begin = Instant::now();
        while self.is_alive() && begin.elapsed() < FAREWELL {
            sleep(Duration::from_millis(5));
        }
    }

    /// The end of what it printed.
    pub(crate) fn last_words(&self) -> String {
        let text = self.log.as_ref().and_then(|log| fs::read_to_string(log).ok());
        let text = text.unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.ask_to_end();
        let mut groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
        Pid::from_raw(self.child.id() as i32).into_iter().for_each(kill);
        let _ = self.child.wait();
        groups.remove(&(self.child.id() as i32));
    }
}

/// Runs a process to its end and returns what it wrote to standard output, then to standard error.
pub(crate) fn output(command: &mut Command) -> Outcome<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running::start(command)?;
    let (stdout, stderr) = (running.child.stdout.take(), running.child.stderr.take());
    let reader = std::thread::spawn(move || stderr.map(std::io::read_to_string));
    let mut text = stdout.map(std::io::read_to_string).transpose()?.unwrap_or_default();
    if let Ok(Some(Ok(more))) = reader.join() {
        text.push_str(&more);
    }
    let status = running.child.wait()?;
    match status.success() {
        true => Ok(text),
        false => Err(format!("{name} ended with {status}:\n{text}").into()),
    }
}

/// Where a program is, as a shell would find it.
pub(crate) fn find(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    let program = Path::new(program.as_ref());
    if program.components().count() > 1 {
        return program.is_file().then(|| program.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    // Servers are installed where the path of an ordinary user does not lead.
    let more = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut directories = std::env::split_paths(&path).chain(more);
    directories.find_map(|directory| {
        let candidate = directory.join(program);
        candidate.is_file().then_some(candidate)
    })
}

/// A command that runs on one core, or wherever the system wants it.
pub(crate) fn pinned(program: &Path, core: Option<usize>) -> Command {
    match core {
        None => Command::new(program),
        Some(core) => {
            let mut command = Command::new("taskset");
            command.args(["-c", &core.to_string()]).arg(program);
            command
        }
    }
}
