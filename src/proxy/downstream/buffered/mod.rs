//! Bytes of responses that wait for clients. A client that does not read, or that opens no window,
//! must not take the memory that is meant for all.
//!
//! Two kinds of bytes wait: those that were handed to a client's connection and not yet written to
//! its socket, which are counted; and those that a backend has sent for a response that waits for
//! its client. The latter lie in the buffers of the backend's connection. Only responses that wait
//! are known here, each with the most that its backend may have sent. How much it has sent is
//! asked only when a bound may be exceeded. So the sums are never less than what waits, and a
//! response that never waits costs two additions for each piece.
//!
//! | module | contents |
//! |---|---|
//! | `decide` | the decisions |
//! | `connection` | the bytes of one client connection |
//! | [`process`] | the sum of the process and its bound |
//! | [`worker`] | the sum of a worker, and closing connections |

mod connection;
mod decide;
pub mod process;
pub mod worker;

pub(super) use self::connection::{Buffered, Piece, ResponseWaits};
