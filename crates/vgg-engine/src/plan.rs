//! The plan: what an engine will do and where every value lies, as plain data.
//!
//! A plan is made from a network and [`EngineOptions`] alone, without running anything, so it can
//! be shown and tested. A training step is the plan's nodes forward, the loss, and the nodes
//! backward. Buffers that are never needed at the same time share memory.

use crate::{EngineError, EngineOptions, Normalisation};
use std::ops::Range;
use vgg_arch::{Layer, Network, Parameter, Shape};
use vgg_kernels::parallel::MAX_THREADS;
use vgg_kernels::{Contraction, Element, Format, Map, Tier, WeightLayout, gather, pooling};

/// Largest batch; larger ones would not fit the memory of any machine.
pub const MAX_BATCH: usize = 1 << 20;

/// Words of a cache line; every buffer starts with one.
const CACHE_LINE: usize = 16;

/// Position of a buffer in [`Plan::buffers`].
pub type BufferId = usize;

/// A part of the arena and the time for which it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// What it holds.
    pub name: String,
    /// Number of words of four bytes: an `f32` each, or two bf16.
    pub len: usize,
    /// First and last moment of use. Parameters and their like are used from 0 to `usize::MAX`.
    pub first: usize,
    /// See `first`.
    pub last: usize,
    /// Position of the first word in the arena.
    pub offset: usize,
}

/// The buffers of a convolution's or dense layer's parameters, in packed form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Position of the weight in [`Network::parameters`]; the bias is the next one.
    pub index: usize,
    /// How the weight is packed.
    pub layout: WeightLayout,
    /// The values themselves.
    pub weight: BufferId,
    /// Their copy in bf16, where that is what products read.
    pub operand: Option<BufferId>,
    /// One value for each output, padded to whole blocks.
    pub bias: BufferId,
    /// Gradient of the weight, when it is kept and the layer is not frozen.
    pub weight_gradient: Option<BufferId>,
    /// Gradient of the bias, when training and the layer is not frozen.
    pub bias_gradient: Option<BufferId>,
    /// Momentum of the weight and of the bias, when there is momentum.
    pub velocity: Option<[BufferId; 2]>,
    /// Means of the weight and of the bias, when there is averaging.
    pub average: Option<[BufferId; 2]>,
}

/// What a node computes.
#[allow(clippy::large_enum_variant)] // A plan has a few dozen nodes.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// A convolution or dense layer.
    Contraction {
        /// Its shapes.
        contraction: Contraction,
        /// Its parameters.
        parameters: Parameters,
        /// Whether ReLU follows.
        relu: bool,
    },
    /// Local response normalisation.
    Normalisation,
    /// 2×2 max pooling.
    Pool {
        /// One byte for each output: which of the four was largest. For the backward pass.
        argmax: Option<BufferId>,
    },
    /// Dropout, in place.
    Dropout {
        /// One byte for each value: whether it is kept. For training.
        keep: Option<BufferId>,
        /// Probability that a value is dropped.
        rate: f32,
    },
}

/// One layer as it will run.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The layer's name in tables.
    pub label: String,
    /// Position in [`Network::layers`].
    pub layer: usize,
    /// What it computes.
    pub operation: Operation,
    /// Shape of its output.
    pub output: Map,
    /// Shape of its input.
    pub input: Map,
    /// Its input and output.
    pub x: BufferId,
    /// See `x`.
    pub y: BufferId,
    /// Scratch of the forward pass, if it needs any.
    pub scratch: Option<BufferId>,
    /// Gradient of the input, unless nobody needs it.
    pub dx: Option<BufferId>,
    /// Gradient of the output, where the backward pass comes.
    pub dy: Option<BufferId>,
}

/// What an engine will do and where every value lies.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Largest number of pictures in a call.
    pub batch_size: usize,
    /// Number of threads.
    pub threads: usize,
    /// Format of activations, their gradients and the operands of products.
    pub format: Format,
    /// Whether there is a backward pass.
    pub training: bool,
    /// Whether the gradients of all parameters are kept.
    pub gradients: bool,
    /// Whether there is momentum.
    pub momentum: bool,
    /// Share of the targets that is spread over all classes.
    pub label_smoothing: f32,
    /// Factor of the loss for each class, if there are any.
    pub class_weights: Option<Vec<f32>>,
    /// What pixels become, if not their share of 255.
    pub normalisation: Option<Normalisation>,
    /// Shape of the pictures.
    pub picture: Map,
    /// The value of every byte in every channel.
    pub byte_values: BufferId,
    /// The pictures with the windows of the first convolution gathered.
    pub patches: BufferId,
    /// Side of the first convolution's window.
    pub first_kernel: usize,
    /// The layers in order.
    pub nodes: Vec<Node>,
    /// The lowest node whose parameters training changes; the backward pass ends there.
    pub first_trained: usize,
    /// Scratch of the backward pass.
    pub scratch: Option<BufferId>,
    /// Sums of a gradient that is not kept.
    pub partial: Option<BufferId>,
    /// Every buffer.
    pub buffers: Vec<Buffer>,
    /// Number of words in the arena.
    pub arena_len: usize,
}

impl Plan {
    /// Plans `network` for `options` and kernels of `tier`.
    ///
    /// # Errors
    /// When the batch size is 0 or above [`MAX_BATCH`], there are too many threads, another option is
    /// out of its range, the first layer is no convolution, or the sizes do not fit an address.
    pub fn new(network: &Network, options: &EngineOptions, tier: Tier) -> Result<Self, EngineError> {
        if !(1..=MAX_BATCH).contains(&options.batch_size) {
            return Err(EngineError::Batch { found: options.batch_size, limit: MAX_BATCH });
        }
        options.check(network)?;
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS),
            threads if threads <= MAX_THREADS => threads,
            threads => {
                let message = format!("{threads} threads cannot be used; give 0 to {MAX_THREADS}");
                return Err(EngineError::Machine(message));
            }
        };
        Planner::new(network, options, threads, options.precision.format(tier))?.plan()
    }

    /// The part of the arena of a buffer's first `len` values of format `T`.
    pub(crate) fn values<T: Element>(&self, buffer: BufferId, len: usize) -> Range<usize> {
        self.words(buffer, len / (size_of::<f32>() / size_of::<T>()))
    }

    /// The part of the arena of a buffer's first `len` bytes.
    pub(crate) fn bytes(&self, buffer: BufferId, len: usize) -> Range<usize> {
        self.words(buffer, len / size_of::<f32>())
    }

    /// The part of the arena of a buffer's first `len` words.
    fn words(&self, buffer: BufferId, len: usize) -> Range<usize> {
        let buffer = &self.buffers[buffer];
        debug_assert!(len <= buffer.len, "{len} words of buffer {}", buffer.name);
        buffer.offset..buffer.offset + len
    }

    /// The part of the arena of a whole buffer.
    pub(crate) fn whole(&self, buffer: BufferId) -> Range<usize> {
        self.words(buffer, self.buffers[buffer].len)
    }

    /// The part of the arena of a buffer that not every plan has; empty without it.
    pub(crate) fn whole_or_none(&self, buffer: Option<BufferId>) -> Range<usize> {
        buffer.map_or(0..0, |buffer| self.whole(buffer))
    }

    /// The parameters of every convolution and dense layer, in order.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &Parameters> {
        self.nodes.iter().filter_map(|node| match &node.operation {
            Operation::Contraction { parameters, .. } => Some(parameters),
            _ => None,
        })
    }

    /// The last node, whose outputs are the logits.
    pub(crate) fn logits(&self) -> &Node {
        &self.nodes[self.nodes.len() - 1]
    }
}

/// A plan in the making. Time runs 0 (gather), 1 + node (forward), then backward in the same
/// distance from the end.
struct Planner<'a> {
    network: &'a Network,
    options: &'a EngineOptions,
    threads: usize,
    format: Format,
    parameters: Vec<Parameter>,
    first_trained: usize,
    buffers: Vec<Buffer>,
}

impl<'a> Planner<'a> {
    fn new(
        network: &'a Network,
        options: &'a EngineOptions,
        threads: usize,
        format: Format,
    ) -> Result<Self, EngineError> {
        let parameters = network.parameters();
        // A generous estimate, in floating point so that it cannot wrap: blocks round channels up
        // to 32 at most, and no value is kept more than 16 times.
        let values = |shape: &Shape| shape.height as f64 * shape.width as f64 * (shape.channels + 32) as f64;
        let activations = network.shapes().iter().map(values).sum::<f64>() * options.batch_size as f64;
        let weights: f64 =
            parameters.iter().map(|p| p.shape.iter().map(|&n| (n + 32) as f64).product::<f64>()).sum();
        let bytes = 64.0 * (activations + weights);
        if bytes > (isize::MAX / 16) as f64 {
            return Err(EngineError::Memory { bytes: bytes as usize });
        }
        let has_parameters =
            |layer: &usize| matches!(network.layers[*layer], Layer::Convolution { .. } | Layer::Dense { .. });
        let first_trained =
            (0..network.layers.len()).filter(has_parameters).nth(options.frozen).unwrap_or_default();
        Ok(Self { network, options, threads, format, parameters, first_trained, buffers: Vec::new() })
    }

    fn plan(mut self) -> Result<Plan, EngineError> {
        let Some(&Layer::Convolution { kernel: first_kernel, .. }) = self.network.layers.first() else {
            return Err(EngineError::Machine("the first layer of a network must be a convolution".into()));
        };
        let shape = self.network.input;
        let picture = Map::new(shape.height, shape.width, shape.channels);
        // Alone, a picture would fill one row of sixteen.
        let single = self.options.batch_size == 1 && !self.options.training;
        let picture = if single { picture.of_single_pictures() } else { picture };
        let input = gather::patches_map(picture, first_kernel, self.format);
        let patches = self.activation("patches", input, 0, self.backward_time(0));
        let byte_values = picture.channels * gather::BYTES / (size_of::<f32>() / self.format.bytes());
        let byte_values = self.add("values of bytes".to_owned(), byte_values, 0, usize::MAX);
        let mut nodes: Vec<Node> = Vec::with_capacity(self.network.layers.len());
        let (mut x, mut dx, mut map) = (patches, None, input);
        for layer in 0..self.network.layers.len() {
            let node = self.node(layer, map, x, dx);
            (x, dx, map) = (node.y, node.dy, node.output);
            nodes.push(node);
        }
        let (scratch, partial) = (self.scratch(&nodes), self.partial(&nodes));
        let arena_len = place(&mut self.buffers);
        Ok(Plan {
            batch_size: self.options.batch_size,
            threads: self.threads,
            format: self.format,
            training: self.options.training,
            gradients: self.options.training && self.options.gradients,
            momentum: self.options.momentum,
            label_smoothing: self.options.label_smoothing,
            class_weights: self.options.class_weights.clone(),
            normalisation: self.options.normalisation.clone(),
            picture,
            byte_values,
            patches,
            first_kernel,
            nodes,
            first_trained: self.first_trained,
            scratch,
            partial,
            buffers: self.buffers,
            arena_len,
        })
    }

    fn forward_time(&self, layer: usize) -> usize {
        1 + layer
    }

    /// Whether the backward pass comes to `layer`.
    fn is_trained(&self, layer: usize) -> bool {
        self.options.training && layer >= self.first_trained
    }

    /// When the node of `layer` runs backward; where it does not, when it runs forward, for then its
    /// input is not needed any more.
    fn backward_time(&self, layer: usize) -> usize {
        match self.is_trained(layer) {
            true => 2 * self.network.layers.len() + 1 - layer,
            false => self.forward_time(layer),
        }
    }

    /// The node of `layer` with its buffers; `x` holds its input and `dx` the input's gradient.
    fn node(&mut self, layer: usize, input: Map, x: BufferId, dx: Option<BufferId>) -> Node {
        let label = self.network.layers[layer].label();
        let (output, operation) = self.operation(layer, input);
        let next_backward = self.backward_time(layer + 1);
        let (y, dy) = if let Operation::Dropout { .. } = operation {
            (x, dx)
        } else {
            let last = self.backward_time(layer).max(self.forward_time(layer + 1));
            let y =
                self.activation(&format!("{label} {layer} output"), output, self.forward_time(layer), last);
            let dy = self.is_trained(layer).then(|| {
                let name = format!("{label} {layer} gradient of output");
                let map = output.in_format(self.format);
                self.activation(&name, map, next_backward, self.backward_time(layer))
            });
            (y, dy)
        };
        // In-place dropout keeps its neighbours' buffers in use for one more node.
        self.use_until(x, self.backward_time(layer).max(self.forward_time(layer)));
        for gradient in [dx, dy].into_iter().flatten() {
            self.use_from(gradient, self.backward_time(layer));
            self.use_until(gradient, self.backward_time(layer));
        }
        let scratch = self.forward_scratch(layer, &operation);
        Node { label, layer, operation, input, output, x, y, scratch, dx, dy }
    }

    fn operation(&mut self, layer: usize, input: Map) -> (Map, Operation) {
        match self.network.layers[layer] {
            Layer::Convolution { out_channels, kernel } => {
                // The first convolution's windows are gathered, which makes it a 1×1 one.
                let gathered = layer == 0;
                let contraction =
                    Contraction::convolution(input, out_channels, if gathered { 1 } else { kernel });
                let contraction = contraction.with_algorithm(contraction.fastest(self.options.batch_size));
                let channels = if gathered { self.network.input.channels } else { input.channels };
                let layout = WeightLayout {
                    outputs: out_channels,
                    channels,
                    positions: kernel * kernel,
                    gathered,
                    format: self.format,
                };
                let parameters = self.parameters(layer, contraction, layout);
                (contraction.output(), Operation::Contraction { contraction, parameters, relu: true })
            }
            Layer::Dense { outputs, relu } => {
                let contraction = Contraction::dense(input, outputs);
                let layout = WeightLayout {
                    outputs,
                    channels: input.channels,
                    positions: input.pixels(),
                    gathered: false,
                    format: self.format,
                };
                let parameters = self.parameters(layer, contraction, layout);
                // The loss is computed from logits that are not rounded.
                let last = layer + 1 == self.network.layers.len();
                let format = if last { Format::F32 } else { self.format };
                (
                    contraction.output().in_format(format),
                    Operation::Contraction { contraction, parameters, relu },
                )
            }
            Layer::LocalResponseNormalisation => (input, Operation::Normalisation),
            Layer::MaxPool => {
                let output = pooling::output(input);
                let argmax = self.is_trained(layer).then(|| self.byte_buffer("argmax", layer, output));
                (output, Operation::Pool { argmax })
            }
            Layer::Dropout { rate } => {
                let keep = self.options.training.then(|| self.byte_buffer("kept", layer, input));
                (input, Operation::Dropout { keep, rate })
            }
        }
    }

    fn parameters(&mut self, layer: usize, contraction: Contraction, layout: WeightLayout) -> Parameters {
        debug_assert_eq!(contraction.weights_len(), layout.packed_len());
        let position = |p: &Parameter| p.layer == layer;
        let index = self.parameters.iter().position(position).expect("every contraction has parameters");
        let name = self.parameters[index].name.trim_end_matches(".weight").to_owned();
        let lens = [layout.packed_len(), contraction.output().blocks() * self.format.block()];
        let EngineOptions { training, gradients, momentum, averaging, .. } = *self.options;
        let (format, trained) = (self.format, self.is_trained(layer));
        let mut add = |what: &str, len| self.add(format!("{name}.{what}"), len, 0, usize::MAX);
        let (weight, bias) = (add("weight", lens[0]), add("bias", lens[1]));
        let operand = (format == Format::Bf16).then(|| add("weight in bf16", lens[0] / 2));
        let weight_gradient = (trained && gradients).then(|| add("weight gradient", lens[0]));
        let bias_gradient = trained.then(|| add("bias gradient", lens[1]));
        let velocity =
            (training && momentum).then(|| [add("weight momentum", lens[0]), add("bias momentum", lens[1])]);
        let average =
            (training && averaging).then(|| [add("weight average", lens[0]), add("bias average", lens[1])]);
        Parameters { index, layout, weight, operand, bias, weight_gradient, bias_gradient, velocity, average }
    }

    /// Scratch for the forward pass of `layer`, if it needs any.
    fn forward_scratch(&mut self, layer: usize, operation: &Operation) -> Option<BufferId> {
        let Operation::Contraction { contraction, .. } = operation else { return None };
        let words =
            (contraction.forward_scratch_len(self.threads) * self.format.bytes()).div_ceil(size_of::<f32>());
        let time = self.forward_time(layer);
        (words > 0).then(|| self.add(format!("scratch of {layer}"), words, time, time))
    }

    /// Scratch for the backward pass that needs most.
    fn scratch(&mut self, nodes: &[Node]) -> Option<BufferId> {
        let needs = nodes.iter().filter_map(|node| match (&node.operation, node.dy) {
            (Operation::Contraction { contraction, .. }, Some(_)) => {
                Some(contraction.scratch_len(self.options.batch_size, self.threads))
            }
            _ => None,
        });
        let len = (needs.max()? * self.format.bytes()).div_ceil(size_of::<f32>());
        let (first, last) = self.backward_pass();
        Some(self.add("scratch of the backward pass".into(), len, first, last))
    }

    /// The first and the last moment of the backward pass.
    fn backward_pass(&self) -> (usize, usize) {
        (self.backward_time(self.network.layers.len()), self.backward_time(self.first_trained))
    }

    /// Room for the partial sums of the layer that has most.
    fn partial(&mut self, nodes: &[Node]) -> Option<BufferId> {
        let needs = nodes.iter().filter_map(|node| match (&node.operation, node.dy) {
            (Operation::Contraction { contraction, .. }, Some(_)) => {
                Some(contraction.partial_len(self.options.batch_size))
            }
            _ => None,
        });
        let len = needs.max()?;
        let (first, last) = self.backward_pass();
        Some(self.add("partial sums of gradients".into(), len, first, last))
    }

    fn activation(&mut self, name: &str, map: Map, first: usize, last: usize) -> BufferId {
        let len = map.len(self.options.batch_size) / (size_of::<f32>() / map.format.bytes());
        self.add(name.to_owned(), len, first, last)
    }

    /// A buffer of one byte for each value of `map`, from the node's forward to its backward pass.
    fn byte_buffer(&mut self, name: &str, layer: usize, map: Map) -> BufferId {
        let len = map.len(self.options.batch_size) / size_of::<f32>();
        let (first, last) = (self.forward_time(layer), self.backward_time(layer));
        self.add(format!("{name} {layer}"), len, first, last)
    }

    fn add(&mut self, name: String, len: usize, first: usize, last: usize) -> BufferId {
        self.buffers.push(Buffer { name, len, first, last, offset: 0 });
        self.buffers.len() - 1
    }

    fn use_from(&mut self, buffer: BufferId, time: usize) {
        self.buffers[buffer].first = self.buffers[buffer].first.min(time);
    }

    fn use_until(&mut self, buffer: BufferId, time: usize) {
        self.buffers[buffer].last = self.buffers[buffer].last.max(time);
    }
}

/// Gives every buffer a place and returns the length of the arena. The largest come first, each at
/// the lowest place that is free for as long as it is used.
fn place(buffers: &mut [Buffer]) -> usize {
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|&id| (buffers[id].last != usize::MAX, std::cmp::Reverse(buffers[id].len), id));
    let mut placed: Vec<usize> = Vec::with_capacity(buffers.len());
    let mut arena_len = 0;
    for id in order {
        let mut in_the_way: Vec<Range<usize>> = placed
            .iter()
            .map(|&other| &buffers[other])
            .filter(|other| other.first <= buffers[id].last && buffers[id].first <= other.last)
            .map(|other| other.offset..other.offset + other.len)
            .collect();
        in_the_way.sort_by_key(|range| range.start);
        let mut offset = 0;
        for range in in_the_way {
            if offset + buffers[id].len <= range.start {
                break;
            }
            offset = offset.max(range.end.next_multiple_of(CACHE_LINE));
        }
        buffers[id].offset = offset;
        arena_len = arena_len.max(offset + buffers[id].len);
        placed.push(id);
    }
    arena_len
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Precision;
    use vgg_arch::CONFIGURATIONS;

    fn plan(configuration: &str, training: bool, precision: Precision) -> Plan {
        plan_with(configuration, training, precision, 0)
    }

    fn plan_with(configuration: &str, training: bool, precision: Precision, frozen: usize) -> Plan {
        let network = Network::new(configuration, "tutorial", Shape::new(28, 28, 1), 10).unwrap();
        let options = EngineOptions {
            batch_size: 100,
            threads: 2,
            precision,
            training,
            gradients: false,
            momentum: true,
            frozen,
            ..EngineOptions::default()
        };
        Plan::new(&network, &options, Tier::Portable).unwrap()
    }

    #[test]
    fn buffers_in_use_together_never_overlap() {
        for row in CONFIGURATIONS {
            for (training, precision, frozen) in [
                (false, Precision::F32, 0),
                (true, Precision::F32, 0),
                (true, Precision::F32, 3),
                (false, Precision::Bf16, 0),
                (true, Precision::Bf16, 0),
                (true, Precision::Bf16, 10),
            ] {
                let plan = plan_with(row.name, training, precision, frozen);
                for (i, a) in plan.buffers.iter().enumerate() {
                    assert!(a.offset + a.len <= plan.arena_len);
                    for b in &plan.buffers[i + 1..] {
                        let together = a.first <= b.last && b.first <= a.last;
                        let apart = a.offset + a.len <= b.offset || b.offset + b.len <= a.offset;
                        assert!(!together || apart, "{} and {}", a.name, b.name);
                    }
                }
            }
        }
    }

    #[test]
    fn a_node_runs_inside_the_time_of_its_buffers() {
        for frozen in [0, 1, 6, 11, 13] {
            let plan = plan_with("vgg13", true, Precision::Bf16, frozen);
            let nodes = plan.nodes.len();
            for (index, node) in plan.nodes.iter().enumerate() {
                let (forward, backward) = (1 + index, 2 * nodes + 1 - index);
                let mut uses = vec![(node.x, forward), (node.y, forward)];
                if index >= plan.first_trained {
                    uses.extend([node.x, node.y].map(|buffer| (buffer, backward)));
                    uses.extend([node.dx, node.dy].into_iter().flatten().map(|buffer| (buffer, backward)));
                }
                for (buffer, time) in uses {
                    let buffer = &plan.buffers[buffer];
                    assert!((buffer.first..=buffer.last).contains(&time), "{} at {time}", buffer.name);
                }
            }
        }
    }

    /// A pool follows every two convolutions, so that the ninth layer with parameters is layer 12.
    #[test]
    fn nothing_is_kept_for_a_backward_pass_below_the_lowest_trained_layer() {
        let (all, some) = (plan("vgg13", true, Precision::F32), plan_with("vgg13", true, Precision::F32, 8));
        assert_eq!([all.first_trained, some.first_trained], [0, 12]);
        let (frozen, trained) = some.nodes.split_at(some.first_trained);
        for node in frozen {
            assert_eq!([node.dx, node.dy], [None; 2], "{}", node.label);
            match &node.operation {
                Operation::Contraction { parameters, .. } => assert_eq!(parameters.bias_gradient, None),
                Operation::Pool { argmax } => assert_eq!(*argmax, None),
                _ => {}
            }
        }
        assert_eq!(trained[0].dx, None);
        assert!(trained[0].dy.is_some() && trained[1..].iter().all(|node| node.dx.is_some()));
        assert!(some.arena_len < all.arena_len);
    }

    /// Weights and momentum take 2 · 130 MB, and weights in bf16 65 MB; activations with their
    /// gradients share what is left, and prediction needs little more than the weights.
    #[test]
    fn the_tutorial_network_fits_its_memory() {
        for (training, precision, megabytes) in [
            (true, Precision::F32, 430),
            (false, Precision::F32, 190),
            (true, Precision::Bf16, 430),
            (false, Precision::Bf16, 240),
        ] {
            let bytes = plan("vgg13", training, precision).arena_len * 4;
            assert!(bytes < megabytes << 20, "{bytes} bytes: training {training}, {precision:?}");
        }
    }

    #[test]
    fn sizes_that_wrap_and_absurd_threads_are_refused() {
        let mut network = Network::new("vgg11", "paper", Shape::new(28, 28, 1), 10).unwrap();
        let mut options = EngineOptions {
            batch_size: 1,
            threads: MAX_THREADS + 1,
            precision: Precision::F32,
            training: false,
            gradients: false,
            momentum: false,
            ..EngineOptions::default()
        };
        assert!(matches!(Plan::new(&network, &options, Tier::Portable), Err(EngineError::Machine(_))));
        options.threads = 1;
        network.layers.truncate(1);
        for input in [Shape::new((1 << 56) + 1, 1, 256), Shape::new(1 << 40, 1 << 40, 1)] {
            network.input = input;
            assert!(
                matches!(Plan::new(&network, &options, Tier::Portable), Err(EngineError::Memory { .. })),
                "{input}"
            );
        }
    }

    #[test]
    fn impossible_batches_are_refused() {
        let network = Network::new("vgg11", "paper", Shape::new(28, 28, 1), 10).unwrap();
        for batch_size in [0, MAX_BATCH + 1] {
            let options = EngineOptions {
                batch_size,
                threads: 1,
                precision: Precision::Auto,
                training: true,
                gradients: true,
                momentum: false,
                ..EngineOptions::default()
            };
            assert!(matches!(Plan::new(&network, &options, Tier::Portable), Err(EngineError::Batch { .. })));
        }
    }
}
