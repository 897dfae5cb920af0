//! Runs a network: forward, backward, update.
//!
//! Everything above this crate talks to a boxed [`Engine`]; [`cpu_engine`] makes the one that
//! computes on this machine's processor. Values cross the edge in plain layouts only: pictures as
//! bytes in the order picture, row, column, channel; parameters in the layouts of
//! [`vgg_arch::Parameter`]; logits as `[picture][class]`.
//!
//! Inside, [`plan`] says what will run and where every value lies, `arena` is the memory, and
//! `forward` and `backward` walk the plan's nodes; `average` keeps a mean of the parameters. A training step allocates nothing.

mod api;
#[allow(unsafe_code)]
mod arena;
mod average;
mod backward;
mod cpu;
mod forward;
#[cfg(test)]
mod golden;
mod initialise;
mod options;
pub mod plan;

pub use api::{Dropout, Engine, EngineError, EngineInfo, Outcome, State, UpdateRule};
pub use cpu::{cpu_engine, cpu_engine_with};
pub use options::{EngineOptions, Normalisation, Precision};
pub use plan::Plan;
pub use vgg_kernels::{Kernels, Tier, TierError};
