//! Every backend and connection of every worker, as JSON: written by the admin interface, read by
//! `baton status`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::Answer;
use crate::proxy::snapshot::ClusterSnapshot;

#[derive(Serialize, Deserialize)]
pub(crate) struct Pools<'a> {
    pub(crate) workers: Vec<Worker<'a>>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Worker<'a> {
    pub(crate) worker: usize,
    /// False if the worker did not answer in time; its clusters are then the last known ones.
    pub(crate) answered: bool,
    pub(crate) clusters: Cow<'a, [ClusterSnapshot]>,
}

/// Returns the body of the response to `GET /pools`.
pub(super) fn encode(answers: &[Answer]) -> String {
    let workers = answers.iter().enumerate().map(|(worker, answer)| Worker {
        worker,
        answered: answer.in_time,
        clusters: answer.snapshot.as_ref().map_or(&[][..], |known| &known.clusters).into(),
    });
    let pools = Pools { workers: workers.collect() };
    let mut text = serde_json::to_string_pretty(&pools).expect("text and numbers are JSON");
    text.push('\n');
    text
}
