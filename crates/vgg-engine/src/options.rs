//! What an engine is made for.

use crate::EngineError;
use vgg_arch::{Layer, Network};
use vgg_kernels::{Format, Tier};

/// What an engine is made for. The default is one that predicts a picture at a time, on pictures as
/// they are; whoever trains names what differs.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineOptions {
    /// Largest number of pictures in a call.
    pub batch_size: usize,
    /// Number of threads; 0 takes one for each core that this process may use.
    pub threads: usize,
    /// Format of the operands.
    pub precision: Precision,
    /// Whether the engine can train.
    pub training: bool,
    /// Whether there is memory for the gradients of all trained parameters, so that they can be computed,
    /// read and applied one after the other. [`crate::Engine::train_step`] does without.
    pub gradients: bool,
    /// Whether an engine that trains has memory for momentum.
    pub momentum: bool,
    /// Whether an engine that trains has memory for a mean of every parameter, for
    /// [`crate::Engine::average`].
    pub averaging: bool,
    /// What pixels become before the first layer; without it, byte/255. The zeros around a picture
    /// stay zeros either way.
    pub normalisation: Option<Normalisation>,
    /// Share `s` of each target that is spread over all classes, at least 0 and below 1: the target of
    /// a class is `(1 − s)·[class = label] + s/classes`.
    pub label_smoothing: f32,
    /// For each class the factor of the loss of its pictures, at least 0; without them, 1. The loss of a
    /// batch is the sum divided by the number of pictures.
    pub class_weights: Option<Vec<f32>>,
    /// So many of the convolutions and dense layers, counted from the first and not all of them, keep
    /// their parameters in training. The backward pass ends above them; the forward pass stays that of
    /// training, with dropout.
    pub frozen: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            batch_size: 1,
            threads: 0,
            precision: Precision::Auto,
            training: false,
            gradients: false,
            momentum: false,
            averaging: false,
            normalisation: None,
            label_smoothing: 0.0,
            class_weights: None,
            frozen: 0,
        }
    }
}

impl EngineOptions {
    /// Checks what the network and the kind of number limit.
    ///
    /// # Errors
    /// [`EngineError::Value`] or [`EngineError::Length`] for the first option that is out of range.
    pub(crate) fn check(&self, network: &Network) -> Result<(), EngineError> {
        if let Some(normalisation) = &self.normalisation {
            normalisation.check(network.input.channels)?;
        }
        if !(0.0..1.0).contains(&self.label_smoothing) {
            let found = self.label_smoothing.to_string();
            return Err(out_of_range("label smoothing", found, "at least 0 and below 1"));
        }
        if let Some(weights) = &self.class_weights {
            check_values("class weights", weights, network.classes, "finite and at least 0", |weight| {
                weight >= 0.0
            })?;
        }
        let is_contraction =
            |layer: &&Layer| matches!(layer, Layer::Convolution { .. } | Layer::Dense { .. });
        let layers = network.layers.iter().filter(is_contraction).count();
        if self.frozen > 0 && self.frozen >= layers {
            let expected = format!("less than the {layers} convolutions and dense layers of the network");
            return Err(out_of_range("the number of frozen layers", self.frozen.to_string(), &expected));
        }
        Ok(())
    }
}

/// Mean and deviation of the pixels of each channel, in units where a byte of 255 is 1. A pixel becomes
/// `(byte/255 − mean) / deviation`.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalisation {
    /// Mean of each channel, at most 10⁶ in magnitude.
    pub mean: Vec<f32>,
    /// Deviation of each channel, at least 10⁻⁶; 1 for a channel in which nothing changes.
    pub deviation: Vec<f32>,
}

impl Normalisation {
    fn check(&self, channels: usize) -> Result<(), EngineError> {
        check_values("the mean of pixels", &self.mean, channels, "from -1e6 to 1e6", |mean| {
            mean.abs() <= 1e6
        })?;
        // With the bound on the mean, no quotient comes near the largest numbers.
        check_values("the deviation of pixels", &self.deviation, channels, "at least 1e-6", |deviation| {
            deviation >= 1e-6
        })
    }
}

/// Format of the operands of products. Sums, master weights and updates are always `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// The fastest format that this processor computes natively.
    Auto,
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point with the range of `f32`. Activations, their gradients and a copy of the
    /// weights are in it. Every tier computes it, fast where the processor multiplies it.
    Bf16,
}

impl Precision {
    /// The format that operands have on `tier`.
    pub fn format(self, tier: Tier) -> Format {
        match self {
            Precision::Auto if tier.multiplies_bf16() => Format::Bf16,
            Precision::Auto | Precision::F32 => Format::F32,
            Precision::Bf16 => Format::Bf16,
        }
    }
}

/// One value for each of `count` things, every one finite and as `fits` says.
fn check_values(
    what: &'static str,
    values: &[f32],
    count: usize,
    expected: &str,
    fits: impl Fn(f32) -> bool,
) -> Result<(), EngineError> {
    if values.len() != count {
        return Err(EngineError::Length { what, found: values.len(), expected: count });
    }
    match values.iter().find(|value| !value.is_finite() || !fits(**value)) {
        Some(value) => Err(out_of_range(what, value.to_string(), expected)),
        None => Ok(()),
    }
}

pub(crate) fn out_of_range(what: &'static str, found: String, expected: &str) -> EngineError {
    EngineError::Value { what, found, expected: expected.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vgg_arch::Shape;

    /// The message for options of a network with one channel, ten classes and 14 layers to freeze.
    fn refusal(change: impl Fn(&mut EngineOptions)) -> String {
        let network = Network::new("vgg13", "tutorial", Shape::new(28, 28, 1), 10).unwrap();
        let mut options = EngineOptions::default();
        options.check(&network).unwrap();
        change(&mut options);
        options.check(&network).map_or_else(|error| error.to_string(), |()| "accepted".to_owned())
    }

    #[test]
    fn options_out_of_range_are_refused_by_name() {
        for (smoothing, message) in [
            (0.99, "accepted"),
            (1.0, "label smoothing is 1, expected at least 0 and below 1"),
            (-0.1, "label smoothing is -0.1, expected at least 0 and below 1"),
            (f32::NAN, "label smoothing is NaN, expected at least 0 and below 1"),
        ] {
            assert_eq!(refusal(|options| options.label_smoothing = smoothing), message);
        }
        for (weights, message) in [
            (vec![0.0; 10], "accepted"),
            (vec![1.0; 9], "class weights has 9 values, expected 10"),
            (vec![-1.0; 10], "class weights is -1, expected finite and at least 0"),
            (vec![f32::INFINITY; 10], "class weights is inf, expected finite and at least 0"),
        ] {
            assert_eq!(refusal(|options| options.class_weights = Some(weights.clone())), message);
        }
        for (mean, deviation, message) in [
            (vec![0.1], vec![0.3], "accepted"),
            (vec![0.1; 3], vec![0.3; 3], "the mean of pixels has 3 values, expected 1"),
            (vec![0.1], vec![], "the deviation of pixels has 0 values, expected 1"),
            (vec![0.1], vec![0.0], "the deviation of pixels is 0, expected at least 1e-6"),
            (vec![f32::NAN], vec![0.3], "the mean of pixels is NaN, expected from -1e6 to 1e6"),
        ] {
            let normalisation = Normalisation { mean, deviation };
            assert_eq!(refusal(|options| options.normalisation = Some(normalisation.clone())), message);
        }
        assert_eq!(refusal(|options| options.frozen = 13), "accepted");
        assert!(refusal(|options| options.frozen = 14).starts_with("the number of frozen layers is 14"));
    }
}
