//! The simulator: the pool of `baton` in a seeded world of clients, network and backends.
//!
//! | module | purpose |
//! |---|---|
//! | [`plan`] | everything a run depends on, as text that a person can edit |
//! | [`faults`] | the families of faults, and plans from seeds |
//! | `world` | the models: clients, network, backends, shell, in virtual time |
//! | [`checker`] | an independent model of the pool's facts and orders |
//! | [`coverage`] | the table cells and rare situations that were met |
//! | [`run`] | one run: from a plan to a verdict |
//! | `outside` | the clock and the entropy of a run; what code may not reach past the seams |

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
#[cfg(feature = "proxy")]
mod outside;
pub mod plan;
#[cfg(feature = "proxy")]
mod proxy;
pub mod report;
pub mod run;
pub mod seed;
pub mod shrink;
pub mod story;
pub mod trace;
mod world;
