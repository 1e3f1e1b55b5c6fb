//! Commands to a running Baton.

use http::Method;
use serde_json::Value;

use super::client::head;
use super::{Baton, Http1};
pub(crate) use crate::system::run_baton;

/// The result of a run of `baton`.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The exit code.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

/// Runs a command with this Baton's admin address.
pub(crate) async fn command(baton: &Baton, arguments: &[&str]) -> Ran {
    let admin = baton.admin().await.to_string();
    run_baton(&[arguments, &["--admin", &admin]].concat()).await
}

/// Sends a request to the admin interface. Returns the status and the JSON body.
pub(crate) async fn order(baton: &Baton, method: Method, target: &str) -> (u16, Value) {
    let mut client = Http1::connect(baton.admin().await).await;
    let answer = client.send(head(method, target, "order"), "").await.expect("answered");
    let value = serde_json::from_slice(&answer.body).expect("JSON");
    (answer.status.as_u16(), value)
}

/// Sends an order that must succeed. Returns the JSON body.
pub(crate) async fn carried_out(baton: &Baton, method: Method, target: &str) -> Value {
    let (status, value) = order(baton, method, target).await;
    assert_eq!(status, 200, "{target}: {value}");
    value
}
