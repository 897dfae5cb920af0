//! The one table of parameters: engine offsets, checkpoint names and listings all read it.

use crate::network::{Layer, Network};
use serde::{Deserialize, Serialize};

/// One trained tensor of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// `features.0.weight`, `classifier.7.bias`, …: the name in PyTorch's `Sequential` layout.
    pub name: String,
    /// Position of its layer in [`Network::layers`].
    pub layer: usize,
    /// Sizes, outermost first: `[out, in, kernel, kernel]` for a convolution, `[out, in]` for a
    /// dense layer (the inputs in the order channel, row, column), `[out]` for a bias.
    pub shape: Vec<usize>,
    /// Position of its first value in a flat list of all parameters of the network.
    pub offset: usize,
}

impl Parameter {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the parameter holds no value at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this is a bias.
    pub fn is_bias(&self) -> bool {
        self.shape.len() == 1
    }

    /// Inputs that are summed into one output: `in · kernel²`. A bias has 1.
    pub fn fan_in(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// Outputs that one input reaches: `out · kernel²`.
    pub fn fan_out(&self) -> usize {
        self.shape[0] * self.shape.iter().skip(2).product::<usize>()
    }
}

/// How weights start; biases start at zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Initialiser {
    /// Uniform in `±√(6 / (fan_in + fan_out))` (Glorot & Bengio 2010); TensorFlow's default.
    GlorotUniform,
    /// Normal with variance `2 / fan_in` (He et al. 2015), which keeps the size of activations
    /// through ReLU layers.
    HeNormal,
}

impl Network {
    /// Every parameter in order of use: weight, then bias, layer by layer.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut parameters = Vec::new();
        let mut offset = 0;
        let names = self.module_names();
        for (layer, (shape, name)) in self.shapes().iter().zip(&names).enumerate() {
            let weight = match self.layers[layer] {
                Layer::Convolution { out_channels, kernel } => {
                    vec![out_channels, shape.channels, kernel, kernel]
                }
                Layer::Dense { outputs, .. } => vec![outputs, shape.len()],
                _ => continue,
            };
            let bias = vec![weight[0]];
            for (kind, shape) in [("weight", weight), ("bias", bias)] {
                let parameter = Parameter { name: format!("{name}.{kind}"), layer, shape, offset };
                offset += parameter.len();
                parameters.push(parameter);
            }
        }
        parameters
    }

    /// Number of trained values.
    pub fn parameter_count(&self) -> usize {
        self.parameters().iter().map(Parameter::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Shape;

    fn count(configuration: &str, head: &str, input: Shape, classes: usize) -> usize {
        Network::new(configuration, head, input, classes).unwrap().parameter_count()
    }

    #[test]
    fn the_tutorial_network_has_32_393_410_parameters() {
        assert_eq!(count("vgg13", "tutorial", Shape::new(28, 28, 1), 10), 32_393_410);
    }

    /// Counts of torchvision's models; the paper rounds them to 133, 133, 138 and 144 million, and
    /// gives 134 million for C.
    #[test]
    fn imagenet_networks_have_the_published_counts() {
        let imagenet = Shape::new(224, 224, 3);
        let published = [
            ("A", 132_863_336),
            ("A-LRN", 132_863_336),
            ("B", 133_047_848),
            ("D", 138_357_544),
            ("E", 143_667_240),
        ];
        for (letter, expected) in published {
            assert_eq!(count(letter, "paper", imagenet, 1000), expected, "{letter}");
        }
        // C is D with three of its 3×3 convolutions replaced by 1×1 ones, each of which saves
        // eight of nine weights.
        let saved = 8 * (256 * 256 + 2 * 512 * 512);
        assert_eq!(count("C", "paper", imagenet, 1000), 138_357_544 - saved);
    }

    #[test]
    fn offsets_follow_each_other() {
        let network = Network::new("vgg16", "paper", Shape::new(32, 32, 3), 10).unwrap();
        let mut next = 0;
        for parameter in network.parameters() {
            assert_eq!(parameter.offset, next, "{}", parameter.name);
            next += parameter.len();
        }
        assert_eq!(next, network.parameter_count());
    }
}
