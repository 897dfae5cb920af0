//! Softmax cross-entropy with the class as a number.
//!
//! The target of class `j` of `K` is `tⱼ = (1 − s)·[j = label] + s/K` with label smoothing `s`, and the
//! loss of a picture `−w·Σ tⱼ ln pⱼ` with the weight `w` of its label's class (without smoothing and
//! weights `−ln p_label`). The loss of a batch is the sum divided by the number of pictures.
//!
//! With `m` the largest logit of a picture and `S = Σ exp(zⱼ − m)`, `ln pⱼ = zⱼ − m − ln S`. As the
//! targets add up to 1, the loss is `w·(ln S − (1 − s)·(z_label − m) − s/K·Σ (zⱼ − m))`, and its gradient
//! by `zᵢ` is `w·(exp(zᵢ − m) / S − tᵢ)`. Subtracting the maximum keeps the largest term at 1, so S
//! neither overflows nor vanishes. All of it is in f64: there are few logits, and the loss is what people
//! read. `exp` and `log` are libm's, which give the same bits on every machine.

use crate::element::{Element, Format};
use crate::layout::Map;

/// What is to be learned from a picture, besides its label.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Objective<'a> {
    /// Share of the target that is spread over all classes, in `0.0..1.0`.
    pub label_smoothing: f32,
    /// A factor for each class, or 1 for all.
    pub class_weights: Option<&'a [f32]>,
}

/// What a batch yields.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossSum {
    /// Sum of the pictures' losses, divided by their number; NaN where a logit was NaN or infinite upwards.
    pub loss: f64,
    /// Pictures whose first largest logit is the label's; one whose loss is NaN never counts.
    pub correct: usize,
}

/// The loss of packed `logits` (one pixel, a channel per class) for `labels`, and its gradient by
/// the logits, packed as `map` in the gradient's own format. Channels of the padding and unused
/// pictures have gradient zero.
///
/// # Panics
/// When `batch` is 0, the logits are not `f32`, a slice does not have the length of its shape, there is
/// not one weight for each class, or a label is no class.
pub fn softmax_cross_entropy<T: Element>(
    batch: usize,
    map: Map,
    logits: &[f32],
    labels: &[u32],
    objective: Objective<'_>,
    mut gradient: Option<&mut [T]>,
) -> LossSum {
    assert!(batch > 0 && map.pixels() == 1 && map.channels > 0, "{batch} pictures of {map:?}");
    assert_eq!(map.format, Format::F32, "format of the logits");
    let gradient_map = map.in_format(T::FORMAT);
    assert_eq!(logits.len(), map.len(batch), "logits of {batch} pictures of {map:?}");
    assert_eq!(labels.len(), batch, "one label per picture");
    let Objective { label_smoothing, class_weights } = objective;
    assert!(class_weights.is_none_or(|weights| weights.len() == map.channels), "one weight per class");
    let smoothing = f64::from(label_smoothing);
    let (of_label, of_each) = (1.0 - smoothing, smoothing / map.channels as f64);
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
        let mut mean = of_label * (logit(label) - maximum);
        // A target of 0 has no part in the loss, not even of a logit of minus infinity.
        if smoothing > 0.0 {
            mean += of_each * (0..map.channels).map(|class| logit(class) - maximum).sum::<f64>();
        }
        let weight = class_weights.map_or(1.0, |weights| f64::from(weights[label]));
        sum.loss += weight * (libm::log(exponentials) - mean);
        sum.correct += usize::from(best == label && !exponentials.is_nan());
        if let Some(gradient) = gradient.as_deref_mut() {
            for class in 0..map.channels {
                let probability = libm::exp(logit(class) - maximum) / exponentials;
                let target = of_each + if class == label { of_label } else { 0.0 };
                gradient[gradient_map.index(picture, 0, class)] =
                    T::from_f32((weight * (probability - target) / batch as f64) as f32);
            }
        }
    }
    sum.loss /= batch as f64;
    sum
}

fn first_largest(classes: usize, logit: impl Fn(usize) -> f64) -> usize {
    (1..classes).fold(0, |best, class| if logit(class) > logit(best) { class } else { best })
}
