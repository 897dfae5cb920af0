//! Writes `augmented.png`: ten digits of MNIST in ten rows, each as it is and nine times changed.
//!
//! `cargo run -p vgg-data --example augmented_digits` shows what the amounts of
//! [`Augmentation::DIGITS`] do, before a run is trained with others.

use std::path::Path;
use vgg_data::{Augmentation, Augmenter, DataError, DataOptions, Source, open, write_png};

const SIDE: usize = 28;
const COLUMNS: usize = 10;

fn main() -> Result<(), DataError> {
    let digits = open(&Source::Mnist, &DataOptions::default())?.train;
    let mut augmenter = Augmenter::new(&Augmentation::DIGITS, 1, [SIDE, SIDE, 1]);
    let mut sheet = Vec::new();
    for class in 0..10 {
        let index = digits.labels().iter().position(|&label| label == class).unwrap_or_default();
        let mut row = digits.image(index).to_vec();
        for epoch in 1..COLUMNS {
            augmenter.apply(epoch as u64, index as u32, digits.image(index), &mut row);
        }
        for y in 0..SIDE {
            row.chunks_exact(SIDE * SIDE).for_each(|image| sheet.extend(&image[y * SIDE..][..SIDE]));
        }
    }
    write_png(Path::new("augmented.png"), &sheet, 10 * SIDE, COLUMNS * SIDE, 1)
}
