//! The optimizer's step: stochastic gradient descent with momentum, Nesterov's look-ahead and
//! weight decay, in the form that PyTorch's `SGD` has (without dampening):
//!
//! `g = gradient + weight_decay · w`, `v = momentum · v + g`,
//! `w −= learning_rate · (g + momentum · v)` with Nesterov, `w −= learning_rate · v` without.

use crate::Kernels;
use crate::kernels::per_tier;
use crate::parallel::{Pool, SharedMut};

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
}

/// Updates `weights`, and `velocity` where there is one; without it the step is
/// `learning_rate · g`, as if `momentum` were zero.
///
/// # Panics
/// When the slices differ in length.
pub fn sgd(
    kernels: &Kernels,
    pool: &Pool,
    rule: &Sgd,
    weights: &mut [f32],
    gradient: &[f32],
    velocity: Option<&mut [f32]>,
) {
    assert_eq!(gradient.len(), weights.len(), "one gradient per weight");
    let Some(velocity) = velocity else {
        return for_each_chunk_of_two::<f32, f32>(pool, weights, &mut [], CHUNK_LEN, |index, weights, _| {
            step(kernels, rule, weights, &gradient[index * CHUNK_LEN..][..weights.len()]);
        });
    };
    assert_eq!(velocity.len(), weights.len(), "one velocity per weight");
    for_each_chunk_of_two(pool, weights, velocity, CHUNK_LEN, |index, weights, velocity| {
        let gradient = &gradient[index * CHUNK_LEN..][..weights.len()];
        step_with_velocity(kernels, rule, weights, gradient, velocity);
    });
}

/// Cuts two slices alike into chunks of `chunk_len`, of which the last may be shorter, and calls
/// `task(index, first, second)` for each pair. `second` is as long as `first`, or empty: then so is
/// each of its chunks.
///
/// # Panics
/// When the lengths do not fit, or a task panics.
pub(crate) fn for_each_chunk_of_two<A: Send, B: Send>(
    pool: &Pool,
    first: &mut [A],
    second: &mut [B],
    chunk_len: usize,
    task: impl Fn(usize, &mut [A], &mut [B]) + Sync,
) {
    let (first_len, second_len) = (first.len(), second.len());
    assert!(second_len == first_len || second_len == 0, "{second_len} values beside {first_len}");
    let (first, second) = (SharedMut(first.as_mut_ptr()), SharedMut(second.as_mut_ptr()));
    pool.run(first_len.div_ceil(chunk_len), &|index, _worker| {
        let start = index * chunk_len;
        let len = chunk_len.min(first_len - start);
        let (second_start, second_chunk) = if second_len == 0 { (0, 0) } else { (start, len) };
        // SAFETY: both chunks lie inside their slices, which are borrowed for the whole operation,
        // and belong to this task only, since each index runs once; an empty one covers nothing.
        let (first, second) = unsafe {
            (
                std::slice::from_raw_parts_mut(first.pointer().add(start), len),
                std::slice::from_raw_parts_mut(second.pointer().add(second_start), second_chunk),
            )
        };
        task(index, first, second);
    });
}

per_tier! {
    fn step(rule: &Sgd, weights: &mut [f32], gradient: &[f32]) {
        let Sgd { learning_rate, weight_decay, .. } = *rule;
        for (weight, &gradient) in weights.iter_mut().zip(gradient) {
            *weight -= learning_rate * (gradient + weight_decay * *weight);
        }
    }
}

per_tier! {
    fn step_with_velocity(rule: &Sgd, weights: &mut [f32], gradient: &[f32], velocity: &mut [f32]) {
        let Sgd { learning_rate, momentum, nesterov, weight_decay } = *rule;
        for ((weight, &gradient), velocity) in weights.iter_mut().zip(gradient).zip(velocity) {
            let gradient = gradient + weight_decay * *weight;
            let moved = momentum * *velocity + gradient;
            *velocity = if moved.abs() < SMALLEST_VELOCITY { 0.0 } else { moved };
            let direction = if nesterov { gradient + momentum * *velocity } else { *velocity };
            *weight -= learning_rate * direction;
        }
    }
}
