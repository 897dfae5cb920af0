//! Gradients of whole networks against central differences in f64.
//!
//! The loss is computed by the plain loops of `vgg_kernels::reference` from the engine's own
//! weights, so the only error of a difference quotient is its truncation, h²/6·f''' ≈ 1e-9 with
//! h = 1e-5, and rounding, 2⁻⁵³/h ≈ 1e-11. What remains is the engine's rounding in f32, far below
//! the bound of 10⁻⁴ of a parameter's largest gradient.
//!
//! In bf16 the network is another function, rounded at every layer, so a difference quotient says
//! nothing. There the gradient is compared with that of `f32`, which the quotients have judged.

mod support;

use std::io::Write;
use support::{engine_for, every_layer, for_training, narrow_vgg, pictures};
use vgg_arch::presets::LRN;
use vgg_arch::random::{Purpose, Random, unit};
use vgg_arch::{CONFIGURATIONS, HEADS, Layer, Network, Shape};
use vgg_engine::{Dropout, Engine, EngineOptions, Kernels, Normalisation, Precision, State};
use vgg_kernels::loss::Objective;
use vgg_kernels::normalisation::LrnConstants;
use vgg_kernels::reference::{self, Shape4};

const STEP: f64 = 1e-5;
const BOUND: f64 = 1e-4;
const DROPOUT: Dropout = Dropout { seed: 3, step: 17 };

/// The objective of `network` in f64 by plain loops, for an engine of these options.
fn loss(
    network: &Network,
    options: &EngineOptions,
    weights: &[Vec<f64>],
    images: &[u8],
    labels: &[u32],
) -> f64 {
    let objective = Objective {
        label_smoothing: options.label_smoothing,
        class_weights: options.class_weights.as_deref(),
    };
    let (zeros, ones) = (vec![0.0; network.input.channels], vec![1.0; network.input.channels]);
    let pixels = options.normalisation.as_ref().map_or((&zeros[..], &ones[..]), |n| (&n.mean, &n.deviation));
    let picture = network.input;
    let mut shape = Shape4::new(labels.len(), picture.channels, picture.height, picture.width);
    let mut x = reference::gather(shape, 1, pixels, images);
    let mut next = weights.iter();
    for (index, layer) in network.layers.iter().enumerate() {
        let output = layer.output_shape(Shape::new(shape.height, shape.width, shape.channels));
        x = match *layer {
            Layer::Convolution { out_channels, kernel } => {
                let (weight, bias) = (next.next().unwrap(), next.next().unwrap());
                reference::relu(&reference::convolution(shape, out_channels, kernel, &x, weight, bias))
            }
            Layer::Dense { outputs, relu } => {
                let (weight, bias) = (next.next().unwrap(), next.next().unwrap());
                let y = reference::dense(shape, outputs, &x, weight, bias);
                if relu { reference::relu(&y) } else { y }
            }
            Layer::MaxPool => reference::max_pool(shape, &x).0,
            Layer::LocalResponseNormalisation => {
                let constants = LrnConstants { size: LRN.size, k: LRN.k, alpha: LRN.alpha, beta: LRN.beta };
                reference::lrn(shape, &constants, &x)
            }
            Layer::Dropout { rate } => {
                reference::scale_kept(&kept(shape, index, rate), 1.0 / (1.0 - f64::from(rate)), &x)
            }
        };
        shape = Shape4::new(labels.len(), output.channels, output.height, output.width);
    }
    reference::softmax_cross_entropy(network.classes, &x, labels, objective).0
}

/// The values that dropout keeps behind dense layer `layer`: those whose random number, at the
/// position of picture and channel with channels padded to 16, is not below the rate.
fn kept(shape: Shape4, layer: usize, rate: f32) -> Vec<u8> {
    assert_eq!((shape.height, shape.width), (1, 1));
    let random = Random::new(DROPOUT.seed, Purpose::Dropout, DROPOUT.step << 8 | layer as u64);
    (0..shape.len())
        .map(|i| {
            let (picture, channel) = (i / shape.channels, i % shape.channels);
            let position = picture * shape.channels.next_multiple_of(16) + channel;
            u8::from(unit(random.bits(position as u64)) >= rate)
        })
        .collect()
}

fn weights(engine: &dyn Engine, state: State) -> Vec<Vec<f64>> {
    let read = |(index, parameter): (usize, vgg_arch::Parameter)| {
        let mut values = vec![0.0; parameter.len()];
        engine.read(state, index, &mut values).unwrap();
        values.into_iter().map(f64::from).collect()
    };
    engine.network().parameters().into_iter().enumerate().map(read).collect()
}

/// Compares `samples` gradients of every parameter with difference quotients.
fn check(network: &Network, kernels: Kernels, options: &EngineOptions, samples: usize) {
    let (images, labels) = pictures(network, options.batch_size, 4);
    let mut engine = engine_for(network, kernels, options);
    // Biases that are not zero, so that they matter.
    for (index, parameter) in network.parameters().iter().enumerate().filter(|(_, p)| p.is_bias()) {
        let values: Vec<f32> = (0..parameter.len()).map(|i| ((i * 7) % 5) as f32 * 0.05).collect();
        engine.write(State::Weight, index, &values).unwrap();
    }
    let outcome = engine.forward_backward(&images, &labels, DROPOUT).unwrap();
    let mut weights_f64 = weights(engine.as_ref(), State::Weight);
    let gradients = weights(engine.as_ref(), State::Gradient);
    let expected = loss(network, options, &weights_f64, &images, &labels);
    assert!((f64::from(outcome.loss) - expected).abs() < 1e-5 * expected, "{} {expected}", outcome.loss);

    let mut kinks = 0;
    let mut checked = 0;
    for (index, parameter) in network.parameters().iter().enumerate() {
        let largest = gradients[index].iter().fold(0.0, |a: f64, g| a.max(g.abs()));
        assert!(largest > 0.0, "{} has no gradient", parameter.name);
        let stride = (parameter.len() / samples).max(1);
        for element in (0..parameter.len()).step_by(stride) {
            let mut quotient = |step: f64| {
                let value = weights_f64[index][element];
                let mut at = |value| {
                    weights_f64[index][element] = value;
                    loss(network, options, &weights_f64, &images, &labels)
                };
                let quotient = (at(value + step) - at(value - step)) / (2.0 * step);
                weights_f64[index][element] = value;
                quotient
            };
            let (wide, narrow) = (quotient(STEP), quotient(STEP / 10.0));
            checked += 1;
            // A ReLU or pool that changes its mind between the two points makes quotients differ.
            if (wide - narrow).abs() > 1e-6 * largest.max(narrow.abs()) {
                kinks += 1;
                continue;
            }
            let error = (gradients[index][element] - wide).abs();
            assert!(
                error <= BOUND * largest,
                "{} {}[{element}]: {} but the quotient is {wide}",
                network.name,
                parameter.name,
                gradients[index][element]
            );
        }
    }
    // Straight to standard error, which a test harness does not keep to itself.
    let _ = writeln!(
        std::io::stderr(),
        "{} on {}: {checked} quotients, {kinks} at kinks",
        network.name,
        kernels.tier()
    );
    assert!(kinks * 20 <= checked, "{kinks} of {checked} quotients at kinks");
}

#[test]
fn every_layer_type_has_the_gradient_of_its_definition() {
    for kernels in Kernels::available() {
        check(&every_layer(0.3), kernels, &for_training(Precision::F32, 18, 2), 12);
    }
}

/// Options of training with label smoothing, class weights and normalised pixels.
fn with_objective(network: &Network, options: EngineOptions) -> EngineOptions {
    let channels = network.input.channels;
    EngineOptions {
        normalisation: Some(Normalisation {
            mean: [0.13, 0.45, 0.5][..channels].to_vec(),
            deviation: [0.31, 0.25, 2.0][..channels].to_vec(),
        }),
        label_smoothing: 0.2,
        class_weights: Some((0..network.classes).map(|class| 0.5 + 0.75 * class as f32).collect()),
        ..options
    }
}

/// The options together on every tier, with one channel and with three, and each of them alone.
#[test]
fn every_objective_has_its_gradient() {
    let plain = for_training(Precision::F32, 18, 2);
    for channels in [1, 3] {
        let mut network = every_layer(0.3);
        network.input.channels = channels;
        let all = with_objective(&network, plain.clone());
        for kernels in Kernels::available() {
            check(&network, kernels, &all, 4);
        }
        let EngineOptions { normalisation, label_smoothing, class_weights, .. } = all;
        for one in [
            EngineOptions { normalisation, ..plain.clone() },
            EngineOptions { label_smoothing, ..plain.clone() },
            EngineOptions { class_weights, ..plain.clone() },
        ] {
            check(&network, Kernels::choose().unwrap(), &one, 4);
        }
    }
}

/// Every network of the table with both heads, with all widths divided by 32.
#[test]
fn every_network_of_the_table_has_its_gradient() {
    for row in CONFIGURATIONS {
        for head in HEADS {
            let mut network = Network::new(row.name, head.name, Shape::new(9, 6, 3), 4).unwrap();
            network.name = format!("{} with head {}", row.name, head.name);
            let last = network.layers.len() - 1;
            for layer in &mut network.layers[..last] {
                match layer {
                    Layer::Convolution { out_channels, .. } => *out_channels = (*out_channels / 32).max(1),
                    Layer::Dense { outputs, .. } => *outputs = (*outputs / 128).max(1),
                    _ => {}
                }
            }
            check(&network, Kernels::choose().unwrap(), &for_training(Precision::F32, 3, 2), 4);
        }
    }
}

/// Every value that is stored passes one rounding of at most 2⁻⁸ of it, and a gradient at the first
/// layer has passed some 20 of them on its way forward and back. As independent errors they add up
/// to at most √20 · 2⁻⁸ ≈ 1.7 % of the gradient's norm. Units whose sum is near zero switch on or
/// off, which adds to it; the bound leaves a factor of two and a half.
#[test]
fn bf16_has_the_gradient_of_f32_but_for_its_rounding() {
    let network = narrow_vgg(0.4);
    let plain = for_training(Precision::F32, 40, 2);
    // Normalised pixels are larger, and rounding with them: the bound is for those that are not.
    let with_objective = EngineOptions { normalisation: None, ..with_objective(&network, plain.clone()) };
    for options in [plain, with_objective] {
        Kernels::available()
            .into_iter()
            .for_each(|kernels| bf16_has_the_gradient(&network, kernels, &options));
    }
}

fn bf16_has_the_gradient(network: &Network, kernels: Kernels, options: &EngineOptions) {
    let (images, labels) = pictures(network, 40, 4);
    let [exact, rounded] = [Precision::F32, Precision::Bf16].map(|precision| {
        let mut engine = engine_for(network, kernels, &EngineOptions { precision, ..options.clone() });
        engine.forward_backward(&images, &labels, DROPOUT).unwrap();
        weights(engine.as_ref(), State::Gradient)
    });
    let mut worst: f64 = 0.0;
    for ((exact, rounded), parameter) in exact.iter().zip(&rounded).zip(network.parameters()) {
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
        let error = norm(&mut exact.iter().zip(rounded).map(|(e, r)| e - r));
        let share = error / norm(&mut exact.iter().copied());
        assert!(share < 0.045, "{} on {}: {share}", parameter.name, kernels.tier());
        worst = worst.max(share);
    }
    let _ =
        writeln!(std::io::stderr(), "bf16 on {}: gradients within {:.2} %", kernels.tier(), 100.0 * worst);
}
