//! Evaluation: accuracy and loss of a whole data set.

use crate::error::TrainError;
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};
use vgg_arch::{Network, Shape};
use vgg_data::{Dataset, batches};
use vgg_engine::Engine;

/// Accuracy and loss of a network on a data set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Share of the pictures whose label has the largest logit (the first of equal ones).
    pub accuracy: f64,
    /// Mean softmax cross-entropy.
    pub loss: f64,
    /// Number of updates that made the network.
    pub global_step: u64,
    /// Number of pictures.
    pub examples: usize,
}

/// Evaluates `data` in batches of the engine's size. Sums are taken in `f64` in the order of the
/// pictures. No state of the engine changes. `progress` is told how many pictures are done, of how
/// many.
///
/// # Errors
/// When pictures or classes do not fit the network, the logits are not finite, or `stop` was set
/// ([`TrainError::Interrupted`]).
pub fn evaluate(
    engine: &mut dyn Engine,
    data: &Dataset,
    global_step: u64,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Evaluation, TrainError> {
    evaluate_each(engine, data, global_step, stop, progress, &mut |_, _| ())
}

/// As [`evaluate`], and tells `each` the position and the logits of every picture.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_each(
    engine: &mut dyn Engine,
    data: &Dataset,
    global_step: u64,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(usize, usize),
    each: &mut dyn FnMut(usize, &[f32]),
) -> Result<Evaluation, TrainError> {
    check_fit(engine.network(), data)?;
    let (classes, batch_size) = (engine.network().classes, engine.info().batch_size);
    let mut logits = vec![0.0; batch_size * classes];
    let (mut correct, mut loss) = (0, 0.0);
    for batch in batches(data, batch_size) {
        if stop.load(Ordering::Relaxed) {
            return Err(TrainError::Interrupted);
        }
        let logits = &mut logits[..batch.labels.len() * classes];
        engine.forward(batch.images, logits)?;
        for (position, (row, &label)) in logits.chunks_exact(classes).zip(batch.labels).enumerate() {
            let label = label as usize;
            correct += usize::from(largest(row) == label);
            loss += log_sum_exp(row) - f64::from(row[label]);
            each(batch.first + position, row);
        }
        progress(batch.first + batch.labels.len(), data.len());
    }
    let examples = data.len();
    let evaluation = Evaluation {
        accuracy: correct as f64 / examples as f64,
        loss: loss / examples as f64,
        global_step,
        examples,
    };
    if evaluation.loss.is_finite() {
        return Ok(evaluation);
    }
    Err(TrainError::diverged(format!("the loss is {}", evaluation.loss), global_step))
}

/// Refuses pictures of another size than the network's, and labels that it has no class for.
fn check_fit(network: &Network, data: &Dataset) -> Result<(), TrainError> {
    let found = Shape::new(data.height(), data.width(), data.channels());
    if found != network.input || data.classes() > network.classes {
        return Err(TrainError::Incompatible(format!(
            "pictures of {found} in {} classes, but the network takes pictures of {} in at most {} classes; give \
             data like those it was trained with",
            data.classes(),
            network.input,
            network.classes
        )));
    }
    Ok(())
}

/// Position of the largest value, the first of equal ones.
pub fn largest(values: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}

/// `log Σ exp(values)`, with the largest value taken out of the sum so that nothing overflows.
pub fn log_sum_exp(values: &[f32]) -> f64 {
    let largest = f64::from(values[largest(values)]);
    largest + libm::log(values.iter().map(|&value| libm::exp(f64::from(value) - largest)).sum())
}
