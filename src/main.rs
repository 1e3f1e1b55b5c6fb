//! Baton
fn main(){}
