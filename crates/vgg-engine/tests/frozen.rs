//! Frozen layers: they keep every bit, and the layers above them get what they get in a training of all
//! layers from the same weights.

mod support;

use support::{PRECISIONS, bits, engine, engine_for, every_layer, for_training, narrow_vgg, pictures};
use vgg_arch::Network;
use vgg_engine::{Dropout, Engine, EngineError, EngineOptions, Kernels, Precision, State, UpdateRule};

/// Weight decay would change a weight that has no gradient.
const RULE: UpdateRule = UpdateRule { weight_decay: 5e-2, ..support::RULE };
const BATCH: usize = 21;

/// Calls `judge` with a number of frozen layers, of which each has two parameters.
fn everywhere(judge: impl Fn(&Network, Kernels, Precision, usize)) {
    for network in [every_layer(0.4), narrow_vgg(0.4)] {
        let layers = network.parameters().len() / 2;
        for kernels in Kernels::available() {
            for (precision, frozen) in
                PRECISIONS.into_iter().flat_map(|p| [1, layers / 2, layers - 1].map(|frozen| (p, frozen)))
            {
                judge(&network, kernels, precision, frozen);
            }
        }
    }
}

fn values(engine: &dyn Engine, state: State, index: usize) -> Vec<f32> {
    let mut values = vec![0.0; engine.network().parameters()[index].len()];
    engine.read(state, index, &mut values).unwrap();
    values
}

fn same(a: &[f32], b: &[f32]) -> bool {
    a.iter().map(|value| value.to_bits()).eq(b.iter().map(|value| value.to_bits()))
}

/// Dropout drops the same values, also below the trained layers: the backward pass ends there, the
/// forward pass is that of training.
#[test]
fn trained_layers_have_the_gradients_that_they_have_without_frozen_ones() {
    everywhere(|network, kernels, precision, frozen| {
        let options = EngineOptions { frozen, ..for_training(precision, BATCH, 2) };
        let mut partly = engine_for(network, kernels, &options);
        let mut wholly = engine(network, kernels, precision, BATCH, 3);
        let (images, labels) = pictures(network, BATCH, 3);
        let [some, all] = [&mut partly, &mut wholly]
            .map(|engine| engine.forward_backward(&images, &labels, Dropout { seed: 5, step: 1 }).unwrap());
        assert_eq!(some, all);
        for (index, parameter) in network.parameters().iter().enumerate() {
            let mut gradient = vec![0.0; parameter.len()];
            let result = partly.read(State::Gradient, index, &mut gradient);
            if index < 2 * frozen {
                assert!(
                    matches!(result, Err(EngineError::NotMadeFor("gradients of frozen layers"))),
                    "{} with {frozen} frozen: {result:?}",
                    parameter.name
                );
            } else {
                let expected = values(wholly.as_ref(), State::Gradient, index);
                assert!(same(&gradient, &expected), "{} with {frozen} frozen, {precision:?}", parameter.name);
            }
        }
    });
}

/// In an engine that trains all layers the lower ones are put back after each step. Steps are made in
/// both ways: inside the backward pass, and by a gradient that is kept.
#[test]
fn a_training_changes_the_trained_layers_alone() {
    everywhere(|network, kernels, precision, frozen| {
        let options = EngineOptions { frozen, ..for_training(precision, BATCH, 2) };
        let mut apart = engine_for(network, kernels, &options);
        let mut inside = engine_for(network, kernels, &EngineOptions { gradients: false, ..options });
        let mut wholly = engine(network, kernels, precision, BATCH, 3);
        let start: Vec<Vec<f32>> =
            (0..2 * frozen).map(|index| values(apart.as_ref(), State::Weight, index)).collect();
        for step in 0..4 {
            let (images, labels) = pictures(network, if step == 2 { 3 } else { BATCH }, step as u32);
            for engine in [&mut apart, &mut inside, &mut wholly] {
                engine.train_step(&images, &labels, Dropout { seed: 5, step }, &RULE).unwrap();
            }
            let moved = values(wholly.as_ref(), State::Weight, 0);
            assert!(!same(&moved, &start[0]), "training without frozen layers moves the first one");
            for (index, weights) in start.iter().enumerate() {
                wholly.write(State::Weight, index, weights).unwrap();
            }
        }
        let expected = bits(wholly.as_ref(), State::Weight);
        for engine in [&apart, &inside] {
            assert!(bits(engine.as_ref(), State::Weight) == expected, "{frozen} frozen, {precision:?}");
            for index in 0..network.parameters().len() {
                let momentum = values(engine.as_ref(), State::Momentum, index);
                if index < 2 * frozen {
                    assert!(momentum.iter().all(|&value| value == 0.0));
                } else {
                    assert!(same(&momentum, &values(wholly.as_ref(), State::Momentum, index)));
                }
            }
        }
    });
}

/// A mean of what does not change is what it is.
#[test]
fn the_average_of_a_frozen_layer_is_the_layer() {
    let network = narrow_vgg(0.4);
    let options = EngineOptions { frozen: 3, averaging: true, ..for_training(Precision::F32, BATCH, 2) };
    let mut engine = engine_for(&network, Kernels::choose().unwrap(), &options);
    for step in 0..4 {
        let (images, labels) = pictures(&network, BATCH, step as u32);
        engine.train_step(&images, &labels, Dropout { seed: 5, step }, &RULE).unwrap();
        engine.average(0.3).unwrap();
    }
    for index in 0..network.parameters().len() {
        let [weights, means] =
            [State::Weight, State::Average].map(|state| values(engine.as_ref(), state, index));
        assert_eq!(same(&weights, &means), index < 6, "parameter {index}");
    }
}
