//! The simulator: `baton` in a seeded world of clients, network and backends. There are two worlds:
//! that of the pool alone, and that of the whole proxy. They share plans, directives and the
//! checker.
//!
//! | module | purpose |
//! |---|---|
//! | [`plan`] | everything a run depends on, as text that a person can edit |
//! | [`faults`] | the families of faults, and plans from seeds |
//! | [`draw`] | numbers drawn from the seed |
//! | `world` | the world of the pool, of models: clients, network, backends, shell, in virtual time |
//! | `proxy` | the world of the proxy: the real shell on a network of bytes, its peers, its judges |
//! | `account`, `both` | the requests of a plan in both worlds, compared |
//! | [`checker`] | an independent model of the pool's facts and orders |
//! | [`coverage`] | the table cells and rare situations that were met |
//! | [`run`], [`batch`] | one run: from a plan to a verdict; many runs, on several threads |
//! | `steer` | runs that branch from what is rarely met |
//! | `hash` | hashes whose values never change |
//! | `panics` | panics of the code under test, which become findings |
//! | `memory` | what the proxy of a run has allocated |
//! | `outside` | the clock and the entropy of a run; what code may not reach past the seams |
//! | [`shrink`], [`nearest`], [`trace`], [`story`], [`html`], [`report`] | from a failure to what a person reads |
//! | [`doctor`], [`mutants`], [`exhaust`], [`fuzz`] | determinism, mutation test, search of a small scope, fuzzing |
//! | [`cli`], [`seed`] | the command line |

#[cfg(feature = "proxy")]
mod account;
pub mod batch;
#[cfg(feature = "proxy")]
mod both;
pub mod checker;
pub mod cli;
pub mod coverage;
pub mod doctor;
pub mod draw;
pub mod exhaust;
pub mod faults;
pub mod fuzz;
mod hash;
pub mod html;
#[cfg(feature = "proxy")]
#[cfg(feature = "proxy")]
mod memory;
pub mod mutants;
pub mod nearest;
#[cfg(feature = "proxy")]
mod outside;
mod panics;
mod ping_rule;
pub mod plan;
#[cfg(feature = "proxy")]
pub mod proxy;
pub mod report;
mod retransmission;
pub mod run;
pub mod seed;
pub mod shrink;
mod steer;
pub mod story;
pub mod trace;
mod world;
