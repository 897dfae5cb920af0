//! The mean of the parameters: what it is, that it can take their place and give it back, and that it is
//! one more thing to save.

mod support;

use support::{PRECISIONS, RULE, bits, engine, engine_for, every_layer, for_training, pictures};
use vgg_arch::Network;
use vgg_engine::{Dropout, Engine, EngineError, EngineOptions, Kernels, Precision, State, cpu_engine_with};

const BATCH: usize = 21;

fn averaging_engine(
    network: &Network,
    kernels: Kernels,
    precision: Precision,
    threads: usize,
) -> Box<dyn Engine> {
    let options =
        EngineOptions { averaging: true, gradients: false, ..for_training(precision, BATCH, threads) };
    engine_for(network, kernels, &options)
}

fn step(engine: &mut dyn Engine, step: u64) {
    let (images, labels) = pictures(engine.network(), BATCH, step as u32);
    engine.train_step(&images, &labels, Dropout { seed: 5, step }, &RULE).unwrap();
}

fn logits(engine: &mut dyn Engine) -> Vec<f32> {
    let (images, _) = pictures(engine.network(), BATCH, 77);
    let mut logits = vec![0.0; BATCH * engine.network().classes];
    engine.forward(&images, &mut logits).unwrap();
    logits
}

fn everywhere(judge: impl Fn(&Network, Kernels, Precision)) {
    for kernels in Kernels::available() {
        PRECISIONS.into_iter().for_each(|precision| judge(&every_layer(0.4), kernels, precision));
    }
}

fn copy(from: &dyn Engine, to: &mut dyn Engine, pairs: &[(State, State)]) {
    for (index, parameter) in from.network().parameters().iter().enumerate() {
        let mut values = vec![0.0; parameter.len()];
        for &(source, target) in pairs {
            from.read(source, index, &mut values).unwrap();
            to.write(target, index, &values).unwrap();
        }
    }
}

/// Starts as the parameters, then moves as the definition says, with the same bits as plain `f32` and
/// with any number of threads.
#[test]
fn an_average_follows_its_definition() {
    everywhere(|network, kernels, precision| {
        for threads in 1..=3 {
            let mut engine = averaging_engine(network, kernels, precision, threads);
            let mut expected = bits(engine.as_ref(), State::Weight);
            for (number, share) in [0.1_f32, 1.0, 0.5, 1.0 / 3.0, 0.0].into_iter().enumerate() {
                assert!(bits(engine.as_ref(), State::Average) == expected, "before average {number}");
                step(engine.as_mut(), number as u64);
                let weights = bits(engine.as_ref(), State::Weight);
                engine.average(share).unwrap();
                assert!(bits(engine.as_ref(), State::Weight) == weights, "weights stay");
                for (mean, weight) in expected.iter_mut().zip(weights) {
                    let (before, weight) = (f32::from_bits(*mean), f32::from_bits(weight));
                    let after = if share == 1.0 { weight } else { before + share * (weight - before) };
                    *mean = after.to_bits();
                }
            }
            assert!(bits(engine.as_ref(), State::Average) == expected, "{precision:?} {}", kernels.tier());
            assert!(bits(engine.as_ref(), State::Weight) != expected);
        }
    });
}

/// The means in place of the parameters predict what an engine does that has them as its parameters,
/// and afterwards training goes on as if nothing had been.
#[test]
fn swapped_means_predict_and_leave_no_trace() {
    everywhere(|network, kernels, precision| {
        let mut swapped = averaging_engine(network, kernels, precision, 2);
        let mut quiet = averaging_engine(network, kernels, precision, 3);
        for number in 0..4 {
            for engine in [&mut swapped, &mut quiet] {
                step(engine.as_mut(), number);
                engine.average(0.3).unwrap();
            }
            let mut direct = engine(network, kernels, precision, BATCH, 2);
            copy(quiet.as_ref(), direct.as_mut(), &[(State::Average, State::Weight)]);
            let before = logits(swapped.as_mut());
            swapped.swap_average().unwrap();
            assert!(bits(swapped.as_ref(), State::Weight) == bits(quiet.as_ref(), State::Average));
            assert!(bits(swapped.as_ref(), State::Average) == bits(quiet.as_ref(), State::Weight));
            let of_means = logits(swapped.as_mut());
            assert_eq!(of_means, logits(direct.as_mut()), "{precision:?} on {}", kernels.tier());
            assert_ne!(of_means, before);
            swapped.swap_average().unwrap();
            assert_eq!(logits(swapped.as_mut()), before);
        }
        for state in [State::Weight, State::Momentum, State::Average] {
            assert!(bits(swapped.as_ref(), state) == bits(quiet.as_ref(), state), "{state:?}");
        }
    });
}

#[test]
fn with_the_average_a_stopped_training_goes_on_with_the_same_bits() {
    everywhere(|network, kernels, precision| {
        let mut through = averaging_engine(network, kernels, precision, 2);
        let train = |engine: &mut dyn Engine, steps: std::ops::Range<u64>| {
            for number in steps {
                step(engine, number);
                engine.average(0.2).unwrap();
            }
        };
        train(through.as_mut(), 0..3);
        let mut resumed = averaging_engine(network, kernels, precision, 3);
        let states = [State::Weight, State::Momentum, State::Average];
        copy(through.as_ref(), resumed.as_mut(), &states.map(|state| (state, state)));
        train(through.as_mut(), 3..6);
        train(resumed.as_mut(), 3..6);
        for state in states {
            assert!(bits(through.as_ref(), state) == bits(resumed.as_ref(), state), "{state:?}");
        }
    });
}

#[test]
fn a_mean_that_is_no_finite_number_is_noticed() {
    everywhere(|network, kernels, precision| {
        for index in 0..network.parameters().len() {
            for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut engine = averaging_engine(network, kernels, precision, 2);
                engine.average(0.5).unwrap();
                let mut values = vec![0.0; network.parameters()[index].len()];
                *values.last_mut().unwrap() = value;
                engine.write(State::Weight, index, &values).unwrap();
                assert!(matches!(engine.average(0.5), Err(EngineError::Diverged)), "{index} {value}");
            }
        }
    });
}

#[test]
fn what_an_engine_was_not_made_for_is_refused() {
    let network = every_layer(0.0);
    let kernels = Kernels::choose().unwrap();
    let mut plain = engine(&network, kernels, Precision::F32, BATCH, 1);
    let mut values = vec![0.0; network.parameters()[0].len()];
    for result in [
        plain.average(0.5),
        plain.swap_average(),
        plain.read(State::Average, 0, &mut values),
        plain.write(State::Average, 0, &values),
    ] {
        assert!(matches!(result, Err(EngineError::NotMadeFor("averaging"))), "{result:?}");
    }
    let mut averaging = averaging_engine(&network, kernels, Precision::F32, 1);
    for share in [-0.1, 1.1, f32::NAN] {
        assert!(matches!(averaging.average(share), Err(EngineError::Value { .. })), "{share}");
    }
    // Prediction needs no second set of parameters.
    let options = EngineOptions { averaging: true, ..EngineOptions::default() };
    let mut predicting = cpu_engine_with(&network, &options, kernels).unwrap();
    assert!(matches!(predicting.swap_average(), Err(EngineError::NotMadeFor("averaging"))));
}
