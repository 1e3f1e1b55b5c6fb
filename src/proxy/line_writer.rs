//! Writes whole lines to standard error or to a file, from a separate thread behind a bounded
//! queue. A blocked reader, or a slow or full disk, causes lines to be dropped and never blocks a
//! worker. Dropped lines are counted, and reported once the queued ones are written.
//!
//! `tracing-appender` does not fit: it bounds its queue by lines, not bytes, wakes its thread for a
//! line instead of a batch of 10 ms, writes each line by itself, and cannot reopen a rotated file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::thread;
use std::time::Duration;

use super::limits::{
    LOG_BATCH_BYTES, LOG_COALESCE_TIME, LOG_DROPPED_LINES_REPORTED, LOG_QUEUE_BYTES_MAX,
    LOG_SPARE_BYTES,
};

/// The reason why no lock is poisoned.
pub(super) const NO_PANIC: &str = "a panic ends the process";

/// The state that the writer shares with its thread.
#[derive(Default)]
struct Queue {
    /// Lines with their line breaks, in order.
    bytes: Vec<u8>,
    /// Bytes taken from the queue that are not written yet.
    writing: usize,
    /// True if the queued lines must be written at once.
    urgent: bool,
    /// True if the thread sleeps until it is woken.
    asleep: bool,
    reopen: bool,
    /// Senders to notify when everything before them is written.
    flushes: Vec<Sender<()>>,
    /// True once the writer was dropped: nothing more will be queued.
    closed: bool,
}

impl Queue {
    /// True if the thread must not wait for more lines.
    fn is_due(&self) -> bool {
        self.urgent
            || self.reopen
            || self.closed
            || !self.flushes.is_empty()
            || self.bytes.len() >= LOG_BATCH_BYTES
    }
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    dropped: AtomicU64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect(NO_PANIC)
    }

    /// Requests a flush. The receiver is notified once everything queued so far is written.
    fn flush(&self) -> Receiver<()> {
        let (done, flushed) = channel();
        let mut queue = self.lock();
        queue.flushes.push(done);
        self.wake(queue);
        flushed
    }

    /// Wakes the thread if it sleeps, so that it sees changes in the queue.
    fn wake(&self, mut queue: MutexGuard<'_, Queue>) {
        if std::mem::take(&mut queue.asleep) {
            drop(queue);
            self.wake.notify_one();
        }
    }
}

/// The writing end of the queue. Dropping it ends the thread.
pub struct LineWriter {
    shared: Arc<Shared>,
}

/// The destination of lines.
enum Target {
    StandardError(File),
    File { path: PathBuf, file: File },
}

impl LineWriter {
    /// Writes lines to standard error.
    ///
    /// # Panics
    /// If the operating system provides no thread or no second descriptor for standard error.
    #[must_use]
    pub fn standard_error() -> Self {
        // A separate descriptor: this thread must not hold the lock of standard error while it is
        // blocked, or other writers would wait for it.
        let owned = io::stderr().as_fd().try_clone_to_owned();
        let file = File::from(owned.expect("standard error can be duplicated"));
        Self::start(Target::StandardError(file))
    }

    /// Appends lines to a file, which is created if it does not exist.
    ///
    /// # Errors
    /// If the file cannot be opened.
    ///
    /// # Panics
    /// If the operating system provides no thread.
    pub fn file(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        Ok(Self::start(Target::File { path: path.to_owned(), file }))
    }

    fn start(target: Target) -> Self {
        let shared = Arc::new(Shared::default());
        let thread = Thread { target, shared: Arc::clone(&shared), reported: 0, failing: false };
        ALL.lock().expect(NO_PANIC).push(Arc::downgrade(&shared));
        thread::Builder::new()
            .name("log writer".to_owned())
            .spawn(move || thread.run())
            .expect("the system has threads");
        Self { shared }
    }

    /// Queues one line, its line break included. It is written within 10 ms, together with others.
    /// It is dropped and counted if the queue is full.
    pub fn push(&self, line: &[u8]) {
        self.add(line, false);
    }

    fn add(&self, line: &[u8], urgent: bool) {
        let mut queue = self.shared.lock();
        if queue.bytes.len() + queue.writing + line.len() > LOG_QUEUE_BYTES_MAX {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let first = queue.bytes.is_empty();
        queue.bytes.extend_from_slice(line);
        queue.urgent |= urgent;
        // While the thread lingers, it needs no wake-up: it has a deadline.
        if first || queue.is_due() {
            self.shared.wake(queue);
        }
    }

    /// Reopens the file before the next line, for instance after its rotation. No effect on
    /// standard error.
    pub fn reopen(&self) {
        let mut queue = self.shared.lock();
        queue.reopen = true;
        self.shared.wake(queue);
    }

    /// The number of lines dropped since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    fn flush(&self, most: Duration) {
        let _ = self.shared.flush().recv_timeout(most);
    }
}

/// The queues of all writers.
static ALL: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

/// Waits until everything queued so far is written, but no longer than `most` for any of the
/// queues.
pub fn flush_all(most: Duration) {
    let mut queues = ALL.lock().expect(NO_PANIC);
    queues.retain(|queue| queue.strong_count() > 0);
    let flushes: Vec<_> = queues.iter().filter_map(Weak::upgrade).map(|it| it.flush()).collect();
    drop(queues);
    for flushed in flushes {
        // After the deadline the lines are lost.
        let _ = flushed.recv_timeout(most);
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.closed = true;
        self.shared.wake(queue);
    }
}

/// Each call of `write` is one line, as `tracing` does it. The line is written at once: it may be
/// the last.
impl Write for &LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.add(line, true);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// The state of the thread.
struct Thread {
    target: Target,
    shared: Arc<Shared>,
    /// Dropped lines that were reported.
    reported: u64,
    /// True if the last write failed.
    failing: bool,
}

/// The entries taken from the queue at once.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    reopen: bool,
    flushes: Vec<Sender<()>>,
    /// True if the writer was dropped: nothing will follow.
    last: bool,
}

impl Thread {
    fn run(mut self) {
        let mut batch = Batch::default();
        while !batch.last {
            self.take(&mut batch);
            if batch.reopen {
                self.reopen();
            }
            let mut rest = &batch.bytes[..];
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(whole_lines(rest));
                self.write(piece);
                rest = after;
            }
            batch.bytes.clear();
            batch.bytes.shrink_to(LOG_SPARE_BYTES);
            for done in batch.flushes.drain(..) {
                // The requester may have stopped waiting.
                let _ = done.send(());
            }
        }
    }

    /// Waits for entries, and a little longer for more of them unless they are urgent.
    fn take(&self, batch: &mut Batch) {
        let sleeps_while = |condition: fn(&Queue) -> bool| {
            move |queue: &mut Queue| {
                queue.asleep = condition(queue);
                queue.asleep
            }
        };
        let is_idle = sleeps_while(|queue| queue.bytes.is_empty() && !queue.is_due());
        let lingers = sleeps_while(|queue| !queue.is_due());
        let wake = &self.shared.wake;
        let queue = wake.wait_while(self.shared.lock(), is_idle).expect(NO_PANIC);
        let (mut queue, _) =
            wake.wait_timeout_while(queue, LOG_COALESCE_TIME, lingers).expect(NO_PANIC);
        queue.asleep = false;
        queue.urgent = false;
        std::mem::swap(&mut queue.bytes, &mut batch.bytes);
        std::mem::swap(&mut queue.flushes, &mut batch.flushes);
        queue.writing = batch.bytes.len();
        batch.reopen = std::mem::take(&mut queue.reopen);
        batch.last = queue.closed;
    }

    /// Writes some lines. They count against the queue's limit until they are written.
    fn write(&mut self, lines: &[u8]) {
        let file = match &mut self.target {
            Target::StandardError(file) | Target::File { file, .. } => file,
        };
        let written = file.write_all(lines);
        let mut queue = self.shared.lock();
        queue.writing -= lines.len();
        let drained = queue.writing + queue.bytes.len() < LOG_BATCH_BYTES;
        drop(queue);
        match written {
            Ok(()) => self.failing = false,
            Err(error) => {
                let lost = lines.iter().filter(|byte| **byte == b'\n').count();
                self.shared.dropped.fetch_add(lost as u64, Ordering::Relaxed);
                // A failure of standard error cannot be reported there.
                if let Target::File { path, .. } = &self.target
                    && !self.failing
                {
                    let log = path.display().to_string();
                    tracing::warn!(target: "baton", log, %error, "cannot write log");
                }
                self.failing = true;
            }
        }
        if !self.failing {
            self.report_dropped(drained);
        }
    }

    fn reopen(&mut self) {
        if let Target::File { path, file } = &mut self.target {
            match open(path) {
                Ok(opened) => *file = opened,
                Err(error) => {
                    let log = path.display().to_string();
                    tracing::warn!(target: "baton", log, %error, "cannot reopen log");
                }
            }
        }
    }

    /// Reports dropped lines once per run of losses, as soon as the queue has drained.
    fn report_dropped(&mut self, drained: bool) {
        let dropped = self.shared.dropped.load(Ordering::Relaxed);
        let lost = dropped - self.reported;
        if lost > 0 && (drained || lost >= LOG_DROPPED_LINES_REPORTED) {
            self.reported = dropped;
            let log = self.target.name();
            tracing::warn!(target: "baton", log, lines = lost, "log lines dropped");
        }
    }
}

impl Target {
    fn name(&self) -> String {
        match self {
            Self::StandardError(_) => "standard error".to_owned(),
            Self::File { path, .. } => path.display().to_string(),
        }
    }
}

/// Returns the length of the lines to write together: as many as fit [`LOG_BATCH_BYTES`], but at
/// least one.
fn whole_lines(bytes: &[u8]) -> usize {
    if bytes.len() <= LOG_BATCH_BYTES {
        return bytes.len();
    }
    let breaks = |byte: &u8| *byte == b'\n';
    let before = bytes[..LOG_BATCH_BYTES].iter().rposition(breaks);
    let end = before.or_else(|| bytes.iter().position(breaks));
    end.map_or(bytes.len(), |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    const BOUND: Duration = Duration::from_secs(30);

    /// Returns a writer into a pipe, and the end to read from.
    fn piped() -> (LineWriter, io::PipeReader) {
        let (reader, writer) = io::pipe().expect("the system has pipes");
        let owned = writer.as_fd().try_clone_to_owned().expect("it can be duplicated");
        (LineWriter::start(Target::StandardError(File::from(owned))), reader)
    }

    #[test]
    fn lines_are_whole_and_in_order() {
        let (writer, mut reader) = piped();
        let mut expected = String::new();
        for number in 0..1000 {
            let line = format!("line {number}\n");
            expected.push_str(&line);
            writer.push(line.as_bytes());
        }
        let reading = thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        writer.flush(BOUND);
        drop(writer);
        assert_eq!(reading.join().expect("no panic").expect("readable"), expected);
    }

    #[test]
    fn a_blocked_reader_loses_lines_and_blocks_no_writer() {
        let (writer, reader) = piped();
        // A pipe holds 64 KiB or so, the queue 8 MiB; this is twice as much.
        let line = vec![b'x'; 16 * 1024];
        for _ in 0..1024 {
            writer.push(&line);
        }
        assert!(writer.dropped() >= 500, "dropped {}", writer.dropped());
        writer.flush(Duration::from_millis(50));
        drop(reader);
    }

    #[test]
    fn many_short_lines_are_bounded_as_well() {
        let (writer, reader) = piped();
        let line = b"a line\n".repeat(10);
        for _ in 0..2 * LOG_QUEUE_BYTES_MAX / line.len() {
            writer.push(&line);
        }
        assert!(writer.dropped() > 0);
        drop(reader);
    }

    #[test]
    fn a_rotated_file_is_not_written_after_reopening() {
        let folder = std::env::temp_dir().join(format!("baton-lines-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let (path, rotated) = (folder.join("log"), folder.join("log.1"));
        let writer = LineWriter::file(&path).expect("it can be made");
        writer.push(b"before\n");
        writer.flush(BOUND);
        std::fs::rename(&path, &rotated).expect("it exists");
        writer.push(b"between\n");
        writer.flush(BOUND);
        writer.reopen();
        writer.push(b"after\n");
        writer.flush(BOUND);
        let read = |path| std::fs::read_to_string(path).expect("it exists");
        assert_eq!((read(&rotated), read(&path)), ("before\nbetween\n".into(), "after\n".into()));
        std::fs::remove_dir_all(&folder).expect("it is ours");
    }
}
