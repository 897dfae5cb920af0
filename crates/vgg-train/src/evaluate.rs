//! Evaluation: accuracy and loss of a whole data set.

use crate::error::TrainError;
use crate::views::{self, Views};
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
    /// The 95 % interval of the accuracy, see [`accuracy_interval`].
    pub interval: [f64; 2],
    /// Mean softmax cross-entropy.
    pub loss: f64,
    /// Number of updates that made the network.
    pub global_step: u64,
    /// Number of pictures.
    pub examples: usize,
}

/// Wilson's 95 % interval of an accuracy that was found as `correct` of `examples`: the accuracies that
/// make such a finding no rarer than one in 20. It holds where few or none are wrong, too (Wilson,
/// "Probable inference, the law of succession, and statistical inference", 1927). `examples` is above 0.
pub fn accuracy_interval(correct: usize, examples: usize) -> [f64; 2] {
    /// Standard deviations of a normal number that 95 % are within.
    const DEVIATIONS: f64 = 1.959_963_984_540_054;
    let (count, accuracy) = (examples as f64, correct as f64 / examples as f64);
    let square = DEVIATIONS * DEVIATIONS / count;
    let middle = accuracy + square / 2.0;
    let half = (square * (accuracy * (1.0 - accuracy) + square / 4.0)).sqrt();
    [middle - half, middle + half].map(|end| (end / (1.0 + square)).clamp(0.0, 1.0))
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
    evaluate_each(engine, data, Views::AsTheyAre, global_step, stop, progress, &mut |_, _| ())
}

/// [`evaluate`], with `views` of each picture; tells `each` the position and the logits of every picture.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_each(
    engine: &mut dyn Engine,
    data: &Dataset,
    views: Views,
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
        views::logits(engine, views, batch.images, logits)?;
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
        interval: accuracy_interval(correct, examples),
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
