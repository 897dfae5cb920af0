//! The same bits with any number of threads, from AVX2 and AVX-512, and after a stop.

mod support;

use std::io::Write;
use support::{bits, engine, every_layer, narrow_vgg, pictures};
use vgg_arch::Network;
use vgg_engine::{Dropout, Engine, Kernels, State, Tier, UpdateRule};

const RULE: UpdateRule =
    UpdateRule { learning_rate: 0.02, momentum: 0.9, nesterov: true, weight_decay: 5e-4 };

/// Trains steps `steps` with dropout on, each on its own pictures, the third batch a short one.
fn train(engine: &mut dyn Engine, steps: std::ops::Range<u64>) -> Vec<u32> {
    let network = engine.network().clone();
    let mut losses = Vec::new();
    for step in steps {
        let (images, labels) = pictures(&network, if step == 2 { 3 } else { 21 }, step as u32);
        let outcome = engine.forward_backward(&images, &labels, Dropout { seed: 5, step }).unwrap();
        engine.update(&RULE).unwrap();
        losses.push(outcome.loss.to_bits());
    }
    losses
}

fn trained(network: &Network, kernels: Kernels, threads: usize) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
    let mut engine = engine(network, kernels, 21, threads);
    let losses = train(engine.as_mut(), 0..6);
    (losses, bits(engine.as_ref(), State::Weight), bits(engine.as_ref(), State::Momentum))
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for network in [every_layer(0.4), narrow_vgg(0.4)] {
        for kernels in Kernels::available() {
            let _ = writeln!(std::io::stderr(), "same bits: tier {}", kernels.tier());
            let one = trained(&network, kernels, 1);
            for threads in 2..=4 {
                assert!(
                    trained(&network, kernels, threads) == one,
                    "{} with {threads} threads",
                    kernels.tier()
                );
            }
        }
    }
}

#[test]
fn avx2_and_avx512_give_the_same_bits() {
    let fused: Vec<Kernels> =
        Kernels::available().into_iter().filter(|kernels| kernels.tier() != Tier::Portable).collect();
    if fused.len() < 2 {
        let _ = writeln!(std::io::stderr(), "SKIPPED: this processor does not have both AVX2 and AVX-512");
        return;
    }
    let network = narrow_vgg(0.4);
    assert!(trained(&network, fused[0], 2) == trained(&network, fused[1], 2));
}

#[test]
fn weights_and_momentum_are_all_there_is_to_save() {
    let network = every_layer(0.4);
    let kernels = Kernels::choose().unwrap();
    let mut through = engine(&network, kernels, 21, 2);
    let mut before = train(through.as_mut(), 0..3);
    let mut resumed = engine(&network, kernels, 21, 3);
    for state in [State::Weight, State::Momentum] {
        for (index, parameter) in network.parameters().iter().enumerate() {
            let mut values = vec![0.0; parameter.len()];
            through.read(state, index, &mut values).unwrap();
            resumed.write(state, index, &values).unwrap();
        }
    }
    before.extend(train(through.as_mut(), 3..6));
    let after = train(resumed.as_mut(), 3..6);
    assert_eq!(before[3..], after);
    for state in [State::Weight, State::Momentum] {
        assert!(bits(through.as_ref(), state) == bits(resumed.as_ref(), state), "{state:?}");
    }
}

/// Evaluation between two steps, dropout's seed apart, leaves no trace in training, and a picture's
/// logits do not depend on its neighbours in the batch.
#[test]
fn forward_changes_nothing_and_pictures_do_not_meet() {
    let network = every_layer(0.4);
    let (images, labels) = pictures(&network, 21, 9);
    let mut quiet = engine(&network, Kernels::choose().unwrap(), 21, 2);
    let mut watched = engine(&network, Kernels::choose().unwrap(), 21, 2);
    let mut together = vec![0.0; 21 * 3];
    watched.forward(&images, &mut together).unwrap();
    for (picture, logits) in together.chunks(3).enumerate() {
        let mut alone = [0.0; 3];
        let len = network.input.len();
        watched.forward(&images[picture * len..(picture + 1) * len], &mut alone).unwrap();
        assert_eq!(alone, logits, "picture {picture}");
    }
    for engine in [&mut quiet, &mut watched] {
        engine.forward_backward(&images, &labels, Dropout { seed: 1, step: 0 }).unwrap();
    }
    watched.forward(&images, &mut together).unwrap();
    for engine in [&mut quiet, &mut watched] {
        engine.update(&RULE).unwrap();
    }
    assert!(bits(quiet.as_ref(), State::Weight) == bits(watched.as_ref(), State::Weight));
}
