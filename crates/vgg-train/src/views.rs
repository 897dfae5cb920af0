//! What a network says of a batch: from one look at each picture, or from the mean of several.

use crate::evaluate::log_sum_exp;
use vgg_data::shift::shift;
use vgg_engine::{Engine, EngineError};

/// How pictures are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Views {
    /// Once, as they are.
    #[default]
    AsTheyAre,
    /// Nine times, moved by −1, 0 and 1 pixels along both axes; the mean of the probabilities counts.
    Shifted,
}

/// The logits of `images`, or what has the same softmax: of several looks the logarithms of the mean
/// probabilities. At most the engine's batch.
///
/// # Errors
/// As [`Engine::forward`].
pub(crate) fn logits(
    engine: &mut dyn Engine,
    views: Views,
    images: &[u8],
    logits: &mut [f32],
) -> Result<(), EngineError> {
    if views == Views::AsTheyAre {
        return engine.forward(images, logits);
    }
    let (classes, input) = (engine.network().classes, engine.network().input);
    let shape = [input.height, input.width, input.channels];
    let mut moved = Vec::with_capacity(images.len());
    // Sums of probabilities stay logarithms: those of sure networks are too small for numbers.
    let mut sums = vec![f64::NEG_INFINITY; logits.len()];
    let shifts = [-1, 0, 1].into_iter().flat_map(|down| [-1, 0, 1].map(|right| [down, right]));
    for by in shifts.clone() {
        shift(images, shape, by, &mut moved);
        engine.forward(&moved, logits)?;
        for (row, sums) in logits.chunks_exact(classes).zip(sums.chunks_exact_mut(classes)) {
            let total = log_sum_exp(row);
            row.iter().zip(sums).for_each(|(&logit, sum)| *sum = log_add(*sum, f64::from(logit) - total));
        }
    }
    let count = libm::log(shifts.count() as f64);
    logits.iter_mut().zip(sums).for_each(|(logit, sum)| *logit = (sum - count) as f32);
    Ok(())
}

/// `log(exp(a) + exp(b))`, where `b` is finite.
fn log_add(a: f64, b: f64) -> f64 {
    let larger = a.max(b);
    larger + libm::log(libm::exp(a - larger) + libm::exp(b - larger))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_too_small_for_numbers_are_added() {
        assert_eq!(log_add(f64::NEG_INFINITY, -1000.0), -1000.0);
        assert_eq!(log_add(-1000.0, -1000.0), -1000.0 + libm::log(2.0));
        assert_eq!(log_add(-2000.0, -1.0), -1.0);
        assert!((log_add(libm::log(0.25), libm::log(0.5)) - libm::log(0.75)).abs() < 1e-15);
        assert!(log_add(f64::NAN, 0.0).is_nan() && log_add(0.0, f64::NAN).is_nan());
    }
}
