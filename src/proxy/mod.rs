//! The shell around the pool: sockets, TLS, HTTP, time, signals. It tells the pool facts and carries
//! out its orders, and has no `if` about policy.
//!
//! | module | what it is |
//! |---|---|
//! | [`run`] | starts the workers, waits for signals |
//! | [`reload`] | reads configuration and certificates again while it runs |
//! | [`worker`], [`site`] | one thread: a runtime, listeners, connections, pools |
//! | [`clusters`], [`route`] | a worker's clusters, and which of them a request goes to |
//! | [`driver`] | owns a pool: one for each cluster of each worker |
//! | [`downstream`] | connections from clients |
//! | [`relay`], [`relay_body`], [`replay_body`], [`gather`], [`progress`] | one request: attempts, response body, request body |
//! | [`upstream`] | connections to backends |
//! | [`frame_tap`], [`message_guard`] | what passes over connections, HTTP/2 and HTTP/1.1 |
//! | [`client_limits`] | what clients may do |
//! | [`headers`], [`error_response`] | what an intermediary changes; what it says itself |
//! | [`probe`] | active health checks |
//! | [`audit`] | whether pools add up |
//! | [`tls`], [`backend_url`], [`backends`], [`config`] | what it is started with |
//! | [`access_log`], [`log`], [`line_writer`] | what people read |
//! | [`trace_context`] | which trace a request belongs to |
//! | [`metrics`], [`telemetry`], [`control`] | what a worker counts, and how others ask for it |
//! | [`operator`] | what an operator asks about a backend |
//! | [`channel`] | how tasks of a worker tell each other |
//! | [`seams`] | tasks, connections, time, entropy: the only way out |

pub mod access_log;
pub mod audit;
pub mod backend_url;
pub mod backends;
pub mod channel;
pub mod client_limits;
pub mod clusters;
pub mod config;
pub mod control;
pub mod downstream;
pub mod driver;
pub mod error_response;
pub mod frame_tap;
pub mod gather;
pub mod headers;
pub mod line_writer;
pub mod log;
pub mod memory;
pub mod message_guard;
pub mod metrics;
pub mod operator;
pub mod probe;
pub mod progress;
pub mod relay;
pub mod relay_body;
pub mod reload;
pub mod replay_body;
pub mod route;
pub mod run;
pub mod seams;
pub mod site;
pub mod telemetry;
pub mod tls;
pub mod trace_context;
pub mod upstream;
pub mod worker;
