//! What several tests of the engine need: small networks with every kind of layer, and pictures.
#![allow(dead_code)] // Each test uses its own part.

use vgg_arch::{Initialiser, Layer, Network, Shape};
use vgg_engine::{Engine, EngineOptions, Kernels, Precision, UpdateRule, cpu_engine_with};

/// A network with every kind of layer, small enough for finite differences.
pub(crate) fn every_layer(rate: f32) -> Network {
    Network {
        name: "small".into(),
        head: "test".into(),
        input: Shape::new(7, 5, 2),
        classes: 3,
        layers: vec![
            Layer::Convolution { out_channels: 6, kernel: 3 },
            Layer::LocalResponseNormalisation,
            Layer::MaxPool,
            Layer::Convolution { out_channels: 18, kernel: 3 },
            Layer::Convolution { out_channels: 7, kernel: 1 },
            Layer::MaxPool,
            Layer::Dense { outputs: 20, relu: true },
            Layer::Dropout { rate },
            Layer::Dense { outputs: 9, relu: true },
            Layer::Dropout { rate },
            Layer::Dense { outputs: 3, relu: false },
        ],
    }
}

/// An update with momentum and weight decay.
pub(crate) const RULE: UpdateRule = UpdateRule {
    learning_rate: 0.02,
    momentum: 0.9,
    nesterov: true,
    weight_decay: 5e-4,
    gradient_clip: f32::INFINITY,
};

/// The formats that engines compute in.
pub(crate) const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Bf16];

/// A VGG of few channels, for tests that train.
pub(crate) fn narrow_vgg(rate: f32) -> Network {
    let mut layers = Vec::new();
    for out_channels in [16, 24, 40] {
        layers.push(Layer::Convolution { out_channels, kernel: 3 });
        layers.push(Layer::Convolution { out_channels, kernel: 3 });
        layers.push(Layer::MaxPool);
    }
    layers.extend([
        Layer::Dense { outputs: 100, relu: true },
        Layer::Dropout { rate },
        Layer::Dense { outputs: 10, relu: false },
    ]);
    Network { name: "narrow".into(), head: "test".into(), input: Shape::new(14, 14, 1), classes: 10, layers }
}

/// What an engine is made for that can train, with gradients kept.
pub(crate) fn for_training(precision: Precision, batch_size: usize, threads: usize) -> EngineOptions {
    EngineOptions {
        batch_size,
        threads,
        precision,
        training: true,
        gradients: true,
        momentum: true,
        ..EngineOptions::default()
    }
}

/// An engine of these options, with weights that are a function of the network.
pub(crate) fn engine_for(network: &Network, kernels: Kernels, options: &EngineOptions) -> Box<dyn Engine> {
    let mut engine = cpu_engine_with(network, options, kernels).unwrap();
    engine.initialise(Initialiser::HeNormal, 11);
    engine
}

/// An engine that can train, with weights that are a function of the network.
pub(crate) fn engine(
    network: &Network,
    kernels: Kernels,
    precision: Precision,
    batch_size: usize,
    threads: usize,
) -> Box<dyn Engine> {
    engine_for(network, kernels, &for_training(precision, batch_size, threads))
}

/// An engine that trains without memory for gradients, with all weights zero.
pub(crate) fn engine_without_gradients(
    network: &Network,
    kernels: Kernels,
    precision: Precision,
    batch_size: usize,
    threads: usize,
) -> Box<dyn Engine> {
    let options = EngineOptions { gradients: false, ..for_training(precision, batch_size, threads) };
    cpu_engine_with(network, &options, kernels).unwrap()
}

/// A network whose convolutions have channels enough for every algorithm, at sides of 28, 14 and 7.
pub(crate) fn wide_vgg() -> Network {
    let mut layers = Vec::new();
    for out_channels in [64, 128, 256] {
        layers.push(Layer::Convolution { out_channels, kernel: 3 });
        layers.push(Layer::Convolution { out_channels, kernel: 3 });
        layers.push(Layer::MaxPool);
    }
    layers.push(Layer::Dense { outputs: 10, relu: false });
    Network { name: "wide".into(), head: "test".into(), input: Shape::new(28, 28, 1), classes: 10, layers }
}

/// `count` pictures of noise with labels, a function of `seed`.
pub(crate) fn pictures(network: &Network, count: usize, seed: u32) -> (Vec<u8>, Vec<u32>) {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 16
    };
    let images = (0..count * network.input.len()).map(|_| next() as u8).collect();
    let labels = (0..count).map(|_| next() % network.classes as u32).collect();
    (images, labels)
}

/// The bits of every value of `state`.
pub(crate) fn bits(engine: &dyn Engine, state: vgg_engine::State) -> Vec<u32> {
    let mut bits = Vec::new();
    for (index, parameter) in engine.network().parameters().iter().enumerate() {
        let mut values = vec![0.0; parameter.len()];
        engine.read(state, index, &mut values).unwrap();
        bits.extend(values.into_iter().map(f32::to_bits));
    }
    bits
}
