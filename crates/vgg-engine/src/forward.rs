//! The forward pass: the plan's nodes in order.

use crate::Dropout;
use crate::arena::{Arena, bytes};
use crate::cpu::Machine;
use crate::plan::{Node, Operation, Plan};
use vgg_arch::presets::LRN;
use vgg_arch::random::{Purpose, Random, unit};
use vgg_kernels::contraction::Run;
use vgg_kernels::normalisation::LrnConstants;
use vgg_kernels::{Map, Pool, TILE, TILE_LEN, gather, normalisation, pointwise, pooling};

/// The constants of local response normalisation.
pub(crate) const LRN_CONSTANTS: LrnConstants =
    LrnConstants { size: LRN.size, k: LRN.k, alpha: LRN.alpha, beta: LRN.beta };

/// Runs every node on `batch` pictures. With `dropout` the pass is one of training: dropout drops,
/// and pools note which value was largest.
pub(crate) fn run(machine: &mut Machine, batch: usize, images: &[u8], dropout: Option<Dropout>) {
    let Machine { plan, arena, kernels, pool } = machine;
    let run = Run { kernels, pool, batch };
    let len = plan.nodes[0].input.len(batch);
    let [patches] = arena.parts([plan.range(plan.patches, len)]);
    gather::gather(kernels, pool, batch, plan.picture, plan.first_kernel, images, patches);
    for node in &plan.nodes {
        run_node(plan, arena, run, node, dropout);
    }
}

fn run_node(plan: &Plan, arena: &mut Arena, run: Run<'_>, node: &Node, dropout: Option<Dropout>) {
    let x = plan.range(node.x, node.input.len(run.batch));
    let y = plan.range(node.y, node.output.len(run.batch));
    match &node.operation {
        Operation::Contraction { contraction, parameters, relu } => {
            let (weight, bias) = (plan.whole(parameters.weight), plan.whole(parameters.bias));
            let [x, y, weight, bias] = arena.parts([x, y, weight, bias]);
            contraction.forward(run, x, weight, bias, *relu, y);
        }
        Operation::Normalisation => {
            let [x, y] = arena.parts([x, y]);
            normalisation::forward(run.kernels, run.pool, run.batch, node.input, &LRN_CONSTANTS, x, y);
        }
        Operation::Pool { argmax } => match argmax.filter(|_| dropout.is_some()) {
            Some(argmax) => {
                let argmax = plan.range(argmax, y.len() / size_of::<f32>());
                let [x, y, argmax] = arena.parts([x, y, argmax]);
                let argmax = Some(bytes(argmax));
                pooling::forward(run.kernels, run.pool, run.batch, node.input, x, y, argmax);
            }
            None => {
                let [x, y] = arena.parts([x, y]);
                pooling::forward(run.kernels, run.pool, run.batch, node.input, x, y, None);
            }
        },
        Operation::Dropout { keep, rate } => {
            if let (Some(keep), Some(dropout)) = (*keep, dropout) {
                let keep = plan.range(keep, x.len() / size_of::<f32>());
                let [x, keep] = arena.parts([x, keep]);
                let keep = bytes(keep);
                draw_kept(run.pool, node, dropout, *rate, keep);
                pointwise::scale_kept(run.kernels, run.pool, keep, 1.0 / (1.0 - rate), x);
            }
        }
    }
}

/// Draws which values are kept: a function of the seed, the step, the layer and the value's
/// position, so that neither threads nor a stop between steps change it.
fn draw_kept(pool: &Pool, node: &Node, dropout: Dropout, rate: f32, keep: &mut [u8]) {
    let Map { channels, .. } = node.input;
    let (pixels, blocks) = (node.input.pixels(), node.input.blocks());
    // A network has far fewer than 256 layers, and a run fewer than 2⁴⁸ steps.
    let random = Random::new(dropout.seed, Purpose::Dropout, dropout.step << 8 | node.layer as u64);
    pool.for_each_chunk(keep, TILE_LEN, blocks, |tile, keep| {
        let (group, pixel, block) = (tile / (pixels * blocks), tile / blocks % pixels, tile % blocks);
        for (row, keep) in keep.chunks_exact_mut(TILE).enumerate() {
            let first =
                ((group * TILE + row) * pixels + pixel) * channels.next_multiple_of(TILE) + block * TILE;
            for (quarter, keep) in keep.chunks_exact_mut(4).enumerate() {
                let words = random.block((first / 4 + quarter) as u64);
                for (keep, bits) in keep.iter_mut().zip(words) {
                    *keep = u8::from(unit(bits) >= rate);
                }
            }
        }
    });
}
