//! The simulator: the pool of `baton` in a seeded world of clients, network and backends.
//!
//! | module | what it is |
//! |---|---|
//! | [`plan`] | everything a run depends on, as a text that a person can edit |
//! | [`faults`] | the families of faults, and plans from seeds |
//! | `world` | the models: clients, network, backends, shell, in virtual time |
//! | [`checker`] | an independent account of what the pool was told and ordered |
//! | [`coverage`] | which cells of the pool's tables, and which rare situations, were met |
//! | [`run`] | one run: from a plan to a verdict |

pub mod batch;
pub mod checker;
pub mod cli;
pub mod coverage;
pub mod doctor;
pub mod draw;
pub mod exhaust;
pub mod faults;
pub mod fuzz;
pub mod html;
pub mod mutants;
pub mod plan;
pub mod report;
pub mod run;
pub mod seed;
pub mod shrink;
pub mod story;
pub mod trace;
mod world;
