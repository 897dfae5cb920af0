//! The edge of the engine: the trait, what goes in and what comes out.

use vgg_arch::{Initialiser, Network};
use vgg_kernels::{Format, Tier};

/// A network with its parameters, ready to compute. Images are bytes (`0..=255`, read as
/// `0.0..=1.0`) in the order picture, row, column, channel; a call takes any number of pictures
/// from 1 to [`EngineInfo::batch_size`].
pub trait Engine: Send {
    /// The network that this engine runs.
    fn network(&self) -> &Network;

    /// What this engine runs on and how.
    fn info(&self) -> EngineInfo;

    /// Sets all weights as `initialiser` says, biases and momentum to zero. The values are a
    /// function of the network, the initialiser and the seed.
    fn initialise(&mut self, initialiser: Initialiser, seed: u64);

    /// Computes logits, `[picture][class]`, without dropout.
    ///
    /// # Errors
    /// When the lengths of `images` and `logits` do not belong to the same number of pictures.
    fn forward(&mut self, images: &[u8], logits: &mut [f32]) -> Result<(), EngineError>;

    /// Computes the mean softmax cross-entropy of a batch with dropout on, and its gradient in
    /// every parameter, which replaces the gradient of the call before.
    ///
    /// # Errors
    /// When the lengths do not fit, a label is not below the number of classes, the step is 2⁴⁸ or
    /// more, or the engine was made without [`EngineOptions::gradients`].
    fn forward_backward(
        &mut self,
        images: &[u8],
        labels: &[u32],
        dropout: Dropout,
    ) -> Result<Outcome, EngineError>;

    /// Changes every parameter by the gradient of the last [`Engine::forward_backward`].
    ///
    /// # Errors
    /// When the engine was made without gradients, or the rule has momentum and the engine was
    /// made without [`EngineOptions::momentum`]; [`EngineError::Diverged`].
    fn update(&mut self, rule: &UpdateRule) -> Result<(), EngineError>;

    /// One step of training: the same as [`Engine::forward_backward`] and [`Engine::update`], to the
    /// bit. An engine made without gradients changes weights as soon as their gradient is known,
    /// which spares the memory for it and its way there and back. A loss that is not finite changes
    /// nothing. A gradient can overflow although the loss is finite: that is [`EngineError::Diverged`],
    /// and the parameters are spoilt.
    ///
    /// # Errors
    /// As both, but the engine need not be made with gradients.
    fn train_step(
        &mut self,
        images: &[u8],
        labels: &[u32],
        dropout: Dropout,
        rule: &UpdateRule,
    ) -> Result<Outcome, EngineError>;

    /// Copies the values of one parameter (its position in [`Network::parameters`]) out, in the
    /// layout of [`vgg_arch::Parameter::shape`].
    ///
    /// # Errors
    /// When there is no such parameter or state, or `values` has another length.
    fn read(&self, state: State, parameter: usize, values: &mut [f32]) -> Result<(), EngineError>;

    /// Replaces the values of one parameter; the counterpart of [`Engine::read`].
    ///
    /// # Errors
    /// As for [`Engine::read`]; gradients cannot be written.
    fn write(&mut self, state: State, parameter: usize, values: &[f32]) -> Result<(), EngineError>;
}

/// What an engine is made for.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Largest number of pictures in a call.
    pub batch_size: usize,
    /// Number of threads; 0 takes one for each core that this process may use.
    pub threads: usize,
    /// Format of the operands.
    pub precision: Precision,
    /// Whether the engine can train.
    pub training: bool,
    /// Whether there is memory for the gradients of all parameters, so that they can be computed,
    /// read and applied one after the other. [`Engine::train_step`] does without.
    pub gradients: bool,
    /// Whether there is memory for momentum.
    pub momentum: bool,
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

/// What an engine runs on and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineInfo {
    /// Name of the instruction-set tier, such as `avx512`.
    pub tier: String,
    /// Name of the operands' format, such as `f32`.
    pub precision: String,
    /// Number of threads that compute.
    pub threads: usize,
    /// Largest number of pictures in a call.
    pub batch_size: usize,
    /// Bytes of the one arena that holds activations and parameters and, for training, gradients and
    /// momentum.
    pub arena_bytes: usize,
}

/// Which values dropout drops: they are a function of seed, step, layer and position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropout {
    /// The run's seed.
    pub seed: u64,
    /// Number of updates before this step.
    pub step: u64,
}

/// What a training step found, before its update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Mean softmax cross-entropy of the batch.
    pub loss: f32,
    /// Pictures whose label has the largest logit (the first of equal ones).
    pub correct: usize,
}

/// Stochastic gradient descent. For each value with gradient `g` (plus `weight_decay · w` for
/// weights, not for biases):
/// `v ← momentum · v + g`, then `w ← w − learning_rate · v`, or with Nesterov's look-ahead
/// `w ← w − learning_rate · (g + momentum · v)` — PyTorch's form of the rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpdateRule {
    /// Factor of the step.
    pub learning_rate: f32,
    /// Share of the last step that is kept, in `[0, 1)`.
    pub momentum: f32,
    /// Whether the gradient is taken ahead of the momentum's step.
    pub nesterov: bool,
    /// Pull of weights towards zero.
    pub weight_decay: f32,
}

/// The values that exist for every parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The parameter itself.
    Weight,
    /// The `v` of [`UpdateRule`].
    Momentum,
    /// The gradient of the last [`Engine::forward_backward`].
    Gradient,
}

/// Why an engine cannot do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A slice does not have the length that the network needs.
    #[error("{what} has {found} values, expected {expected}")]
    Length {
        /// Which argument.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length it should have.
        expected: usize,
    },
    /// More pictures than the engine was made for, or none.
    #[error("a batch of {found} pictures does not fit an engine made for 1 to {limit}")]
    Batch {
        /// Pictures given.
        found: usize,
        /// Pictures that fit.
        limit: usize,
    },
    /// A label that the network has no class for.
    #[error(
        "label {label} of picture {picture} in the batch is not below the {classes} classes of the network"
    )]
    Label {
        /// The label.
        label: u32,
        /// Position of the picture in the batch.
        picture: usize,
        /// Number of classes.
        classes: usize,
    },
    /// A step that no run reaches.
    #[error("step {0} is out of range: a run has fewer than 2^48 steps")]
    Step(u64),
    /// An update made parameters that are infinite or no numbers.
    #[error("a gradient overflowed, and the weights are no finite numbers any more")]
    Diverged,
    /// The engine has no memory for what was asked.
    #[error("the engine was made without {0}")]
    NotMadeFor(&'static str),
    /// No parameter at this position.
    #[error("the network has no parameter {0}")]
    NoParameter(usize),
    /// The machine cannot hold the network and its activations.
    #[error("{bytes} bytes of memory could not be had for this network and batch size; use a smaller batch")]
    Memory {
        /// Bytes asked for.
        bytes: usize,
    },
    /// Kernels or threads that this machine does not have.
    #[error("{0}")]
    Machine(String),
}
