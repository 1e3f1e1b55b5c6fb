//! Whole lines to standard error or to a file, by a thread of their own behind a bounded queue: a
//! reader that never reads, or a disk that is slow or full, costs lines and never stops a worker.
//! Lines that do not fit are dropped, counted, and reported once the rest is through.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::thread;
use std::time::Duration;

/// Lines that may wait to be written.
const QUEUE_LINES: usize = 8192;
/// Bytes that may wait to be written, all lines together.
const QUEUE_BYTES: usize = 8 * 1024 * 1024;
/// Bytes that are written at once, if that many wait.
const BATCH_BYTES: usize = 64 * 1024;
/// Dropped lines after which they are reported even if the queue is never empty.
const DROPPED_REPORT: u64 = 10_000;
/// The wait between two looks at a queue that is full.
const FLUSH_PAUSE: Duration = Duration::from_millis(5);

enum Message {
    Line(Vec<u8>),
    /// Answered when everything before it was written.
    Flush(Sender<()>),
    /// Only wakes the thread.
    Wake,
}

#[derive(Default)]
struct Shared {
    queued_bytes: AtomicUsize,
    dropped: AtomicU64,
    reopen: AtomicBool,
}

/// The way into the queue. Its thread ends with the last of these.
pub struct LineWriter {
    queue: SyncSender<Message>,
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
        let (queue, messages) = sync_channel(QUEUE_LINES);
        let shared = Arc::new(Shared::default());
        let thread = Thread { target, shared: Arc::clone(&shared), reported: 0 };
        thread::Builder::new()
            .name("log writer".to_owned())
            .spawn(move || thread.run(&messages))
            .expect("the system has threads");
        Self { queue, shared }
    }

    /// Queues one line, its line break included. Dropped and counted if there is no room.
    pub fn push(&self, line: Vec<u8>) {
        let length = line.len();
        let before = self.shared.queued_bytes.fetch_add(length, Ordering::Relaxed);
        let fits = before + length <= QUEUE_BYTES;
        if !fits || self.queue.try_send(Message::Line(line)).is_err() {
            self.shared.queued_bytes.fetch_sub(length, Ordering::Relaxed);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Opens the file anew before the next line, as after its rotation. Standard error stays as it is.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Relaxed);
        // A full queue wakes the thread as well.
        let _ = self.queue.try_send(Message::Wake);
    }

    /// Lines that were dropped since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything queued so far was written, but no longer than twice `most`.
    pub fn flush(&self, most: Duration) {
        let (done, flushed) = channel();
        let mut waited = Duration::ZERO;
        loop {
            match self.queue.try_send(Message::Flush(done.clone())) {
                Ok(()) => break,
                Err(TrySendError::Disconnected(_)) => return,
                Err(TrySendError::Full(_)) if waited >= most => return,
                Err(TrySendError::Full(_)) => {
                    thread::sleep(FLUSH_PAUSE);
                    waited += FLUSH_PAUSE;
                }
            }
        }
        // If it takes longer, nobody reads: then the lines are lost either way.
        let _ = flushed.recv_timeout(most);
    }
}

/// One call of `write` is one line, as `tracing` makes them.
impl Write for &LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line.to_vec());
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
    reported: u64,
}

impl Thread {
    fn run(mut self, messages: &Receiver<Message>) {
        let mut batch = Vec::with_capacity(BATCH_BYTES);
        while let Ok(first) = messages.recv() {
            let mut flushes = Vec::new();
            let mut lines = 0;
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Message::Line(line) => {
                        batch.extend_from_slice(&line);
                        lines += 1;
                    }
                    Message::Flush(done) => flushes.push(done),
                    Message::Wake => {}
                }
                next = if batch.len() < BATCH_BYTES { messages.try_recv().ok() } else { None };
            }
            let drained = batch.len() < BATCH_BYTES;
            self.write(&batch, lines);
            batch.clear();
            self.report_dropped(drained);
            for done in flushes {
                // Whoever asked may have stopped waiting.
                let _ = done.send(());
            }
        }
    }

    fn write(&mut self, batch: &[u8], lines: u64) {
        if self.shared.reopen.swap(false, Ordering::Relaxed) {
            self.reopen();
        }
        let file = match &mut self.target {
            Target::StandardError(file) | Target::File { file, .. } => file,
        };
        // The room is given back only now: what is being written counts as well.
        let written = file.write_all(batch);
        self.shared.queued_bytes.fetch_sub(batch.len(), Ordering::Relaxed);
        if let Err(error) = written {
            let before = self.shared.dropped.fetch_add(lines, Ordering::Relaxed);
            if before == self.reported {
                let log = self.target.name();
                tracing::warn!(target: "baton", log, %error, "log cannot be written");
            }
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
            writer.push(line.into_bytes());
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
            writer.push(line.clone());
        }
        assert!(writer.dropped() >= 500, "dropped {}", writer.dropped());
        writer.flush(Duration::from_millis(50));
        drop(reader);
    }

    #[test]
    fn many_short_lines_are_bounded_as_well() {
        let (writer, reader) = piped();
        for _ in 0..10 * QUEUE_LINES {
            writer.push(b"a line\n".repeat(10));
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
        writer.push(b"before\n".to_vec());
        writer.flush(BOUND);
        std::fs::rename(&path, &rotated).expect("it exists");
        writer.push(b"between\n".to_vec());
        writer.flush(BOUND);
        writer.reopen();
        writer.push(b"after\n".to_vec());
        writer.flush(BOUND);
        let read = |path| std::fs::read_to_string(path).expect("it exists");
        assert_eq!((read(&rotated), read(&path)), ("before\nbetween\n".into(), "after\n".into()));
        std::fs::remove_dir_all(&folder).expect("it is ours");
    }
}
