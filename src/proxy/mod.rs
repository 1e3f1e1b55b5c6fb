//! The shell around the pool: sockets, TLS, HTTP, time, signals. It tells the pool facts and carries
//! out its orders, and has no `if` about policy.
//!
//! | module | what it is |
//! |---|---|
//! | [`run`] | starts the workers, waits for signals |
//! | [`worker`] | one thread: a runtime, listeners, connections, a pool |
//! | [`driver`] | owns the pool of a worker |
//! | [`downstream`] | connections from clients |
//! | [`relay`], [`relay_body`], [`replay_body`], [`gather`] | one request: attempts, response body, request body |
//! | [`upstream`] | connections to backends |
//! | [`frame_tap`], [`message_guard`] | what passes over connections, HTTP/2 and HTTP/1.1 |
//! | [`client_limits`] | what clients may do |
//! | [`headers`], [`error_response`] | what an intermediary changes; what it says itself |
//! | [`tls`], [`backend_url`], [`config`] | what it is started with |
//! | [`access_log`], [`log`] | what people read |
//! | [`seams`] | tasks, connections, time, entropy: the only way out |

pub mod access_log;
pub mod backend_url;
pub mod client_limits;
pub mod config;
pub mod downstream;
pub mod driver;
pub mod error_response;
pub mod frame_tap;
pub mod gather;
pub mod headers;
pub mod log;
pub mod message_guard;
pub mod relay;
pub mod relay_body;
pub mod replay_body;
pub mod run;
pub mod seams;
pub mod tls;
pub mod upstream;
pub mod worker;
