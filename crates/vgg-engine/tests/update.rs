//! One update of every parameter against the plain rule in f64, for each combination of Nesterov's
//! look-ahead and weight decay, which biases are spared.

mod support;

use support::{PRECISIONS, engine, every_layer, pictures};
use vgg_engine::{Dropout, Engine, Kernels, State, UpdateRule};
use vgg_kernels::{reference, update::Sgd};

fn values(engine: &dyn Engine, state: State, index: usize, len: usize) -> Vec<f64> {
    let mut values = vec![0.0; len];
    engine.read(state, index, &mut values).unwrap();
    values.into_iter().map(f64::from).collect()
}

#[test]
fn every_parameter_moves_by_the_rule() {
    let network = every_layer(0.2);
    let (images, labels) = pictures(&network, 9, 2);
    let rules = [(false, 0.0, 0.9), (true, 0.0, 0.9), (false, 0.1, 0.9), (true, 0.1, 0.9), (false, 0.1, 0.0)];
    for ((nesterov, weight_decay, momentum), precision) in
        rules.into_iter().flat_map(|rule| PRECISIONS.map(|precision| (rule, precision)))
    {
        let rule =
            UpdateRule { learning_rate: 0.1, momentum, nesterov, weight_decay, gradient_clip: f32::INFINITY };
        let mut engine = engine(&network, Kernels::choose().unwrap(), precision, 9, 2);
        // Two steps, so that the second has momentum behind it.
        for step in 0..2 {
            engine.forward_backward(&images, &labels, Dropout { seed: 1, step }).unwrap();
            let parameters = network.parameters();
            let before: Vec<[Vec<f64>; 3]> = parameters
                .iter()
                .enumerate()
                .map(|(index, parameter)| {
                    [State::Weight, State::Gradient, State::Momentum]
                        .map(|state| values(engine.as_ref(), state, index, parameter.len()))
                })
                .collect();
            engine.update(&rule).unwrap();
            for (index, (parameter, [mut weight, gradient, mut velocity])) in
                parameters.iter().zip(before).enumerate()
            {
                let decay = if parameter.name.ends_with("bias") { 0.0 } else { weight_decay };
                let sgd = Sgd {
                    learning_rate: 0.1,
                    momentum,
                    nesterov,
                    weight_decay: decay,
                    gradient_clip: f32::INFINITY,
                };
                reference::sgd(&sgd, &mut weight, &gradient, Some(&mut velocity));
                for (state, expected) in [(State::Weight, weight), (State::Momentum, velocity)] {
                    let found = values(engine.as_ref(), state, index, parameter.len());
                    for (found, expected) in found.iter().zip(&expected) {
                        // A handful of roundings of values around one.
                        let error = (found - expected).abs();
                        assert!(
                            error <= 1e-6 * expected.abs().max(0.1),
                            "{} {state:?} {rule:?}",
                            parameter.name
                        );
                    }
                }
            }
        }
    }
}
