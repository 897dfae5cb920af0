//! `vgg info`: what a network is and costs, and what this machine will run.

use super::output::{self, Thousands};
use super::{NetworkArguments, TrainError};
use clap::Args;
use serde::Serialize;
use std::fmt;
use vgg::arch::{Network, layer_costs};

pub(super) const EXAMPLES: &str = "\
Examples:
  vgg info
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

/// Prints the table of layers, the totals and the machine.
///
/// # Errors
/// A network that cannot be built; a standard output that cannot be written.
pub(crate) fn run(arguments: &InfoArguments, json: bool) -> Result<(), TrainError> {
    let network = arguments.network.network()?;
    output::answer(&Report::new(&network), json)
}

impl Report {
    fn new(network: &Network) -> Self {
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
        Self {
            network: network.name.clone(),
            head: network.head.clone(),
            input: [input.height, input.width, input.channels],
            classes: network.classes,
            parameters: layers.iter().map(|line| line.parameters).sum(),
            nominal_flops: layers.iter().map(|line| line.nominal_flops).sum(),
            useful_flops: layers.iter().map(|line| line.useful_flops).sum(),
            layers,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} with the head \"{}\": {} classes", self.network, self.head, self.classes)?;
        writeln!(f, "pictures: {}\n", sizes(self.input))?;
        writeln!(f, "{:<14}{:>14}{:>14}{:>12}{:>12}", "layer", "output", "parameters", "MFLOP", "useful")?;
        for line in &self.layers {
            writeln!(
                f,
                "{:<14}{:>14}{:>14}{:>12}{:>12}",
                line.name,
                sizes(line.output),
                Thousands(line.parameters as u64),
                millions(line.nominal_flops),
                millions(line.useful_flops)
            )?;
        }
        writeln!(
            f,
            "{:<28}{:>14}{:>12}{:>12}\n",
            "total",
            Thousands(self.parameters as u64),
            millions(self.nominal_flops),
            millions(self.useful_flops)
        )?;
        writeln!(f, "MFLOP: one picture forward, millions of operations, padding counted as usual.")?;
        writeln!(f, "useful: the same without the padding, which is never computed here.")?;
        writeln!(f, "A training step costs about three times as much for each picture.")
    }
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
                for line in Report::new(&network).to_string().lines() {
                    assert!(line.chars().count() <= 80, "{line}");
                }
            }
        }
    }

    #[test]
    fn totals_are_those_of_the_network() {
        let network = Network::new("vgg13", "tutorial", Shape::new(28, 28, 1), 10).unwrap();
        let report = Report::new(&network);
        assert_eq!(report.parameters, network.parameter_count());
        assert!(report.to_string().contains("32,393,410"));
        assert!(report.useful_flops < report.nominal_flops);
    }
}
