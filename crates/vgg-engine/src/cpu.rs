//! The engine that computes on this machine's processor.

use crate::arena::{Arena, values};
use crate::backward::{update_bias, weight_rule};
use crate::plan::{BufferId, Node, Operation, Parameters, Plan};
use crate::{
    Dropout, Engine, EngineError, EngineInfo, EngineOptions, Normalisation, Outcome, State, UpdateRule,
    average, backward, forward, initialise,
};
use vgg_arch::{Initialiser, Network, Parameter};
use vgg_kernels::loss::{self, Objective};
use vgg_kernels::{Bf16, Element, Format, Kernels, Operand, Pool, gather, update};

/// Steps of a run, at most: their numbers are part of the streams of random numbers.
const MAX_STEPS: u64 = 1 << 48;

/// Makes an engine for `network` on this machine's processor, with all parameters zero.
///
/// # Errors
/// When the plan cannot be made (see [`Plan::new`]), the memory cannot be had, there can be no
/// such number of threads, or `VGG_MAX_ISA` or `VGG_REQUIRE_ISA` ask for what cannot run.
pub fn cpu_engine(network: &Network, options: &EngineOptions) -> Result<Box<dyn Engine>, EngineError> {
    let kernels = Kernels::choose().map_err(|error| EngineError::Machine(error.to_string()))?;
    cpu_engine_with(network, options, kernels)
}

/// As [`cpu_engine`], with kernels that the caller has chosen: for comparing tiers.
///
/// # Errors
/// As [`cpu_engine`].
pub fn cpu_engine_with(
    network: &Network,
    options: &EngineOptions,
    kernels: Kernels,
) -> Result<Box<dyn Engine>, EngineError> {
    Ok(Box::new(CpuEngine::new(network, Plan::new(network, options, kernels.tier())?, kernels)?))
}

/// The plan and what it runs on.
pub(crate) struct Machine {
    pub(crate) plan: Plan,
    pub(crate) arena: Arena,
    pub(crate) kernels: Kernels,
    pub(crate) pool: Pool,
}

pub(crate) struct CpuEngine {
    pub(crate) network: Network,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) machine: Machine,
}

impl CpuEngine {
    pub(crate) fn new(network: &Network, plan: Plan, kernels: Kernels) -> Result<Self, EngineError> {
        let threads = plan.threads;
        let pool = Pool::new(threads).map_err(|error| {
            EngineError::Machine(format!(
                "{threads} threads could not be started: {error}; use fewer threads"
            ))
        })?;
        let arena = Arena::new(plan.arena_len, &pool)?;
        let mut machine = Machine { plan, arena, kernels, pool };
        match machine.plan.format {
            Format::F32 => machine.fill_byte_values::<f32>(),
            Format::Bf16 => machine.fill_byte_values::<Bf16>(),
        }
        Ok(Self { network: network.clone(), parameters: network.parameters(), machine })
    }

    /// Number of pictures in `images`.
    fn batch(&self, images: &[u8]) -> Result<usize, EngineError> {
        let picture = self.network.input.len();
        let limit = self.machine.plan.batch_size;
        let batch = images.len() / picture;
        if !images.len().is_multiple_of(picture) {
            let expected = (batch + 1) * picture;
            return Err(EngineError::Length { what: "images", found: images.len(), expected });
        }
        if batch == 0 || batch > limit {
            return Err(EngineError::Batch { found: batch, limit });
        }
        Ok(batch)
    }

    /// The packed buffers of one parameter: its node's parameters, whether it is the bias, and the
    /// buffer of `state`.
    fn buffer(&self, state: State, parameter: usize) -> Result<(&Parameters, bool, BufferId), EngineError> {
        let has_it = |of: &&Parameters| (of.index..of.index + 2).contains(&parameter);
        let parameters =
            self.machine.plan.parameters().find(has_it).ok_or(EngineError::NoParameter(parameter))?;
        let is_bias = parameter > parameters.index;
        let buffers = match state {
            State::Weight => [parameters.weight, parameters.bias],
            State::Gradient => {
                let gradients = parameters.weight_gradient.zip(parameters.bias_gradient);
                let frozen = self.machine.plan.gradients;
                let missing = if frozen { "gradients of frozen layers" } else { "gradients" };
                gradients.ok_or(EngineError::NotMadeFor(missing))?.into()
            }
            State::Momentum => parameters.velocity.ok_or(EngineError::NotMadeFor("momentum"))?,
            State::Average => parameters.average.ok_or(EngineError::NotMadeFor("averaging"))?,
        };
        Ok((parameters, is_bias, buffers[usize::from(is_bias)]))
    }

    /// A forward and a backward pass, with updates by the rule, if there is one.
    fn step(
        &mut self,
        images: &[u8],
        labels: &[u32],
        dropout: Dropout,
        rule: Option<&UpdateRule>,
    ) -> Result<Outcome, EngineError> {
        let batch = self.batch(images)?;
        check_labels(labels, batch, self.network.classes)?;
        if dropout.step >= MAX_STEPS {
            return Err(EngineError::Step(dropout.step));
        }
        if !self.machine.plan.training {
            return Err(EngineError::NotMadeFor("training"));
        }
        match self.machine.plan.format {
            Format::F32 => self.machine.step::<f32>(batch, images, labels, dropout, rule),
            Format::Bf16 => self.machine.step::<Bf16>(batch, images, labels, dropout, rule),
        }
    }

    fn check_rule(&self, rule: &UpdateRule) -> Result<(), EngineError> {
        let Plan { training, momentum, .. } = self.machine.plan;
        match () {
            () if !training => Err(EngineError::NotMadeFor("training")),
            () if rule.momentum != 0.0 && !momentum => Err(EngineError::NotMadeFor("momentum")),
            () => Ok(()),
        }
    }

    fn check_len(&self, parameter: usize, found: usize) -> Result<(), EngineError> {
        let expected = self.parameters.get(parameter).ok_or(EngineError::NoParameter(parameter))?.len();
        if found == expected { Ok(()) } else { Err(EngineError::Length { what: "values", found, expected }) }
    }

    fn set(&mut self, state: State, parameter: usize, values: &[f32]) -> Result<(), EngineError> {
        self.check_len(parameter, values.len())?;
        let (parameters, is_bias, buffer) = self.buffer(state, parameter)?;
        let (layout, range) = (parameters.layout, self.machine.plan.whole(buffer));
        let [packed] = self.machine.arena.parts([range]);
        if is_bias {
            packed[..values.len()].copy_from_slice(values);
        } else {
            layout.pack(values, packed);
            if state == State::Weight {
                self.machine.pack_operand(buffer);
            }
        }
        Ok(())
    }
}

impl Engine for CpuEngine {
    fn network(&self) -> &Network {
        &self.network
    }

    fn info(&self) -> EngineInfo {
        EngineInfo {
            tier: self.machine.kernels.tier().name().to_owned(),
            precision: self.machine.plan.format.to_string(),
            threads: self.machine.pool.threads(),
            batch_size: self.machine.plan.batch_size,
            arena_bytes: self.machine.plan.arena_len * size_of::<f32>(),
        }
    }

    fn initialise(&mut self, initialiser: Initialiser, seed: u64) {
        let longest = self.parameters.iter().map(Parameter::len).max().unwrap_or(0);
        let mut values = vec![0.0; longest];
        for index in 0..self.parameters.len() {
            let values = &mut values[..self.parameters[index].len()];
            initialise::fill(&self.machine.pool, &self.parameters[index], index, initialiser, seed, values);
            self.set(State::Weight, index, values).expect("every parameter has a buffer for its values");
            // An engine without averaging or momentum has nothing to set.
            let _ = self.set(State::Average, index, values);
            values.fill(0.0);
            let _ = self.set(State::Momentum, index, values);
        }
    }

    fn forward(&mut self, images: &[u8], logits: &mut [f32]) -> Result<(), EngineError> {
        let batch = self.batch(images)?;
        let classes = self.network.classes;
        if logits.len() != batch * classes {
            return Err(EngineError::Length {
                what: "logits",
                found: logits.len(),
                expected: batch * classes,
            });
        }
        match self.machine.plan.format {
            Format::F32 => forward::run::<f32>(&mut self.machine, batch, images, None),
            Format::Bf16 => forward::run::<Bf16>(&mut self.machine, batch, images, None),
        }
        let node = self.machine.plan.logits();
        let values = &self.machine.arena.values()[self.machine.plan.whole(node.y)];
        for (picture, logits) in logits.chunks_exact_mut(classes).enumerate() {
            for (class, logit) in logits.iter_mut().enumerate() {
                *logit = values[node.output.index(picture, 0, class)];
            }
        }
        Ok(())
    }

    fn forward_backward(
        &mut self,
        images: &[u8],
        labels: &[u32],
        dropout: Dropout,
    ) -> Result<Outcome, EngineError> {
        if !self.machine.plan.gradients {
            return Err(EngineError::NotMadeFor("gradients"));
        }
        self.step(images, labels, dropout, None)
    }

    fn update(&mut self, rule: &UpdateRule) -> Result<(), EngineError> {
        self.check_rule(rule)?;
        let Machine { plan, arena, kernels, pool } = &mut self.machine;
        let mut finite = true;
        for node in &plan.nodes[plan.first_trained..] {
            let Operation::Contraction { parameters, .. } = &node.operation else { continue };
            let gradient = parameters.weight_gradient.ok_or(EngineError::NotMadeFor("gradients"))?;
            let [weights, gradient, velocity, operands] = arena.parts([
                plan.whole(parameters.weight),
                plan.whole(gradient),
                plan.whole_or_none(parameters.velocity.map(|velocity| velocity[0])),
                plan.whole_or_none(parameters.operand),
            ]);
            let velocity = (!velocity.is_empty()).then_some(velocity);
            let operands = (!operands.is_empty()).then(|| values(operands));
            finite &= update::sgd(kernels, pool, &weight_rule(rule), weights, gradient, velocity, operands);
            finite &= update_bias(plan, arena, kernels, pool, parameters, rule);
        }
        if finite { Ok(()) } else { Err(EngineError::Diverged) }
    }

    fn train_step(
        &mut self,
        images: &[u8],
        labels: &[u32],
        dropout: Dropout,
        rule: &UpdateRule,
    ) -> Result<Outcome, EngineError> {
        self.check_rule(rule)?;
        if !self.machine.plan.gradients {
            return self.step(images, labels, dropout, Some(rule));
        }
        let outcome = self.forward_backward(images, labels, dropout)?;
        if outcome.loss.is_finite() {
            self.update(rule)?;
        }
        Ok(outcome)
    }

    fn average(&mut self, share: f32) -> Result<(), EngineError> {
        average::advance(&mut self.machine, share)
    }

    fn swap_average(&mut self) -> Result<(), EngineError> {
        average::swap(&mut self.machine)
    }

    fn read(&self, state: State, parameter: usize, values: &mut [f32]) -> Result<(), EngineError> {
        self.check_len(parameter, values.len())?;
        let (parameters, is_bias, buffer) = self.buffer(state, parameter)?;
        let packed = &self.machine.arena.values()[self.machine.plan.whole(buffer)];
        if is_bias {
            values.copy_from_slice(&packed[..values.len()]);
        } else {
            parameters.layout.unpack(packed, values);
        }
        Ok(())
    }

    fn write(&mut self, state: State, parameter: usize, values: &[f32]) -> Result<(), EngineError> {
        if state == State::Gradient {
            return Err(EngineError::NotMadeFor("writing gradients"));
        }
        self.set(state, parameter, values)
    }
}

impl Machine {
    /// Says what every byte of a picture becomes: with mean 0 and deviation 1 its share of 255.
    fn fill_byte_values<T: Element>(&mut self) {
        let Machine { plan, arena, .. } = self;
        let channels = plan.picture.channels;
        let [table] = arena.parts([plan.whole(plan.byte_values)]);
        match &plan.normalisation {
            Some(Normalisation { mean, deviation }) => {
                gather::fill_table::<T>(mean, deviation, values(table))
            }
            None => gather::fill_table::<T>(&vec![0.0; channels], &vec![1.0; channels], values(table)),
        }
    }

    /// A step on operands of one format.
    fn step<T: Operand>(
        &mut self,
        batch: usize,
        images: &[u8],
        labels: &[u32],
        dropout: Dropout,
        rule: Option<&UpdateRule>,
    ) -> Result<Outcome, EngineError> {
        forward::run::<T>(self, batch, images, Some(dropout));
        let outcome = self.loss::<T>(batch, labels);
        // What has no finite loss has no gradient that may touch a weight.
        let computes = rule.is_none() || outcome.loss.is_finite();
        if computes && !backward::run::<T>(self, batch, rule) {
            return Err(EngineError::Diverged);
        }
        Ok(outcome)
    }

    /// The loss of the logits and its gradient.
    fn loss<T: Operand>(&mut self, batch: usize, labels: &[u32]) -> Outcome {
        let Machine { plan, arena, .. } = self;
        let objective =
            Objective { label_smoothing: plan.label_smoothing, class_weights: plan.class_weights.as_deref() };
        let Node { output, y, dy, .. } = *plan.logits();
        let dy = dy.expect("a plan for training has gradients");
        let logits = plan.values::<f32>(y, output.len(batch));
        let gradient = plan.values::<T>(dy, output.in_format(T::FORMAT).len(batch));
        let [logits, gradient] = arena.parts([logits, gradient]);
        let gradient = Some(values::<T>(gradient));
        let sum = loss::softmax_cross_entropy(batch, output, logits, labels, objective, gradient);
        Outcome { loss: sum.loss as f32, correct: sum.correct }
    }

    /// Copies new weights to what products read, if that is another buffer.
    fn pack_operand(&mut self, weight: BufferId) {
        let Machine { plan, arena, kernels, pool } = self;
        let operand = plan.parameters().find(|of| of.weight == weight).and_then(|of| of.operand);
        if let Some(operand) = operand {
            let [weight, operand] = arena.parts([plan.whole(weight), plan.whole(operand)]);
            update::pack_operands(kernels, pool, weight, values(operand));
        }
    }
}

fn check_labels(labels: &[u32], batch: usize, classes: usize) -> Result<(), EngineError> {
    if labels.len() != batch {
        return Err(EngineError::Length { what: "labels", found: labels.len(), expected: batch });
    }
    match labels.iter().position(|&label| label as usize >= classes) {
        Some(picture) => Err(EngineError::Label { label: labels[picture], picture, classes }),
        None => Ok(()),
    }
}
