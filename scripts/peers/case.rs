//! What the Rust peers share: the case to measure, and the talk with `peers.py`, which `measured.py` describes.

use serde::{Deserialize, Serialize};
use std::error::Error;
use std::io::BufRead;
use std::time::Instant;

/// Steps before the first answer: they touch all memory.
const PREPARING_STEPS: usize = 2;

/// One layer. Every convolution and dense layer but the last ends in ReLU.
#[derive(Deserialize, Clone, Copy, Debug)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Layer {
    Convolution { outputs: usize },
    Pool,
    Dense { outputs: usize },
    Dropout { rate: f64 },
}

/// What to measure.
#[derive(Deserialize, Debug)]
pub struct Case {
    pub work: String,
    pub precision: String,
    pub batch_size: usize,
    pub image_size: usize,
    pub channels: usize,
    pub classes: usize,
    pub layers: Vec<Layer>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Program(String),
    Unsupported(String),
    Ms(Vec<f64>),
}

pub type Failure = Box<dyn Error>;

impl Case {
    /// From the program's only argument.
    pub fn read() -> Result<Self, Failure> {
        let text = std::env::args().nth(1).ok_or("give the case as JSON in one argument")?;
        Ok(serde_json::from_str(&text)?)
    }

    pub fn trains(&self) -> bool {
        self.work == "train"
    }

    /// The class of every picture.
    pub fn labels(&self) -> impl Iterator<Item = usize> {
        (0..self.batch_size).map(|picture| picture % self.classes)
    }
}

/// Says that the program cannot do the case.
pub fn unsupported(reason: &str) -> Result<(), Failure> {
    say(&Answer::Unsupported(reason.to_owned()))
}

/// Measures steps until `peers.py` closes the line. The manifest pins the version of the program called `name`.
pub fn serve(
    name: &str,
    manifest: &str,
    mut step: impl FnMut() -> Result<(), Failure>,
) -> Result<(), Failure> {
    for _ in 0..PREPARING_STEPS {
        step()?;
    }
    say(&Answer::Program(format!("{name} {}", pinned_version(manifest))))?;
    for line in std::io::stdin().lock().lines() {
        let seconds: f64 = line?.trim().parse()?;
        say(&Answer::Ms(times(&mut step, seconds)?))?;
    }
    Ok(())
}

/// Runs `step` once to warm the caches, then for `seconds`, at least once; milliseconds of each.
fn times(step: &mut impl FnMut() -> Result<(), Failure>, seconds: f64) -> Result<Vec<f64>, Failure> {
    step()?;
    let (start, mut times) = (Instant::now(), Vec::new());
    while times.is_empty() || start.elapsed().as_secs_f64() < seconds {
        let before = Instant::now();
        step()?;
        times.push(before.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}

fn say(answer: &Answer) -> Result<(), Failure> {
    println!("{}", serde_json::to_string(answer)?);
    Ok(())
}

/// The first version that the manifest pins with `"=…"`.
fn pinned_version(manifest: &str) -> &str {
    manifest.split("\"=").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("of unknown version")
}
