//! The forward pass: the plan's nodes in order.

use crate::Dropout;
use crate::arena::{Arena, bytes, values};
use crate::cpu::Machine;
use crate::plan::{Node, Operation, Plan};
use vgg_arch::presets::LRN;
use vgg_arch::random::{Purpose, Random, unit};
use vgg_kernels::contraction::Run;
use vgg_kernels::normalisation::LrnConstants;
use vgg_kernels::{Map, Operand, Pool, TILE, gather, normalisation, pointwise, pooling};

/// The constants of local response normalisation.
pub(crate) const LRN_CONSTANTS: LrnConstants =
    LrnConstants { size: LRN.size, k: LRN.k, alpha: LRN.alpha, beta: LRN.beta };

/// Runs every node on `batch` pictures. With `dropout` the pass is one of training: dropout drops,
/// and pools note which value was largest.
pub(crate) fn run<T: Operand>(machine: &mut Machine, batch: usize, images: &[u8], dropout: Option<Dropout>) {
    let Machine { plan, arena, kernels, pool } = machine;
    let run = Run { kernels, pool, batch };
    let len = plan.nodes[0].input.len(batch);
    let [patches, table] = arena.parts([plan.values::<T>(plan.patches, len), plan.whole(plan.byte_values)]);
    gather::gather::<T>(run, plan.picture, plan.first_kernel, values(table), images, values(patches));
    for node in &plan.nodes {
        run_node::<T>(plan, arena, run, node, dropout);
    }
}

fn run_node<T: Operand>(plan: &Plan, arena: &mut Arena, run: Run<'_>, node: &Node, dropout: Option<Dropout>) {
    let (x_len, y_len) = (node.input.len(run.batch), node.output.len(run.batch));
    let (x, y) = (plan.values::<T>(node.x, x_len), plan.values::<T>(node.y, y_len));
    match &node.operation {
        Operation::Contraction { contraction, parameters, relu } => {
            let operand = parameters.operand.unwrap_or(parameters.weight);
            let (weight, bias) = (plan.whole(operand), plan.whole(parameters.bias));
            if node.output.format == T::FORMAT {
                let scratch = plan.whole_or_none(node.scratch);
                let [x, y, weight, bias, scratch] = arena.parts([x, y, weight, bias, scratch]);
                let (x, weight, y, scratch) = (values(x), values(weight), values(y), values(scratch));
                contraction.forward::<T>(run, x, weight, bias, *relu, y, scratch);
            } else {
                let y = plan.values::<f32>(node.y, y_len);
                let [x, y, weight, bias] = arena.parts([x, y, weight, bias]);
                contraction.logits::<T>(run, values(x), values(weight), bias, y);
            }
        }
        Operation::Normalisation => {
            let [x, y] = arena.parts([x, y]);
            let (x, y) = (values::<T>(x), values(y));
            normalisation::forward(run.kernels, run.pool, run.batch, node.input, &LRN_CONSTANTS, x, y);
        }
        Operation::Pool { argmax } => match argmax.filter(|_| dropout.is_some()) {
            Some(argmax) => {
                let [x, y, argmax] = arena.parts([x, y, plan.bytes(argmax, y_len)]);
                let (x, y, argmax) = (values::<T>(x), values(y), Some(bytes(argmax)));
                pooling::forward(run.kernels, run.pool, run.batch, node.input, x, y, argmax);
            }
            None => {
                let [x, y] = arena.parts([x, y]);
                let (x, y) = (values::<T>(x), values(y));
                pooling::forward(run.kernels, run.pool, run.batch, node.input, x, y, None);
            }
        },
        Operation::Dropout { keep, rate } => {
            if let (Some(keep), Some(dropout)) = (*keep, dropout) {
                let [x, keep] = arena.parts([x, plan.bytes(keep, x_len)]);
                let keep = bytes(keep);
                draw_kept(run.pool, node, dropout, *rate, keep);
                pointwise::scale_kept(run.kernels, run.pool, keep, 1.0 / (1.0 - rate), values::<T>(x));
            }
        }
    }
}

/// Draws which values are kept: a function of the seed, the step, the layer and the value's
/// position, so that neither threads nor a stop between steps change it.
fn draw_kept(pool: &Pool, node: &Node, dropout: Dropout, rate: f32, keep: &mut [u8]) {
    let Map { channels, .. } = node.input;
    let (pixels, blocks, block_len) = (node.input.pixels(), node.input.blocks(), node.input.format.block());
    // A network has far fewer than 256 layers, and a run fewer than 2⁴⁸ steps.
    let random = Random::new(dropout.seed, Purpose::Dropout, dropout.step << 8 | node.layer as u64);
    pool.for_each_chunk(keep, node.input.tile_len(), blocks, |tile, keep| {
        let (group, pixel, block) = (tile / (pixels * blocks), tile / blocks % pixels, tile % blocks);
        for (row, keep) in keep.chunks_exact_mut(block_len).enumerate() {
            // Channels are counted as if filled up to a multiple of 16 in either format, so that
            // the format does not change what is dropped.
            let pixel = (group * TILE + row) * pixels + pixel;
            let first = pixel * channels.next_multiple_of(TILE) + block * block_len;
            for (quarter, keep) in keep.chunks_exact_mut(4).enumerate() {
                let words = random.block((first / 4 + quarter) as u64);
                for (keep, bits) in keep.iter_mut().zip(words) {
                    *keep = u8::from(unit(bits) >= rate);
                }
            }
        }
    });
}
