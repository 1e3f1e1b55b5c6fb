//! What the proxy may send on an HTTP/2 connection.
