//! Normalised pixels through the whole engine, in every format and on every tier, with one channel and
//! with three, in batches and for a single picture.

mod support;

use support::{PRECISIONS, engine_for, every_layer, pictures};
use vgg_engine::{EngineOptions, Kernels, Normalisation, State};

/// Deviations that are powers of two can be moved into the weights of the first layer without any
/// rounding, so that the logits are the same bits.
#[test]
fn a_deviation_is_a_factor_of_the_first_weights() {
    for (channels, kernels) in
        [1, 3].into_iter().flat_map(|channels| Kernels::available().into_iter().map(move |k| (channels, k)))
    {
        let mut network = every_layer(0.0);
        network.input.channels = channels;
        let deviation = &[0.5_f32, 2.0, 0.25][..channels];
        for (precision, batch_size) in PRECISIONS.into_iter().flat_map(|p| [1, 20].map(|batch| (p, batch))) {
            let plain = EngineOptions { batch_size, threads: 2, precision, ..EngineOptions::default() };
            let normalisation = Normalisation { mean: vec![0.0; channels], deviation: deviation.to_vec() };
            let normalised = EngineOptions { normalisation: Some(normalisation), ..plain.clone() };
            let [mut plain, mut normalised] =
                [plain, normalised].map(|options| engine_for(&network, kernels, &options));
            let first = &network.parameters()[0];
            let mut weights = vec![0.0; first.len()];
            plain.read(State::Weight, 0, &mut weights).unwrap();
            let taps = first.shape[2] * first.shape[3];
            for (index, weight) in weights.iter_mut().enumerate() {
                *weight /= deviation[index / taps % channels];
            }
            let (images, _) = pictures(&network, batch_size, 6);
            let mut logits = vec![vec![0.0; batch_size * network.classes]; 3];
            plain.forward(&images, &mut logits[0]).unwrap();
            normalised.forward(&images, &mut logits[1]).unwrap();
            assert_ne!(logits[0], logits[1], "normalisation changes what the network sees");
            plain.write(State::Weight, 0, &weights).unwrap();
            plain.forward(&images, &mut logits[2]).unwrap();
            assert_eq!(logits[1], logits[2], "{channels} channels, {precision:?} on {}", kernels.tier());
        }
    }
}

/// The mean of a channel is what becomes zero, which only pixels inside the picture show: a picture of
/// that colour gets the logits that a black one gets without normalisation.
#[test]
fn a_picture_of_the_mean_is_a_black_one() {
    for kernels in Kernels::available() {
        for (precision, batch_size) in PRECISIONS.into_iter().flat_map(|p| [1, 17].map(|batch| (p, batch))) {
            let mut network = every_layer(0.0);
            network.input.channels = 3;
            let colour = [51_u8, 102, 204];
            let mean = colour.map(|byte| f32::from(byte) / 255.0).to_vec();
            // Below 10⁻⁶ is what remains of rounding the mean to f32.
            let normalisation = Normalisation { mean, deviation: vec![1.0; 3] };
            let plain = EngineOptions { batch_size, threads: 2, precision, ..EngineOptions::default() };
            let normalised = EngineOptions { normalisation: Some(normalisation), ..plain.clone() };
            let black = vec![0; batch_size * network.input.len()];
            let coloured: Vec<u8> = colour.iter().copied().cycle().take(black.len()).collect();
            let [black, coloured] = [(plain, black), (normalised, coloured)].map(|(options, images)| {
                let mut engine = engine_for(&network, kernels, &options);
                let last = network.parameters().len() - 1;
                engine.write(State::Weight, last, &[0.5, -0.25, 0.125]).unwrap();
                let mut logits = vec![0.0; batch_size * network.classes];
                engine.forward(&images, &mut logits).unwrap();
                logits
            });
            for (black, coloured) in black.iter().zip(&coloured) {
                assert!((black - coloured).abs() < 1e-5, "{black} {coloured} on {}", kernels.tier());
            }
        }
    }
}
