//! The numbers of the shell: sizes, counts and times that no setting changes.
//!
//! Values that an operator sets are elsewhere:
//! [`ClientLimits`](super::client_limits::ClientLimits),
//! [`FrameBudgets`](super::client_limits::FrameBudgets) and [`pool::Config`](crate::pool::Config).

use std::time::Duration;

// Sockets.

/// Connections that may wait to be accepted on one listener.
pub const LISTEN_BACKLOG: u32 = 4096;
/// Silence on a TCP connection to a client after which the system sends a keepalive segment. The
/// system decides how many unanswered ones end the connection (9 on Linux).
pub const CLIENT_KEEPALIVE_TIME: Duration = Duration::from_secs(30);
/// Time between two unanswered keepalive segments to a client.
pub const CLIENT_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// As [`CLIENT_KEEPALIVE_TIME`], for connections to backends: while a request waits and nothing is
/// sent, only these segments show that the backend's host is dead.
pub const BACKEND_KEEPALIVE_TIME: Duration = Duration::from_secs(10);
/// Time between two unanswered keepalive segments to a backend.
pub const BACKEND_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Bytes that the system takes from Baton before it can send them.
pub const TCP_UNSENT_BYTES_MAX: u32 = 128 * 1024;
/// Pause after an accept failed, for example because file descriptors ran out.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Shortest time between two log lines of one listener about failed accepts, or about refused
/// connections.
pub const ACCEPT_LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Time that an address of a backend's name has before the next one is tried as well (RFC 8305, 5).
pub const CONNECTION_ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Maximum addresses of one name that a dial tries.
pub const ADDRESSES_TRIED_MAX: usize = 8;

// HTTP/2.

/// Bytes that a peer may send ahead on one stream. The window of a backend's connection is this
/// times its streams, so that a slow client stalls only itself.
pub const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
/// Bytes that a client may send ahead on one connection. `h2` counts each tiny DATA frame that it
/// keeps as 256 bytes, and takes more than half of this window for an attack. That is about 8000
/// frames, enough for many streams with small messages that wait for a dial.
pub const CLIENT_CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Bytes of the largest flow-control window (RFC 9113, 6.9.1).
pub const WINDOW_BYTES_MAX: u64 = (1 << 31) - 1;
const _: () = assert!(STREAM_WINDOW_BYTES <= CLIENT_CONNECTION_WINDOW_BYTES);
const _: () = assert!(CLIENT_CONNECTION_WINDOW_BYTES as u64 <= WINDOW_BYTES_MAX);

/// Payload bytes of a frame that every peer accepts (RFC 9113, 6.5.2).
pub const FRAME_BYTES_DEFAULT: usize = 16 * 1024;
/// Payload bytes of a frame from a backend. A frame is read with two system calls whatever its
/// size, and goes to the client with one; a response of the size of most pages needs no second
/// frame.
pub const BACKEND_FRAME_BYTES_MAX: u32 = 64 * 1024;
const _: () = assert!(BACKEND_FRAME_BYTES_MAX as usize >= FRAME_BYTES_DEFAULT);
const _: () = assert!(BACKEND_FRAME_BYTES_MAX < 1 << 24);

/// Pieces of a request body with fewer bytes than this are coalesced.
pub const COALESCE_BELOW_BYTES: usize = 4 * 1024;
const _: () = assert!(COALESCE_BELOW_BYTES <= FRAME_BYTES_DEFAULT);

/// Bytes kept for a client's stream while the client does not read.
pub const CLIENT_SEND_BUFFER_BYTES: usize = 128 * 1024;
/// Bytes that may wait for one connection of a client before its next request waits: what one
/// response can fill, and one MiB.
pub const CLIENT_BUFFERED_BYTES_MAX: u64 =
    STREAM_WINDOW_BYTES as u64 + CLIENT_SEND_BUFFER_BYTES as u64 + 1024 * 1024;
/// Change of a worker's bytes that wait for clients after which it is published to the process.
pub const BUFFERED_STEP_BYTES: u64 = 64 * 1024;
/// Time between two looks at the connections of clients while too many bytes wait for them.
pub const BUFFERED_ROUND: Duration = Duration::from_millis(20);
/// Shortest time over which it is observed how much a client takes.
pub const BUFFERED_OBSERVED_TIME: Duration = Duration::from_secs(1);
/// The part of the memory that may hold bytes that wait for clients, unless configured.
pub const BUFFERED_MEMORY_SHARE: u64 = 4;
/// Fewest bytes that may be configured for that.
pub const BUFFERED_BYTES_MIN: u64 = 1024 * 1024;
/// Bytes of a request body kept for a backend's stream while the backend does not read.
pub const BACKEND_SEND_BUFFER_BYTES: usize = 128 * 1024;
/// Maximum number of DATA frames read before their consumer runs. `h2` bounds the tiny frames that
/// it keeps, even if they would be consumed at once.
pub const DATA_FRAMES_AT_ONCE: usize = 256;
/// Sessions of TLS that are kept for a backend: each allows one abbreviated handshake.
pub const BACKEND_SESSIONS: usize = 8;
/// Streams reset by Baton, per connection to a backend, whose late frames are still expected.
pub const RESET_STREAMS_MAX: usize = 4096;
/// The same for a connection of a client. Late trailers of a stream that is no longer remembered
/// end the connection.
pub const CLIENT_RESET_STREAMS_MAX: usize = 1024;
/// Time for which a stream of a client that Baton has reset is remembered.
pub const RESET_STREAM_TIME: Duration = Duration::from_secs(60);
/// Streams of one connection that may end because of an error of the peer. The budget
/// [`provoked_resets`](super::client_limits::FrameBudgets::provoked_resets), which applies to a
/// window of time, is meant to be exceeded first; this limit bounds the resets that wait to be
/// sent.
pub const PROVOKED_RESETS_MAX: usize = 10_000;
/// Payload bytes of a frame that are looked at: a GOAWAY's fixed part and the start of its debug
/// data, a reset's code, or one SETTINGS parameter at a time.
pub const FRAME_PAYLOAD_KEPT_BYTES: usize = 40;

// HTTP/1.1, and what both protocols share.

/// Bytes of a response head, uncompressed.
pub const RESPONSE_HEAD_BYTES_MAX: u32 = 64 * 1024;
/// Field lines of a response head. A head with more is malformed.
pub const RESPONSE_FIELDS_MAX: usize = 128;
/// Bytes that one read of an HTTP/1.1 connection takes at first. Reads of a message that fills them
/// become larger. Also the bytes of a request body that are read before anyone asks for it.
pub const HTTP1_READ_BYTES: usize = 8 * 1024;
/// Bytes that one read takes at most.
pub const HTTP1_READ_BYTES_MAX: usize = 64 * 1024;
const _: () = assert!(HTTP1_READ_BYTES <= HTTP1_READ_BYTES_MAX);
/// Bytes of a request body that were received and wait for who reads it, before no more is read.
pub const HTTP1_UNREAD_BYTES: usize = 64 * 1024;
/// Bytes that wait to be written to an HTTP/1.1 connection before no more is taken from the other
/// side.
pub const HTTP1_UNSENT_BYTES: usize = 64 * 1024;
/// Pieces that one write takes.
pub const HTTP1_SLICES_MAX: usize = 16;

/// Unread bytes that a lingering close reads and discards, so that closing does not reset the
/// connection before the client has read the last response.
pub const UNREAD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes that a lingering close reads at once.
pub const UNREAD_PIECE_BYTES: usize = 4096;
const _: () = assert!(UNREAD_PIECE_BYTES <= UNREAD_BYTES_MAX);

/// Idle time after which an HTTP/1.1 connection from a client is parked: its buffers are freed
/// until the next request.
pub const PARK_AFTER: Duration = Duration::from_secs(1);

// Requests.

/// Time in which a backend that takes no more of a request must respond to it.
pub const EARLY_RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Time to close an idle connection to a backend politely.
pub const POLITE_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Time in which a backend must end a stream whose content is complete.
pub const RESPONSE_FINISH_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time between two reports to the pool that a body makes progress.
pub const PROGRESS_INTERVAL_MAX: Duration = Duration::from_secs(1);
/// Minimum number of progress reports within a stall timeout.
pub const PROGRESS_REPORTS_PER_STALL: u32 = 4;
/// Cut requests that are kept and logged one by one, for each drain and worker; further ones are
/// only counted. The access log has a line for each of them in any case.
pub const CUT_REQUESTS_LISTED_MAX: usize = 100;
/// Characters of a request's path in an operator's report.
pub const REPORTED_PATH_CHARS_MAX: usize = 200;

// Health checks.

/// A health check that is not finished is reported as failed before the pool's deadline for the
/// report, by at most this time.
pub const HEALTH_CHECK_MARGIN_MAX: Duration = Duration::from_millis(10);
/// That margin is also at most the check's timeout divided by this number.
pub const HEALTH_CHECK_MARGIN_SHARE: u32 = 20;
/// Characters of the reason of a failed check. Backends choose some of them.
pub const HEALTH_CHECK_REASON_CHARS_MAX: usize = 256;
/// Bytes that a backend may send ahead on the connection of a check.
pub const HEALTH_CHECK_WINDOW_BYTES: u32 = 64 * 1024;
/// Bytes of a check's request body that wait to be sent.
pub const HEALTH_CHECK_SEND_BUFFER_BYTES: usize = 16 * 1024;
/// Bytes of a response body that a check reads, so that the backend does not see a broken
/// connection.
pub const HEALTH_CHECK_BODY_BYTES_MAX: usize = 64 * 1024;
/// Bytes of the response to a gRPC check; its message has a few.
pub const HEALTH_CHECK_GRPC_BYTES_MAX: usize = 16 * 1024;

// Configuration.

/// Workers of a process.
pub const WORKERS_MAX: u16 = 1024;
/// Listeners of a configuration.
pub const LISTENERS_MAX: usize = 256;
/// Clusters of a configuration: each worker has a pool for each.
pub const CLUSTERS_MAX: usize = 256;
/// Routes of a configuration.
pub const ROUTES_MAX: usize = 16_384;
/// Bytes of the host name of a route (RFC 1035, 2.3.4).
pub const ROUTE_HOST_BYTES_MAX: usize = 253;
/// Distance of the seeds of two clusters; the seeds of two workers differ by one.
pub const SEEDS_PER_CLUSTER: u64 = WORKERS_MAX as u64;

// Workers.

/// Pause between two audits of a pool.
pub const AUDIT_INTERVAL: Duration = Duration::from_secs(1);
/// The pause after an audit is at least this many times as long as the audit took.
pub const AUDIT_TIME_SHARE: u32 = 100;
/// Time between the first audits of two pools that start together, so that not all come at once.
pub const AUDIT_STAGGER: Duration = Duration::from_millis(37);
/// Connections listed in the log of a failed audit.
pub const AUDIT_CONNECTIONS_LISTED_MAX: usize = 64;
const _: () = assert!(AUDIT_STAGGER.as_millis() <= AUDIT_INTERVAL.as_millis());

/// Time between two returns of unused memory to the system, by each worker.
pub const MEMORY_RETURN_INTERVAL: Duration = Duration::from_secs(1);
/// Time that clients have to read their last bytes, beyond the longest drain deadline.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);
/// Time that a shutdown waits to learn how many requests are in flight.
pub const IN_FLIGHT_COUNT_TIMEOUT: Duration = Duration::from_millis(250);
/// Time that workers have to stop after a second signal.
pub const FORCED_STOP_TIMEOUT: Duration = Duration::from_secs(1);

// Reloads.

/// Time that the workers have to confirm a reload.
pub const RELOAD_CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);
/// Time between two polls of the watched files. A changed file must then stay unchanged for this
/// long before it is read.
pub const FILE_WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// The maximal size of a file with certificates, keys or authorities, in bytes. The authorities of
/// a system take some 250 KB.
pub const CERTIFICATE_FILE_BYTES_MAX: usize = 16 << 20;

// The logs.

/// Bytes of lines that may wait to be written.
pub const LOG_QUEUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes written at once; a batch of this size does not wait for more.
pub const LOG_BATCH_BYTES: usize = 64 * 1024;
/// Bytes of capacity that an empty queue keeps.
pub const LOG_SPARE_BYTES: usize = 4 * LOG_BATCH_BYTES;
const _: () = assert!(LOG_SPARE_BYTES <= LOG_QUEUE_BYTES_MAX);

/// Time that a line of the access log waits for further lines before it is written. Waking the
/// thread and writing takes longer than serving most requests.
pub const LOG_COALESCE_TIME: Duration = Duration::from_millis(10);
/// Dropped lines after which they are reported even if the queue never empties.
pub const LOG_DROPPED_LINES_REPORTED: u64 = 10_000;
/// Time that the end of the process waits for the last lines.
pub const LOG_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
const _: () = assert!(LOG_COALESCE_TIME.as_millis() < LOG_FLUSH_TIMEOUT.as_millis());

// The admin interface.

/// Connections at once; further ones are closed.
pub const ADMIN_CONNECTIONS_MAX: usize = 32;
/// Life of a connection, however busy; a client that needs more connects again.
pub const ADMIN_CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
/// Time to finish a request head, and the same again to finish its body.
pub const ADMIN_READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a request head.
pub const ADMIN_HEAD_BYTES_MAX: u32 = 16 * 1024;
/// Field lines of a request head.
pub const ADMIN_FIELDS_MAX: usize = 64;
/// Bytes of a request body, which is read and ignored.
pub const ADMIN_BODY_BYTES_MAX: usize = 64 * 1024;
/// Time that the workers have to answer; one that has not is reported as late.
pub const WORKER_ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Backends named in the text of an error; the response also lists all of them.
pub const NAMED_BACKENDS_MAX: usize = 5;
const _: () = assert!(
    2 * ADMIN_READ_TIMEOUT.as_millis() + WORKER_ANSWER_TIMEOUT.as_millis()
        < ADMIN_CONNECTION_TIMEOUT.as_millis()
);

// The commands that use the admin interface.

/// Time that the admin interface has to respond to a command.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of the response to a command.
pub const COMMAND_ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Time between two requests of a command with `--wait`.
pub const WAIT_POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Shortest time between two lines of output of a command with `--wait`.
pub const WAIT_LINE_INTERVAL: Duration = Duration::from_secs(1);
/// Requests in a row that a worker may leave unanswered; each takes [`WORKER_ANSWER_TIMEOUT`] or
/// more.
pub const WAIT_SILENT_POLLS_MAX: u32 = 30;
const _: () = assert!(WORKER_ANSWER_TIMEOUT.as_millis() < COMMAND_TIMEOUT.as_millis());
