//! Burn as a peer of `peers.py`, on its CPU backend "flex".

#[path = "../../case.rs"]
mod case;

use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::optim::{GradientsParams, SgdConfig};
use burn::prelude::*;
use burn::tensor::Distribution;
use burn::tensor::activation::relu;
use case::{Case, Failure, Layer};

const ONE_EACH: &str = "the network was made from the same layers";

/// The layers by kind; the case says how they follow each other.
#[derive(Module, Debug)]
struct Network {
    convolutions: Vec<Conv2d>,
    dense: Vec<Linear>,
    dropouts: Vec<Dropout>,
    pool: MaxPool2d,
}

impl Network {
    fn new(case: &Case, device: &Device) -> Self {
        let (mut inputs, mut size) = (case.channels, case.image_size);
        let pool = MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).with_ceil_mode(true).init();
        let mut network = Self { convolutions: vec![], dense: vec![], dropouts: vec![], pool };
        for layer in &case.layers {
            match *layer {
                Layer::Convolution { outputs } => {
                    let config = Conv2dConfig::new([inputs, outputs], [3, 3]);
                    network.convolutions.push(config.with_padding(PaddingConfig2d::Same).init(device));
                    inputs = outputs;
                }
                Layer::Pool => size = size.div_ceil(2),
                Layer::Dense { outputs } => {
                    let from = if network.dense.is_empty() { inputs * size * size } else { inputs };
                    network.dense.push(LinearConfig::new(from, outputs).init(device));
                    inputs = outputs;
                }
                Layer::Dropout { rate } => network.dropouts.push(DropoutConfig::new(rate).init()),
            }
        }
        network
    }

    /// Logits of the pictures. Dropout acts on an autodiff device only.
    fn forward(&self, layers: &[Layer], images: Tensor<4>) -> Tensor<2> {
        let (mut convolutions, mut dense) = (self.convolutions.iter(), self.dense.iter());
        let mut dropouts = self.dropouts.iter();
        let is_dense = |layer: &Layer| matches!(layer, Layer::Dense { .. });
        let head = layers.iter().position(is_dense).unwrap_or(layers.len());
        let mut values = images;
        for layer in &layers[..head] {
            values = match layer {
                Layer::Convolution { .. } => relu(convolutions.next().expect(ONE_EACH).forward(values)),
                _ => self.pool.forward(values),
            };
        }
        let mut values: Tensor<2> = values.flatten(1, 3);
        for layer in &layers[head..] {
            values = match layer {
                Layer::Dropout { .. } => dropouts.next().expect(ONE_EACH).forward(values),
                _ => dense.next().expect(ONE_EACH).forward(values),
            };
            if is_dense(layer) && dense.len() > 0 {
                values = relu(values);
            }
        }
        values
    }
}

fn images(case: &Case, device: &Device) -> Tensor<4> {
    let shape = [case.batch_size, case.channels, case.image_size, case.image_size];
    Tensor::random(shape, Distribution::Uniform(0.0, 1.0), device)
}

fn train(case: &Case, device: &Device) -> Result<(), Failure> {
    let images = images(case, device);
    let labels: Vec<i64> = case.labels().map(|class| class as i64).collect();
    let labels: Tensor<1, Int> = Tensor::from_data(TensorData::from(labels.as_slice()), device);
    let loss_of = CrossEntropyLossConfig::new().init(device);
    let mut optimizer = SgdConfig::new().init();
    let mut network = Some(Network::new(case, device));
    case::serve("Burn (flex)", include_str!("../Cargo.toml"), || {
        let before = network.take().ok_or("the step before failed")?;
        let loss = loss_of.forward(before.forward(&case.layers, images.clone()), labels.clone());
        let gradients = GradientsParams::from_grads(loss.backward(), &before);
        network = Some(optimizer.step(0.001, before, gradients));
        Ok(())
    })
}

fn predict(case: &Case, device: &Device) -> Result<(), Failure> {
    let (network, images) = (Network::new(case, device), images(case, device));
    case::serve("Burn (flex)", include_str!("../Cargo.toml"), || {
        network.forward(&case.layers, images.clone()).into_data();
        Ok(())
    })
}

fn main() -> Result<(), Failure> {
    let case = Case::read()?;
    if case.precision != "f32" {
        return case::unsupported("its CPU backend computes bf16 by way of f32");
    }
    let device = Device::flex();
    if case.trains() { train(&case, &device.autodiff()) } else { predict(&case, &device) }
}
