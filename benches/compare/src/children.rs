//! Child processes that do not outlive the run. Each leads a process group, which is killed when
//! its handle is dropped. A signal kills all groups.

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

/// Time for a server to end before it is killed.
const LINGERING_CLOSE: Duration = Duration::from_secs(2);

/// The running groups, for the thread that waits for signals.
static GROUPS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Kills every group that was started and has not ended. Only for a process about to exit: the lock
/// is never released, so that no other thread can start a group afterwards.
pub(crate) fn kill_all() {
    let groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
    groups.iter().filter_map(|group| Pid::from_raw(*group)).for_each(kill);
    std::mem::forget(groups);
}

/// Kills a group. Failure means that the group has already ended.
fn kill(group: Pid) {
    let _ = kill_process_group(group, Signal::KILL);
}

/// A process and its descendants.
pub(crate) struct Running {
    child: Child,
    log: Option<PathBuf>,
}

impl Running {
    /// Starts a server. Its output goes to a file, which is shown if the server does not start.
    pub(crate) fn server(command: &mut Command, log: PathBuf) -> Outcome<Self> {
        let file = File::create(&log)?;
        command.stdout(file.try_clone()?).stderr(file);
        let mut running = Self::start(command)?;
        running.log = Some(log);
        Ok(running)
    }

    /// Starts a process. The caller has set its output.
    pub(crate) fn start(command: &mut Command) -> Outcome<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        // Registered under the lock, so that a signal cannot arrive between the start and the
        // entry.
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

    /// Ends a server that has something to write before it ends. The error has the end of its log.
    pub(crate) fn end_within(mut self, limit: Duration) -> Outcome<()> {
        self.ask_to_end(limit);
        match self.child.try_wait()? {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(format!("it ended with {status}:\n{}", self.goaway_frame()).into()),
            None => Err(format!("it did not end within {limit:?}").into()),
        }
    }

    /// Asks a server to end and waits. A server that ends by itself stops its workers; a killed one
    /// may leave them behind.
    fn ask_to_end(&mut self, limit: Duration) {
        if let Some(id) = Pid::from_raw(self.child.id() as i32).filter(|_| self.is_alive()) {
            let _ = kill_process(id, Signal::TERM);
        }
        let begin = Instant::now();
        while self.is_alive() && begin.elapsed() < limit {
            sleep(Duration::from_millis(5));
        }
    }

    /// The last lines of the log.
    pub(crate) fn goaway_frame(&self) -> String {
        let text = self.log.as_ref().and_then(|log| fs::read_to_string(log).ok());
        let text = text.unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.ask_to_end(LINGERING_CLOSE);
        let mut groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
        Pid::from_raw(self.child.id() as i32).into_iter().for_each(kill);
        let _ = self.child.wait();
        groups.remove(&(self.child.id() as i32));
    }
}

/// Runs a process to its end. Returns its standard output followed by its standard error.
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

/// The path of a program, as a shell would find it.
pub(crate) fn find(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    let program = Path::new(program.as_ref());
    if program.components().count() > 1 {
        return program.is_file().then(|| program.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    // Servers are often installed in directories outside an ordinary user's path.
    let more = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut directories = std::env::split_paths(&path).chain(more);
    directories.find_map(|directory| {
        let candidate = directory.join(program);
        candidate.is_file().then_some(candidate)
    })
}

/// A command pinned to one core, or unpinned if `None`.
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
