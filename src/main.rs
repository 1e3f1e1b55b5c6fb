//! Baton
fn main() {}
