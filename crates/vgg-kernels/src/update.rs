//! The optimizer's step: stochastic gradient descent with momentum, Nesterov's look-ahead and
//! weight decay, in the form that PyTorch's `SGD` has (without dampening):
//!
//! `g = gradient + weight_decay · w`, `v = momentum · v + g`,
//! `w −= learning_rate · (g + momentum · v)` with Nesterov, `w −= learning_rate · v` without.

use crate::Kernels;
use crate::kernels::per_tier;
use crate::parallel::Pool;

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
        return pool.for_each_chunk_of_two::<f32, f32>(weights, &mut [], CHUNK_LEN, |index, weights, _| {
            step(kernels, rule, weights, &gradient[index * CHUNK_LEN..][..weights.len()]);
        });
    };
    assert_eq!(velocity.len(), weights.len(), "one velocity per weight");
    pool.for_each_chunk_of_two(weights, velocity, CHUNK_LEN, |index, weights, velocity| {
        let gradient = &gradient[index * CHUNK_LEN..][..weights.len()];
        step_with_velocity(kernels, rule, weights, gradient, velocity);
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
