//! Convolutions and dense layers, forward and backward, on every tier of this processor, against
//! plain loops in f64.
//!
//! With small integers every sum is exact in f32 whatever its order, so results must be equal bit
//! for bit. With other numbers the error of a value is at most γ·Σ|a||b| with γ = k·u / (1 − k·u),
//! u = 2⁻²⁴ and k the number of roundings that a term can pass: its product, one addition for each
//! term after it, and the addition of the base of each chunk (Higham, Accuracy and Stability of
//! Numerical Algorithms, section 3.1).
//!
//! bf16 operands are rounded beforehand, so their products are exact and the same bound holds for
//! the sums; a result that is stored in bf16 is rounded once more, by at most 2⁻⁸ of it.

use std::io::Write;
use vgg_kernels::contraction::Run;
use vgg_kernels::reference::{self, Shape4, pack_activations, unpack_activations};
use vgg_kernels::{
    Bf16, Contraction, Format, Kernels, Map, Operand, Pool, TILE, Tier, WeightGradient, WeightLayout, update,
};

/// A layer at an awkward shape; kernel 0 is a dense layer.
#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    input: Map,
    outputs: usize,
    kernel: usize,
}

#[rustfmt::skip]
fn cases() -> Vec<Case> {
    let case = |batch, height, width, channels, outputs, kernel| Case {
        batch, input: Map::new(height, width, channels), outputs, kernel,
    };
    vec![
        case(1, 1, 1, 1, 1, 3), case(1, 1, 1, 16, 16, 1), case(2, 1, 5, 3, 17, 3), case(17, 2, 2, 16, 32, 3),
        case(33, 2, 2, 33, 48, 3), case(16, 3, 1, 17, 1, 3), case(15, 4, 4, 32, 33, 3), case(5, 7, 7, 20, 64, 3),
        case(18, 5, 4, 9, 65, 1), case(3, 28, 3, 7, 16, 3), case(20, 14, 14, 16, 32, 3), case(100, 2, 3, 40, 40, 3),
        case(300, 1, 2, 18, 10, 3), case(1, 6, 6, 300, 40, 3), case(7, 8, 8, 9, 64, 1), case(4, 2, 2, 512, 128, 3),
        case(1, 1, 1, 1, 2, 0), case(19, 1, 1, 100, 10, 0), case(33, 1, 1, 513, 70, 0), case(6, 3, 2, 20, 33, 0),
        case(12, 2, 2, 16, 300, 0), case(100, 1, 1, 512, 1000, 0),
        // Sums of bf16 that are cut with AMX, too, and activations beyond the second-level cache.
        case(3, 14, 15, 16, 32, 3), case(33, 4, 5, 1, 512, 3),
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
    /// As `y`, not rounded to the format of the operands.
    logits: Vec<f64>,
    dx: Vec<f64>,
    dw: Vec<f64>,
}

/// Numbers of a format from plain ones.
fn rounded<T: Operand>(values: &[f64]) -> Vec<f64> {
    values.iter().map(|v| f64::from(T::from_f32(*v as f32).to_f32())).collect()
}

impl Case {
    fn shape(&self) -> Shape4 {
        Shape4::of(self.input, self.batch)
    }

    fn output(&self) -> Map {
        if self.kernel == 0 {
            Map::new(1, 1, self.outputs)
        } else {
            Map { channels: self.outputs, ..self.input }
        }
    }

    fn layout(&self) -> WeightLayout {
        let positions = if self.kernel == 0 { self.input.pixels() } else { self.kernel * self.kernel };
        let (outputs, channels, format) = (self.outputs, self.input.channels, self.input.format);
        WeightLayout { outputs, channels, positions, gathered: false, format }
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
        let (shape, outputs, kernel) = (self.shape(), self.outputs, self.kernel);
        let (y, dx, dw) = match kernel {
            0 => (
                reference::dense(shape, outputs, &o.x, &o.weights, &o.bias),
                reference::dense_backward_data(shape, outputs, &o.dy, &o.weights),
                reference::dense_backward_weights(shape, outputs, &o.x, &o.dy),
            ),
            _ => (
                reference::convolution(shape, outputs, kernel, &o.x, &o.weights, &o.bias),
                reference::convolution_backward_data(shape, outputs, kernel, &o.dy, &o.weights),
                reference::convolution_backward_weights(shape, outputs, kernel, &o.x, &o.dy),
            ),
        };
        Results { logits: y.clone(), y, dx, dw }
    }

    /// Runs the kernels. Unused pictures and results start as NaN; padding of channels holds zero.
    fn run<T: Operand>(&self, kernels: &Kernels, pool: &Pool, relu: bool, o: &Operands) -> Results {
        let case = Case { input: self.input.in_format(T::FORMAT), ..*self };
        let contraction = match case.kernel {
            0 => Contraction::dense(case.input, case.outputs),
            kernel => Contraction::convolution(case.input, case.outputs, kernel),
        };
        let (batch, layout, output) = (case.batch, case.layout(), case.output().in_format(T::FORMAT));
        let run = Run { kernels, pool, batch };
        let nan = T::from_f32(f32::NAN);
        let x: Vec<T> = unused_as_nan(case.input, batch, pack_activations(case.input, batch, &o.x));
        let dy: Vec<T> = unused_as_nan(output, batch, pack_activations(output, batch, &o.dy));
        let weights: Vec<T> = operands(kernels, pool, &layout, &o.weights);
        let mut bias = vec![0.0; output.blocks() * T::BLOCK];
        bias.iter_mut().zip(&o.bias).for_each(|(packed, plain)| *packed = *plain as f32);

        let mut y = vec![nan; output.len(batch)];
        contraction.forward(run, &x, &weights, &bias, relu, &mut y, &mut []);
        let logits_map = output.in_format(Format::F32);
        let mut logits = vec![f32::NAN; logits_map.len(batch)];
        contraction.logits(run, &x, &weights, &bias, &mut logits);
        let mut dx = vec![nan; case.input.len(batch)];
        let mut scratch = vec![nan; contraction.scratch_len(batch, pool.threads())];
        contraction.backward_data(run, &dy, &weights, &mut dx, &mut scratch);
        // Tiles that hold no weight are never written; the engine starts with zeros.
        let mut dw = vec![0.0; layout.packed_len()];
        scratch.fill(nan);
        contraction.backward_weights(run, &x, &dy, WeightGradient::Keep(&mut dw), &mut scratch);
        assert!(padding_is_zero(&layout, &dw), "padding of dw of {case:?}");
        let mut plain_dw = vec![0.0; layout.plain_len()];
        layout.unpack(&dw, &mut plain_dw);
        Results {
            y: unpack_activations(output, batch, &y),
            logits: unpack_activations(logits_map, batch, &logits),
            dx: unpack_activations(case.input, batch, &dx),
            dw: plain_dw.into_iter().map(f64::from).collect(),
        }
    }
}

/// Weights as products of format `T` read them.
fn operands<T: Operand>(kernels: &Kernels, pool: &Pool, layout: &WeightLayout, plain: &[f64]) -> Vec<T> {
    let mut packed = vec![f32::NAN; layout.packed_len()];
    layout.pack(&plain.iter().map(|v| *v as f32).collect::<Vec<_>>(), &mut packed);
    let order: Vec<f32> = match T::FORMAT {
        Format::F32 => packed,
        Format::Bf16 => {
            let mut operands = vec![Bf16::default(); packed.len()];
            update::pack_operands(kernels, pool, &packed, &mut operands);
            operands.into_iter().map(vgg_kernels::Element::to_f32).collect()
        }
    };
    order.into_iter().map(T::from_f32).collect()
}

/// Whether everything in packed weights that belongs to no weight is zero, as the update needs it.
fn padding_is_zero(layout: &WeightLayout, packed: &[f32]) -> bool {
    let mut padding = vec![true; packed.len()];
    for output in 0..layout.outputs {
        for channel in 0..layout.channels {
            for position in 0..layout.positions {
                padding[layout.index(output, channel, position)] = false;
            }
        }
    }
    packed.iter().zip(padding).all(|(value, padding)| !padding || *value == 0.0)
}

/// Fills the pictures past the batch with NaN: no sum may read them.
fn unused_as_nan<T: Operand>(map: Map, batch: usize, mut packed: Vec<T>) -> Vec<T> {
    for picture in batch..batch.next_multiple_of(TILE) {
        for pixel in 0..map.pixels() {
            for channel in 0..map.blocks() * T::BLOCK {
                packed[map.index(picture, pixel, channel)] = T::from_f32(f32::NAN);
            }
        }
    }
    packed
}

/// Prints straight to standard error, which a test harness does not keep to itself.
fn say(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{text}");
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

fn all_results(r: &Results) -> [(&'static str, &[f64]); 4] {
    [("y", &r.y), ("logits", &r.logits), ("dx", &r.dx), ("dw", &r.dw)]
}

#[test]
fn small_integers_are_exact_on_every_tier() {
    small_integers_are_exact::<f32>();
    small_integers_are_exact::<Bf16>();
}

fn small_integers_are_exact<T: Operand>() {
    let pool = Pool::new(3).unwrap();
    for kernels in Kernels::available() {
        let tier = kernels.tier();
        for case in cases() {
            // Products up to 9 and at most 16,384 terms stay below 2²⁴.
            let mut next = numbers(1);
            let operands = case.operands(|| (next() % 7) as f64 - 3.0);
            let exact = case.reference(&operands);
            let expected = Results { y: rounded::<T>(&exact.y), dx: rounded::<T>(&exact.dx), ..exact };
            let found = case.run::<T>(&kernels, &pool, false, &operands);
            for ((name, expected), (_, found)) in all_results(&expected).iter().zip(all_results(&found)) {
                assert!(*expected == found, "{name} of {case:?} in {} on {tier}", T::FORMAT);
            }
            let clipped = case.run::<T>(&kernels, &pool, true, &operands);
            assert!(reference::relu(&expected.y) == clipped.y, "ReLU of {case:?} in {} on {tier}", T::FORMAT);
        }
    }
}

#[test]
fn other_numbers_stay_within_the_bound_on_every_tier() {
    other_numbers_stay_within_the_bound::<f32>();
    other_numbers_stay_within_the_bound::<Bf16>();
}

fn other_numbers_stay_within_the_bound<T: Operand>() {
    let pool = Pool::new(2).unwrap();
    // What storing y and dx adds to the error of the sum; in f32 it is part of the sum's.
    let stored = if T::FORMAT == Format::Bf16 { 2f64.powi(-8) } else { 0.0 };
    for kernels in Kernels::available() {
        let (tier, mut worst) = (kernels.tier(), 0f64);
        for case in cases() {
            let mut next = numbers(2);
            // Rounded beforehand, so that the operands themselves carry no error.
            let operands = case.operands(|| {
                rounded::<T>(&[f64::from((next() >> 40) as f32 / (1u32 << 23) as f32 - 1.0)])[0]
            });
            let magnitudes = Operands {
                x: operands.x.iter().map(|v| v.abs()).collect(),
                dy: operands.dy.iter().map(|v| v.abs()).collect(),
                weights: operands.weights.iter().map(|v| v.abs()).collect(),
                bias: operands.bias.iter().map(|v| v.abs()).collect(),
            };
            let (expected, sums) = (case.reference(&operands), case.reference(&magnitudes));
            let found = case.run::<T>(&kernels, &pool, false, &operands);
            let layout = case.layout();
            let taps = case.kernel.max(1).pow(2);
            let forward_terms = layout.channels * layout.positions + 2;
            let backward_terms = case.outputs * taps + 2;
            let weight_terms = case.batch * case.output().pixels() + case.output().pixels() + 2;
            let terms = [
                (forward_terms, stored),
                (forward_terms, 0.0),
                (backward_terms, stored),
                (weight_terms, 0.0),
            ];
            for (which, (terms, stored)) in terms.into_iter().enumerate() {
                let ku = terms as f64 * 2f64.powi(-24);
                let gamma = ku / (1.0 - ku);
                let [(name, expected), (_, sums), (_, found)] =
                    [&expected, &sums, &found].map(|results| all_results(results)[which]);
                for ((e, s), f) in expected.iter().zip(sums).zip(found) {
                    let bound = gamma * s + stored * (e.abs() + gamma * s);
                    // Not `>`: a NaN must fail as well.
                    assert!(
                        (e - f).abs() <= bound,
                        "{name} of {case:?} in {} on {tier}: {f}, not {e}",
                        T::FORMAT
                    );
                    worst = worst.max((e - f).abs() / bound.max(f64::MIN_POSITIVE));
                }
            }
        }
        let percent = 100.0 * worst;
        say(format_args!("products: {} on {tier}: largest error {percent:.1} % of the bound", T::FORMAT));
    }
}

#[test]
fn neither_threads_nor_the_width_of_vectors_change_a_bit() {
    for case in cases() {
        let mut next = numbers(3);
        let operands = case.operands(|| (next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0);
        let mut fused: Option<Results> = None;
        for kernels in Kernels::available() {
            let one = same_with_any_number_of_threads::<f32>(case, &kernels, &operands);
            same_with_any_number_of_threads::<Bf16>(case, &kernels, &operands);
            if kernels.tier() != Tier::Portable {
                let first = fused.get_or_insert(one);
                let again = case.run::<f32>(&kernels, &Pool::new(1).unwrap(), false, &operands);
                assert!(*first == again, "{case:?}: {} differs from the tier before", kernels.tier());
            }
        }
    }
}

fn same_with_any_number_of_threads<T: Operand>(
    case: Case,
    kernels: &Kernels,
    operands: &Operands,
) -> Results {
    let results = |threads| case.run::<T>(kernels, &Pool::new(threads).unwrap(), false, operands);
    let one = results(1);
    for threads in 2..=4 {
        let same = one == results(threads);
        assert!(same, "{case:?} in {} on {} with {threads} threads", T::FORMAT, kernels.tier());
    }
    one
}

/// A run that diverges must show: ReLU may not turn NaN into zero.
#[test]
fn relu_keeps_nan() {
    let case = Case { batch: 2, input: Map::new(2, 2, 16), outputs: 16, kernel: 3 };
    let mut operands = case.operands(|| 1.0);
    operands.bias[3] = f64::NAN;
    for kernels in Kernels::available() {
        let pool = Pool::new(1).unwrap();
        for results in [
            case.run::<f32>(&kernels, &pool, true, &operands),
            case.run::<Bf16>(&kernels, &pool, true, &operands),
        ] {
            let nans = results.y.iter().filter(|v| v.is_nan()).count();
            assert_eq!(nans, 2 * 4, "{}", kernels.tier());
        }
    }
}

/// Says which tiers the tests of this crate cover; `VGG_REQUIRE_ISA` turns a missing one into a
/// failure.
#[test]
fn a_required_tier_is_there() {
    let chosen = Tier::choose().unwrap();
    say(format_args!("kernels: tiers covered: {:?}; chosen: {chosen}", Tier::available()));
}
