//! Whole lines to standard error or to a file, by a thread of their own behind a bounded queue: a
//! reader that never reads, or a disk that is slow or full, costs lines and never stops a worker.
//! Lines that do not fit are dropped, counted, and reported once the rest is through.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::thread;
use std::time::Duration;

/// Bytes that may wait to be written, all lines together.
const QUEUE_BYTES: usize = 8 * 1024 * 1024;
/// Bytes that are written at once; so many do not wait for more.
const PIECE_BYTES: usize = 64 * 1024;
/// Bytes of room that are kept while nothing waits.
const SPARE_BYTES: usize = 4 * PIECE_BYTES;
/// How long a line that is not urgent may wait for others before it is written: to wake the thread and to
/// write take longer than to answer most requests.
const LINGER: Duration = Duration::from_millis(10);
/// Dropped lines after which they are reported even if the queue is never empty.
const DROPPED_REPORT: u64 = 10_000;
/// Why nobody who holds the lock has panicked.
const NO_PANIC: &str = "a panic ends the process";

/// What waits for the thread.
#[derive(Default)]
struct Queue {
    /// Lines with their line breaks, in their order.
    bytes: Vec<u8>,
    /// Bytes that were taken from here and are not written yet.
    writing: usize,
    /// What waits is to be written at once.
    urgent: bool,
    /// The thread sleeps until it is woken.
    asleep: bool,
    reopen: bool,
    /// Answered when everything before was written.
    flushes: Vec<Sender<()>>,
    /// Nobody will add anything.
    closed: bool,
}

impl Queue {
    /// Whether the thread has no reason to wait for more.
    fn is_due(&self) -> bool {
        self.urgent
            || self.reopen
            || self.closed
            || !self.flushes.is_empty()
            || self.bytes.len() >= PIECE_BYTES
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

    /// What is told once everything that waits is written.
    fn flush(&self) -> Receiver<()> {
        let (done, flushed) = channel();
        let mut queue = self.lock();
        queue.flushes.push(done);
        self.wake(queue);
        flushed
    }

    /// Lets the thread see what has changed in the queue.
    fn wake(&self, mut queue: MutexGuard<'_, Queue>) {
        if std::mem::take(&mut queue.asleep) {
            drop(queue);
            self.wake.notify_one();
        }
    }
}

/// The way into the queue. Its thread ends with it.
pub struct LineWriter {
    shared: Arc<Shared>,
}

/// Where lines go.
enum Target {
    StandardError(File),
    File { path: PathBuf, file: File },
}

impl LineWriter {
    /// Lines to standard error.
    ///
    /// # Panics
    /// If the operating system gives no threads or no second descriptor for standard error.
    #[must_use]
    pub fn standard_error() -> Self {
        // A descriptor of its own: whoever else writes to standard error is not kept waiting by a
        // lock that this thread holds while it is blocked.
        let owned = io::stderr().as_fd().try_clone_to_owned();
        let file = File::from(owned.expect("standard error can be duplicated"));
        Self::start(Target::StandardError(file))
    }

    /// Lines to the end of a file, which is made if it does not exist.
    ///
    /// # Errors
    /// If the file cannot be opened.
    ///
    /// # Panics
    /// If the operating system gives no threads.
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

    /// Queues one line, its line break included, which may wait 10 ms for others before it is written.
    /// Dropped and counted if there is no room.
    pub fn push(&self, line: &[u8]) {
        self.add(line, false);
    }

    fn add(&self, line: &[u8], urgent: bool) {
        let mut queue = self.shared.lock();
        if queue.bytes.len() + queue.writing + line.len() > QUEUE_BYTES {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let first = queue.bytes.is_empty();
        queue.bytes.extend_from_slice(line);
        queue.urgent |= urgent;
        // A thread that lingers sees by itself that its time is over.
        if first || queue.is_due() {
            self.shared.wake(queue);
        }
    }

    /// Opens the file anew before the next line, as after its rotation. Standard error stays as it is.
    pub fn reopen(&self) {
        let mut queue = self.shared.lock();
        queue.reopen = true;
        self.shared.wake(queue);
    }

    /// Lines that were dropped since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    fn flush(&self, most: Duration) {
        let _ = self.shared.flush().recv_timeout(most);
    }
}

/// All queues that there are.
static ALL: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

/// Waits until everything queued so far was written, wherever it goes, but no longer than `most` for any of
/// the queues.
pub fn flush_all(most: Duration) {
    let mut queues = ALL.lock().expect(NO_PANIC);
    queues.retain(|queue| queue.strong_count() > 0);
    let flushes: Vec<_> = queues.iter().filter_map(Weak::upgrade).map(|it| it.flush()).collect();
    drop(queues);
    for flushed in flushes {
        // If it takes longer, nobody reads: then the lines are lost either way.
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

/// One call of `write` is one line, as `tracing` makes them. It is written at once: it may be the last.
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

/// What the thread owns.
struct Thread {
    target: Target,
    shared: Arc<Shared>,
    /// Dropped lines that were told of.
    reported: u64,
    /// The last write failed.
    failing: bool,
}

/// What it takes from the queue at once.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    reopen: bool,
    flushes: Vec<Sender<()>>,
    /// Nothing will follow.
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
            batch.bytes.shrink_to(SPARE_BYTES);
            for done in batch.flushes.drain(..) {
                // Whoever asked may have stopped waiting.
                let _ = done.send(());
            }
        }
    }

    /// Waits for something to do, and for a while longer if it is not urgent.
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
        let (mut queue, _) = wake.wait_timeout_while(queue, LINGER, lingers).expect(NO_PANIC);
        queue.asleep = false;
        queue.urgent = false;
        std::mem::swap(&mut queue.bytes, &mut batch.bytes);
        std::mem::swap(&mut queue.flushes, &mut batch.flushes);
        queue.writing = batch.bytes.len();
        batch.reopen = std::mem::take(&mut queue.reopen);
        batch.last = queue.closed;
    }

    /// Writes some lines. Their room is given back only then: what is being written counts as well.
    fn write(&mut self, lines: &[u8]) {
        let file = match &mut self.target {
            Target::StandardError(file) | Target::File { file, .. } => file,
        };
        let written = file.write_all(lines);
        let mut queue = self.shared.lock();
        queue.writing -= lines.len();
        let drained = queue.writing + queue.bytes.len() < PIECE_BYTES;
        drop(queue);
        match written {
            Ok(()) => self.failing = false,
            Err(error) => {
                let lost = lines.iter().filter(|byte| **byte == b'\n').count();
                self.shared.dropped.fetch_add(lost as u64, Ordering::Relaxed);
                // What cannot be written to standard error is not to be said there.
                if let Target::File { path, .. } = &self.target
                    && !self.failing
                {
                    let log = path.display().to_string();
                    tracing::warn!(target: "baton", log, %error, "log cannot be written");
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
                    tracing::warn!(target: "baton", log, %error, "log cannot be reopened");
                }
            }
        }
    }

    /// One line for each time that lines were lost, once there is room for it.
    fn report_dropped(&mut self, drained: bool) {
        let dropped = self.shared.dropped.load(Ordering::Relaxed);
        let lost = dropped - self.reported;
        if lost > 0 && (drained || lost >= DROPPED_REPORT) {
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

/// The length of the lines that are written together: as many as fit into a piece, and one at least.
fn whole_lines(bytes: &[u8]) -> usize {
    if bytes.len() <= PIECE_BYTES {
        return bytes.len();
    }
    let breaks = |byte: &u8| *byte == b'\n';
    let before = bytes[..PIECE_BYTES].iter().rposition(breaks);
    let end = before.or_else(|| bytes.iter().position(breaks));
    end.map_or(bytes.len(), |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    const BOUND: Duration = Duration::from_secs(30);

    /// A writer into a pipe, and the end to read from.
    fn piped() -> (LineWriter, io::PipeReader) {
        let (reader, writer) = io::pipe().expect("the system has pipes");
        let owned = writer.as_fd().try_clone_to_owned().expect("it can be duplicated");
        (LineWriter::start(Target::StandardError(File::from(owned))), reader)
    }

    #[test]
    fn lines_come_whole_and_in_order() {
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
    fn a_reader_that_never_reads_costs_lines_and_nobody_waits() {
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
        for _ in 0..2 * QUEUE_BYTES / line.len() {
            writer.push(&line);
        }
        assert!(writer.dropped() > 0);
        drop(reader);
    }

    #[test]
    fn a_rotated_file_is_left_alone_once_it_was_reopened() {
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
