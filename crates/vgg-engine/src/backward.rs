//! The backward pass: the plan's nodes from the last to the lowest that is trained, from the gradient of
//! the logits to the gradient of every parameter on the way, or to its update.

use crate::UpdateRule;
use crate::arena::{Arena, bytes, values};
use crate::cpu::Machine;
use crate::forward::LRN_CONSTANTS;
use crate::plan::{Node, Operation, Parameters, Plan};
use std::sync::atomic::{AtomicBool, Ordering};
use vgg_kernels::contraction::{Apply, Run};
use vgg_kernels::update::{self, Sgd};
use vgg_kernels::{Contraction, Kernels, Operand, Pool, WeightGradient, normalisation, pointwise, pooling};

/// What a step relies on: callers check that the plan is one for what they do.
const MISSING: &str = "a plan for training has its buffers";

/// Runs every trained node backward for the `batch` pictures of the forward pass before. With a rule every
/// parameter is updated as soon as its gradient is known; without one the gradients are kept. Returns
/// whether all new values are finite numbers.
pub(crate) fn run<T: Operand>(machine: &mut Machine, batch: usize, rule: Option<&UpdateRule>) -> bool {
    let Machine { plan, arena, kernels, pool } = machine;
    let run = Run { kernels, pool, batch };
    let diverged = AtomicBool::new(false);
    for node in plan.nodes[plan.first_trained..].iter().rev() {
        run_node::<T>(plan, arena, run, node, rule, &diverged);
    }
    !diverged.into_inner()
}

fn run_node<T: Operand>(
    plan: &Plan,
    arena: &mut Arena,
    run: Run<'_>,
    node: &Node,
    rule: Option<&UpdateRule>,
    diverged: &AtomicBool,
) {
    let (x_len, y_len) = (node.input.len(run.batch), node.output.in_format(T::FORMAT).len(run.batch));
    // Nobody needs the gradient of the pictures or of what frozen layers make of them, so only the lowest
    // trained node has no `dx`.
    let dx = node.dx.map(|dx| plan.values::<T>(dx, x_len));
    let dy = plan.values::<T>(node.dy.expect(MISSING), y_len);
    match (&node.operation, dx) {
        (Operation::Contraction { contraction, parameters, relu }, dx) => {
            run_relu::<T>(plan, arena, run, node, parameters, *relu);
            if let Some(dx) = dx {
                let weight = plan.whole(parameters.operand.unwrap_or(parameters.weight));
                let scratch = plan.whole(plan.scratch.expect(MISSING));
                let [dy, dx, weight, scratch] = arena.parts([dy, dx, weight, scratch]);
                let (dy, dx) = (values::<T>(dy), values(dx));
                contraction.backward_data(run, dy, values(weight), dx, values(scratch));
            }
            run_weights::<T>(
                plan,
                arena,
                run,
                node,
                contraction,
                parameters,
                rule.map(|rule| (rule, diverged)),
            );
        }
        (Operation::Normalisation, Some(dx)) => {
            let [x, dy, dx] = arena.parts([plan.values::<T>(node.x, x_len), dy, dx]);
            let (x, dy, dx) = (values::<T>(x), values(dy), values(dx));
            normalisation::backward(run.kernels, run.pool, run.batch, node.input, &LRN_CONSTANTS, x, dy, dx);
        }
        (&Operation::Pool { argmax: Some(argmax) }, Some(dx)) => {
            let [dy, dx, argmax] = arena.parts([dy, dx, plan.bytes(argmax, y_len)]);
            let (dy, dx) = (values::<T>(dy), values(dx));
            pooling::backward(run.kernels, run.pool, run.batch, node.input, dy, bytes(argmax), dx);
        }
        (&Operation::Dropout { keep: Some(keep), rate }, _) => {
            let [dy, keep] = arena.parts([dy, plan.bytes(keep, y_len)]);
            let scale = 1.0 / (1.0 - rate);
            pointwise::scale_kept(run.kernels, run.pool, bytes(keep), scale, values::<T>(dy));
        }
        (operation, _) => unreachable!("a plan for training lacks a buffer of {operation:?}"),
    }
}

/// Takes the output's gradient through ReLU and computes the gradient of the bias.
fn run_relu<T: Operand>(
    plan: &Plan,
    arena: &mut Arena,
    run: Run<'_>,
    node: &Node,
    parameters: &Parameters,
    relu: bool,
) {
    let map = node.output.in_format(T::FORMAT);
    let dy = plan.values::<T>(node.dy.expect(MISSING), map.len(run.batch));
    let bias = plan.whole(parameters.bias_gradient.expect(MISSING));
    if relu {
        let y = plan.values::<T>(node.y, map.len(run.batch));
        let [y, dy, bias] = arena.parts([y, dy, bias]);
        let (y, dy) = (values::<T>(y), values(dy));
        pointwise::relu_backward(run.kernels, run.pool, run.batch, map, y, dy, bias);
    } else {
        let [dy, bias] = arena.parts([dy, bias]);
        pointwise::bias_gradient(run.kernels, run.pool, run.batch, map, values::<T>(dy), bias);
    }
}

/// Computes the gradient of the weights, and with a rule updates them and the bias; the flag becomes
/// true when a new value is no finite number.
fn run_weights<T: Operand>(
    plan: &Plan,
    arena: &mut Arena,
    run: Run<'_>,
    node: &Node,
    contraction: &Contraction,
    parameters: &Parameters,
    rule: Option<(&UpdateRule, &AtomicBool)>,
) {
    let x = plan.values::<T>(node.x, node.input.len(run.batch));
    let dy_len = node.output.in_format(T::FORMAT).len(run.batch);
    let dy = plan.values::<T>(node.dy.expect(MISSING), dy_len);
    let scratch = plan.whole(plan.scratch.expect(MISSING));
    let Some((rule, diverged)) = rule else {
        let gradient = plan.whole(parameters.weight_gradient.expect(MISSING));
        let [x, dy, gradient, scratch] = arena.parts([x, dy, gradient, scratch]);
        let gradient = WeightGradient::Keep(gradient);
        return contraction.backward_weights(run, values::<T>(x), values(dy), gradient, values(scratch));
    };
    let [x, dy, scratch, weights, velocity, operands, partial] = arena.parts([
        x,
        dy,
        scratch,
        plan.whole(parameters.weight),
        plan.whole_or_none(parameters.velocity.map(|velocity| velocity[0])),
        plan.whole_or_none(parameters.operand),
        plan.whole(plan.partial.expect(MISSING)),
    ]);
    let (operands, rule_of_weights) = (values(operands), weight_rule(rule));
    let apply = Apply { rule: &rule_of_weights, weights, velocity, operands, partial, diverged };
    let gradient = WeightGradient::Apply(apply);
    contraction.backward_weights(run, values::<T>(x), values(dy), gradient, values(scratch));
    if !update_bias(plan, arena, run.kernels, run.pool, parameters, rule) {
        diverged.store(true, Ordering::Relaxed);
    }
}

/// Updates a bias by its gradient; weights decay, biases do not. Returns whether all new values are
/// finite numbers.
pub(crate) fn update_bias(
    plan: &Plan,
    arena: &mut Arena,
    kernels: &Kernels,
    pool: &Pool,
    parameters: &Parameters,
    rule: &UpdateRule,
) -> bool {
    let rule = Sgd { weight_decay: 0.0, ..weight_rule(rule) };
    let gradient = plan.whole(parameters.bias_gradient.expect(MISSING));
    let velocity = plan.whole_or_none(parameters.velocity.map(|velocity| velocity[1]));
    let [bias, gradient, velocity] = arena.parts([plan.whole(parameters.bias), gradient, velocity]);
    let velocity = (!velocity.is_empty()).then_some(velocity);
    update::sgd(kernels, pool, &rule, bias, gradient, velocity, None)
}

/// The update of weights.
pub(crate) fn weight_rule(rule: &UpdateRule) -> Sgd {
    let UpdateRule { learning_rate, momentum, nesterov, weight_decay, gradient_clip } = *rule;
    Sgd { learning_rate, momentum, nesterov, weight_decay, gradient_clip }
}
