//! The edge of the engine: the trait, what goes in and what comes out.

use vgg_arch::{Initialiser, Network};

/// A network with its parameters, ready to compute. Images are bytes (`0..=255`, read as
/// `0.0..=1.0`, then normalised as [`crate::EngineOptions::normalisation`] says) in the order picture, row,
/// column, channel; a call takes any number of pictures from 1 to [`EngineInfo::batch_size`].
pub trait Engine: Send {
    /// The network that this engine runs.
    fn network(&self) -> &Network;

    /// What this engine runs on and how.
    fn info(&self) -> EngineInfo;

    /// Sets all weights as `initialiser` says, biases and momentum to zero, and the mean of the
    /// parameters to the parameters. The values are a function of the network, the initialiser and the
    /// seed.
    fn initialise(&mut self, initialiser: Initialiser, seed: u64);

    /// Computes logits, `[picture][class]`, without dropout.
    ///
    /// # Errors
    /// When the lengths of `images` and `logits` do not belong to the same number of pictures.
    fn forward(&mut self, images: &[u8], logits: &mut [f32]) -> Result<(), EngineError>;

    /// Computes the objective of a batch with dropout on ([`Outcome::loss`]), and its gradient in every
    /// parameter that is not frozen, which replaces the gradient of the call before.
    ///
    /// # Errors
    /// When the lengths do not fit, a label is not below the number of classes, the step is 2⁴⁸ or
    /// more, or the engine was made without [`crate::EngineOptions::gradients`].
    fn forward_backward(
        &mut self,
        images: &[u8],
        labels: &[u32],
        dropout: Dropout,
    ) -> Result<Outcome, EngineError>;

    /// Changes every parameter that is not frozen by the gradient of the last
    /// [`Engine::forward_backward`].
    ///
    /// # Errors
    /// When the engine was made without gradients, or the rule has momentum and the engine was
    /// made without [`crate::EngineOptions::momentum`]; [`EngineError::Diverged`].
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

    /// Moves the mean of every parameter by `share` of the way to the parameter:
    /// `mean += share · (parameter − mean)`; a share of 1 makes them equal. Equal shares give an
    /// exponential mean; shares 1, 1/2, 1/3, … give the mean of what the parameters were at each call.
    ///
    /// # Errors
    /// When the share is not in `0.0..=1.0`, or the engine was made without
    /// [`crate::EngineOptions::averaging`]; [`EngineError::Diverged`] when a mean is no finite number.
    fn average(&mut self, share: f32) -> Result<(), EngineError>;

    /// Exchanges the parameters and their means, so that [`Engine::forward`] uses the means (and
    /// [`State::Weight`] is them) until the next call, which restores every bit.
    ///
    /// # Errors
    /// When the engine was made without [`crate::EngineOptions::averaging`].
    fn swap_average(&mut self) -> Result<(), EngineError>;

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
    /// Bytes of the one arena that holds activations and parameters and, for training, gradients,
    /// momentum and means.
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
    /// Mean softmax cross-entropy of the batch, with the label smoothing and the class weights that the
    /// engine was made with.
    pub loss: f32,
    /// Pictures whose label has the largest logit (the first of equal ones).
    pub correct: usize,
}

/// Stochastic gradient descent. For each value with gradient `g` (clipped to `±gradient_clip`, plus
/// `weight_decay · w` for weights, not for biases):
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
    /// Largest magnitude of each value of the gradient; infinite where it may have any. A gradient that
    /// overflows is [`EngineError::Diverged`] with and without.
    pub gradient_clip: f32,
}

/// The values that exist for every parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The parameter itself.
    Weight,
    /// The `v` of [`UpdateRule`].
    Momentum,
    /// The gradient of the last [`Engine::forward_backward`]; frozen layers have none.
    Gradient,
    /// The mean that [`Engine::average`] moves.
    Average,
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
    /// An option or argument that is out of its range.
    #[error("{what} is {found}, expected {expected}")]
    Value {
        /// Name of the option or argument.
        what: &'static str,
        /// What was given.
        found: String,
        /// What would do.
        expected: String,
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
    /// An update made parameters, or an average means, that are infinite or no numbers.
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
