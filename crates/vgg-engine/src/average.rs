//! The mean of the parameters over the steps of training.

use crate::EngineError;
use crate::arena::values;
use crate::cpu::Machine;
use crate::options::out_of_range;
use crate::plan::{BufferId, Parameters};
use vgg_kernels::update;

/// See [`crate::Engine::average`].
pub(crate) fn advance(machine: &mut Machine, share: f32) -> Result<(), EngineError> {
    if !(0.0..=1.0).contains(&share) {
        return Err(out_of_range("the share of an average", share.to_string(), "from 0 to 1"));
    }
    let Machine { plan, arena, kernels, pool } = machine;
    let mut finite = true;
    for parameters in plan.parameters() {
        for [own, mean] in pairs(parameters)? {
            let [own, mean] = arena.parts([plan.whole(own), plan.whole(mean)]);
            finite &= update::average(kernels, pool, share, own, mean);
        }
    }
    if finite { Ok(()) } else { Err(EngineError::Diverged) }
}

/// See [`crate::Engine::swap_average`].
pub(crate) fn swap(machine: &mut Machine) -> Result<(), EngineError> {
    let Machine { plan, arena, kernels, pool } = machine;
    for parameters in plan.parameters() {
        for [own, mean] in pairs(parameters)? {
            let [own, mean] = arena.parts([plan.whole(own), plan.whole(mean)]);
            update::exchange(pool, own, mean);
        }
        if let Some(operand) = parameters.operand {
            let [weight, operand] = arena.parts([plan.whole(parameters.weight), plan.whole(operand)]);
            update::pack_operands(kernels, pool, weight, values(operand));
        }
    }
    Ok(())
}

/// The buffers of weight and bias, each with its mean's.
fn pairs(parameters: &Parameters) -> Result<[[BufferId; 2]; 2], EngineError> {
    let [weight, bias] = parameters.average.ok_or(EngineError::NotMadeFor("averaging"))?;
    Ok([[parameters.weight, weight], [parameters.bias, bias]])
}
