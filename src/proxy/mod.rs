//! The shell around the pool: sockets, TLS, HTTP, time, signals. It reports facts to the pool and
//! carries out its orders, and makes no policy decisions.
//!
//! | module | contents |
//! |---|---|
//! | [`run`] | starts the workers, handles signals |
//! | [`reload`] | applies a changed configuration and changed certificates |
//! | [`worker`], [`worker_state`] | one thread: a runtime, listeners, connections, pools |
//! | [`clusters`], [`route`] | a worker's clusters, and routing of requests to them |
//! | [`driver`] | owns a pool: one for each cluster of each worker |
//! | [`downstream`] | client connections |
//! | [`http1_server`] | one client over HTTP/1.1: requests, and the responses of a service |
//! | [`http1_io`] | moves bytes between a connection and the HTTP/1.1 codec |
//! | [`exchange`] | one request, from its head to its end |
//! | [`request_body`], [`http2_body`] | content, as a connection delivers it |
//! | [`upstream`], [`dial`], [`addresses`] | backend connections |
//! | [`pool_handle`] | a pool, as connections and health checks report to it |
//! | [`http2_wire`] | the HTTP/2 wire: reads, counts and merges frames |
//! | [`drain`] | the order to drain, within a worker |
//! | [`linger`] | the lingering close of a client's connection |
//! | [`client_limits`] | limits of clients |
//! | [`headers`], [`heads`], [`date`], [`error_response`] | changes to heads; Baton's own responses |
//! | [`health_check`] | active health checks |
//! | [`audit`] | consistency checks of the pools |
//! | [`memory`], `system_memory` | returns unused memory to the system; the memory there is |
//! | [`tls`], [`backend_url`], [`backends`], [`config`] | TLS, backends, the configuration |
//! | [`access_log`], [`log`], [`line_writer`] | logs |
//! | [`trace_context`] | trace ids |
//! | [`metrics`], [`telemetry`], [`snapshot`] | a worker's counters, and copies of its state |
//! | [`control`], [`worker_commands`] | commands to a worker |
//! | [`operator`] | an operator's orders about a backend |
//! | [`channel`] | channels between tasks of a worker |
//! | [`seams`] | tasks, connections, time, entropy: all access to the system |

pub mod access_log;
pub mod addresses;
pub mod audit;
pub mod backend_url;
pub mod backends;
pub mod channel;
pub mod client_limits;
pub mod clusters;
pub mod config;
pub mod control;
pub mod date;
pub mod dial;
pub mod downstream;
pub mod drain;
pub mod driver;
pub mod error_response;
pub mod exchange;
pub mod headers;
pub mod heads;
pub mod health_check;
pub mod http1_io;
pub mod http1_server;
pub mod http2_body;
pub mod http2_wire;
mod json;
pub mod limits;
#[cfg(not(feature = "simulation"))]
pub mod line_writer;
#[cfg(feature = "simulation")]
#[path = "line_writer/simulated.rs"]
pub mod line_writer;
pub mod linger;
pub mod log;
pub mod memory;
pub mod metrics;
pub mod operator;
pub mod pool_handle;
pub mod reload;
pub mod request_body;
pub mod route;
pub mod run;
pub mod seams;
pub mod snapshot;
mod system_memory;
pub mod telemetry;
pub mod tls;
pub mod trace_context;
pub mod upstream;
pub mod worker;
pub mod worker_commands;
pub mod worker_state;
