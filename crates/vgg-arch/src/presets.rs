//! The networks of table 1 in Simonyan & Zisserman, "Very Deep Convolutional Networks for
//! Large-Scale Image Recognition" (2014, arXiv 1409.1556), and the heads that may follow them.
//!
//! To add a network, add a row to [`CONFIGURATIONS`]; names, help, listings and tests follow.

use crate::network::Layer;

/// A row of the paper's table: the layers before the head.
#[derive(Debug)]
pub struct Configuration {
    /// The name used here: `vgg` and the number of layers with weights.
    pub name: &'static str,
    /// The column's letter in the paper.
    pub letter: &'static str,
    /// Convolutions, pools and normalisation, first to last.
    pub layers: &'static [Layer],
}

/// The layers between the last pool and the logits.
#[derive(Debug)]
pub struct Head {
    /// The name used here.
    pub name: &'static str,
    /// Dense and dropout layers; the last dense layer, one output a class, is added to them.
    pub layers: &'static [Layer],
}

/// Constants of local response normalisation.
#[derive(Debug)]
pub struct LrnConstants {
    /// Number of neighbouring channels in the sum, the channel itself in the middle.
    pub size: usize,
    /// Added to the sum before the power.
    pub k: f32,
    /// Factor of the sum of squares (not divided by `size`).
    pub alpha: f32,
    /// The power.
    pub beta: f32,
}

/// `y = x / (k + alpha · Σ x²)^beta` with the constants of Krizhevsky et al. 2012, section 3.3,
/// which the paper refers to.
pub const LRN: LrnConstants = LrnConstants { size: 5, k: 2.0, alpha: 1e-4, beta: 0.75 };

const fn conv3(out_channels: usize) -> Layer {
    Layer::Convolution { out_channels, kernel: 3 }
}

const fn conv1(out_channels: usize) -> Layer {
    Layer::Convolution { out_channels, kernel: 1 }
}

const fn dense(outputs: usize) -> Layer {
    Layer::Dense { outputs, relu: true }
}

const POOL: Layer = Layer::MaxPool;

/// The columns of the paper's table 1.
#[rustfmt::skip]
pub const CONFIGURATIONS: &[Configuration] = &[
    Configuration { name: "vgg11", letter: "A", layers: &[
        conv3(64), POOL,
        conv3(128), POOL,
        conv3(256), conv3(256), POOL,
        conv3(512), conv3(512), POOL,
        conv3(512), conv3(512), POOL,
    ] },
    Configuration { name: "vgg11-lrn", letter: "A-LRN", layers: &[
        conv3(64), Layer::LocalResponseNormalisation, POOL,
        conv3(128), POOL,
        conv3(256), conv3(256), POOL,
        conv3(512), conv3(512), POOL,
        conv3(512), conv3(512), POOL,
    ] },
    Configuration { name: "vgg13", letter: "B", layers: &[
        conv3(64), conv3(64), POOL,
        conv3(128), conv3(128), POOL,
        conv3(256), conv3(256), POOL,
        conv3(512), conv3(512), POOL,
        conv3(512), conv3(512), POOL,
    ] },
    Configuration { name: "vgg16-c", letter: "C", layers: &[
        conv3(64), conv3(64), POOL,
        conv3(128), conv3(128), POOL,
        conv3(256), conv3(256), conv1(256), POOL,
        conv3(512), conv3(512), conv1(512), POOL,
        conv3(512), conv3(512), conv1(512), POOL,
    ] },
    Configuration { name: "vgg16", letter: "D", layers: &[
        conv3(64), conv3(64), POOL,
        conv3(128), conv3(128), POOL,
        conv3(256), conv3(256), conv3(256), POOL,
        conv3(512), conv3(512), conv3(512), POOL,
        conv3(512), conv3(512), conv3(512), POOL,
    ] },
    Configuration { name: "vgg19", letter: "E", layers: &[
        conv3(64), conv3(64), POOL,
        conv3(128), conv3(128), POOL,
        conv3(256), conv3(256), conv3(256), conv3(256), POOL,
        conv3(512), conv3(512), conv3(512), conv3(512), POOL,
        conv3(512), conv3(512), conv3(512), conv3(512), POOL,
    ] },
];

/// The heads: the tutorial's and the paper's.
pub const HEADS: &[Head] = &[
    Head { name: "tutorial", layers: &[dense(4096), dense(4096), dense(1000), Layer::Dropout { rate: 0.4 }] },
    Head {
        name: "paper",
        layers: &[dense(4096), Layer::Dropout { rate: 0.5 }, dense(4096), Layer::Dropout { rate: 0.5 }],
    },
];

/// Finds a configuration by name or by the paper's letter, whatever the case.
pub fn configuration(name: &str) -> Option<&'static Configuration> {
    CONFIGURATIONS
        .iter()
        .find(|row| row.name.eq_ignore_ascii_case(name) || row.letter.eq_ignore_ascii_case(name))
}

/// Finds a head by name, whatever the case.
pub fn head(name: &str) -> Option<&'static Head> {
    HEADS.iter().find(|row| row.name.eq_ignore_ascii_case(name))
}

/// The names of all configurations with their letters, for messages and help.
pub fn configuration_names() -> String {
    CONFIGURATIONS.iter().map(|row| format!("{} ({})", row.name, row.letter)).collect::<Vec<_>>().join(", ")
}

/// The names of all heads, for messages and help.
pub fn head_names() -> String {
    HEADS.iter().map(|row| row.name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_in_a_name_counts_the_layers_with_weights() {
        for row in CONFIGURATIONS {
            let convolutions = row.layers.iter().filter(|l| matches!(l, Layer::Convolution { .. })).count();
            let number: usize = row.name[3..].split('-').next().unwrap().parse().unwrap();
            assert_eq!(convolutions + 3, number, "{}", row.name);
        }
    }

    #[test]
    fn names_and_letters_find_the_same_row() {
        for row in CONFIGURATIONS {
            assert_eq!(configuration(&row.letter.to_lowercase()).unwrap().name, row.name);
        }
    }
}
