//! The peers of the proxy: clients and backends that write and read bytes.
//!
//! | module | contents |
//! |---|---|
//! | `timing` | what peers of every protocol share: pauses, the pieces of a body over time |
//! | `http1_message` | HTTP/1.1 messages, strictly read |
//! | `http1_client`, `http1_backend` | the peers that speak HTTP/1.1 |
//! | `frames` | HTTP/2 frames as bytes, and the fields within them |
//! | `conduct` | what the proxy may send on an HTTP/2 connection, judged frame by frame |
//! | `http2_backend` | a backend that speaks HTTP/2, frame by frame |
//! | `http2_library_backend` | its connections that the `h2` library serves |
//! | `service`, `fate`, `exchange`, `pace` | what both share: the backend, a dial, a request, an answer |
//! | `sending` | a request as its client sends it |
//! | `arrivals`, `tap` | responses as they arrive at an HTTP/2 client, judged |
//! | `http2_client` | clients by the `h2` library |
//! | `frames_client` | clients that write their own frames |
//! | `tls` | TLS as a function of the seed |

pub(crate) mod arrivals;
#[cfg(test)]
mod client_tests;
pub(crate) mod conduct;
pub(crate) mod exchange;
pub(crate) mod fate;
pub(crate) mod frames;
pub(crate) mod frames_client;
pub(crate) mod http1_backend;
pub(crate) mod http1_client;
pub(crate) mod http1_message;
#[cfg(test)]
mod http1_tests;
pub(crate) mod http2_backend;
pub(crate) mod http2_client;
pub(crate) mod http2_library_backend;
pub(crate) mod pace;
pub(crate) mod sending;
pub(crate) mod service;
pub(crate) mod tap;
#[cfg(test)]
mod test_support;
pub(crate) mod timing;
pub(crate) mod tls;
