//! Winograd's convolutions, forward and backward, on every tier of this processor, against plain
//! loops in f64.
//!
//! The transforms only add and halve, so with small integers every value is a multiple of 1/4 that
//! f32 holds, and results must be equal bit for bit.
//!
//! With other numbers an error is at most γ(n)·S, where γ(n) = n·u / (1 − n·u), u = 2⁻²⁴, n is the
//! number of roundings that a term can pass, and S is the sum of the magnitudes of the terms as the
//! algorithm has them (Higham, Accuracy and Stability of Numerical Algorithms, sections 3.1 and 23.2.2).
//!
//! **Forward.** On one axis of a cell, let D be the largest input and W the sum of the weights'
//! magnitudes. Bᵀd has values up to 2D, and |Aᵀ|(|G||w| ⊙ 2D) is 2D(|w₀| + W) for the first output
//! and 2D(|w₂| + W) for the second, at most 4DW each. The two axes multiply: S = 16·D·Σ|w| + |bias|,
//! with the sum over taps and channels; a cut axis has less. A term passes one addition for each axis
//! in Bᵀ d B, two in G w Gᵀ (halves are exact), at most four products for each channel in a chain
//! that ends with the base, two for each axis in Aᵀ m A, and the bias: n = 2 + 4 + 4·channels + 1 + 4 + 1.
//!
//! **Backward by data** is the same with outputs for channels and no bias.
//!
//! **Backward by weights.** With X the largest input and Y the largest gradient, the four points of an
//! axis are at most (2, 4, 4, 2)·XY, and |Gᵀ| makes (6, 4, 6)·XY of them; a cut cell adds at most XY.
//! So S = 36·XY for each cell and picture. A term passes one addition for each axis in both
//! transforms, one for each picture and cell and for each chunk of cells, and two for each axis in
//! Gᵀ p G: n = 4 + 2·cells·pictures + 4.

use std::io::Write;
use vgg_kernels::contraction::{Algorithm, Run};
use vgg_kernels::reference::{self, Shape4, pack_activations, unpack_activations};
use vgg_kernels::update::Sgd;
use vgg_kernels::{Contraction, Format, Kernels, Map, Pool, TILE, Tier, WeightGradient, WeightLayout};

/// A layer at an awkward shape.
#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    input: Map,
    outputs: usize,
}

#[rustfmt::skip]
fn cases() -> Vec<Case> {
    let case = |batch, height, width, channels, outputs| Case {
        batch, input: Map::new(height, width, channels), outputs,
    };
    vec![
        case(1, 1, 1, 1, 1), case(2, 1, 5, 3, 17), case(17, 2, 2, 16, 32), case(3, 3, 1, 33, 48),
        case(15, 4, 4, 32, 33), case(5, 7, 7, 20, 64), case(18, 5, 4, 9, 65), case(20, 6, 3, 16, 300),
        case(40, 14, 14, 16, 16), case(1, 6, 7, 300, 40), case(100, 2, 3, 40, 40), case(300, 1, 2, 18, 10),
    ]
}

/// A layer's plain operands.
struct Operands {
    x: Vec<f64>,
    dy: Vec<f64>,
    weights: Vec<f64>,
    bias: Vec<f64>,
}

/// Results in plain order.
#[derive(PartialEq)]
struct Results {
    y: Vec<f64>,
    dx: Vec<f64>,
    dw: Vec<f64>,
}

impl Results {
    fn all(&self) -> [(&'static str, &[f64]); 3] {
        [("y", &self.y), ("dx", &self.dx), ("dw", &self.dw)]
    }
}

impl Case {
    fn shape(&self) -> Shape4 {
        Shape4::of(self.input, self.batch)
    }

    fn output(&self) -> Map {
        Map { channels: self.outputs, ..self.input }
    }

    fn cells(&self) -> usize {
        self.input.height.div_ceil(2) * self.input.width.div_ceil(2)
    }

    fn layout(&self) -> WeightLayout {
        let (outputs, channels) = (self.outputs, self.input.channels);
        WeightLayout { outputs, channels, positions: 9, gathered: false, format: Format::F32 }
    }

    fn contraction(&self) -> Contraction {
        Contraction::convolution(self.input, self.outputs, 3).with_algorithm(Algorithm::Winograd)
    }

    fn operands(&self, mut value: impl FnMut() -> f64) -> Operands {
        let mut values = |count| (0..count).map(|_| value()).collect::<Vec<f64>>();
        Operands {
            x: values(self.shape().len()),
            dy: values(Shape4::of(self.output(), self.batch).len()),
            weights: values(self.layout().plain_len()),
            bias: values(self.outputs),
        }
    }

    fn reference(&self, o: &Operands) -> Results {
        let (shape, outputs) = (self.shape(), self.outputs);
        Results {
            y: reference::convolution(shape, outputs, 3, &o.x, &o.weights, &o.bias),
            dx: reference::convolution_backward_data(shape, outputs, 3, &o.dy, &o.weights),
            dw: reference::convolution_backward_weights(shape, outputs, 3, &o.x, &o.dy),
        }
    }

    fn packed_weights(&self, plain: &[f64]) -> Vec<f32> {
        let mut packed = vec![f32::NAN; self.layout().packed_len()];
        self.layout().pack(&plain.iter().map(|v| *v as f32).collect::<Vec<_>>(), &mut packed);
        packed
    }

    /// Runs the kernels. Unused pictures, results and scratch start as NaN.
    fn run(&self, kernels: &Kernels, pool: &Pool, relu: bool, o: &Operands) -> Results {
        let (contraction, batch, output) = (self.contraction(), self.batch, self.output());
        let run = Run { kernels, pool, batch };
        let x = unused_as_nan(self.input, batch, pack_activations(self.input, batch, &o.x));
        let dy = unused_as_nan(output, batch, pack_activations(output, batch, &o.dy));
        let weights = self.packed_weights(&o.weights);
        let mut bias = vec![0.0; output.blocks() * TILE];
        bias.iter_mut().zip(&o.bias).for_each(|(packed, plain)| *packed = *plain as f32);

        let mut y = vec![f32::NAN; output.len(batch)];
        let mut scratch = vec![f32::NAN; contraction.forward_scratch_len(pool.threads())];
        contraction.forward(run, &x, &weights, &bias, relu, &mut y, &mut scratch);
        let mut dx = vec![f32::NAN; self.input.len(batch)];
        let mut scratch = vec![f32::NAN; contraction.scratch_len(batch, pool.threads())];
        contraction.backward_data(run, &dy, &weights, &mut dx, &mut scratch);
        scratch.fill(f32::NAN);
        let mut dw = vec![f32::NAN; self.layout().packed_len()];
        contraction.backward_weights(run, &x, &dy, WeightGradient::Keep(&mut dw), &mut scratch);
        assert!(channel_padding_is_zero(self.input, batch, &dx), "padding of dx of {self:?}");
        assert!(channel_padding_is_zero(output, batch, &y), "padding of y of {self:?}");
        let mut plain_dw = vec![0.0; self.layout().plain_len()];
        self.layout().unpack(&dw, &mut plain_dw);
        let mut again = vec![f32::NAN; dw.len()];
        self.layout().pack(&plain_dw, &mut again);
        assert!(again == dw, "padding of dw of {self:?} is not zero");
        Results {
            y: unpack_activations(output, batch, &y),
            dx: unpack_activations(self.input, batch, &dx),
            dw: plain_dw.into_iter().map(f64::from).collect(),
        }
    }

    /// The bounds of the module's text for each value of y, dx and dw; operands are at most 1.
    fn bounds(&self, o: &Operands) -> Results {
        let gamma = |n: usize| n as f64 * 2f64.powi(-24) / (1.0 - n as f64 * 2f64.powi(-24));
        let (pixels, channels, outputs) = (self.input.pixels(), self.input.channels, self.outputs);
        let forward = |output: usize| {
            let sum: f64 = o.weights[output * channels * 9..][..channels * 9].iter().map(|w| w.abs()).sum();
            gamma(12 + 4 * channels) * (16.0 * sum + o.bias[output].abs())
        };
        let backward = |channel: usize| {
            let weights = o.weights.chunks_exact(channels * 9);
            let taps = weights.flat_map(|weights| &weights[channel * 9..][..9]);
            gamma(12 + 4 * outputs) * 16.0 * taps.map(|w| w.abs()).sum::<f64>()
        };
        let cells = self.cells() * self.batch;
        let spread = |bounds: Vec<f64>| -> Vec<f64> {
            let picture = bounds.iter().flat_map(|bound| std::iter::repeat_n(*bound, pixels));
            picture.collect::<Vec<_>>().repeat(self.batch)
        };
        Results {
            y: spread((0..outputs).map(forward).collect()),
            dx: spread((0..channels).map(backward).collect()),
            dw: vec![gamma(8 + 2 * cells) * 36.0 * cells as f64; self.layout().plain_len()],
        }
    }
}

/// Whether channels past the last one hold zero for all pictures in use, as the next layer needs it.
fn channel_padding_is_zero(map: Map, batch: usize, packed: &[f32]) -> bool {
    (0..batch).all(|picture| {
        (0..map.pixels()).all(|pixel| {
            (map.channels..map.blocks() * TILE)
                .all(|channel| packed[map.index(picture, pixel, channel)] == 0.0)
        })
    })
}

/// Fills the pictures past the batch with NaN: no sum may read them.
fn unused_as_nan(map: Map, batch: usize, mut packed: Vec<f32>) -> Vec<f32> {
    for picture in batch..batch.next_multiple_of(TILE) {
        for pixel in 0..map.pixels() {
            for channel in 0..map.blocks() * TILE {
                packed[map.index(picture, pixel, channel)] = f32::NAN;
            }
        }
    }
    packed
}

/// A small generator of repeatable numbers (SplitMix64).
fn numbers(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// Numbers between −1 and 1 that f32 holds.
fn fractions(seed: u64) -> impl FnMut() -> f64 {
    let mut next = numbers(seed);
    move || f64::from((next() >> 40) as f32 / (1u32 << 23) as f32 - 1.0)
}

#[test]
fn small_integers_are_exact_on_every_tier() {
    let pool = Pool::new(3).unwrap();
    for kernels in Kernels::available() {
        for case in cases() {
            // Inputs become at most 12 and weights 27/4, so a sum over 300 channels or 2,000 cells
            // stays below 2²² quarters.
            let mut next = numbers(1);
            let operands = case.operands(|| (next() % 7) as f64 - 3.0);
            let expected = case.reference(&operands);
            let found = case.run(&kernels, &pool, false, &operands);
            for ((name, expected), (_, found)) in expected.all().into_iter().zip(found.all()) {
                assert!(expected == found, "{name} of {case:?} on {}", kernels.tier());
            }
            let clipped = case.run(&kernels, &pool, true, &operands);
            assert!(reference::relu(&expected.y) == clipped.y, "ReLU of {case:?} on {}", kernels.tier());
        }
    }
}

#[test]
fn other_numbers_stay_within_the_bound_on_every_tier() {
    let pool = Pool::new(2).unwrap();
    for kernels in Kernels::available() {
        let mut worst = [0.0f64; 3];
        for case in cases() {
            let operands = case.operands(fractions(2));
            let (expected, bounds) = (case.reference(&operands), case.bounds(&operands));
            let found = case.run(&kernels, &pool, false, &operands);
            for (which, worst) in worst.iter_mut().enumerate() {
                let [(name, expected), (_, bounds), (_, found)] =
                    [&expected, &bounds, &found].map(|results| results.all()[which]);
                assert_eq!((expected.len(), bounds.len()), (found.len(), found.len()), "{name}");
                for ((e, b), f) in expected.iter().zip(bounds).zip(found) {
                    // Not `>`: a NaN must fail as well.
                    assert!((e - f).abs() <= *b, "{name} of {case:?} on {}: {f}, not {e}", kernels.tier());
                    *worst = worst.max((e - f).abs() / b.max(f64::MIN_POSITIVE));
                }
            }
        }
        let text =
            format!("Winograd: tier {}: largest errors of y, dx, dw in bounds: {worst:.4?}", kernels.tier());
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

#[test]
fn neither_threads_nor_the_width_of_vectors_change_a_bit() {
    for case in cases() {
        let operands = case.operands(fractions(3));
        let mut fused: Option<Results> = None;
        for kernels in Kernels::available() {
            let results: Vec<Results> = (1..=4)
                .map(|threads| case.run(&kernels, &Pool::new(threads).unwrap(), false, &operands))
                .collect();
            for (other, threads) in results.iter().zip(1..) {
                assert!(*other == results[0], "{case:?} on {} with {threads} threads", kernels.tier());
            }
            if kernels.tier() != Tier::Portable {
                let first =
                    fused.get_or_insert_with(|| case.run(&kernels, &Pool::new(1).unwrap(), false, &operands));
                assert!(*first == results[0], "{case:?}: {} differs from the tier before", kernels.tier());
            }
        }
    }
}

/// Applied at once or kept and applied after, a gradient makes the same weights.
#[test]
fn an_update_inside_the_pass_gives_the_same_bits() {
    let (pool, case) = (Pool::new(2).unwrap(), Case { batch: 19, input: Map::new(5, 4, 20), outputs: 40 });
    let rule = Sgd {
        learning_rate: 0.1,
        momentum: 0.9,
        nesterov: true,
        weight_decay: 0.01,
        gradient_clip: f32::INFINITY,
    };
    let (contraction, operands) = (case.contraction(), case.operands(fractions(4)));
    let x = pack_activations(case.input, case.batch, &operands.x);
    let dy = pack_activations(case.output(), case.batch, &operands.dy);
    for kernels in Kernels::available() {
        let run = Run { kernels: &kernels, pool: &pool, batch: case.batch };
        let mut scratch = vec![f32::NAN; contraction.scratch_len(case.batch, 2)];
        let (mut kept, mut applied) =
            (case.packed_weights(&operands.weights), case.packed_weights(&operands.weights));
        let (mut kept_velocity, mut velocity) = (vec![0.5; kept.len()], vec![0.5; kept.len()]);
        let mut gradient = vec![f32::NAN; kept.len()];
        contraction.backward_weights(run, &x, &dy, WeightGradient::Keep(&mut gradient), &mut scratch);
        let momentum = Some(&mut kept_velocity[..]);
        vgg_kernels::update::sgd(&kernels, &pool, &rule, &mut kept, &gradient, momentum, None);
        let apply = vgg_kernels::contraction::Apply {
            rule: &rule,
            weights: &mut applied,
            velocity: &mut velocity,
            operands: &mut [],
            partial: &mut vec![0.0; contraction.partial_len(case.batch)],
            diverged: &std::sync::atomic::AtomicBool::new(false),
        };
        contraction.backward_weights(run, &x, &dy, WeightGradient::Apply(apply), &mut scratch);
        assert!(kept == applied && kept_velocity == velocity, "{}", kernels.tier());
    }
}
