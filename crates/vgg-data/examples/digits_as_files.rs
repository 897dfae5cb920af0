//! Writes MNIST in other forms, to try them on real pictures:
//! `cargo run --release -p vgg-data --example digits_as_files -- FORM FOLDER`
//!
//! * `pictures`: a PNG file for each digit, in `FOLDER/SPLIT/CLASS`, 70,000 in all.
//! * `cifar-10`: the binary files of CIFAR-10, each digit in the middle of 32 × 32 pixels, in a colour of
//!   its own on a ground of its own, which may be much alike. 50,000 are for training, as in CIFAR-10.

use std::error::Error;
use std::fs;
use std::path::Path;
use vgg_arch::{Purpose, Random};
use vgg_data::{DataOptions, Dataset, Source, Splits, open, write_png};

const SIDE: usize = 28;
const CIFAR_SIDE: usize = 32;
const CIFAR_FILE: usize = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [form, folder] = arguments.as_slice() else {
        return Err("give a form, pictures or cifar-10, and a folder".into());
    };
    let write = match form.as_str() {
        "pictures" => write_pictures,
        "cifar-10" => write_cifar,
        _ => return Err(format!("there is no form {form}; take pictures or cifar-10").into()),
    };
    fs::create_dir_all(folder)?;
    write(&open(&Source::Mnist, &DataOptions::default())?, Path::new(folder))
}

fn write_pictures(digits: &Splits, folder: &Path) -> Result<(), Box<dyn Error>> {
    for (name, digits) in [("train", &digits.train), ("val", &digits.validation), ("test", &digits.test)] {
        for index in 0..digits.len() {
            let class = folder.join(name).join(digits.label(index).to_string());
            fs::create_dir_all(&class)?;
            write_png(&class.join(format!("{index:05}.png")), digits.image(index), SIDE, SIDE, 1)?;
        }
    }
    Ok(())
}

fn write_cifar(digits: &Splits, folder: &Path) -> Result<(), Box<dyn Error>> {
    for file in 0..5 {
        let records = (file * CIFAR_FILE..(file + 1) * CIFAR_FILE).flat_map(|i| record(&digits.train, i, 0));
        fs::write(folder.join(format!("data_batch_{}.bin", file + 1)), records.collect::<Vec<u8>>())?;
    }
    let records = (0..CIFAR_FILE).flat_map(|index| record(&digits.test, index, 1));
    fs::write(folder.join("test_batch.bin"), records.collect::<Vec<u8>>())?;
    let names: Vec<&str> = digits.train.class_names().iter().map(String::as_str).collect();
    Ok(fs::write(folder.join("batches.meta.txt"), names.join("\n") + "\n")?)
}

/// One class and 32 × 32 pixels in red, green and blue: grey is mixed of two random colours.
fn record(digits: &Dataset, index: usize, stream: u64) -> Vec<u8> {
    let colours = Random::new(1, Purpose::Augmentation, stream).block(index as u64);
    let border = (CIFAR_SIDE - SIDE) / 2;
    let mut record = vec![digits.label(index) as u8];
    for colour in 0..3 {
        let [ground, ink] = [colours[0], colours[1]].map(|bits| bits.to_le_bytes()[colour] as f32);
        for place in 0..CIFAR_SIDE * CIFAR_SIDE {
            let (y, x) = (place / CIFAR_SIDE, place % CIFAR_SIDE);
            let inside = [y, x].iter().all(|at| (border..border + SIDE).contains(at));
            let grey = if inside { digits.image(index)[(y - border) * SIDE + x - border] } else { 0 };
            let share = f32::from(grey) / 255.0;
            record.push((ground + share * (ink - ground)).round() as u8);
        }
    }
    record
}
