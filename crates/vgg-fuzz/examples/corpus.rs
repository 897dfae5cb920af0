//! Holds every input that fuzzing has collected to the promised limits:
//!
//! `cargo run --release -p vgg-fuzz --example corpus -- TARGET FOLDER`
//!
//! libFuzzer's programs are slowed down by what watches them, so time is judged here, without it.

use std::error::Error;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use vgg_fuzz::{Limits, PeakAlloc, check, target};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, folder] = arguments.as_slice() else {
        return Err("give a target and the folder of its corpus".into());
    };
    let (target, mut inputs) = (target(name), 0);
    let (mut time, mut memory) = (Duration::ZERO, 0);
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let data = fs::read(&path)?;
        let cost = catch_unwind(AssertUnwindSafe(|| check(target, &data, &Limits::PROMISED)))
            .map_err(|_| format!("{name} fails on {}", path.display()))?;
        (time, memory, inputs) = (time.max(cost.time), memory.max(cost.memory), inputs + 1);
    }
    println!("{name}: {inputs} inputs, each in at most {time:.3?} and {} MB", memory.div_ceil(1_000_000));
    Ok(())
}
