//! What a network costs: operations and parameters, layer by layer.

use crate::network::{Layer, Network, Shape};

/// Cost of one layer for one picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerCost {
    /// The layer's name in tables, such as `conv3-64`.
    pub label: String,
    /// Shape of its output.
    pub output: Shape,
    /// Weights and biases.
    pub parameters: usize,
    /// Floating-point operations forward, a multiplication and an addition counted as two, with
    /// the products of a convolution that fall on its padding counted as well. This is the usual
    /// ("nominal") count of the literature.
    pub nominal_flops: usize,
    /// The same without the products on the padding. This program leaves those out, except in the
    /// first layer, whose windows are gathered whole.
    pub useful_flops: usize,
}

/// The cost of every layer, first to last, for one picture forward. A training step costs about
/// three times as much: forward, backward by data, backward by weights.
pub fn layer_costs(network: &Network) -> Vec<LayerCost> {
    let shapes = network.shapes();
    let parameters = network.parameters();
    let mut costs = Vec::with_capacity(network.layers.len());
    for (index, layer) in network.layers.iter().enumerate() {
        let (input, output) = (shapes[index], shapes[index + 1]);
        let (nominal, useful) = products(layer, input, output);
        costs.push(LayerCost {
            label: layer.label(),
            output,
            parameters: parameters.iter().filter(|p| p.layer == index).map(|p| p.len()).sum(),
            nominal_flops: 2 * nominal,
            useful_flops: 2 * useful,
        });
    }
    costs
}

/// Multiplications of a layer forward: nominal, and inside the picture.
fn products(layer: &Layer, input: Shape, output: Shape) -> (usize, usize) {
    match *layer {
        Layer::Convolution { kernel, .. } => {
            let channels = input.channels * output.channels;
            let taps_inside = taps_along(input.height, kernel) * taps_along(input.width, kernel);
            (output.height * output.width * kernel * kernel * channels, taps_inside * channels)
        }
        Layer::Dense { outputs, .. } => (input.len() * outputs, input.len() * outputs),
        _ => (0, 0),
    }
}

/// Taps inside a line of `length` pixels, summed over its pixels: a window of 3 loses one tap at
/// each end.
fn taps_along(length: usize, kernel: usize) -> usize {
    kernel * length - (kernel - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 28² pixels · 9 taps · 64² channels · 2, of which 95.3 % are inside.
    #[test]
    fn conv1_2_of_the_tutorial() {
        let network = Network::new("vgg13", "tutorial", Shape::new(28, 28, 1), 10).unwrap();
        let cost = &layer_costs(&network)[1];
        assert_eq!(cost.nominal_flops, 57_802_752);
        assert_eq!(cost.useful_flops, 82 * 82 * 64 * 64 * 2);
        assert_eq!(cost.parameters, 9 * 64 * 64 + 64);
    }

    /// The paper's VGG16 is known for its 15.5 billion multiply-adds at 224×224.
    #[test]
    fn vgg16_has_15_5_giga_multiply_adds() {
        let network = Network::new("D", "paper", Shape::new(224, 224, 3), 1000).unwrap();
        let total: usize = layer_costs(&network).iter().map(|cost| cost.nominal_flops / 2).sum();
        assert_eq!(total, 15_470_264_320);
    }

    #[test]
    fn a_single_pixel_has_one_tap() {
        assert_eq!(taps_along(1, 3), 1);
        assert_eq!(taps_along(2, 3), 4);
        assert_eq!(taps_along(7, 1), 7);
    }
}
