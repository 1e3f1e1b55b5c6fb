//! A configuration file that changes, and its reloads.

use std::path::PathBuf;

use http::{Method, StatusCode};
use serde_json::Value;

use super::baton::Baton;
use super::certificate::{cluster_trust, scratch_file};
use super::client::{Http1, head};
pub(crate) use crate::system::replace;

/// A listener on a port chosen by the system.
pub(crate) const LISTENER: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\n";
/// One worker and an admin interface.
pub(crate) const PROCESS: &str = "[process]\nworkers = 1\n[admin]\naddress = \"127.0.0.1:0\"\n";

/// A configuration file.
pub(crate) struct ConfigFile {
    /// The path.
    pub(crate) path: PathBuf,
}

impl ConfigFile {
    /// Writes a file with this text.
    pub(crate) fn new(name: &str, text: &str) -> Self {
        let file = Self { path: scratch_file(name) };
        file.write(text);
        file
    }

    /// Replaces the text atomically, as careful editors do.
    pub(crate) fn write(&self, text: &str) {
        replace(&self.path, text);
    }
}

/// A cluster with these backends, which trusts the certificate of this test run.
pub(crate) fn cluster<Url: AsRef<str>>(name: &str, more: &str, backends: &[(Url, u16)]) -> String {
    let trust = cluster_trust();
    let mut text = format!("[cluster.{name}]\n{trust}\n{more}\n");
    for (url, weight) in backends {
        let url = url.as_ref();
        text += &format!("[[cluster.{name}.backend]]\nurl = \"{url}\"\nweight = {weight}\n");
    }
    text
}

/// Requests a reload on the admin port.
pub(crate) async fn reload(baton: &Baton) -> (StatusCode, Value) {
    let mut client = Http1::connect(baton.admin().await).await;
    let order = head(Method::POST, "/reload", "reload");
    let answer = client.send(order, "").await.expect("the admin interface answers");
    (answer.status, serde_json::from_slice(&answer.body).expect("JSON"))
}

/// Requests a reload that must succeed. Returns the reported changes.
pub(crate) async fn reloaded(baton: &Baton) -> Vec<String> {
    let (status, report) = reload(baton).await;
    assert_eq!(status, 200, "{report}");
    let changes = report["changes"].as_array().expect("a list");
    changes.iter().map(|change| change.as_str().expect("text").to_owned()).collect()
}

/// Requests a reload that must be refused with this status. Returns the reasons.
pub(crate) async fn refused(baton: &Baton, status: u16) -> Vec<String> {
    let (answered, answer) = reload(baton).await;
    assert_eq!(answered, status, "{answer}");
    let error = answer["error"].as_str().expect("an error");
    error.lines().map(str::to_owned).collect()
}
