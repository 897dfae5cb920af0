//! Candle as a peer of `peers.py`.

#[path = "../../case.rs"]
mod case;

use candle_core::{D, DType, Device, Module, Result, Tensor};
use candle_nn::{
    Conv2d, Conv2dConfig, Linear, Optimizer, SGD, VarBuilder, VarMap, conv2d, linear, loss, ops,
};
use case::{Case, Failure, Layer};
use std::collections::HashMap;

enum Step {
    Convolution(Conv2d),
    Pool,
    Dense(Linear),
    Dropout(f32),
}

struct Network {
    steps: Vec<Step>,
}

impl Network {
    fn new(case: &Case, weights: &VarBuilder) -> Result<Self> {
        let (mut inputs, mut size, mut dense) = (case.channels, case.image_size, false);
        let mut steps = Vec::new();
        for (at, layer) in case.layers.iter().enumerate() {
            let weights = weights.pp(at.to_string());
            steps.push(match *layer {
                Layer::Convolution { outputs } => {
                    let config = Conv2dConfig { padding: 1, ..Default::default() };
                    let convolution = conv2d(inputs, outputs, 3, config, weights)?;
                    inputs = outputs;
                    Step::Convolution(convolution)
                }
                Layer::Pool => {
                    size = size.div_ceil(2);
                    Step::Pool
                }
                Layer::Dense { outputs } => {
                    let from = if dense { inputs } else { inputs * size * size };
                    (inputs, dense) = (outputs, true);
                    Step::Dense(linear(from, outputs, weights)?)
                }
                Layer::Dropout { rate } => Step::Dropout(rate as f32),
            });
        }
        Ok(Self { steps })
    }

    fn forward(&self, images: &Tensor, training: bool) -> Result<Tensor> {
        let mut values = images.clone();
        for (at, step) in self.steps.iter().enumerate() {
            let last = at + 1 == self.steps.len();
            values = match step {
                Step::Convolution(layer) => layer.forward(&values)?.relu()?,
                Step::Pool => pool(&values)?,
                Step::Dense(layer) if last => layer.forward(&values.flatten_from(1)?)?,
                Step::Dense(layer) => layer.forward(&values.flatten_from(1)?)?.relu()?,
                Step::Dropout(rate) if training => ops::dropout(&values, *rate)?,
                Step::Dropout(_) => values,
            };
        }
        Ok(values)
    }
}

/// 2×2 maximum with an odd edge kept: Candle's own pool drops it, so a zero is added behind it. After ReLU a zero
/// never wins wrongly.
fn pool(values: &Tensor) -> Result<Tensor> {
    if values.dim(D::Minus1)? % 2 == 0 {
        return values.max_pool2d(2);
    }
    values.pad_with_zeros(2, 0, 1)?.pad_with_zeros(3, 0, 1)?.max_pool2d(2)
}

/// The weights as tensors that no gradient is kept for.
fn constants(variables: &VarMap) -> HashMap<String, Tensor> {
    let variables = variables.data().lock().expect("no other thread has the variables");
    variables.iter().map(|(name, value)| (name.clone(), value.as_detached_tensor())).collect()
}

fn main() -> std::result::Result<(), Failure> {
    let case = Case::read()?;
    if case.precision != "f32" {
        return case::unsupported("its CPU kernels for training and convolution are f32");
    }
    let (device, variables) = (Device::Cpu, VarMap::new());
    let mut network = Network::new(&case, &VarBuilder::from_varmap(&variables, DType::F32, &device))?;
    if !case.trains() {
        network = Network::new(&case, &VarBuilder::from_tensors(constants(&variables), DType::F32, &device))?;
    }
    let shape = (case.batch_size, case.channels, case.image_size, case.image_size);
    let images = Tensor::rand(0f32, 1f32, shape, &device)?;
    let labels: Vec<u32> = case.labels().map(|class| class as u32).collect();
    let labels = Tensor::new(labels, &device)?;
    let mut optimizer = SGD::new(variables.all_vars(), 0.001)?;
    case::serve("Candle", include_str!("../Cargo.toml"), || {
        let logits = network.forward(&images, case.trains())?;
        if case.trains() {
            optimizer.backward_step(&loss::cross_entropy(&logits, &labels)?)?;
        }
        Ok(())
    })
}
