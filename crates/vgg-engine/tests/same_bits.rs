//! The same bits with any number of threads, from AVX2 and AVX-512, and after a stop.

mod support;

use std::io::Write;
use support::{
    PRECISIONS, RULE, bits, engine, engine_without_gradients, every_layer, narrow_vgg, pictures, wide_vgg,
};
use vgg_arch::{Initialiser, Network};
use vgg_engine::{
    Dropout, Engine, EngineError, EngineOptions, Kernels, Precision, State, Tier, cpu_engine_with,
};

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

type Bits = (Vec<u32>, Vec<u32>, Vec<u32>);

fn trained(network: &Network, kernels: Kernels, precision: Precision, threads: usize) -> Bits {
    let mut engine = engine(network, kernels, precision, 21, threads);
    let losses = train(engine.as_mut(), 0..6);
    (losses, bits(engine.as_ref(), State::Weight), bits(engine.as_ref(), State::Momentum))
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    Tier::choose().expect("the tier that VGG_REQUIRE_ISA names");
    for network in [every_layer(0.4), narrow_vgg(0.4)] {
        for (kernels, precision) in Kernels::available()
            .into_iter()
            .flat_map(|kernels| PRECISIONS.map(|precision| (kernels, precision)))
        {
            let tier = kernels.tier();
            let _ = writeln!(std::io::stderr(), "same bits: tier {tier}, {precision:?}");
            let one = trained(&network, kernels, precision, 1);
            for threads in 2..=4 {
                let more = trained(&network, kernels, precision, threads);
                assert!(more == one, "{tier} {precision:?} with {threads} threads");
            }
        }
    }
}

#[test]
fn avx2_and_avx512_give_the_same_bits() {
    let fused: Vec<Kernels> = [Tier::Avx2, Tier::Avx512].into_iter().filter_map(Kernels::for_tier).collect();
    if fused.len() < 2 {
        let _ = writeln!(std::io::stderr(), "SKIPPED: this processor does not have both AVX2 and AVX-512");
        return;
    }
    let network = narrow_vgg(0.4);
    assert!(trained(&network, fused[0], Precision::F32, 2) == trained(&network, fused[1], Precision::F32, 2));
}

#[test]
fn weights_and_momentum_are_all_there_is_to_save() {
    PRECISIONS.into_iter().for_each(weights_and_momentum_are_all_there_is);
}

fn weights_and_momentum_are_all_there_is(precision: Precision) {
    let network = every_layer(0.4);
    let kernels = Kernels::choose().unwrap();
    let mut through = engine(&network, kernels, precision, 21, 2);
    let mut before = train(through.as_mut(), 0..3);
    let mut resumed = engine(&network, kernels, precision, 21, 3);
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
    PRECISIONS.into_iter().for_each(forward_changes_nothing);
}

fn forward_changes_nothing(precision: Precision) {
    let network = every_layer(0.4);
    let (images, labels) = pictures(&network, 21, 9);
    let mut quiet = engine(&network, Kernels::choose().unwrap(), precision, 21, 2);
    let mut watched = engine(&network, Kernels::choose().unwrap(), precision, 21, 2);
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

/// Updating weights while the backward pass runs spares the gradient, and changes no bit. The
/// batches are small and large, so that gradients are summed in one product and in several.
#[test]
fn an_update_inside_the_backward_pass_gives_the_same_bits() {
    for network in [every_layer(0.4), narrow_vgg(0.4)] {
        for (kernels, precision) in Kernels::available()
            .into_iter()
            .flat_map(|kernels| PRECISIONS.map(|precision| (kernels, precision)))
        {
            let mut apart = engine(&network, kernels, precision, 21, 2);
            let mut inside = engine_without_gradients(&network, kernels, precision, 21, 3);
            for state in [State::Weight, State::Momentum] {
                for (index, parameter) in network.parameters().iter().enumerate() {
                    let mut values = vec![0.0; parameter.len()];
                    apart.read(state, index, &mut values).unwrap();
                    inside.write(state, index, &values).unwrap();
                }
            }
            let losses = train(apart.as_mut(), 0..6);
            for step in 0..6 {
                let (images, labels) = pictures(&network, if step == 2 { 3 } else { 21 }, step as u32);
                let outcome = inside.train_step(&images, &labels, Dropout { seed: 5, step }, &RULE).unwrap();
                assert_eq!(outcome.loss.to_bits(), losses[step as usize]);
            }
            for state in [State::Weight, State::Momentum] {
                let same = bits(apart.as_ref(), state) == bits(inside.as_ref(), state);
                assert!(same, "{state:?} of {} on {} {precision:?}", network.name, kernels.tier());
            }
        }
    }
}

/// Alone, a picture's pixels take the place of pictures in the products, and where both are computed
/// directly no bit changes. (Not so in `f32` where larger batches make Winograd's algorithm pay, nor
/// on AMX, where a single picture is multiplied by AVX-512.)
#[test]
fn a_single_picture_gets_the_bits_that_it_gets_among_others() {
    for network in [every_layer(0.4), narrow_vgg(0.4)] {
        for (kernels, precision) in Kernels::available()
            .into_iter()
            .flat_map(|kernels| PRECISIONS.map(|precision| (kernels, precision)))
        {
            if kernels.tier() == Tier::Amx && precision == Precision::Bf16 {
                continue;
            }
            let mut engines = [1, 3].map(|batch_size| {
                let options = EngineOptions {
                    batch_size,
                    threads: 2,
                    precision,
                    training: false,
                    gradients: false,
                    momentum: false,
                    ..EngineOptions::default()
                };
                let mut engine = cpu_engine_with(&network, &options, kernels).unwrap();
                engine.initialise(Initialiser::HeNormal, 4);
                engine
            });
            let (images, _) = pictures(&network, 1, 8);
            let [alone, among] = engines.each_mut().map(|engine| {
                let mut logits = vec![0.0; network.classes];
                engine.forward(&images, &mut logits).unwrap();
                logits
            });
            assert_eq!(alone, among, "{} on {} {precision:?}", network.name, kernels.tier());
        }
    }
}

#[test]
fn an_engine_without_gradients_says_so() {
    let network = every_layer(0.0);
    let mut engine = engine_without_gradients(&network, Kernels::choose().unwrap(), Precision::F32, 21, 3);
    let (images, labels) = pictures(&network, 2, 1);
    let dropout = Dropout { seed: 1, step: 0 };
    assert!(matches!(engine.forward_backward(&images, &labels, dropout), Err(EngineError::NotMadeFor(_))));
    assert!(matches!(engine.update(&RULE), Err(EngineError::NotMadeFor(_))));
    let mut values = vec![0.0; network.parameters()[0].len()];
    assert!(matches!(engine.read(State::Gradient, 0, &mut values), Err(EngineError::NotMadeFor(_))));
}

/// A short last batch computes in the room that was planned for the full one, whatever the
/// algorithms make of it.
#[test]
fn every_batch_up_to_the_planned_one_can_be_computed() {
    let network = wide_vgg();
    for (precision, planned) in PRECISIONS.into_iter().flat_map(|p| [20, 48, 100].map(|planned| (p, planned)))
    {
        let mut engine =
            engine_without_gradients(&network, Kernels::choose().unwrap(), precision, planned, 2);
        for count in [planned, 1, 17, 20, planned] {
            let (images, labels) = pictures(&network, count, 3);
            let dropout = Dropout { seed: 1, step: count as u64 };
            assert!(engine.train_step(&images, &labels, dropout, &RULE).unwrap().loss.is_finite());
        }
    }
}

/// A loss that is not finite has no step.
#[test]
fn a_step_without_a_finite_loss_changes_nothing() {
    let network = every_layer(0.0);
    let mut engine = engine(&network, Kernels::choose().unwrap(), Precision::F32, 2, 2);
    let bias = network.parameters().len() - 1;
    engine.write(State::Weight, bias, &[f32::NAN; 3]).unwrap();
    let before = bits(engine.as_ref(), State::Weight);
    let (images, labels) = pictures(&network, 2, 1);
    let outcome = engine.train_step(&images, &labels, Dropout { seed: 1, step: 0 }, &RULE).unwrap();
    assert!(!outcome.loss.is_finite());
    assert!(bits(engine.as_ref(), State::Weight) == before);
}
