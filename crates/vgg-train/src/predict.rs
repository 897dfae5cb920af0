//! Prediction: class and probabilities of single pictures.

use crate::error::TrainError;
use crate::evaluate::{largest, log_sum_exp};
use crate::views::{self, Views};
use serde::Serialize;
use vgg_engine::Engine;

/// What a network says of one picture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// The class with the largest probability (the first of equal ones).
    pub class: usize,
    /// Its name.
    pub class_name: String,
    /// Probability of each class; they sum to one.
    pub probabilities: Vec<f64>,
}

/// Class and probabilities of each picture of `images` (`[picture][y][x][channel]`), computed in
/// batches of the engine's size. `class_names` has one name for each class of the network.
///
/// # Errors
/// When the bytes are not a whole number of pictures of the network's input shape, the names are
/// not as many as the classes, or a logit is not finite.
pub fn predict(
    engine: &mut dyn Engine,
    class_names: &[String],
    images: &[u8],
) -> Result<Vec<Prediction>, TrainError> {
    predict_views(engine, class_names, Views::AsTheyAre, images)
}

/// [`predict`], with `views` of each picture.
///
/// # Errors
/// As [`predict`].
pub fn predict_views(
    engine: &mut dyn Engine,
    class_names: &[String],
    views: Views,
    images: &[u8],
) -> Result<Vec<Prediction>, TrainError> {
    let (classes, input) = (engine.network().classes, engine.network().input);
    if !images.len().is_multiple_of(input.len()) || class_names.len() != classes {
        return Err(TrainError::Incompatible(format!(
            "{} bytes of pictures and {} class names do not fit a network that takes pictures of {input} in \
             {classes} classes; give whole pictures of that size",
            images.len(),
            class_names.len()
        )));
    }
    let batch_size = engine.info().batch_size;
    let mut logits = vec![0.0; batch_size * classes];
    let mut predictions = Vec::with_capacity(images.len() / input.len());
    for batch in images.chunks(batch_size * input.len()) {
        let logits = &mut logits[..batch.len() / input.len() * classes];
        views::logits(engine, views, batch, logits)?;
        for row in logits.chunks_exact(classes) {
            predictions.push(prediction(row, class_names)?);
        }
    }
    Ok(predictions)
}

/// The softmax of one picture's logits.
fn prediction(logits: &[f32], class_names: &[String]) -> Result<Prediction, TrainError> {
    if let Some(value) = logits.iter().find(|value| !value.is_finite()) {
        return Err(TrainError::Incompatible(format!(
            "the network gives the logit {value} for a picture; train it again with a smaller learning rate"
        )));
    }
    let class = largest(logits);
    let logarithm = log_sum_exp(logits);
    let probabilities = logits.iter().map(|&logit| libm::exp(f64::from(logit) - logarithm)).collect();
    Ok(Prediction { class, class_name: class_names[class].clone(), probabilities })
}
