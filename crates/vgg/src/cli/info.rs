//! `vgg info`: what a network is and costs, and what this machine will run.

use super::NetworkArguments;
use super::output::{self, Bytes, Thousands};
use super::recipes::Recipes;
use clap::Args;
use serde::Serialize;
use std::fmt;
use vgg::TrainError;
use vgg::arch::{Network, layer_costs};
use vgg::engine::plan::Buffer;
use vgg::engine::{EngineError, EngineOptions, Plan, Precision, Tier};

pub(super) const EXAMPLES: &str = "\
Examples:
  vgg info
  vgg info --plan
  vgg info --recipes
  vgg info --arch D --head paper --height 224 --width 224 --channels 3 \\
      --classes 1000";

/// What `vgg info` takes.
#[derive(Args)]
pub(crate) struct InfoArguments {
    #[command(flatten)]
    network: NetworkArguments,
    /// Pictures in a step, for the memory
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = super::batch_size)]
    batch_size: usize,
    /// Show also where training keeps every value: place, size and time of use
    #[arg(long)]
    plan: bool,
    /// List the recipes with all their values instead
    #[arg(long, conflicts_with = "plan")]
    recipes: bool,
}

/// The whole answer.
#[derive(Serialize)]
struct Report {
    network: String,
    head: String,
    input: [usize; 3],
    classes: usize,
    layers: Vec<LayerLine>,
    parameters: usize,
    nominal_flops: usize,
    useful_flops: usize,
    batch_size: usize,
    memory: Memory,
    kernels: Machine,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Vec<PlanLine>>,
}

/// One buffer of the plan for training.
#[derive(Serialize)]
struct PlanLine {
    name: String,
    offset_bytes: usize,
    bytes: usize,
    /// First and last moment of use in a step; absent for what is always in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<[usize; 2]>,
}

/// Bytes of the engine's arena: parameters, activations, gradients, momentum.
#[derive(Serialize)]
struct Memory {
    training_bytes: usize,
    prediction_bytes: usize,
}

/// What runs on this machine.
#[derive(Serialize)]
struct Machine {
    tier: &'static str,
    precision: &'static str,
    available: Vec<&'static str>,
    threads: usize,
}

/// One line of the table.
#[derive(Serialize)]
struct LayerLine {
    name: String,
    output: [usize; 3],
    parameters: usize,
    nominal_flops: usize,
    useful_flops: usize,
}

/// Prints the table of layers, the totals, the memory and the machine. Only the plan is made:
/// no memory is taken for the network.
///
/// # Errors
/// A network that cannot be built or planned; kernels that are asked for and not there; a standard
/// output that cannot be written.
pub(crate) fn run(arguments: &InfoArguments, json: bool) -> Result<(), TrainError> {
    if arguments.recipes {
        return output::answer(&Recipes::new(), json);
    }
    let network = arguments.network.network()?;
    output::answer(&Report::new(&network, arguments.batch_size, arguments.plan)?, json)
}

/// The plan of an engine for `batch_size` pictures.
fn plan(network: &Network, batch_size: usize, training: bool, tier: Tier) -> Result<Plan, EngineError> {
    let options = EngineOptions {
        batch_size,
        threads: 0,
        precision: Precision::Auto,
        training,
        gradients: false,
        momentum: training,
        ..EngineOptions::default()
    };
    Plan::new(network, &options, tier)
}

fn plan_lines(plan: &Plan) -> Vec<PlanLine> {
    let line = |buffer: &Buffer| PlanLine {
        name: buffer.name.clone(),
        offset_bytes: buffer.offset * size_of::<f32>(),
        bytes: buffer.len * size_of::<f32>(),
        used: (buffer.last != usize::MAX).then_some([buffer.first, buffer.last]),
    };
    plan.buffers.iter().map(line).collect()
}

impl Report {
    fn new(network: &Network, batch_size: usize, show_plan: bool) -> Result<Self, EngineError> {
        let tier = Tier::choose().map_err(|error| EngineError::Machine(error.to_string()))?;
        let [training, prediction] = [true, false].map(|training| plan(network, batch_size, training, tier));
        let (training, prediction) = (training?, prediction?);
        let layers: Vec<LayerLine> = layer_costs(network)
            .into_iter()
            .map(|cost| LayerLine {
                name: cost.label,
                output: [cost.output.height, cost.output.width, cost.output.channels],
                parameters: cost.parameters,
                nominal_flops: cost.nominal_flops,
                useful_flops: cost.useful_flops,
            })
            .collect();
        let input = network.input;
        Ok(Self {
            network: network.name.clone(),
            head: network.head.clone(),
            input: [input.height, input.width, input.channels],
            classes: network.classes,
            parameters: layers.iter().map(|line| line.parameters).sum(),
            nominal_flops: layers.iter().map(|line| line.nominal_flops).sum(),
            useful_flops: layers.iter().map(|line| line.useful_flops).sum(),
            layers,
            batch_size,
            memory: Memory {
                training_bytes: training.arena_len * size_of::<f32>(),
                prediction_bytes: prediction.arena_len * size_of::<f32>(),
            },
            kernels: Machine {
                tier: tier.name(),
                precision: training.format.name(),
                available: Tier::available().into_iter().map(Tier::name).collect(),
                threads: training.threads,
            },
            plan: show_plan.then(|| plan_lines(&training)),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} with the head \"{}\": {} classes", self.network, self.head, self.classes)?;
        writeln!(f, "pictures: {}\n", sizes(self.input))?;
        writeln!(f, "{:<12}{:>14} {:>15}{:>13}{:>12}", "layer", "output", "parameters", "MFLOP", "useful")?;
        for line in &self.layers {
            writeln!(
                f,
                "{:<12}{:>14} {:>15}{:>13}{:>12}",
                line.name,
                sizes(line.output),
                Thousands(line.parameters as u64),
                millions(line.nominal_flops),
                millions(line.useful_flops)
            )?;
        }
        writeln!(
            f,
            "{:<26} {:>15}{:>13}{:>12}\n",
            "total",
            Thousands(self.parameters as u64),
            millions(self.nominal_flops),
            millions(self.useful_flops)
        )?;
        writeln!(f, "MFLOP: one picture forward, millions of operations, padding counted as usual.")?;
        writeln!(f, "useful: the same without the padding, which is never computed here.")?;
        writeln!(f, "A training step costs about three times as much for each picture.\n")?;
        let (batch, Memory { training_bytes, prediction_bytes }) = (self.batch_size, &self.memory);
        writeln!(
            f,
            "memory, batches of {batch}: {} training, {} prediction",
            Bytes(*training_bytes as u64),
            Bytes(*prediction_bytes as u64)
        )?;
        let Machine { tier, precision, available, threads } = &self.kernels;
        writeln!(f, "kernels: {tier} {precision}, {threads} threads")?;
        writeln!(f, "this processor has {}", available.join(", "))?;
        self.plan.as_deref().map_or(Ok(()), |lines| write_plan(f, lines))
    }
}

/// One line a buffer. A step counts its moments from 0, forward and then backward.
fn write_plan(f: &mut fmt::Formatter<'_>, lines: &[PlanLine]) -> fmt::Result {
    writeln!(f, "\n{:>13}{:>13}{:>8}  buffer", "offset", "bytes", "used")?;
    for PlanLine { name, offset_bytes, bytes, used } in lines {
        let used = used.map_or("always".to_owned(), |[first, last]| format!("{first}..{last}"));
        let (offset, bytes) = (Thousands(*offset_bytes as u64), Thousands(*bytes as u64));
        writeln!(f, "{offset:>13}{bytes:>13}{used:>8}  {name}")?;
    }
    Ok(())
}

/// `28×28×64`.
fn sizes([height, width, channels]: [usize; 3]) -> String {
    format!("{height}×{width}×{channels}")
}

/// Millions with one decimal.
fn millions(flops: usize) -> String {
    format!("{:.1}", flops as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vgg::arch::{CONFIGURATIONS, HEADS, Shape};

    #[test]
    fn every_network_fits_eighty_columns() {
        for row in CONFIGURATIONS {
            for head in HEADS {
                let network = Network::new(row.name, head.name, Shape::new(224, 224, 3), 1000).unwrap();
                for line in Report::new(&network, 100, true).unwrap().to_string().lines() {
                    assert!(line.chars().count() <= 80, "{line}");
                }
            }
        }
    }

    #[test]
    fn totals_are_those_of_the_network() {
        let network = Network::new("vgg13", "tutorial", Shape::new(28, 28, 1), 10).unwrap();
        let report = Report::new(&network, 100, true).unwrap();
        assert_eq!(report.parameters, network.parameter_count());
        assert!(report.to_string().contains("32,393,410"));
        assert!(report.useful_flops < report.nominal_flops);
    }
}
