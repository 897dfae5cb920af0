//! A small network, values for its parameters, and ways to save and read them.

// Each test file is a crate of its own that uses a part of this one.
#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use vgg_arch::{Layer, Network, Shape};
use vgg_formats::{Checkpoint, CheckpointError, CheckpointState, ModelDir, TensorSet, save};

/// A convolution and a dense layer: 29 values.
pub fn network() -> Network {
    Network {
        name: "small".to_owned(),
        head: "none".to_owned(),
        input: Shape::new(2, 2, 1),
        classes: 3,
        layers: vec![
            Layer::Convolution { out_channels: 2, kernel: 3 },
            Layer::MaxPool,
            Layer::Dense { outputs: 3, relu: false },
        ],
    }
}

/// Finite numbers of every sort, different for each set, parameter and position.
pub fn value(set: TensorSet, parameter: usize, position: usize) -> f32 {
    let special = [-0.0, f32::from_bits(1), -f32::MIN_POSITIVE / 2.0, f32::MAX, f32::MIN, 1.0 / 3.0];
    match special.get(position) {
        Some(&special) if parameter == 0 => special,
        _ => {
            let factor = match set {
                TensorSet::Weights => 0.1,
                TensorSet::Momentum => -0.7,
                TensorSet::Average => 0.3,
            };
            (parameter * 100 + position) as f32 * factor
        }
    }
}

/// Fills in [`value`].
pub fn give(set: TensorSet, parameter: usize, values: &mut [f32]) -> Result<(), Infallible> {
    for (position, slot) in values.iter_mut().enumerate() {
        *slot = value(set, parameter, position);
    }
    Ok(())
}

/// The state of the small network at `step`.
pub fn state(step: u64) -> CheckpointState {
    let run = BTreeMap::from([("batch_size".to_owned(), "100".to_owned())]);
    CheckpointState { run, ..CheckpointState::new(&network(), step, u64::MAX) }
}

/// Saves a checkpoint with all sets at `step`.
pub fn save_at(model_dir: &Path, step: u64) -> PathBuf {
    save(&model_dir.into(), &state(step), &network(), &TensorSet::ALL, give).unwrap()
}

/// Loads the checkpoint in a directory.
pub fn load(checkpoint: &Path) -> Result<Checkpoint, CheckpointError> {
    let model_dir = ModelDir::new(checkpoint.parent().unwrap());
    vgg_formats::load(&model_dir, checkpoint, &network(), &TensorSet::ALL)
}

/// The bits of all values of a set, parameter by parameter.
pub fn bits(checkpoint: &Checkpoint, set: TensorSet) -> BTreeMap<usize, Vec<u32>> {
    let mut all = BTreeMap::new();
    let keep = |parameter, values: &[f32]| {
        all.insert(parameter, values.iter().map(|value| value.to_bits()).collect());
        Ok::<(), Infallible>(())
    };
    checkpoint.read(set, keep).unwrap();
    all
}

/// The bits that [`give`] gives.
pub fn expected_bits(set: TensorSet) -> BTreeMap<usize, Vec<u32>> {
    let bits = |parameter: usize, length: usize| {
        (0..length).map(|position| value(set, parameter, position).to_bits()).collect()
    };
    network().parameters().iter().map(|p| p.len()).enumerate().map(|(p, n)| (p, bits(p, n))).collect()
}

/// The files of a checkpoint, by name, with their bytes.
pub fn files(checkpoint: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(checkpoint).unwrap().map(|entry| entry.unwrap());
    entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect()
}

/// The names in a directory, in order.
pub fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Asserts that loading finds damage, and gives the message.
pub fn assert_damaged(checkpoint: &Path, what: &str) -> String {
    match load(checkpoint) {
        Err(error @ CheckpointError::Damaged { .. }) => error.to_string(),
        other => panic!("{what}: expected damage, got {other:?}"),
    }
}
