//! A network as a list of layers, and the shape of what flows between them.

use crate::presets;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Height, width and channels of a picture or of one layer's output for one picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
    /// Values in a pixel.
    pub channels: usize,
}

impl Shape {
    /// A shape from its three sizes.
    pub const fn new(height: usize, width: usize, channels: usize) -> Self {
        Self { height, width, channels }
    }

    /// Values in all: `height · width · channels`, or [`usize::MAX`] when these are more than can be
    /// counted. No memory holds so many, so whoever compares or allocates will refuse them.
    pub const fn len(&self) -> usize {
        self.height.saturating_mul(self.width).saturating_mul(self.channels)
    }

    /// Whether any of the sizes is zero.
    pub const fn is_empty(&self) -> bool {
        self.height == 0 || self.width == 0 || self.channels == 0
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{}×{}", self.height, self.width, self.channels)
    }
}

/// One layer. Convolutions are followed by ReLU, as everywhere in the paper.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// A `kernel`×`kernel` convolution (1 or 3), stride 1, same padding, bias, ReLU.
    Convolution {
        /// Channels of the output.
        out_channels: usize,
        /// Side of the square window: 1 or 3.
        kernel: usize,
    },
    /// Local response normalisation across channels (Krizhevsky et al. 2012, section 3.3) with the
    /// constants of [`presets::LRN`].
    LocalResponseNormalisation,
    /// Maximum over 2×2 windows, stride 2; a window may hang over the lower and right edge
    /// ("same", ceil mode), so the output has `⌈height / 2⌉ × ⌈width / 2⌉` pixels.
    MaxPool,
    /// A fully connected layer with bias over all values of its input.
    Dense {
        /// Number of outputs.
        outputs: usize,
        /// Whether ReLU follows; the last layer has none, its outputs are the logits.
        relu: bool,
    },
    /// Sets each value to zero with probability `rate` in training and scales the others by
    /// `1 / (1 − rate)`; the identity otherwise.
    Dropout {
        /// Probability that a value is dropped, in `[0, 1)`.
        rate: f32,
    },
}

/// A classification network: what comes in, the layers in order, and the number of classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Name of the configuration, such as `vgg13`.
    pub name: String,
    /// Name of the head, such as `tutorial`.
    pub head: String,
    /// Shape of one input picture.
    pub input: Shape,
    /// Number of classes, which is the number of logits.
    pub classes: usize,
    /// The layers, first to last.
    pub layers: Vec<Layer>,
}

/// Why a network cannot be built.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ArchError {
    /// No such row in the paper's table.
    #[error("no network is called {0:?}; choose one of {known}", known = presets::configuration_names())]
    UnknownConfiguration(String),
    /// No such head.
    #[error("no head is called {0:?}; choose one of {known}", known = presets::head_names())]
    UnknownHead(String),
    /// A picture with a zero or absurd size.
    #[error("pictures of {0} cannot be used: height and width must be 1 to 4096, channels 1 to 64")]
    InputShape(Shape),
    /// Too few or too many classes.
    #[error("{0} classes cannot be told apart by this network: give 2 to 100,000")]
    Classes(usize),
}

impl Network {
    /// Builds the network `configuration` (`vgg11`, `A`, …) with `head` for pictures of shape
    /// `input` and `classes` classes.
    ///
    /// # Errors
    /// Unknown names, an input without pixels or of absurd size, fewer than 2 or more than 100,000
    /// classes.
    pub fn new(configuration: &str, head: &str, input: Shape, classes: usize) -> Result<Self, ArchError> {
        let row = presets::configuration(configuration)
            .ok_or_else(|| ArchError::UnknownConfiguration(configuration.to_owned()))?;
        let head_row = presets::head(head).ok_or_else(|| ArchError::UnknownHead(head.to_owned()))?;
        let side = 1..=4096;
        if !side.contains(&input.height)
            || !side.contains(&input.width)
            || !(1..=64).contains(&input.channels)
        {
            return Err(ArchError::InputShape(input));
        }
        if !(2..=100_000).contains(&classes) {
            return Err(ArchError::Classes(classes));
        }
        let mut layers = row.layers.to_vec();
        layers.extend_from_slice(head_row.layers);
        layers.push(Layer::Dense { outputs: classes, relu: false });
        Ok(Self { name: row.name.to_owned(), head: head_row.name.to_owned(), input, classes, layers })
    }

    /// The input shape of every layer followed by the shape of the logits: one more entry than
    /// there are layers.
    pub fn shapes(&self) -> Vec<Shape> {
        let mut shapes = vec![self.input];
        for layer in &self.layers {
            shapes.push(layer.output_shape(shapes[shapes.len() - 1]));
        }
        shapes
    }

    /// The position of each layer in a PyTorch `Sequential` of the same network, in which ReLU is a
    /// module of its own: `features.N` up to the last pool, `classifier.N` after it.
    pub fn module_names(&self) -> Vec<String> {
        let mut names = Vec::with_capacity(self.layers.len());
        let (mut features, mut classifier) = (0, 0);
        let mut flat = false;
        for layer in &self.layers {
            flat |= matches!(layer, Layer::Dense { .. });
            let (part, position) =
                if flat { ("classifier", &mut classifier) } else { ("features", &mut features) };
            names.push(format!("{part}.{position}"));
            *position += match layer {
                Layer::Convolution { .. } | Layer::Dense { relu: true, .. } => 2,
                _ => 1,
            };
        }
        names
    }
}

impl Layer {
    /// The shape of this layer's output for an input of shape `input`.
    pub fn output_shape(&self, input: Shape) -> Shape {
        match *self {
            Layer::Convolution { out_channels, .. } => Shape { channels: out_channels, ..input },
            Layer::MaxPool => {
                Shape { height: input.height.div_ceil(2), width: input.width.div_ceil(2), ..input }
            }
            Layer::Dense { outputs, .. } => Shape::new(1, 1, outputs),
            Layer::LocalResponseNormalisation | Layer::Dropout { .. } => input,
        }
    }

    /// What the layer is called in tables, with its sizes: `conv3-64`, `maxpool`, `dense-4096`.
    pub fn label(&self) -> String {
        match self {
            Layer::Convolution { out_channels, kernel } => format!("conv{kernel}-{out_channels}"),
            Layer::LocalResponseNormalisation => "lrn".to_owned(),
            Layer::MaxPool => "maxpool".to_owned(),
            Layer::Dense { outputs, .. } => format!("dense-{outputs}"),
            Layer::Dropout { rate } => format!("dropout-{rate}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tutorial_network_shrinks_28_14_7_4_2_1() {
        let network = Network::new("vgg13", "tutorial", Shape::new(28, 28, 1), 10).unwrap();
        let sides: Vec<usize> = network
            .layers
            .iter()
            .zip(network.shapes().iter().skip(1))
            .filter(|(layer, _)| matches!(layer, Layer::MaxPool))
            .map(|(_, shape)| shape.height)
            .collect();
        assert_eq!(sides, [14, 7, 4, 2, 1]);
        assert_eq!(network.shapes().last(), Some(&Shape::new(1, 1, 10)));
    }

    #[test]
    fn module_names_count_relu_as_a_module() {
        let network = Network::new("B", "tutorial", Shape::new(28, 28, 1), 10).unwrap();
        let names = network.module_names();
        assert_eq!(&names[..4], ["features.0", "features.2", "features.4", "features.5"]);
        assert_eq!(
            &names[names.len() - 5..],
            ["classifier.0", "classifier.2", "classifier.4", "classifier.6", "classifier.7"]
        );
    }

    #[test]
    fn a_shape_beyond_all_numbers_has_the_largest_size() {
        for side in [1 << 27, 1 << 32, usize::MAX] {
            let shape = Shape::new(side, side, 1 << 11);
            assert_eq!((shape.len(), shape.is_empty()), (usize::MAX, false));
            let refused = Network::new("vgg13", "paper", shape, 10);
            assert_eq!(refused, Err(ArchError::InputShape(shape)));
        }
        assert!(Shape::new(usize::MAX, 0, 9).is_empty());
    }

    #[test]
    fn odd_requests_are_refused() {
        let mnist = Shape::new(28, 28, 1);
        assert!(matches!(
            Network::new("vgg12", "tutorial", mnist, 10),
            Err(ArchError::UnknownConfiguration(_))
        ));
        assert!(matches!(Network::new("vgg13", "big", mnist, 10), Err(ArchError::UnknownHead(_))));
        assert!(matches!(Network::new("vgg13", "paper", mnist, 1), Err(ArchError::Classes(1))));
        let empty = Shape::new(0, 28, 1);
        assert_eq!(Network::new("vgg13", "paper", empty, 10), Err(ArchError::InputShape(empty)));
    }
}
