//! Every operation as plain loops in f64 over plain layouts: the specification that the kernels
//! are judged by, and what gradient checks compare with.
//!
//! Activations are `[picture][channel][row][column]`, weights `[output][input][row][column]`, as
//! in PyTorch. Nothing here is fast, and nothing here is used in training.
//!
//! # Panics
//! Functions panic when a slice is shorter than its shape.

use crate::element::Element;
use crate::layout::Map;
use crate::loss::Objective;
use crate::normalisation::LrnConstants;
use crate::update::Sgd;

/// The shape of plain activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape4 {
    /// Pictures of the batch.
    pub pictures: usize,
    /// Channels of a pixel.
    pub channels: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
}

impl Shape4 {
    /// A shape from its sizes.
    pub const fn new(pictures: usize, channels: usize, height: usize, width: usize) -> Self {
        Self { pictures, channels, height, width }
    }

    /// The shape of `batch` pictures of `map`.
    pub const fn of(map: Map, batch: usize) -> Self {
        Self::new(batch, map.channels, map.height, map.width)
    }

    /// Number of values.
    pub const fn len(&self) -> usize {
        self.pictures * self.channels * self.height * self.width
    }

    /// Whether there are no values.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Position of one value.
    pub const fn index(&self, picture: usize, channel: usize, row: usize, column: usize) -> usize {
        ((picture * self.channels + channel) * self.height + row) * self.width + column
    }

    /// The same pictures and pixels with other channels.
    pub const fn with_channels(self, channels: usize) -> Self {
        Self { channels, ..self }
    }

    /// The shape behind 2×2 pooling with stride 2 in ceil mode.
    pub const fn pooled(self) -> Self {
        Self { height: self.height.div_ceil(2), width: self.width.div_ceil(2), ..self }
    }

    fn for_each(&self, mut visit: impl FnMut(usize, usize, usize, usize)) {
        for picture in 0..self.pictures {
            for channel in 0..self.channels {
                for row in 0..self.height {
                    for column in 0..self.width {
                        visit(picture, channel, row, column);
                    }
                }
            }
        }
    }
}

/// Plain activations in packed form, rounded to f32 and then to the format; whatever belongs to no
/// value is zero. The map is read in that format.
pub fn pack_activations<T: Element>(map: Map, batch: usize, plain: &[f64]) -> Vec<T> {
    let map = map.in_format(T::FORMAT);
    let shape = Shape4::of(map, batch);
    let mut packed = vec![T::default(); map.len(batch)];
    shape.for_each(|picture, channel, row, column| {
        packed[map.index(picture, row * map.width + column, channel)] =
            T::from_f32(plain[shape.index(picture, channel, row, column)] as f32);
    });
    packed
}

/// Packed activations in plain form. The map is read in their format.
pub fn unpack_activations<T: Element>(map: Map, batch: usize, packed: &[T]) -> Vec<f64> {
    let map = map.in_format(T::FORMAT);
    let shape = Shape4::of(map, batch);
    let mut plain = vec![0.0; shape.len()];
    shape.for_each(|picture, channel, row, column| {
        plain[shape.index(picture, channel, row, column)] =
            f64::from(packed[map.index(picture, row * map.width + column, channel)].to_f32());
    });
    plain
}

/// Calls `visit(input index, weight index, output index)` for each product that a `kernel`×`kernel`
/// convolution with stride 1 and same padding consists of.
fn for_each_product(
    input: Shape4,
    outputs: usize,
    kernel: usize,
    mut visit: impl FnMut(usize, usize, usize),
) {
    let output = input.with_channels(outputs);
    output.for_each(|picture, out, row, column| {
        for channel in 0..input.channels {
            for tap in 0..kernel * kernel {
                // Moved by half a window, so that positions before the first one stay positive.
                let (y, x) = (row + tap / kernel, column + tap % kernel);
                let half = kernel / 2;
                if y >= half && y - half < input.height && x >= half && x - half < input.width {
                    visit(
                        input.index(picture, channel, y - half, x - half),
                        (out * input.channels + channel) * kernel * kernel + tap,
                        output.index(picture, out, row, column),
                    );
                }
            }
        }
    });
}

/// A convolution of `x` with `weights` and a bias for each of `outputs` channels: stride 1, zeros
/// around the picture so that its size stays.
pub fn convolution(
    input: Shape4,
    outputs: usize,
    kernel: usize,
    x: &[f64],
    weights: &[f64],
    bias: &[f64],
) -> Vec<f64> {
    let output = input.with_channels(outputs);
    let mut y = vec![0.0; output.len()];
    output.for_each(|picture, out, row, column| y[output.index(picture, out, row, column)] = bias[out]);
    for_each_product(input, outputs, kernel, |i, w, o| y[o] += x[i] * weights[w]);
    y
}

/// The gradient by a convolution's input.
pub fn convolution_backward_data(
    input: Shape4,
    outputs: usize,
    kernel: usize,
    dy: &[f64],
    weights: &[f64],
) -> Vec<f64> {
    let mut dx = vec![0.0; input.len()];
    for_each_product(input, outputs, kernel, |i, w, o| dx[i] += dy[o] * weights[w]);
    dx
}

/// The gradient by a convolution's weights; [`bias_gradient`] has that by its bias.
pub fn convolution_backward_weights(
    input: Shape4,
    outputs: usize,
    kernel: usize,
    x: &[f64],
    dy: &[f64],
) -> Vec<f64> {
    let mut dw = vec![0.0; outputs * input.channels * kernel * kernel];
    for_each_product(input, outputs, kernel, |i, w, o| dw[w] += dy[o] * x[i]);
    dw
}

/// The gradient by a bias: the sum of `dy`, of shape `output`, over pictures and pixels.
pub fn bias_gradient(output: Shape4, dy: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0; output.channels];
    output.for_each(|picture, channel, row, column| {
        sums[channel] += dy[output.index(picture, channel, row, column)];
    });
    sums
}

/// A dense layer over the flattened pictures of `input`: weights `[output][channel, row, column]`.
pub fn dense(input: Shape4, outputs: usize, x: &[f64], weights: &[f64], bias: &[f64]) -> Vec<f64> {
    convolution(flattened(input), outputs, 1, x, weights, bias)
}

/// The gradient by a dense layer's input.
pub fn dense_backward_data(input: Shape4, outputs: usize, dy: &[f64], weights: &[f64]) -> Vec<f64> {
    convolution_backward_data(flattened(input), outputs, 1, dy, weights)
}

/// The gradient by a dense layer's weights; [`bias_gradient`] has that by its bias.
pub fn dense_backward_weights(input: Shape4, outputs: usize, x: &[f64], dy: &[f64]) -> Vec<f64> {
    convolution_backward_weights(flattened(input), outputs, 1, x, dy)
}

/// A dense layer is a 1×1 convolution over a picture of one pixel.
const fn flattened(input: Shape4) -> Shape4 {
    Shape4::new(input.pictures, input.channels * input.height * input.width, 1, 1)
}

/// Bytes `[picture][row][column][channel]` as values under a `kernel`×`kernel` window around each pixel:
/// channel `tap · channels + channel`, zero outside. In a channel with this mean and deviation a byte
/// is `(byte/255 − mean) / deviation`.
pub fn gather(
    picture: Shape4,
    kernel: usize,
    (mean, deviation): (&[f32], &[f32]),
    images: &[u8],
) -> Vec<f64> {
    let output = picture.with_channels(kernel * kernel * picture.channels);
    let mut patches = vec![0.0; output.len()];
    output.for_each(|n, input, row, column| {
        let (tap, channel) = (input / picture.channels, input % picture.channels);
        let (y, x) = (row + tap / kernel, column + tap % kernel);
        let half = kernel / 2;
        if y >= half && y - half < picture.height && x >= half && x - half < picture.width {
            let pixel = (n * picture.height + y - half) * picture.width + x - half;
            let value = f64::from(images[pixel * picture.channels + channel]) / 255.0;
            patches[output.index(n, input, row, column)] =
                (value - f64::from(mean[channel])) / f64::from(deviation[channel]);
        }
    });
    patches
}

/// The positive part of each value; NaN stays.
pub fn relu(x: &[f64]) -> Vec<f64> {
    x.iter().map(|&x| if x <= 0.0 { 0.0 } else { x }).collect()
}

/// The gradient by the ReLU's input, where `y` is its output.
pub fn relu_backward(y: &[f64], dy: &[f64]) -> Vec<f64> {
    y.iter().zip(dy).map(|(&y, &dy)| if y <= 0.0 { 0.0 } else { dy }).collect()
}

/// Max pooling over 2×2 windows with stride 2 in ceil mode: the values, and for each its position
/// in the window, row by row. The first of equals wins; the first NaN wins over all.
pub fn max_pool(input: Shape4, x: &[f64]) -> (Vec<f64>, Vec<u8>) {
    let output = input.pooled();
    let (mut y, mut argmax) = (vec![0.0; output.len()], vec![0; output.len()]);
    output.for_each(|picture, channel, row, column| {
        let index = output.index(picture, channel, row, column);
        y[index] = x[input.index(picture, channel, 2 * row, 2 * column)];
        for position in 1..4_u8 {
            let (r, c) = (2 * row + usize::from(position / 2), 2 * column + usize::from(position % 2));
            if r < input.height && c < input.width && !y[index].is_nan() {
                let value = x[input.index(picture, channel, r, c)];
                if value.is_nan() || value > y[index] {
                    (y[index], argmax[index]) = (value, position);
                }
            }
        }
    });
    (y, argmax)
}

/// The gradient by the input of max pooling, where `input` is its shape.
pub fn max_pool_backward(input: Shape4, dy: &[f64], argmax: &[u8]) -> Vec<f64> {
    let output = input.pooled();
    let mut dx = vec![0.0; input.len()];
    output.for_each(|picture, channel, row, column| {
        let index = output.index(picture, channel, row, column);
        let (r, c) = (usize::from(argmax[index] / 2), usize::from(argmax[index] % 2));
        dx[input.index(picture, channel, 2 * row + r, 2 * column + c)] = dy[index];
    });
    dx
}

/// The scales of local response normalisation: `k + α · Σ x²` over the channels in the window.
fn lrn_scales(shape: Shape4, constants: &LrnConstants, x: &[f64]) -> Vec<f64> {
    let half = constants.size / 2;
    let mut scales = vec![0.0; shape.len()];
    shape.for_each(|picture, channel, row, column| {
        let window = channel.saturating_sub(half)..=(channel + half).min(shape.channels - 1);
        let sum: f64 = window.map(|other| x[shape.index(picture, other, row, column)].powi(2)).sum();
        scales[shape.index(picture, channel, row, column)] =
            f64::from(constants.k) + f64::from(constants.alpha) * sum;
    });
    scales
}

/// Local response normalisation across channels: see [`crate::normalisation`].
pub fn lrn(shape: Shape4, constants: &LrnConstants, x: &[f64]) -> Vec<f64> {
    let scales = lrn_scales(shape, constants, x);
    x.iter().zip(scales).map(|(x, scale)| x / scale.powf(constants.beta.into())).collect()
}

/// The gradient by the input of local response normalisation, term by term from the definition.
pub fn lrn_backward(shape: Shape4, constants: &LrnConstants, x: &[f64], dy: &[f64]) -> Vec<f64> {
    let (alpha, beta) = (f64::from(constants.alpha), f64::from(constants.beta));
    let half = constants.size / 2;
    let scales = lrn_scales(shape, constants, x);
    let mut dx = vec![0.0; shape.len()];
    shape.for_each(|picture, channel, row, column| {
        let i = shape.index(picture, channel, row, column);
        dx[i] = dy[i] * scales[i].powf(-beta);
        for other in channel.saturating_sub(half)..=(channel + half).min(shape.channels - 1) {
            let j = shape.index(picture, other, row, column);
            dx[i] += dy[j] * x[j] * -beta * scales[j].powf(-beta - 1.0) * 2.0 * alpha * x[i];
        }
    });
    dx
}

/// Dropout: kept values times `scale`, the others zero.
pub fn scale_kept(keep: &[u8], scale: f64, x: &[f64]) -> Vec<f64> {
    keep.iter().zip(x).map(|(&keep, &x)| if keep != 0 { x * scale } else { 0.0 }).collect()
}

/// Mean softmax cross-entropy of `[picture][class]` logits with the targets and weights of `objective`,
/// the number of pictures whose first largest logit is the label's, and the gradient of the mean loss
/// by the logits.
pub fn softmax_cross_entropy(
    classes: usize,
    logits: &[f64],
    labels: &[u32],
    objective: Objective<'_>,
) -> (f64, usize, Vec<f64>) {
    let smoothing = f64::from(objective.label_smoothing);
    let pictures = labels.len() as f64;
    let (mut loss, mut correct, mut gradient) = (0.0, 0, Vec::new());
    for (logits, &label) in logits.chunks_exact(classes).zip(labels) {
        let label = label as usize;
        let maximum = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits.iter().map(|logit| (logit - maximum).exp()).sum();
        let weight = objective.class_weights.map_or(1.0, |weights| f64::from(weights[label]));
        let target = |class: usize| {
            (1.0 - smoothing) * f64::from(u8::from(class == label)) + smoothing / classes as f64
        };
        let probability = |class: usize| (logits[class] - maximum).exp() / sum;
        loss -= (0..classes).map(|class| weight * target(class) * probability(class).ln()).sum::<f64>()
            / pictures;
        correct += usize::from(logits.iter().position(|&logit| logit == maximum) == Some(label));
        gradient.extend((0..classes).map(|class| weight * (probability(class) - target(class)) / pictures));
    }
    (loss, correct, gradient)
}

/// A step of the optimizer: see [`crate::update`]. The flush of tiny velocities is left out, since
/// f64 does not reach its denormal numbers where f32 does.
pub fn sgd(rule: &Sgd, weights: &mut [f64], gradient: &[f64], velocity: Option<&mut [f64]>) {
    let (learning_rate, momentum) = (f64::from(rule.learning_rate), f64::from(rule.momentum));
    let clip = f64::from(rule.gradient_clip);
    let clipped = |gradient: f64| if gradient.is_finite() { gradient.clamp(-clip, clip) } else { gradient };
    let decayed = |weight: f64, gradient: f64| clipped(gradient) + f64::from(rule.weight_decay) * weight;
    let Some(velocity) = velocity else {
        for (weight, &gradient) in weights.iter_mut().zip(gradient) {
            *weight -= learning_rate * decayed(*weight, gradient);
        }
        return;
    };
    for ((weight, &gradient), velocity) in weights.iter_mut().zip(gradient).zip(velocity) {
        let gradient = decayed(*weight, gradient);
        *velocity = momentum * *velocity + gradient;
        *weight -= learning_rate * if rule.nesterov { gradient + momentum * *velocity } else { *velocity };
    }
}

/// A step of the mean of the weights.
pub fn average(share: f64, weights: &[f64], mean: &mut [f64]) {
    for (mean, &weight) in mean.iter_mut().zip(weights) {
        *mean = (1.0 - share) * *mean + share * weight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: Shape4 = Shape4::new(2, 3, 3, 2);
    const LRN: LrnConstants = LrnConstants { size: 3, k: 1.0, alpha: 1.0, beta: 0.75 };

    /// Different values between -1 and 1, further apart than the step of a difference.
    fn values(len: usize, seed: usize) -> Vec<f64> {
        (0..len).map(|i| ((i * 37 + seed * 11) % 101) as f64 / 50.0 - 0.99).collect()
    }

    fn dot(a: &[f64], b: &[f64]) -> f64 {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    /// A central difference is off by h²/6 times the third derivative, here below 100, and by some
    /// 1e-15 / h from rounding: with h = 1e-5 both stay below 1e-8.
    fn assert_is_gradient(gradient: &[f64], x: &[f64], loss: impl Fn(&[f64]) -> f64) {
        assert_eq!(gradient.len(), x.len());
        let moved = |i: usize, by: f64| {
            let mut x = x.to_vec();
            x[i] += by;
            loss(&x)
        };
        for (i, gradient) in gradient.iter().enumerate() {
            let difference = (moved(i, 1e-5) - moved(i, -1e-5)) / 2e-5;
            assert!(
                (difference - gradient).abs() < 1e-8,
                "{i}: {gradient}, but the difference is {difference}"
            );
        }
    }

    #[test]
    fn results_worked_out_by_hand() {
        let weights: Vec<f64> = (1..=9).map(f64::from).collect();
        let y = convolution(Shape4::new(1, 1, 2, 2), 1, 3, &[1.0, 2.0, 3.0, 4.0], &weights, &[10.0]);
        assert_eq!(y, [87.0, 77.0, 57.0, 47.0]);

        let y = lrn(Shape4::new(1, 3, 1, 1), &LrnConstants { beta: 1.0, ..LRN }, &[1.0, 2.0, 3.0]);
        assert_eq!(y, [1.0 / 6.0, 2.0 / 15.0, 3.0 / 14.0]);

        let logits = [0.0, 3.0_f64.ln()];
        let (loss, correct, gradient) = softmax_cross_entropy(2, &logits, &[1], Objective::default());
        assert!((loss - (4.0_f64 / 3.0).ln()).abs() < 1e-15 && correct == 1);
        assert!((gradient[0] - 0.25).abs() < 1e-15 && (gradient[1] + 0.25).abs() < 1e-15);
        // Targets 1/4 and 3/4 are what the logits say; a weight of 2 doubles the loss.
        let objective = Objective { label_smoothing: 0.5, class_weights: Some(&[7.0, 2.0]) };
        let (loss, _, gradient) = softmax_cross_entropy(2, &logits, &[1], objective);
        let expected = 2.0 * (0.25 * 4.0_f64.ln() + 0.75 * (4.0_f64 / 3.0).ln());
        assert!((loss - expected).abs() < 1e-15 && gradient.iter().all(|g| g.abs() < 1e-15), "{loss}");

        for (velocity, nesterov, expected) in
            [(None, false, 0.0), (Some(2.0), false, -0.5), (Some(2.0), true, -0.75)]
        {
            let rule = Sgd {
                learning_rate: 0.5,
                momentum: 0.5,
                nesterov,
                weight_decay: 1.0,
                gradient_clip: f32::INFINITY,
            };
            let (mut weights, mut velocity) = ([1.0], velocity.map(|velocity| [velocity]));
            sgd(&rule, &mut weights, &[1.0], velocity.as_mut().map(|velocity| &mut velocity[..]));
            assert_eq!(weights, [expected]);
        }
    }

    #[test]
    fn gradients_of_convolutions_and_dense_layers_are_central_differences() {
        for kernel in [1, 3] {
            let (x, dy) = (values(INPUT.len(), 1), values(INPUT.with_channels(4).len(), 2));
            let (w, bias) = (values(4 * 3 * kernel * kernel, 3), values(4, 4));
            let loss =
                |x: &[f64], w: &[f64], bias: &[f64]| dot(&convolution(INPUT, 4, kernel, x, w, bias), &dy);
            let dx = convolution_backward_data(INPUT, 4, kernel, &dy, &w);
            assert_is_gradient(&dx, &x, |x| loss(x, &w, &bias));
            let dw = convolution_backward_weights(INPUT, 4, kernel, &x, &dy);
            assert_is_gradient(&dw, &w, |w| loss(&x, w, &bias));
            let db = bias_gradient(INPUT.with_channels(4), &dy);
            assert_is_gradient(&db, &bias, |bias| loss(&x, &w, bias));
        }
        let (x, dy, w) = (values(INPUT.len(), 1), values(2 * 5, 2), values(18 * 5, 3));
        let loss = |x: &[f64], w: &[f64]| dot(&dense(INPUT, 5, x, w, &[0.0; 5]), &dy);
        assert_is_gradient(&dense_backward_data(INPUT, 5, &dy, &w), &x, |x| loss(x, &w));
        assert_is_gradient(&dense_backward_weights(INPUT, 5, &x, &dy), &w, |w| loss(&x, w));
    }

    #[test]
    fn gradients_of_the_other_operations_are_central_differences() {
        let (x, dy) = (values(INPUT.len(), 5), values(INPUT.len(), 6));
        assert_is_gradient(&relu_backward(&relu(&x), &dy), &x, |x| dot(&relu(x), &dy));
        assert_is_gradient(&lrn_backward(INPUT, &LRN, &x, &dy), &x, |x| dot(&lrn(INPUT, &LRN, x), &dy));
        let dy = values(INPUT.pooled().len(), 7);
        let (_, argmax) = max_pool(INPUT, &x);
        assert_is_gradient(&max_pool_backward(INPUT, &dy, &argmax), &x, |x| dot(&max_pool(INPUT, x).0, &dy));
        let labels = [0, 5, 2, 4, 4, 1];
        for objective in [
            Objective::default(),
            Objective { label_smoothing: 0.1, class_weights: Some(&[0.5, 1.0, 3.0, 0.0, 1.5, 0.7]) },
        ] {
            let (_, _, gradient) = softmax_cross_entropy(6, &x, &labels, objective);
            assert_is_gradient(&gradient, &x, |x| softmax_cross_entropy(6, x, &labels, objective).0);
        }
    }
}
