//! What a VGG network is, as data: the paper's table, the heads, shapes, parameters, costs, and
//! the random numbers of a run. Nothing here computes with pictures.
//!
//! Read in this order: [`presets`] (the table of Simonyan & Zisserman 2014 and the two heads),
//! [`network`] (a network as a list of layers, and its shapes), [`parameters`] (name, shape and
//! offset of every weight), [`costs`] (operations and bytes), [`random`] (numbers that are a
//! function of seed, purpose and position), [`text`] (outside text in messages).
#![forbid(unsafe_code)]

pub mod costs;
pub mod network;
pub mod parameters;
pub mod presets;
pub mod random;
pub mod text;

pub use costs::{LayerCost, layer_costs};
pub use network::{ArchError, Layer, Network, Shape};
pub use parameters::{Initialiser, Parameter};
pub use presets::{CONFIGURATIONS, Configuration, HEADS, Head};
pub use random::{Purpose, Random};
