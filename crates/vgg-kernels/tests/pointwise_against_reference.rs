//! Everything but the products, in every format and on every tier that this processor has, against
//! the plain loops of `vgg_kernels::reference`.
//!
//! Operations that only move, mask or exactly add values are compared bit for bit on small
//! integers; the others within a bound whose derivation stands beside it, in units of
//! [`ROUNDING`], the largest relative error of one rounding to f32, to first order. Operations
//! compute in f32 whatever the format, so in bf16 operands are numbers that it holds exactly, and
//! the result has the bound of f32 and then one rounding more: see [`stored`]. Results must be the
//! same bits for any tier and any number of threads. Values that belong to no picture or
//! channel are NaN in every operand, so that a kernel that adds one of them fails.

use vgg_kernels::contraction::Run;
use vgg_kernels::layout::blocks;
use vgg_kernels::loss::Objective;
use vgg_kernels::normalisation::LrnConstants;
use vgg_kernels::reference::{self, Shape4, pack_activations, unpack_activations};
use vgg_kernels::update::Sgd;
use vgg_kernels::{Bf16, Element, Format, Kernels, Map, Pool, TILE};
use vgg_kernels::{gather, loss, normalisation, pointwise, pooling, update};

const ROUNDING: f64 = 1.0 / (1 << 24) as f64;
const BATCHES: [usize; 5] = [1, 15, 16, 19, 33];
const SIZES: [(usize, usize); 5] = [(1, 1), (1, 5), (2, 2), (7, 7), (5, 4)];
const CHANNELS: [usize; 5] = [1, 16, 37, 17, 64];
const LRN: LrnConstants = LrnConstants { size: 5, k: 2.0, alpha: 1e-2, beta: 0.75 };

/// Numbers that are a function of the seed (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Integers from -4 to 4.
    fn integers(&mut self, len: usize) -> Vec<f64> {
        (0..len).map(|_| (self.next() % 9) as f64 - 4.0).collect()
    }

    /// Values in -1..=1 that the format holds exactly and that are not zero.
    fn reals<T: Element>(&mut self, len: usize) -> Vec<f64> {
        (0..len).map(|_| rounded::<T>(((self.next() >> 41) as f64 + 0.5) / (1 << 22) as f64 - 1.0)).collect()
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// What the format stores for a result.
fn rounded<T: Element>(value: f64) -> f64 {
    f64::from(T::from_f32(value as f32).to_f32())
}

/// The error of a stored result that is at most `error` off `value` before it is stored. The last
/// rounding to f32 is part of the error; that to bf16, half a unit of its last place, is not.
fn stored<T: Element>(error: f64, value: f64) -> f64 {
    match T::FORMAT {
        Format::F32 => error,
        Format::Bf16 => {
            let power_of_two = f64::from_bits((value.abs() + error).to_bits() >> 52 << 52);
            error + power_of_two / 256.0
        }
    }
}

/// Runs `check(map, batch)` on the grid: every size with every batch, and the channels in turn, so
/// that each meets each size and each batch.
fn on_every_shape<T: Element>(mut check: impl FnMut(Map, usize)) {
    for (s, (height, width)) in SIZES.into_iter().enumerate() {
        for (b, batch) in BATCHES.into_iter().enumerate() {
            let map = Map::new(height, width, CHANNELS[(s + b) % CHANNELS.len()]);
            check(map.in_format(T::FORMAT), batch);
        }
    }
}

/// What `operation` writes, which must be the same bits on every tier and any number of threads.
fn on_every_tier<T: Bits>(operation: impl Fn(&Kernels, &Pool) -> Vec<T>) -> Vec<T> {
    let mut first: Option<Vec<T>> = None;
    let tables = Kernels::available();
    for threads in 1..=4 {
        let pool = Pool::new(threads).unwrap();
        for kernels in &tables {
            let values = operation(kernels, &pool);
            let bits = |values: &[T]| values.iter().map(Bits::bits).collect::<Vec<_>>();
            let expected = first.get_or_insert_with(|| values.clone());
            assert!(bits(&values) == bits(expected), "{} with {threads} threads differs", kernels.tier());
        }
    }
    first.unwrap()
}

trait Bits: Clone {
    fn bits(&self) -> u64;
}

impl Bits for f32 {
    fn bits(&self) -> u64 {
        self.to_bits().into()
    }
}

impl Bits for Bf16 {
    fn bits(&self) -> u64 {
        self.0.into()
    }
}

impl<T: Bits> Bits for (T, u8) {
    fn bits(&self) -> u64 {
        self.0.bits() << 8 | u64::from(self.1)
    }
}

/// Packed values with NaN wherever no value belongs.
fn poisoned<T: Element>(map: Map, batch: usize, plain: &[f64]) -> Vec<T> {
    let used: Vec<T> = pack_activations(map, batch, &vec![1.0; plain.len()]);
    let values: Vec<T> = pack_activations(map, batch, plain);
    let value_or_nan = |(value, used)| if used == T::default() { T::from_f32(f32::NAN) } else { value };
    values.into_iter().zip(used).map(value_or_nan).collect()
}

/// Packed bytes, each zero where no value belongs.
fn pack_bytes<T: Element>(map: Map, batch: usize, plain: &[u8]) -> Vec<u8> {
    let plain: Vec<f64> = plain.iter().map(|&byte| f64::from(byte)).collect();
    let packed: Vec<T> = pack_activations(map, batch, &plain);
    packed.iter().map(|value| value.to_f32() as u8).collect()
}

/// Garbage for an output, so that a value left unwritten is found.
fn garbage<T: Element>(len: usize) -> Vec<T> {
    vec![T::from_f32(f32::NAN); len]
}

fn assert_padding_is_zero<T: Element>(map: Map, batch: usize, values: &[T]) {
    let again: Vec<T> = pack_activations(map, batch, &unpack_activations(map, batch, values));
    assert!(values == again, "padding of {map:?} × {batch} is not zero");
}

fn assert_within(got: &[f64], expected: &[f64], bound: impl Fn(usize) -> f64) {
    assert_eq!(got.len(), expected.len());
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let error = (got - expected).abs();
        assert!(
            error <= bound(index),
            "{index}: {got}, not {expected}: off by {error}, not {}",
            bound(index)
        );
    }
}

/// The table and the plain loops round in f64, then to f32, then to the format, and gathering only moves
/// the values of the table.
#[test]
fn gather_is_exact() {
    gather_is_exact_in::<f32>();
    gather_is_exact_in::<Bf16>();
}

fn gather_is_exact_in<T: Element + Bits>() {
    for (channels, kernel) in [(1, 1), (1, 3), (3, 3), (17, 3)] {
        on_every_shape::<T>(|map, batch| {
            let picture = Map { channels, ..map };
            let shape = Shape4::of(picture, batch);
            let images = Numbers(1).bytes(shape.len());
            let patches_map = gather::patches_map(picture, kernel, T::FORMAT);
            let mut numbers = Numbers(2);
            let [mean, deviation] = [0; 2]
                .map(|_| numbers.reals::<f32>(channels).iter().map(|x| x.abs() as f32).collect::<Vec<_>>());
            let mut table = garbage::<T>(channels * gather::BYTES);
            gather::fill_table(&mean, &deviation, &mut table);
            let packed = on_every_tier(|kernels, pool| {
                let run = Run { kernels, pool, batch };
                let mut patches = garbage::<T>(patches_map.len(batch));
                gather::gather(run, picture, kernel, &table, &images, &mut patches);
                patches
            });
            let expected = reference::gather(shape, kernel, (&mean, &deviation), &images);
            assert_eq!(packed, pack_activations(patches_map, batch, &expected), "{picture:?} × {batch}");
        });
    }
}

/// Mean 0 and deviation 1 are no normalisation: f64 has more than twice f32's digits and two, so that
/// the second rounding of a quotient gives what one rounding to f32 gives.
#[test]
fn without_normalisation_a_byte_is_the_nearest_number_to_its_share_of_255() {
    let (mut single, mut half) = ([f32::NAN; gather::BYTES], [Bf16::default(); gather::BYTES]);
    gather::fill_table(&[0.0], &[1.0], &mut single);
    gather::fill_table(&[0.0], &[1.0], &mut half);
    for byte in 0..gather::BYTES {
        let value = byte as f32 / 255.0;
        assert_eq!(single[byte].to_bits(), value.to_bits(), "{byte}");
        assert_eq!(half[byte], Bf16::from_f32(value), "{byte}");
    }
}

#[test]
fn max_pooling_is_exact_and_the_first_of_equals_wins() {
    max_pooling_is_exact_and_the_first_of_equals_wins_in::<f32>();
    max_pooling_is_exact_and_the_first_of_equals_wins_in::<Bf16>();
}

fn max_pooling_is_exact_and_the_first_of_equals_wins_in<T: Element + Bits>() {
    on_every_shape::<T>(|map, batch| {
        let (shape, output) = (Shape4::of(map, batch), pooling::output(map));
        let x = Numbers(2).integers(shape.len());
        let packed = poisoned::<T>(map, batch, &x);
        let both = on_every_tier(|kernels, pool| {
            let (mut y, mut argmax) = (garbage(output.len(batch)), vec![9; output.len(batch)]);
            pooling::forward(kernels, pool, batch, map, &packed, &mut y, Some(&mut argmax));
            let mut alone = garbage(output.len(batch));
            pooling::forward(kernels, pool, batch, map, &packed, &mut alone, None);
            assert!(y.iter().map(Bits::bits).eq(alone.iter().map(Bits::bits)));
            y.into_iter().zip(argmax).collect()
        });
        let (y, argmax): (Vec<T>, Vec<u8>) = both.into_iter().unzip();
        let (expected_y, expected_argmax) = reference::max_pool(shape, &x);
        assert_eq!(unpack_activations(output, batch, &y), expected_y, "{map:?} × {batch}");
        let positions: Vec<T> = argmax.iter().map(|&position| T::from_f32(position.into())).collect();
        let expected_positions: Vec<f64> = expected_argmax.iter().map(|&byte| f64::from(byte)).collect();
        assert_eq!(unpack_activations(output, batch, &positions), expected_positions, "{map:?} × {batch}");

        let dy = Numbers(3).integers(expected_y.len());
        let packed_dy = poisoned::<T>(output, batch, &dy);
        let dx = on_every_tier(|kernels, pool| {
            let mut dx = garbage(map.len(batch));
            pooling::backward(kernels, pool, batch, map, &packed_dy, &argmax, &mut dx);
            dx
        });
        let expected = reference::max_pool_backward(shape, &dy, &expected_argmax);
        assert_eq!(unpack_activations(map, batch, &dx), expected, "{map:?} × {batch}");

        let (kernels, pool) = (Kernels::choose().unwrap(), Pool::new(1).unwrap());
        let (mut y, mut argmax) = (garbage::<T>(output.len(batch)), vec![9; output.len(batch)]);
        let zero_padded = pack_activations::<T>(map, batch, &x);
        pooling::forward(&kernels, &pool, batch, map, &zero_padded, &mut y, Some(&mut argmax));
        assert_padding_is_zero(output, batch, &y);
        let (zero_padded, mut dx) = (pack_activations::<T>(output, batch, &dy), garbage(map.len(batch)));
        pooling::backward(&kernels, &pool, batch, map, &zero_padded, &argmax, &mut dx);
        assert_padding_is_zero(map, batch, &dx);
    });
}

#[test]
fn a_nan_in_a_window_is_its_maximum() {
    a_nan_in_a_window_is_its_maximum_in::<f32>();
    a_nan_in_a_window_is_its_maximum_in::<Bf16>();
}

fn a_nan_in_a_window_is_its_maximum_in<T: Element + Bits>() {
    let (map, shape) = (Map::new(3, 3, 2).in_format(T::FORMAT), Shape4::new(1, 2, 3, 3));
    for nan in 0..shape.len() {
        for second in [nan, (nan + 1) % shape.len()] {
            let mut x = Numbers(4).integers(shape.len());
            (x[nan], x[second]) = (f64::NAN, f64::NAN);
            let packed = pack_activations::<T>(map, 1, &x);
            let both = on_every_tier(|kernels, pool| {
                let len = pooling::output(map).len(1);
                let (mut y, mut argmax) = (garbage(len), vec![9; len]);
                pooling::forward(kernels, pool, 1, map, &packed, &mut y, Some(&mut argmax));
                y.into_iter().zip(argmax).collect()
            });
            let (expected_y, expected_argmax) = reference::max_pool(shape, &x);
            let (y, argmax): (Vec<T>, Vec<u8>) = both.into_iter().unzip();
            let y = unpack_activations(pooling::output(map), 1, &y);
            assert!(y.iter().zip(&expected_y).all(|(a, b)| a == b || a.is_nan() && b.is_nan()));
            assert!(y.iter().any(|y| y.is_nan()));
            assert_eq!(argmax, pack_bytes::<T>(pooling::output(map), 1, &expected_argmax));
        }
    }
}

/// Sums of small integers are exact in any order. Sums of reals: a value goes through at most
/// `16 + width + rows + segments` additions, so the error is below that many roundings of `Σ |dy|`;
/// 16 + pixels + 2·groups·rows + 64 is not less.
#[test]
fn relu_backward_and_bias_gradients() {
    relu_backward_and_bias_gradients_in::<f32>();
    relu_backward_and_bias_gradients_in::<Bf16>();
}

fn relu_backward_and_bias_gradients_in<T: Element + Bits>() {
    on_every_shape::<T>(|map, batch| {
        let shape = Shape4::of(map, batch);
        let sums_len = map.blocks() * T::BLOCK;
        let y = reference::relu(&Numbers(5).integers(shape.len()));
        let packed_y = poisoned::<T>(map, batch, &y);
        for exact in [true, false] {
            let mut numbers = Numbers(6);
            let dy = if exact { numbers.integers(shape.len()) } else { numbers.reals::<T>(shape.len()) };
            let packed_dy = poisoned::<T>(map, batch, &dy);
            let masked_and_sums = on_every_tier(|kernels, pool| {
                let (mut masked, mut sums) = (packed_dy.clone(), garbage::<f32>(sums_len));
                pointwise::relu_backward(kernels, pool, batch, map, &packed_y, &mut masked, &mut sums);
                let mut alone = garbage(sums_len);
                pointwise::bias_gradient(kernels, pool, batch, map, &masked, &mut alone);
                assert!(sums.iter().map(Bits::bits).eq(alone.iter().map(Bits::bits)));
                masked.iter().map(|masked| masked.to_f32()).chain(sums).collect()
            });
            let (masked, sums) = masked_and_sums.split_at(map.len(batch));
            let expected = reference::relu_backward(&y, &dy);
            let masked: Vec<T> = masked.iter().map(|&masked| T::from_f32(masked)).collect();
            assert_eq!(unpack_activations(map, batch, &masked), expected, "{map:?} × {batch}");
            let sums: Vec<f64> = sums.iter().map(|&sum| f64::from(sum)).collect();
            assert!(sums[map.channels..].iter().all(|&sum| sum == 0.0));
            let absolute: Vec<f64> = expected.iter().map(|dy| dy.abs()).collect();
            let magnitude = reference::bias_gradient(shape, &absolute);
            let chain = TILE + map.pixels() + 2 * blocks(batch) * map.height + 64;
            let roundings = if exact { 0 } else { chain };
            let expected = reference::bias_gradient(shape, &expected);
            assert_within(&sums[..map.channels], &expected, |i| roundings as f64 * ROUNDING * magnitude[i]);
        }
    });
}

/// More blocks of channels than partial sums, so that the sums are not cut; and many rows, so that
/// they are cut into as many segments as there may be.
#[test]
fn bias_gradients_of_wide_and_of_large_maps() {
    bias_gradients_of_wide_and_of_large_maps_in::<f32>();
    bias_gradients_of_wide_and_of_large_maps_in::<Bf16>();
}

fn bias_gradients_of_wide_and_of_large_maps_in<T: Element + Bits>() {
    for map in [Map::new(1, 1, 65 * TILE - 3), Map::new(1, 1, 33 * TILE), Map::new(90, 2, 5)] {
        let map = map.in_format(T::FORMAT);
        let shape = Shape4::of(map, 18);
        let dy = Numbers(7).integers(shape.len());
        let packed = poisoned::<T>(map, 18, &dy);
        let sums = on_every_tier(|kernels, pool| {
            let mut sums = garbage(map.blocks() * T::BLOCK);
            pointwise::bias_gradient(kernels, pool, 18, map, &packed, &mut sums);
            sums
        });
        let sums: Vec<f64> = sums[..map.channels].iter().map(|&sum| f64::from(sum)).collect();
        assert_eq!(sums, reference::bias_gradient(shape, &dy), "{map:?}");
    }
}

/// One product, rounded once: what f64 gives, rounded to f32, since f64 holds the product exactly,
/// and then to the format.
#[test]
fn scaling_kept_values_is_exact() {
    scaling_kept_values_is_exact_in::<f32>();
    scaling_kept_values_is_exact_in::<Bf16>();
}

fn scaling_kept_values_is_exact_in<T: Element + Bits>() {
    for tiles in [1, 2, 17] {
        let mut numbers = Numbers(8);
        let mut x = numbers.reals::<T>(tiles * T::TILE_LEN);
        let keep: Vec<u8> = numbers.bytes(x.len()).iter().map(|byte| byte % 3).collect();
        x[keep.iter().position(|&keep| keep == 0).unwrap()] = f64::NAN;
        let scale = 1.0_f32 / 0.6;
        let scaled = on_every_tier(|kernels, pool| {
            let mut x: Vec<T> = x.iter().map(|&x| T::from_f32(x as f32)).collect();
            pointwise::scale_kept(kernels, pool, &keep, scale, &mut x);
            x
        });
        let expected = reference::scale_kept(&keep, f64::from(scale), &x);
        assert_eq!(scaled, expected.iter().map(|&x| T::from_f32(x as f32)).collect::<Vec<_>>());
    }
}

/// Forward: the scale s is a sum of positive terms, each with the roundings of a square, of `size`
/// additions, of a product and of a sum: size + 3. The power multiplies them by β and adds its own
/// error, which libm keeps below one unit in the last place, two roundings; the quotient adds one.
///
/// Backward: with A = |dy·s^−β| and B the sum of the magnitudes of the other terms, times its
/// factors, a term has those (1 + β)·(size + 3) of its two scales, 2 of the power, and at most 5 of
/// products and quotients; the sum adds `size`, the factor 2αβ 2, its products 2, the difference 1.
/// A + B is computed as 2A − (A − B), where A − B is what backward gives for |x| and |dy|.
///
/// One rounding more stands for the terms of second order.
#[test]
fn normalisation_within_its_bound() {
    normalisation_within_its_bound_in::<f32>();
    normalisation_within_its_bound_in::<Bf16>();
}

fn normalisation_within_its_bound_in<T: Element + Bits>() {
    let size = LRN.size as f64;
    let beta = f64::from(LRN.beta);
    let forward = (beta * (size + 3.0) + 3.0 + 1.0) * ROUNDING;
    let backward = ((1.0 + beta) * (size + 3.0) + 2.0 + 5.0 + size + 5.0 + 1.0) * ROUNDING;
    on_every_shape::<T>(|map, batch| {
        let shape = Shape4::of(map, batch);
        let mut numbers = Numbers(9);
        let x: Vec<f64> = numbers.reals::<T>(shape.len()).iter().map(|x| 16.0 * x).collect();
        let dy = numbers.reals::<T>(shape.len());
        let (packed_x, packed_dy) = (poisoned::<T>(map, batch, &x), poisoned::<T>(map, batch, &dy));
        let y = on_every_tier(|kernels, pool| {
            let mut y = garbage(map.len(batch));
            normalisation::forward(kernels, pool, batch, map, &LRN, &packed_x, &mut y);
            y
        });
        let expected_y = reference::lrn(shape, &LRN, &x);
        assert_within(&unpack_activations(map, batch, &y), &expected_y, |i| {
            stored::<T>(forward * expected_y[i].abs(), expected_y[i])
        });
        assert_padding_is_zero(map, batch, &y);

        let dx = on_every_tier(|kernels, pool| {
            let mut dx = garbage(map.len(batch));
            normalisation::backward(kernels, pool, batch, map, &LRN, &packed_x, &packed_dy, &mut dx);
            dx
        });
        let absolute = |values: &[f64]| values.iter().map(|value| value.abs()).collect::<Vec<_>>();
        let difference = reference::lrn_backward(shape, &LRN, &absolute(&x), &absolute(&dy));
        let expected = reference::lrn_backward(shape, &LRN, &x, &dy);
        let magnitude = |i: usize| 2.0 * (dy[i] * expected_y[i] / x[i]).abs() - difference[i];
        assert_within(&unpack_activations(map, batch, &dx), &expected, |i| {
            stored::<T>(backward * magnitude(i), expected[i])
        });
        assert_padding_is_zero(map, batch, &dx);
    });
}

/// Both sides are f64 (whose errors, some 1e-16 for each class and picture, stay below 1e-12 of the
/// largest value in play); the gradient is rounded once to f32 and then to its
/// format.
#[test]
fn softmax_cross_entropy_within_its_bound() {
    softmax_cross_entropy_within_its_bound_in::<f32>();
    softmax_cross_entropy_within_its_bound_in::<Bf16>();
}

fn softmax_cross_entropy_within_its_bound_in<T: Element + Bits>() {
    for batch in BATCHES {
        for classes in [1, 2, 10, 16, 17, 1000] {
            let map = Map::new(1, 1, classes);
            let mut numbers = Numbers(10);
            let logits: Vec<f64> =
                numbers.reals::<f32>(batch * classes).iter().map(|x| (x * 320.0).round() / 8.0).collect();
            let labels: Vec<u32> = (0..batch).map(|_| (numbers.next() % classes as u64) as u32).collect();
            let packed = poisoned(map, batch, &logits);
            let weights: Vec<f32> = numbers.reals::<f32>(classes).iter().map(|x| x.abs() as f32).collect();
            for (label_smoothing, class_weights) in
                [(0.0, None), (0.1, None), (0.0, Some(&weights[..])), (0.3, Some(&weights[..]))]
            {
                let objective = Objective { label_smoothing, class_weights };
                let mut gradient = garbage::<T>(map.in_format(T::FORMAT).len(batch));
                let loss = |gradient: Option<&mut [T]>| {
                    loss::softmax_cross_entropy(batch, map, &packed, &labels, objective, gradient)
                };
                let sum = loss(Some(&mut gradient));
                assert_eq!(sum, loss(None));
                let (expected_loss, correct, expected) =
                    reference::softmax_cross_entropy(classes, &logits, &labels, objective);
                assert!((sum.loss - expected_loss).abs() <= 1e-12 * (80.0 + expected_loss));
                assert_eq!(sum.correct, correct);
                let got = unpack_activations(map, batch, &gradient);
                assert_within(&got, &expected, |i| {
                    stored::<T>(ROUNDING * expected[i].abs() + 1e-12 / batch as f64, expected[i])
                });
                assert_padding_is_zero(map, batch, &gradient);
            }
        }
    }
}

/// Weights of 1 are none, and a target of 0 asks nothing of its class, whatever the logit.
#[test]
fn a_loss_without_smoothing_and_weights_has_the_bits_of_the_plain_formula() {
    let map = Map::new(1, 1, 3);
    for (logits, label) in
        [([0.3, -7.0, 2.0], 0), ([1e-3, 80.0, -90.0], 2), ([f64::NEG_INFINITY, 0.5, 0.25], 1)]
    {
        let packed = pack_activations(map, 1, &logits);
        let with = |objective| {
            let mut gradient = garbage::<f32>(map.len(1));
            let sum = loss::softmax_cross_entropy(1, map, &packed, &[label], objective, Some(&mut gradient));
            (sum.loss, unpack_activations(map, 1, &gradient))
        };
        let stored = unpack_activations(map, 1, &packed);
        let maximum = stored.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let exponentials: f64 = stored.iter().map(|z| libm::exp(z - maximum)).sum();
        let gradient = (0..3).map(|class| {
            let target = f64::from(u8::from(class == label as usize));
            f64::from((libm::exp(stored[class] - maximum) / exponentials - target) as f32)
        });
        let plain = (libm::log(exponentials) - (stored[label as usize] - maximum), gradient.collect());
        assert_eq!(with(Objective::default()), plain);
        assert_eq!(with(Objective { label_smoothing: 0.0, class_weights: Some(&[1.0; 3]) }), plain);
        let smoothed = with(Objective { label_smoothing: 0.1, class_weights: None });
        assert_eq!(smoothed.0.is_finite(), stored[0].is_finite());
    }
}

#[test]
fn a_loss_is_finite_for_large_logits_and_nan_for_nan() {
    let map = Map::new(1, 1, 3);
    let loss = |logits: [f64; 3], label| {
        loss::softmax_cross_entropy::<f32>(
            1,
            map,
            &pack_activations(map, 1, &logits),
            &[label],
            Objective::default(),
            None,
        )
    };
    assert_eq!(loss([1e30, -1e30, 0.0], 0).loss, 0.0);
    assert_eq!(loss([800.0, 0.0, -800.0], 2).loss, 1600.0);
    assert_eq!([loss([5.0, 5.0, 1.0], 0).correct, loss([5.0, 5.0, 1.0], 1).correct], [1, 0]);
    for position in 0..3 {
        let mut logits = [1.0, 2.0, 3.0];
        logits[position] = f64::NAN;
        for label in 0..3 {
            let sum = loss(logits, label);
            assert!(sum.loss.is_nan() && sum.correct == 0);
        }
    }
}

/// With M = |w| + lr·(1 + m)·(|g| + m·|v|), where |g| = |gradient| + wd·|w|, every term of the new
/// weight goes through at most eight roundings (clipping has none): g has two, v two, the look-ahead two, the step and
/// the difference one each. The velocity has four, of |g| + m·|v|; no velocity here is small
/// enough to be cleared, and one rounding more stands for the terms of second order. Operands are the
/// new weights, rounded, and change none of them.
#[test]
fn sgd_within_its_bound() {
    for len in [1, 16, 8191, 8192, 3 * 8192 + 5, 2 * 8192 + 512] {
        for (nesterov, weight_decay, momentum, gradient_clip) in
            [(false, 0.0, 0.9, f32::INFINITY), (true, 5e-4, 0.9, 0.25), (false, 0.01, 0.5, f32::INFINITY)]
        {
            let rule = Sgd { learning_rate: 0.1, momentum, nesterov, weight_decay, gradient_clip };
            let mut numbers = Numbers(11);
            let [weights, gradient, velocity] = [0; 3].map(|_| numbers.reals::<f32>(len));
            for with_velocity in [true, false] {
                check_sgd(&rule, &weights, &gradient, with_velocity.then_some(&velocity[..]));
            }
        }
    }
}

fn check_sgd(rule: &Sgd, weights: &[f64], gradient: &[f64], velocity: Option<&[f64]>) {
    let single = |values: &[f64]| values.iter().map(|&value| value as f32).collect::<Vec<f32>>();
    let got = on_every_tier(|kernels, pool| {
        let (mut weights, mut velocity) = (single(weights), velocity.map(single));
        let (mut again, mut velocity_again) = (weights.clone(), velocity.clone());
        let gradient = single(gradient);
        update::sgd(kernels, pool, rule, &mut weights, &gradient, velocity.as_deref_mut(), None);
        if weights.len().is_multiple_of(512) {
            let mut operands = garbage(weights.len());
            let velocity_again = velocity_again.as_deref_mut();
            update::sgd(kernels, pool, rule, &mut again, &gradient, velocity_again, Some(&mut operands));
            assert_eq!(again, weights);
            assert_are_operands(kernels, pool, &weights, &operands);
        }
        assert!(!weights.len().is_multiple_of(512) || velocity_again == velocity);
        weights.extend(velocity.into_iter().flatten());
        weights
    });
    let (mut new_weights, mut new_velocity) = (weights.to_vec(), velocity.map(<[f64]>::to_vec));
    reference::sgd(rule, &mut new_weights, gradient, new_velocity.as_deref_mut());
    let got: Vec<f64> = got.iter().map(|&value| f64::from(value)).collect();
    let momentum = f64::from(rule.momentum);
    let moved = |i: usize| {
        let decayed = gradient[i].abs() + f64::from(rule.weight_decay) * weights[i].abs();
        decayed + velocity.map_or(0.0, |velocity| momentum * velocity[i].abs())
    };
    let step = |i: usize| f64::from(rule.learning_rate) * (1.0 + momentum) * moved(i);
    let (got_weights, got_velocity) = got.split_at(weights.len());
    assert_within(got_weights, &new_weights, |i| 9.0 * ROUNDING * (weights[i].abs() + step(i)));
    if let Some(new_velocity) = new_velocity {
        assert_within(got_velocity, &new_velocity, |i| 5.0 * ROUNDING * moved(i));
    }
}

/// With M = |w| + |mean|, the difference has one rounding of at most M, its product with the share one
/// more, and the sum one: three of at most M each, and none where the share is 1.
#[test]
fn an_average_is_within_its_bound() {
    for len in [1, 16, 8191, 8192, 3 * 8192 + 5] {
        for share in [0.0, 0.001, 1.0 / 3.0, 0.5, 1.0] {
            let mut numbers = Numbers(12);
            let [weights, mean] = [0; 2].map(|_| numbers.reals::<f32>(len));
            let single = |values: &[f64]| values.iter().map(|&value| value as f32).collect::<Vec<f32>>();
            let got = on_every_tier(|kernels, pool| {
                let mut mean = single(&mean);
                assert!(update::average(kernels, pool, share, &single(&weights), &mut mean));
                mean
            });
            let got: Vec<f64> = got.iter().map(|&value| f64::from(value)).collect();
            let mut expected = mean.clone();
            reference::average(f64::from(share), &weights, &mut expected);
            let roundings = if share == 0.0 || share == 1.0 { 0.0 } else { 3.0 };
            assert_within(&got, &expected, |i| roundings * ROUNDING * (weights[i].abs() + mean[i].abs()));
        }
    }
}

/// Wherever a weight is no finite number, or the way to it overflows.
#[test]
fn an_average_says_when_it_is_no_finite_number() {
    let pool = Pool::new(2).unwrap();
    let len = 10_000;
    for kernels in Kernels::available() {
        for place in [0, 15, 8191, 8192, len - 1] {
            for (weight, before, share, finite) in [
                (f32::MAX, 1.0, 0.5, true),
                (f32::NAN, 1.0, 0.5, false),
                (f32::INFINITY, 1.0, 1.0, false),
                (f32::MAX, f32::MIN, 0.5, false),
                (f32::MAX, f32::MIN, 1.0, true),
            ] {
                let (mut weights, mut mean) = (vec![0.5; len], vec![0.25; len]);
                (weights[place], mean[place]) = (weight, before);
                let found = update::average(&kernels, &pool, share, &weights, &mut mean);
                assert_eq!(found, finite, "{weight} and {before} at {place} on {}", kernels.tier());
            }
        }
    }
}

#[test]
fn an_exchange_moves_every_value() {
    let pool = Pool::new(3).unwrap();
    let first: Vec<f32> = (0..20_000).map(|i| i as f32).collect();
    let second: Vec<f32> = first.iter().map(|value| -1.0 - value).collect();
    let (mut a, mut b) = (first.clone(), second.clone());
    update::exchange(&pool, &mut a, &mut b);
    assert!(a == second && b == first);
}

/// Operand `2·o + b` of 32 is weight `16·b + o`.
fn assert_are_operands(kernels: &Kernels, pool: &Pool, weights: &[f32], operands: &[Bf16]) {
    for (weights, operands) in weights.chunks_exact(32).zip(operands.chunks_exact(32)) {
        for (index, &operand) in operands.iter().enumerate() {
            assert_eq!(operand, Bf16::from_f32(weights[index % 2 * 16 + index / 2]));
        }
    }
    let mut packed = garbage(weights.len());
    update::pack_operands(kernels, pool, weights, &mut packed);
    assert_eq!(packed, operands);
}

#[test]
fn velocities_never_become_denormal() {
    let rule = Sgd {
        learning_rate: 0.1,
        momentum: 0.9,
        nesterov: true,
        weight_decay: 0.0,
        gradient_clip: f32::INFINITY,
    };
    let end = on_every_tier(|kernels, pool| {
        let (mut weights, mut velocity) = (vec![1.0; 40], vec![1.0; 40]);
        velocity[7] = f32::NAN;
        for _ in 0..1000 {
            update::sgd(kernels, pool, &rule, &mut weights, &[0.0; 40], Some(&mut velocity), None);
            assert!(velocity.iter().all(|velocity| !velocity.is_subnormal()));
        }
        velocity
    });
    assert!(end[7].is_nan() && end.iter().filter(|&&velocity| velocity == 0.0).count() == 39);
}

/// Wherever a gradient or a velocity is no finite number, or the new weight alone is none.
#[test]
fn sgd_says_when_a_weight_is_no_finite_number() {
    let pool = Pool::new(2).unwrap();
    let rule = Sgd {
        learning_rate: 1.0,
        momentum: 0.5,
        nesterov: true,
        weight_decay: 0.0,
        gradient_clip: f32::INFINITY,
    };
    let len = 10_000; // More than a chunk, and no multiple of a vector's width.
    for kernels in Kernels::available() {
        for place in [0, 15, 511, 8191, 8192, len - 1] {
            for (weight, gradient, finite) in [
                (1.0, 1.0, true),
                (1.0, f32::MAX / 2.0, true),
                (1.0, f32::INFINITY, false),
                (1.0, f32::NEG_INFINITY, false),
                (1.0, f32::NAN, false),
                (f32::MAX, -f32::MAX / 2.0, false),
            ] {
                let (mut weights, mut gradients) = (vec![0.5; len], vec![0.5; len]);
                (weights[place], gradients[place]) = (weight, gradient);
                let mut alone = weights.clone();
                let mut velocity = vec![0.0; len];
                let found =
                    update::sgd(&kernels, &pool, &rule, &mut weights, &gradients, Some(&mut velocity), None);
                assert_eq!(found, finite, "{weight} and {gradient} at {place} on {}", kernels.tier());
                let mut clipped = alone.clone();
                let found = update::sgd(&kernels, &pool, &rule, &mut alone, &gradients, None, None);
                assert_eq!(found, finite, "{weight} and {gradient} at {place} on {}", kernels.tier());
                // Clipping saves what a large gradient would have spoilt, but hides none that overflowed.
                let rule = Sgd { gradient_clip: 1.0, ..rule };
                let found = update::sgd(&kernels, &pool, &rule, &mut clipped, &gradients, None, None);
                assert_eq!(found, gradient.is_finite(), "{weight} and {gradient} at {place}");
            }
        }
    }
}
