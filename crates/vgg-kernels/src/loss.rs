//! Softmax cross-entropy with the class as a number.
//!
//! With `m` the largest logit of a picture and `S = Σ exp(zⱼ − m)`, the loss of the picture is
//! `ln S − (z_label − m)` and its gradient by `zᵢ` is `exp(zᵢ − m) / S − [i = label]`; the loss of a
//! batch is the mean. Subtracting the maximum keeps the largest term at 1, so S neither overflows
//! nor vanishes. All of it is in f64: there are few logits, and the loss is what people read.
//! `exp` and `log` are libm's, which give the same bits on every machine.

use crate::element::{Element, Format};
use crate::layout::Map;

/// What a batch yields.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossSum {
    /// Mean loss of the batch's pictures; NaN where a logit was NaN or infinite upwards.
    pub loss: f64,
    /// Pictures whose first largest logit is the label's; one whose loss is NaN never counts.
    pub correct: usize,
}

/// The loss of packed `logits` (one pixel, a channel per class) for `labels`, and its gradient by
/// the logits, packed as `map` in the gradient's own format. Channels of the padding and unused pictures have gradient zero.
///
/// # Panics
/// When `batch` is 0, the logits are not `f32`, a slice does not have the length of its shape, or a
/// label is no class.
pub fn softmax_cross_entropy<T: Element>(
    batch: usize,
    map: Map,
    logits: &[f32],
    labels: &[u32],
    mut gradient: Option<&mut [T]>,
) -> LossSum {
    assert!(batch > 0 && map.pixels() == 1 && map.channels > 0, "{batch} pictures of {map:?}");
    assert_eq!(map.format, Format::F32, "format of the logits");
    let gradient_map = map.in_format(T::FORMAT);
    assert_eq!(logits.len(), map.len(batch), "logits of {batch} pictures of {map:?}");
    assert_eq!(labels.len(), batch, "one label per picture");
    if let Some(gradient) = gradient.as_deref_mut() {
        assert_eq!(gradient.len(), gradient_map.len(batch), "gradient of {batch} pictures of {map:?}");
        gradient.fill(T::default());
    }
    let mut sum = LossSum { loss: 0.0, correct: 0 };
    for (picture, &label) in labels.iter().enumerate() {
        let label = label as usize;
        assert!(label < map.channels, "label {label} of {} classes", map.channels);
        let logit = |class| f64::from(logits[map.index(picture, 0, class)]);
        let best = first_largest(map.channels, logit);
        let maximum = logit(best);
        let exponentials: f64 = (0..map.channels).map(|class| libm::exp(logit(class) - maximum)).sum();
        sum.loss += libm::log(exponentials) - (logit(label) - maximum);
        sum.correct += usize::from(best == label && !exponentials.is_nan());
        if let Some(gradient) = gradient.as_deref_mut() {
            for class in 0..map.channels {
                let probability = libm::exp(logit(class) - maximum) / exponentials;
                let target = if class == label { 1.0 } else { 0.0 };
                gradient[gradient_map.index(picture, 0, class)] =
                    T::from_f32(((probability - target) / batch as f64) as f32);
            }
        }
    }
    sum.loss /= batch as f64;
    sum
}

fn first_largest(classes: usize, logit: impl Fn(usize) -> f64) -> usize {
    (1..classes).fold(0, |best, class| if logit(class) > logit(best) { class } else { best })
}
