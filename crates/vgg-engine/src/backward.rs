//! The backward pass: the plan's nodes from last to first, from the gradient of the logits to the
//! gradient of every parameter.

use crate::arena::{Arena, bytes};
use crate::cpu::Machine;
use crate::forward::LRN_CONSTANTS;
use crate::plan::{Node, Operation, Parameters, Plan};
use vgg_kernels::contraction::Run;
use vgg_kernels::{Contraction, normalisation, pointwise, pooling};

/// Runs every node backward for the `batch` pictures of the forward pass before.
pub(crate) fn run(machine: &mut Machine, batch: usize) {
    let Machine { plan, arena, kernels, pool } = machine;
    let run = Run { kernels, pool, batch };
    for node in plan.nodes.iter().rev() {
        run_node(plan, arena, run, node);
    }
}

fn run_node(plan: &Plan, arena: &mut Arena, run: Run<'_>, node: &Node) {
    // Nobody needs the gradient of the pictures, so only the first node has no `dx`.
    let dx = node.dx.map(|dx| plan.range(dx, node.input.len(run.batch)));
    let dy = node.dy.expect("a plan for training has gradients");
    let dy = plan.range(dy, node.output.len(run.batch));
    match (&node.operation, dx) {
        (Operation::Contraction { contraction, parameters, relu }, dx) => {
            run_contraction(plan, arena, run, node, contraction, parameters, *relu);
            if let (Some(dx), Some(scratch)) = (dx, plan.scratch) {
                let (weight, scratch) = (plan.whole(parameters.weight), plan.whole(scratch));
                let [dy, dx, weight, scratch] = arena.parts([dy, dx, weight, scratch]);
                contraction.backward_data(run, dy, weight, dx, scratch);
            }
        }
        (Operation::Normalisation, Some(dx)) => {
            let x = plan.range(node.x, node.input.len(run.batch));
            let [x, dy, dx] = arena.parts([x, dy, dx]);
            normalisation::backward(run.kernels, run.pool, run.batch, node.input, &LRN_CONSTANTS, x, dy, dx);
        }
        (&Operation::Pool { argmax: Some(argmax) }, Some(dx)) => {
            let argmax = plan.range(argmax, dy.len() / size_of::<f32>());
            let [dy, dx, argmax] = arena.parts([dy, dx, argmax]);
            pooling::backward(run.kernels, run.pool, run.batch, node.input, dy, bytes(argmax), dx);
        }
        (&Operation::Dropout { keep: Some(keep), rate }, _) => {
            let keep = plan.range(keep, dy.len() / size_of::<f32>());
            let [dy, keep] = arena.parts([dy, keep]);
            pointwise::scale_kept(run.kernels, run.pool, bytes(keep), 1.0 / (1.0 - rate), dy);
        }
        (operation, _) => unreachable!("a plan for training lacks a buffer of {operation:?}"),
    }
}

/// Takes the output's gradient through ReLU and computes the gradients of bias and weight.
fn run_contraction(
    plan: &Plan,
    arena: &mut Arena,
    run: Run<'_>,
    node: &Node,
    contraction: &Contraction,
    parameters: &Parameters,
    relu: bool,
) {
    let [weight, bias] = parameters.gradient.expect("a plan for training has gradients");
    let x = plan.range(node.x, node.input.len(run.batch));
    let y = plan.range(node.y, node.output.len(run.batch));
    let dy = plan.range(node.dy.expect("a plan for training has gradients"), y.len());
    let [x, y, dy, weight, bias] = arena.parts([x, y, dy, plan.whole(weight), plan.whole(bias)]);
    if relu {
        pointwise::relu_backward(run.kernels, run.pool, run.batch, node.output, y, dy, bias);
    } else {
        pointwise::bias_gradient(run.kernels, run.pool, run.batch, node.output, dy, bias);
    }
    contraction.backward_weights(run, x, dy, weight);
}
