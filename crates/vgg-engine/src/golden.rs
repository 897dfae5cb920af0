//! The tutorial's network against PyTorch: activations, loss, gradients, ten steps.
//!
//! `tests/golden/golden.json` holds PyTorch's numbers in f64 for weights that are a fixed function
//! and twenty MNIST pictures; `tests/golden/README.md` says how it was made. PyTorch's own f32
//! strays from these by up to 2.7·10⁻⁶ of the largest value of a tensor (entry
//! `f32_worst_difference`, memory format `channels_last`); the engine must stay within four times
//! that.

use crate::cpu::CpuEngine;
use crate::plan::Plan;
use crate::{Dropout, Engine, EngineOptions, Precision, State, UpdateRule};
use serde::Deserialize;
use std::collections::BTreeMap;
use vgg_arch::{Layer, Network, Parameter, Shape};
use vgg_kernels::Kernels;

/// Largest difference allowed, as a share of the largest value of the tensor or of its norm.
const BOUND: f64 = 1.1e-5;

#[derive(Deserialize)]
struct Golden {
    batch: usize,
    labels: Vec<u32>,
    loss: Loss,
    activations: BTreeMap<String, Tensor>,
    gradients: BTreeMap<String, Tensor>,
    sgd: Steps,
}

#[derive(Deserialize)]
struct Loss {
    f64: f64,
}

#[derive(Deserialize)]
struct Steps {
    learning_rate: f32,
    f64: Vec<f64>,
}

/// Numbers that describe a tensor: norm, sample, and sums with pseudo-random signs.
#[derive(Deserialize)]
struct Tensor {
    l2: f64,
    indices: Vec<usize>,
    values: Vec<f64>,
    #[serde(default)]
    projections: Vec<f64>,
}

/// MurmurHash3's finaliser, which mixes all bits of a number.
fn mix(mut h: u32) -> u32 {
    h = (h ^ (h >> 16)).wrapping_mul(0x85EB_CA6B);
    h = (h ^ (h >> 13)).wrapping_mul(0xC2B2_AE35);
    h ^ (h >> 16)
}

/// The fixed weights: see the README beside the numbers.
fn fixed_values(parameter: &Parameter, index: usize, is_last: bool) -> Vec<f32> {
    let bound = match (parameter.is_bias(), is_last) {
        (true, false) => 0.05,
        (true, true) => 0.05 * 0.1,
        (false, false) => (6.0 / parameter.fan_in() as f64).sqrt(),
        (false, true) => (6.0 / parameter.fan_in() as f64).sqrt() * 0.1,
    };
    let scale = (bound / f64::from(1 << 23)) as f32;
    (0..parameter.len() as u32)
        .map(|element| {
            let seed =
                element.wrapping_mul(0x9E37_79B9).wrapping_add((index as u32).wrapping_mul(0x85EB_CA6B));
            let mantissa = (mix(seed.wrapping_add(0x0123_4567)) >> 8) as f32;
            (mantissa - 8_388_608.0) * scale
        })
        .collect()
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../tests/golden/golden.json"))
        .expect("golden.json is what the script wrote")
}

/// The tutorial's network without dropout, its fixed weights, and the pictures.
fn engine(golden: &Golden) -> (CpuEngine, Vec<u8>) {
    let mut network = Network::new("vgg13", "tutorial", Shape::new(28, 28, 1), 10).unwrap();
    for layer in &mut network.layers {
        if let Layer::Dropout { rate } = layer {
            *rate = 0.0;
        }
    }
    let options = EngineOptions {
        batch_size: golden.batch,
        threads: 2,
        precision: Precision::F32,
        training: true,
        gradients: true,
        momentum: false,
        ..EngineOptions::default()
    };
    let kernels = Kernels::choose().unwrap();
    let plan = Plan::new(&network, &options, kernels.tier()).unwrap();
    let mut engine = CpuEngine::new(&network, plan, kernels).unwrap();
    let parameters = network.parameters();
    for (index, parameter) in parameters.iter().enumerate() {
        let values = fixed_values(parameter, index, index + 2 >= parameters.len());
        engine.write(State::Weight, index, &values).unwrap();
    }
    let mut pictures = vgg_mnist::load(vgg_mnist::Part::Train).unwrap();
    assert_eq!(pictures.labels[..golden.batch], golden.labels.iter().map(|&l| l as u8).collect::<Vec<_>>());
    pictures.images.truncate(golden.batch * 28 * 28);
    (engine, pictures.images)
}

/// The largest difference between `ours` and the golden tensor, as a share of the largest value of
/// its sample (at least the root of its mean square) or of its norm.
fn difference(golden: &Tensor, ours: &[f32]) -> f64 {
    let largest = golden.values.iter().fold(golden.l2 / (ours.len() as f64).sqrt(), |a, v| a.max(v.abs()));
    let sampled =
        golden.indices.iter().zip(&golden.values).map(|(&i, v)| (f64::from(ours[i]) - v).abs() / largest);
    let norm = ours.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    let projected = golden.projections.iter().enumerate().map(|(bit, expected)| {
        let sign =
            |element: usize| if mix(element as u32 + 0x51ED_270B) >> bit & 1 == 1 { 1.0 } else { -1.0 };
        let sum: f64 = ours.iter().enumerate().map(|(element, v)| sign(element) * f64::from(*v)).sum();
        (sum - expected).abs() / golden.l2
    });
    let all = sampled.chain(projected).chain([(norm - golden.l2).abs() / golden.l2]);
    // Unlike `f64::max`, this keeps NaN.
    all.fold(0.0, |worst, d| if d > worst || d.is_nan() { d } else { worst })
}

/// The values of a packed activation in the order picture, channel, row, column.
fn plain(engine: &CpuEngine, node: usize, batch: usize) -> Vec<f32> {
    let node = &engine.machine.plan.nodes[node];
    let values = &engine.machine.arena.values()[engine.machine.plan.whole(node.y)];
    let map = node.output;
    (0..batch * map.channels * map.pixels())
        .map(|i| {
            let (picture, channel) = (i / map.pixels() / map.channels, i / map.pixels() % map.channels);
            values[map.index(picture, i % map.pixels(), channel)]
        })
        .collect()
}

#[test]
fn the_tutorial_network_computes_what_pytorch_computes() {
    let golden = golden();
    let (mut engine, images) = engine(&golden);
    let mut logits = vec![0.0; golden.batch * 10];
    engine.forward(&images, &mut logits).unwrap();

    let mut compared = 0;
    let names = engine.network.module_names();
    for (index, layer) in engine.network.layers.clone().iter().enumerate() {
        // ReLU is the module after its convolution or dense layer.
        let (part, position) = names[index].split_once('.').unwrap();
        let relu = matches!(layer, Layer::Convolution { .. } | Layer::Dense { relu: true, .. });
        let name = format!("{part}.{}", position.parse::<usize>().unwrap() + usize::from(relu));
        if matches!(layer, Layer::Dropout { .. }) {
            continue;
        }
        let difference = difference(&golden.activations[&name], &plain(&engine, index, golden.batch));
        println!("{name:14} output   {difference:.1e}");
        assert!(difference < BOUND, "{name}: {difference:e}");
        compared += 1;
    }
    assert_eq!(compared, 19, "ten convolutions, five pools, four dense layers");

    let dropout = Dropout { seed: 0, step: 0 };
    let outcome = engine.forward_backward(&images, &golden.labels, dropout).unwrap();
    assert!((f64::from(outcome.loss) / golden.loss.f64 - 1.0).abs() < 1e-6, "loss {}", outcome.loss);
    for (index, parameter) in engine.parameters.clone().iter().enumerate() {
        let mut gradient = vec![0.0; parameter.len()];
        engine.read(State::Gradient, index, &mut gradient).unwrap();
        let difference = difference(&golden.gradients[&parameter.name], &gradient);
        println!("{:19} gradient {difference:.1e}", parameter.name);
        assert!(difference < BOUND, "{}: {difference:e}", parameter.name);
    }
}

#[test]
fn ten_steps_of_descent_follow_pytorch() {
    let golden = golden();
    let (mut engine, images) = engine(&golden);
    let rule = UpdateRule {
        learning_rate: golden.sgd.learning_rate,
        momentum: 0.0,
        nesterov: false,
        weight_decay: 0.0,
        gradient_clip: f32::INFINITY,
    };
    for (step, expected) in golden.sgd.f64.iter().enumerate() {
        let dropout = Dropout { seed: 0, step: step as u64 };
        let outcome = engine.forward_backward(&images, &golden.labels, dropout).unwrap();
        println!("step {step:2} loss {:.7}, PyTorch in f64 {expected:.7}", outcome.loss);
        // Descent magnifies rounding: PyTorch's own f32 strays by 1.7e-7 up to the second update
        // and by 2.0e-4 up to the tenth.
        let bound = if step <= 2 { 1e-6 } else { 2e-4 };
        assert!((f64::from(outcome.loss) / expected - 1.0).abs() < bound, "step {step}: {}", outcome.loss);
        engine.update(&rule).unwrap();
    }
}
