//! The optimizer's step: stochastic gradient descent with momentum, Nesterov's look-ahead and
//! weight decay, in the form that PyTorch's `SGD` has (without dampening):
//!
//! `g = clipped gradient + weight_decay · w`, `v = momentum · v + g`,
//! `w −= learning_rate · (g + momentum · v)` with Nesterov, `w −= learning_rate · v` without.
//!
//! Each value of the gradient is clipped for itself: what is known of the whole gradient, such as its norm,
//! is known only after the first layers' gradients are, when the last layers' weights are updated already.
//!
//! Beside it a mean of the weights over the steps, in the incremental form that leaves a mean equal to
//! its weight as it is: `mean += share · (w − mean)`.

use crate::Kernels;
use crate::element::{Bf16, Element};
use crate::kernels::per_tier;
use crate::layout::TILE;
use crate::parallel::{Pool, SharedMut};
use std::sync::atomic::{AtomicBool, Ordering};

/// Values that one task updates: large beside the cost of a task, small beside a layer.
const CHUNK_LEN: usize = 8192;

/// Velocities of smaller magnitude become zero. The velocity of a unit that stays dead would
/// otherwise decay into denormal numbers and stay there for ever, since 0.9 times the smallest of
/// them rounds back to itself, and many processors are slow with them. Clearing them here, instead
/// of switching the processor's flush-to-zero mode on, keeps to the floating-point environment that
/// Rust assumes.
const SMALLEST_VELOCITY: f32 = 1e-30;

/// The constants of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Factor of the step.
    pub learning_rate: f32,
    /// What is left of the velocity after a step.
    pub momentum: f32,
    /// Whether the step looks ahead by one momentum.
    pub nesterov: bool,
    /// Factor of the weights that is added to the gradient.
    pub weight_decay: f32,
    /// Largest magnitude of a value of the gradient; infinite where it may have any.
    pub gradient_clip: f32,
}

/// Updates `weights`, and `velocity` where there is one; without it the step is
/// `learning_rate · g`, as if `momentum` were zero. Where there are `operands`, the new weights are
/// written there as [`pack_operands`] does. Returns whether all new weights are finite numbers: a
/// gradient or velocity that is none makes weights that are none.
///
/// # Panics
/// When the slices differ in length, or, with operands, it is no multiple of 512.
pub fn sgd(
    kernels: &Kernels,
    pool: &Pool,
    rule: &Sgd,
    weights: &mut [f32],
    gradient: &[f32],
    velocity: Option<&mut [f32]>,
    operands: Option<&mut [Bf16]>,
) -> bool {
    let diverged = AtomicBool::new(false);
    assert_eq!(gradient.len(), weights.len(), "one gradient per weight");
    let velocities = velocity.as_ref().map_or(weights.len(), |velocity| velocity.len());
    assert_eq!(velocities, weights.len(), "one velocity per weight");
    if let Some(operands) = &operands {
        check_operands(weights, operands);
    }
    let operands = operands.unwrap_or_default();
    let (base, packs) = (SharedMut(operands.as_mut_ptr()), !operands.is_empty());
    pool.for_each_chunk_of_two(
        weights,
        velocity.unwrap_or_default(),
        CHUNK_LEN,
        |index, weights, velocity| {
            let start = index * CHUNK_LEN;
            let gradient = &gradient[start..][..weights.len()];
            let (start, len) = if packs { (start, weights.len()) } else { (0, 0) };
            // SAFETY: the chunk lies inside `operands`, which is as long as `weights` and borrowed for
            // the whole operation, and belongs to this task only; an empty one covers nothing.
            let operands = unsafe { std::slice::from_raw_parts_mut(base.pointer().add(start), len) };
            update_values(kernels, rule, weights, gradient, velocity, operands, &diverged);
        },
    );
    !diverged.into_inner()
}

/// Moves every value of `mean` by `share` of the way to its weight; a share of 1 makes them equal.
/// Returns whether all new means are finite numbers.
///
/// # Panics
/// When the slices differ in length.
pub fn average(kernels: &Kernels, pool: &Pool, share: f32, weights: &[f32], mean: &mut [f32]) -> bool {
    assert_eq!(mean.len(), weights.len(), "one mean per weight");
    let diverged = AtomicBool::new(false);
    pool.for_each_chunk_of_two(mean, &mut [] as &mut [f32], CHUNK_LEN, |index, mean, _| {
        average_values(kernels, share, &weights[index * CHUNK_LEN..][..mean.len()], mean, &diverged);
    });
    !diverged.into_inner()
}

/// Exchanges the values of two slices.
///
/// # Panics
/// When the slices differ in length.
pub fn exchange(pool: &Pool, a: &mut [f32], b: &mut [f32]) {
    assert_eq!(a.len(), b.len(), "two slices of a length");
    pool.for_each_chunk_of_two(a, b, CHUNK_LEN, |_, a, b| a.swap_with_slice(b));
}

/// Writes packed `weights` to `operands` in bf16, two inputs of an output next to each other:
/// of 32 weights, two rows of a tile, weight `16·b + o` becomes operand `2·o + b`.
///
/// # Panics
/// When the slices differ in length, or it is no multiple of 512.
pub fn pack_operands(kernels: &Kernels, pool: &Pool, weights: &[f32], operands: &mut [Bf16]) {
    check_operands(weights, operands);
    pool.for_each_chunk(operands, Bf16::TILE_LEN, CHUNK_LEN / Bf16::TILE_LEN, |index, operands| {
        pack_values(kernels, &weights[index * Bf16::TILE_LEN..][..Bf16::TILE_LEN], operands);
    });
}

fn check_operands(weights: &[f32], operands: &[Bf16]) {
    assert_eq!(operands.len(), weights.len(), "one operand per weight");
    assert!(weights.len().is_multiple_of(Bf16::TILE_LEN), "{} weights are no whole tiles", weights.len());
}

per_tier! {
    /// A run of [`sgd`] on the calling thread. `velocity` and `operands` are as long as `weights`, or
    /// empty where there are none; with operands, the length is a multiple of 32. Sets `diverged` when
    /// a new weight is no finite number.
    pub(crate) fn update_values(
        rule: &Sgd,
        weights: &mut [f32],
        gradient: &[f32],
        velocity: &mut [f32],
        operands: &mut [Bf16],
        diverged: &AtomicBool,
    ) {
        // New weights are packed while they are in the nearest cache.
        for (index, weights) in weights.chunks_mut(Bf16::TILE_LEN).enumerate() {
            let values = index * Bf16::TILE_LEN..index * Bf16::TILE_LEN + weights.len();
            if velocity.is_empty() {
                step(rule, weights, &gradient[values.clone()]);
            } else {
                step_with_velocity(rule, weights, &gradient[values.clone()], &mut velocity[values.clone()]);
            }
            if !operands.is_empty() {
                pack(weights, &mut operands[values]);
            }
            if !are_finite(weights) {
                diverged.store(true, Ordering::Relaxed);
            }
        }
    }
}

per_tier! {
    fn average_values(share: f32, weights: &[f32], mean: &mut [f32], diverged: &AtomicBool) {
        if share == 1.0 {
            mean.copy_from_slice(weights); // The difference to a mean that is far away would be rounded.
        } else {
            for (mean, &weight) in mean.iter_mut().zip(weights) {
                *mean += share * (weight - *mean);
            }
        }
        if !are_finite(mean) {
            diverged.store(true, Ordering::Relaxed);
        }
    }
}

per_tier! {
    fn pack_values(weights: &[f32], operands: &mut [Bf16]) {
        pack(weights, operands);
    }
}

#[inline(always)] // Into each tier's function, to be compiled with its instructions.
fn step(rule: &Sgd, weights: &mut [f32], gradient: &[f32]) {
    let Sgd { learning_rate, weight_decay, gradient_clip, .. } = *rule;
    for (weight, &gradient) in weights.iter_mut().zip(gradient) {
        *weight -= learning_rate * (clipped(gradient, gradient_clip) + weight_decay * *weight);
    }
}

#[inline(always)] // As above.
fn step_with_velocity(rule: &Sgd, weights: &mut [f32], gradient: &[f32], velocity: &mut [f32]) {
    let Sgd { learning_rate, momentum, nesterov, weight_decay, gradient_clip } = *rule;
    for ((weight, &gradient), velocity) in weights.iter_mut().zip(gradient).zip(velocity) {
        let gradient = clipped(gradient, gradient_clip) + weight_decay * *weight;
        let moved = momentum * *velocity + gradient;
        *velocity = if moved.abs() < SMALLEST_VELOCITY { 0.0 } else { moved };
        let direction = if nesterov { gradient + momentum * *velocity } else { *velocity };
        *weight -= learning_rate * direction;
    }
}

/// The gradient within `±clip`. One that is no finite number stays so: clipping must not hide it.
#[inline(always)] // As above.
fn clipped(gradient: f32, clip: f32) -> f32 {
    if gradient.is_finite() { gradient.max(-clip).min(clip) } else { gradient }
}

/// The largest magnitude, as bits, tells: those of infinity and NaN are above all others.
#[inline(always)] // As above.
fn are_finite(weights: &[f32]) -> bool {
    let largest = weights.iter().fold(0, |largest, weight| weight.abs().to_bits().max(largest));
    largest < f32::INFINITY.to_bits()
}

#[inline(always)] // As above.
fn pack(weights: &[f32], operands: &mut [Bf16]) {
    for (rows, operands) in weights.chunks_exact(2 * TILE).zip(operands.chunks_exact_mut(2 * TILE)) {
        let (first, second) = rows.split_at(TILE);
        for ((pair, &first), &second) in operands.chunks_exact_mut(2).zip(first).zip(second) {
            pair[0] = Bf16::from_f32(first);
            pair[1] = Bf16::from_f32(second);
        }
    }
}
