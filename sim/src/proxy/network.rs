//! The network of bytes.
