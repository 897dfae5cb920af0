//! Writes the seeds of all targets: `cargo run -p vgg-fuzz --example seeds -- crates/vgg-fuzz/seeds`.
//!
//! Each is a small file that is good, or hostile in one way, and bears the name of that way. Files
//! that are in the folder and not made here, such as those that fuzzing has found, are left alone.

mod checkpoints;
mod data;
mod pictures;

use std::error::Error;
use std::fs;
use std::path::PathBuf;

/// The target, the name and the bytes of every seed.
type Seeds = Vec<(&'static str, String, Vec<u8>)>;

fn main() -> Result<(), Box<dyn Error>> {
    let Some(root) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return Err("give the folder for the seeds".into());
    };
    let mut seeds = Seeds::new();
    data::add_to(&mut seeds);
    pictures::add_to(&mut seeds);
    checkpoints::add_to(&mut seeds);
    for (target, name, bytes) in &seeds {
        let folder = root.join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), bytes)?;
    }
    let bytes: usize = seeds.iter().map(|(_, _, bytes)| bytes.len()).sum();
    println!("{} seeds, {bytes} bytes", seeds.len());
    Ok(())
}

/// Adds one seed.
fn add(seeds: &mut Seeds, target: &'static str, name: impl Into<String>, bytes: impl Into<Vec<u8>>) {
    seeds.push((target, name.into(), bytes.into()));
}
