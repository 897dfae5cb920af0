//! The engine that computes on this machine's processor.

use crate::arena::Arena;
use crate::plan::{BufferId, Node, Operation, Parameters, Plan};
use crate::{
    Dropout, Engine, EngineError, EngineInfo, EngineOptions, Outcome, State, UpdateRule, backward, forward,
    initialise,
};
use vgg_arch::{Initialiser, Network, Parameter};
use vgg_kernels::{Kernels, Pool, loss, update};

/// Steps of a run, at most: their numbers are part of the streams of random numbers.
const MAX_STEPS: u64 = 1 << 48;

/// Makes an engine for `network` on this machine's processor, with all parameters zero.
///
/// # Errors
/// When the plan cannot be made (see [`Plan::new`]), the memory cannot be had, there can be no
/// such number of threads, or `VGG_MAX_ISA` or `VGG_REQUIRE_ISA` ask for what cannot run.
pub fn cpu_engine(network: &Network, options: &EngineOptions) -> Result<Box<dyn Engine>, EngineError> {
    let plan = Plan::new(network, options)?;
    let kernels = Kernels::choose().map_err(|error| EngineError::Machine(error.to_string()))?;
    Ok(Box::new(CpuEngine::new(network, plan, kernels)?))
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
    Ok(Box::new(CpuEngine::new(network, Plan::new(network, options)?, kernels)?))
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
        let arena = Arena::new(plan.arena_len)?;
        let pool = Pool::new(plan.threads).map_err(|error| EngineError::Machine(error.to_string()))?;
        let machine = Machine { plan, arena, kernels, pool };
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
        let found = self.machine.plan.nodes.iter().find_map(|node| match &node.operation {
            Operation::Contraction { parameters, .. }
                if (parameters.index..parameters.index + 2).contains(&parameter) =>
            {
                Some(parameters)
            }
            _ => None,
        });
        let parameters = found.ok_or(EngineError::NoParameter(parameter))?;
        let is_bias = parameter > parameters.index;
        let buffers = match state {
            State::Weight => [parameters.weight, parameters.bias],
            State::Gradient => parameters.gradient.ok_or(EngineError::NotMadeFor("training"))?,
            State::Momentum => parameters.velocity.ok_or(EngineError::NotMadeFor("momentum"))?,
        };
        Ok((parameters, is_bias, buffers[usize::from(is_bias)]))
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
            precision: "f32".to_owned(),
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
            initialise::fill(&self.parameters[index], index, initialiser, seed, values);
            self.set(State::Weight, index, values).expect("every parameter has a buffer for its values");
            values.fill(0.0);
            // An engine without momentum has nothing to set.
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
        forward::run(&mut self.machine, batch, images, None);
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
        let batch = self.batch(images)?;
        check_labels(labels, batch, self.network.classes)?;
        if dropout.step >= MAX_STEPS {
            return Err(EngineError::Step(dropout.step));
        }
        if !self.machine.plan.training {
            return Err(EngineError::NotMadeFor("training"));
        }
        forward::run(&mut self.machine, batch, images, Some(dropout));
        let outcome = self.machine.loss(batch, labels);
        backward::run(&mut self.machine, batch);
        Ok(outcome)
    }

    fn update(&mut self, rule: &UpdateRule) -> Result<(), EngineError> {
        let Machine { plan, arena, kernels, pool } = &mut self.machine;
        for node in &plan.nodes {
            let Operation::Contraction { parameters, .. } = &node.operation else { continue };
            let gradient = parameters.gradient.ok_or(EngineError::NotMadeFor("training"))?;
            if rule.momentum != 0.0 && parameters.velocity.is_none() {
                return Err(EngineError::NotMadeFor("momentum"));
            }
            for (is_bias, buffer) in [parameters.weight, parameters.bias].into_iter().enumerate() {
                let sgd = update::Sgd {
                    learning_rate: rule.learning_rate,
                    momentum: rule.momentum,
                    nesterov: rule.nesterov,
                    weight_decay: if is_bias == 1 { 0.0 } else { rule.weight_decay },
                };
                let (weight, gradient) = (plan.whole(buffer), plan.whole(gradient[is_bias]));
                match parameters.velocity {
                    Some(velocity) => {
                        let velocity = plan.whole(velocity[is_bias]);
                        let [weight, gradient, velocity] = arena.parts([weight, gradient, velocity]);
                        update::sgd(kernels, pool, &sgd, weight, gradient, Some(velocity));
                    }
                    None => {
                        let [weight, gradient] = arena.parts([weight, gradient]);
                        update::sgd(kernels, pool, &sgd, weight, gradient, None);
                    }
                }
            }
        }
        Ok(())
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
    /// The loss of the logits and its gradient.
    fn loss(&mut self, batch: usize, labels: &[u32]) -> Outcome {
        let Machine { plan, arena, .. } = self;
        let Node { output, y, dy, .. } = *plan.logits();
        let dy = dy.expect("a plan for training has gradients");
        let len = output.len(batch);
        let [logits, gradient] = arena.parts([plan.range(y, len), plan.range(dy, len)]);
        let sum = loss::softmax_cross_entropy(batch, output, logits, labels, Some(gradient));
        Outcome { loss: sum.loss as f32, correct: sum.correct }
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
