//! What a checkpoint says besides its tensors: `state.json`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use vgg_arch::text::one_line;
use vgg_arch::{Network, Shape};

/// The version of the directory's format that this crate writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// Where a run stands. The position in the epoch, the order of pictures, augmentation and dropout
/// are functions of `seed` and `global_step`, so nothing else is needed to go on exactly there.
///
/// There is no floating-point number in it: JSON has no infinity and no NaN, and its decimals
/// invite rounding. A caller that keeps one in [`CheckpointState::run`] writes the hexadecimal
/// digits of its bits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointState {
    /// [`FORMAT_VERSION`] of the program that wrote the checkpoint.
    pub format_version: u32,
    /// The network that the tensors belong to.
    pub network: NetworkId,
    /// Number of updates done.
    pub global_step: u64,
    /// The run's seed.
    pub seed: u64,
    /// What else the trainer compares when it resumes, by name: batch size, fingerprint of the
    /// data, digest of the configuration. Kept and given back as it is.
    pub run: BTreeMap<String, String>,
    /// What the trainer has found out on the way and needs to go on, by name. Not compared, kept and
    /// given back as it is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub progress: BTreeMap<String, String>,
}

impl CheckpointState {
    /// The state of `network` after `global_step` updates, with empty [`CheckpointState::run`]
    /// and [`CheckpointState::progress`].
    pub fn new(network: &Network, global_step: u64, seed: u64) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            network: NetworkId::of(network),
            global_step,
            seed,
            run: BTreeMap::new(),
            progress: BTreeMap::new(),
        }
    }
}

/// What tells one network from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkId {
    /// Name of the configuration, such as `vgg13`.
    pub name: String,
    /// Name of the head, such as `tutorial`.
    pub head: String,
    /// Shape of one input picture.
    pub input: Shape,
    /// Number of classes.
    pub classes: usize,
}

impl NetworkId {
    /// The identity of `network`.
    pub fn of(network: &Network) -> Self {
        Self {
            name: network.name.clone(),
            head: network.head.clone(),
            input: network.input,
            classes: network.classes,
        }
    }
}

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Read from a file, the names may be anything.
        let [name, head] = [&self.name, &self.head].map(|name| one_line(name, 100));
        write!(f, "{name} with head {head} for {} and {} classes", self.input, self.classes)
    }
}
