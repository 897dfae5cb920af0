//! `vgg bench`: how long a step takes on this machine.

use super::output::{self, Bytes};
use super::{NetworkArguments, positive};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::fmt;
use std::time::Instant;
use vgg::TrainError;
use vgg::arch::{Initialiser, Network};
use vgg::engine::{
    Dropout, Engine, EngineError, EngineInfo, EngineOptions, Precision, UpdateRule, cpu_engine,
};

pub(super) const EXAMPLES: &str = "\
Examples:
  vgg bench train
  vgg bench predict --batch-size 1 --seconds 3
  vgg bench train --arch vgg16 --height 32 --width 32 --channels 3 --json";

/// Steps that run before the first that is measured: they touch all memory and fill the caches.
const WARM_UP_STEPS: u64 = 2;

/// What `vgg bench` takes.
#[derive(Args)]
pub(crate) struct BenchArguments {
    /// What to measure
    task: Task,
    #[command(flatten)]
    network: NetworkArguments,
    /// Pictures in a step
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = super::batch_size)]
    batch_size: usize,
    #[arg(long, value_name = "NAME", default_value = "auto")]
    #[arg(value_parser = super::precision, help = super::precision_help())]
    precision: Precision,
    /// Threads; 0 takes one for each core
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = super::threads)]
    threads: usize,
    /// How long to measure, in seconds
    #[arg(long, value_name = "X", default_value_t = 10.0, value_parser = positive)]
    seconds: f64,
}

/// The two kinds of steps.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Task {
    // Without documentation comments, which help would print: forward with dropout, backward, and
    // a plain gradient-descent update; forward alone.
    Train,
    Predict,
}

/// The whole answer.
#[derive(Serialize)]
struct Report {
    task: Task,
    network: String,
    batch_size: usize,
    steps: usize,
    ms_per_step: Spread,
    images_per_second: f64,
    tier: String,
    precision: String,
    threads: usize,
    arena_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_rss_bytes: Option<u64>,
}

/// Milliseconds of the steps.
#[derive(Debug, PartialEq, Serialize)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

/// Pictures and labels that mean nothing, and room for the answers.
struct Batch {
    images: Vec<u8>,
    labels: Vec<u32>,
    logits: Vec<f32>,
}

/// Measures steps on pictures that mean nothing, and prints what they took.
///
/// # Errors
/// A network or engine that cannot be made; a standard output that cannot be written.
pub(crate) fn run(arguments: &BenchArguments, json: bool) -> Result<(), TrainError> {
    let network = arguments.network.network()?;
    let mut engine = cpu_engine(&network, &arguments.engine_options())?;
    engine.initialise(Initialiser::HeNormal, 1);
    let mut batch = Batch::new(&network, arguments.batch_size);
    let times = measure(arguments.seconds, |step| run_step(arguments.task, &mut *engine, &mut batch, step))?;
    let report = arguments.report(&network, engine.info(), times);
    output::answer(&report, json)
}

impl BenchArguments {
    fn engine_options(&self) -> EngineOptions {
        EngineOptions {
            batch_size: self.batch_size,
            threads: self.threads,
            precision: self.precision,
            training: self.task == Task::Train,
            gradients: false,
            momentum: false,
            ..EngineOptions::default()
        }
    }

    fn report(&self, network: &Network, info: EngineInfo, times: Vec<f64>) -> Report {
        let steps = times.len();
        let ms_per_step = Spread::of(times);
        Report {
            task: self.task,
            network: network.name.clone(),
            batch_size: self.batch_size,
            steps,
            images_per_second: self.batch_size as f64 * 1000.0 / ms_per_step.median,
            ms_per_step,
            tier: info.tier,
            precision: info.precision,
            threads: info.threads,
            arena_bytes: info.arena_bytes,
            peak_rss_bytes: peak_rss_bytes(),
        }
    }
}

impl Batch {
    /// The pixels take every value, without a pattern that a network could see: the upper bits of
    /// the position times the golden ratio.
    fn new(network: &Network, batch_size: usize) -> Self {
        let pixels = batch_size * network.input.len();
        Self {
            images: (0..pixels as u32).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect(),
            labels: (0..batch_size).map(|picture| (picture % network.classes) as u32).collect(),
            logits: vec![0.0; batch_size * network.classes],
        }
    }
}

/// One step of the kind that is measured. Training does what a framework's plain SGD does: no
/// momentum, no decay.
fn run_step(task: Task, engine: &mut dyn Engine, batch: &mut Batch, step: u64) -> Result<(), EngineError> {
    match task {
        Task::Predict => engine.forward(&batch.images, &mut batch.logits),
        Task::Train => {
            let rule = UpdateRule {
                learning_rate: 0.001,
                momentum: 0.0,
                nesterov: false,
                weight_decay: 0.0,
                gradient_clip: f32::INFINITY,
            };
            engine.train_step(&batch.images, &batch.labels, Dropout { seed: 1, step }, &rule).map(drop)
        }
    }
}

/// Runs steps for `seconds` after the warm-up, at least one, and returns the milliseconds of each.
fn measure<E>(seconds: f64, mut run_step: impl FnMut(u64) -> Result<(), E>) -> Result<Vec<f64>, E> {
    for step in 0..WARM_UP_STEPS {
        run_step(step)?;
    }
    let (start, mut times) = (Instant::now(), Vec::new());
    loop {
        let before = Instant::now();
        run_step(WARM_UP_STEPS + times.len() as u64)?;
        times.push(before.elapsed().as_secs_f64() * 1000.0);
        if start.elapsed().as_secs_f64() >= seconds {
            return Ok(times);
        }
    }
}

impl Spread {
    /// Of at least one time. The median of an even number is the mean of the two in the middle.
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let count = times.len();
        Self {
            median: (times[(count - 1) / 2] + times[count / 2]) / 2.0,
            min: times[0],
            max: times[count - 1],
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spread { median, min, max } = self.ms_per_step;
        let task = match self.task {
            Task::Train => "training",
            Task::Predict => "prediction",
        };
        writeln!(f, "{}, {task}, batches of {}, {} steps", self.network, self.batch_size, self.steps)?;
        writeln!(f, "ms per step       {median:.1} median, {min:.1} to {max:.1}")?;
        writeln!(f, "pictures a second {:.1}", self.images_per_second)?;
        writeln!(f, "kernels           {} {}, {} threads", self.tier, self.precision, self.threads)?;
        writeln!(f, "engine's memory   {}", Bytes(self.arena_bytes as u64))?;
        match self.peak_rss_bytes {
            Some(bytes) => writeln!(f, "peak memory       {}", Bytes(bytes)),
            None => Ok(()),
        }
    }
}

/// The largest resident memory of this process so far, where the system tells (Linux).
fn peak_rss_bytes() -> Option<u64> {
    peak_in_status(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// The `VmHWM` line of a `/proc/PID/status` file, in bytes.
fn peak_in_status(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_of_odd_and_even_numbers_of_times() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of(vec![4.0, 1.0]), Spread { median: 2.5, min: 1.0, max: 4.0 });
    }

    #[test]
    fn warm_up_steps_are_not_measured() {
        let mut steps = Vec::new();
        let times = measure(0.0, |step| {
            steps.push(step);
            Ok::<(), EngineError>(())
        });
        assert_eq!(times.unwrap().len(), 1);
        assert_eq!(steps, [0, 1, 2]);
    }

    #[test]
    fn peak_memory_is_read_from_the_status_file() {
        let status = "Name:\tvgg\nVmPeak:\t  900 kB\nVmHWM:\t  123 kB\nVmRSS:\t 10 kB\n";
        assert_eq!(peak_in_status(status), Some(123 * 1024));
        assert_eq!(peak_in_status("Name:\tvgg\n"), None);
        assert_eq!(peak_in_status("VmHWM:\tmany kB\n"), None);
    }
}
