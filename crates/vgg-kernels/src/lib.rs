//! Arithmetic on this processor for VGG networks, on blocked buffers (see [`layout`]).
//!
//! Every operation is a safe function that takes a table of [`Kernels`] and a [`Pool`] of threads
//! and checks the lengths of its slices. A table exists only for a tier that this processor has.
//! [`mod@reference`] holds the same operations as plain loops in `f64`: it is their specification, and
//! the tests judge every tier by it.
//!
//! Convolutions and dense layers, forward and backward, are one primitive, the batch-reduce
//! product of tiles in `product` (`f32`) and `product16` (bf16); [`contraction`] says which tiles meet.
//!
//! `unsafe` is used for vector instructions, which need a processor that has them, and for
//! parallel tasks that write to disjoint parts of one slice.

#![allow(unsafe_code)]

pub mod contraction;
pub mod element;
pub mod gather;
mod kernels;
pub mod layout;
pub mod loss;
pub mod normalisation;
pub mod parallel;
pub mod pointwise;
pub mod pooling;
mod prefetch;
mod product;
mod product16;
pub mod reference;
mod tier;
pub mod update;

pub use contraction::{Contraction, Operand, WeightGradient};
pub use element::{Bf16, Element, Format};
pub use kernels::Kernels;
pub use layout::{Map, TILE, TILE_LEN, WeightLayout};
pub use parallel::Pool;
pub use tier::{Tier, TierError};
