//! `vgg data`: which pictures there are, how many of each class, what they look like, and what is wrong
//! with them.

mod check;

use super::output::{self, Thousands};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use vgg::data::source::NAMED;
use vgg::data::{ascii, stats};
use vgg::{Dataset, Source, Split, Splits, TrainError};

pub(super) const EXAMPLES: &str = "\
Examples:
  vgg data stats
  vgg data check --data FOLDER
  vgg data show --index 7
  vgg data show --split test --index 0 --png digit.png";

/// Widest picture that is drawn whole: two characters a pixel, 80 columns.
const DRAWN_WIDTH: usize = 40;

/// What `vgg data` takes.
#[derive(Args)]
pub(crate) struct DataArguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// The data sets that --data takes
    List,
    /// Sizes, and the number of pictures of each class
    Stats {
        #[arg(long, value_name = super::DATA_NAME, default_value = "mnist", help = super::DATA_HELP)]
        data: Source,
    },
    /// Find what spoils training: unreadable files, copies in two splits or
    /// classes, classes with few pictures
    Check(check::CheckArguments),
    /// Draw one picture and say its class
    Show(ShowArguments),
}

#[derive(Args)]
struct ShowArguments {
    #[arg(long, value_name = super::DATA_NAME, default_value = "mnist", help = super::DATA_HELP)]
    data: Source,
    /// train, validation or test
    #[arg(long, value_name = "NAME", default_value = "train")]
    split: Split,
    /// Which picture of the split, counted from 0
    #[arg(long, value_name = "N")]
    index: usize,
    /// Also write the picture to this PNG file
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
}

/// Runs one of the four tasks.
///
/// # Errors
/// Data that cannot be read, a picture that does not exist, a file that cannot be written.
pub(crate) fn run(arguments: &DataArguments, json: bool) -> Result<(), TrainError> {
    match &arguments.task {
        Task::List => output::answer(&List::new(), json),
        Task::Stats { data } => {
            output::answer(&Stats::new(&super::open_data(data, &super::data_options())?), json)
        }
        Task::Check(arguments) => check::run(arguments, json),
        Task::Show(arguments) => output::answer(&show(arguments)?, json),
    }
}

/// What `--data` takes besides names.
const PATHS: [(&str, &str); 4] = [
    ("IDX", "a folder of four files, as of MNIST, EMNIST, QMNIST; packed or not"),
    ("IDX/SET", "one of several sets in it, such as gzip/emnist-letters"),
    ("PICTURES", "train/CLASS/*.png or *.jpg, also val/ and test/; or CLASS/*.png"),
    ("CIFAR", "CIFAR-10's binary files, or cifar-10-binary.tar.gz"),
];

/// The answer of `vgg data list`.
#[derive(Serialize)]
struct List {
    data_sets: Vec<DataSet>,
}

#[derive(Serialize)]
struct DataSet {
    name: &'static str,
    summary: &'static str,
}

impl List {
    fn new() -> Self {
        let named = NAMED.iter().map(|named| (named.name, named.summary));
        let all = named.chain(PATHS).map(|(name, summary)| DataSet { name, summary });
        Self { data_sets: all.collect() }
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.data_sets.iter().try_for_each(|set| writeln!(f, "{:<15}{}", set.name, set.summary))
    }
}

/// The answer of `vgg data stats`.
#[derive(Serialize)]
struct Stats {
    data: String,
    shapes: BTreeMap<&'static str, Vec<usize>>,
    class_names: Vec<String>,
    class_counts: BTreeMap<&'static str, Vec<usize>>,
    #[serde(skip)]
    lines: Vec<String>,
}

impl Stats {
    fn new(splits: &Splits) -> Self {
        let shapes = stats::shapes(splits);
        Self {
            data: splits.name.clone(),
            lines: shapes.iter().map(ToString::to_string).collect(),
            shapes: shapes.into_iter().map(|shape| (shape.name, shape.sizes)).collect(),
            class_names: splits.train.class_names().to_vec(),
            class_counts: Split::ALL
                .map(|split| (split.name(), stats::class_counts(splits.get(split))))
                .into_iter()
                .collect(),
        }
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        write!(f, "\n{:<20}", "class")?;
        Split::ALL.iter().try_for_each(|split| write!(f, "{split:>14}"))?;
        writeln!(f)?;
        for (class, name) in self.class_names.iter().enumerate() {
            write!(f, "{name:<20}")?;
            for split in Split::ALL {
                write!(f, "{:>14}", Thousands(self.class_counts[split.name()][class] as u64))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// The answer of `vgg data show`.
#[derive(Serialize)]
struct Shown {
    split: &'static str,
    index: usize,
    label: u32,
    class: String,
    height: usize,
    width: usize,
    channels: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    png: Option<String>,
    #[serde(skip)]
    drawing: String,
}

fn show(arguments: &ShowArguments) -> Result<Shown, TrainError> {
    let splits = super::open_data(&arguments.data, &super::data_options())?;
    let (data, index) = (splits.get(arguments.split), arguments.index);
    if index >= data.len() {
        let (split, last) = (arguments.split, data.len() - 1);
        return Err(TrainError::Usage(format!(
            "there is no picture {index} in the {split} split of {}; give --index 0 to {last}",
            splits.name
        )));
    }
    let (height, width, channels) = (data.height(), data.width(), data.channels());
    if let Some(path) = &arguments.png {
        vgg::write_png(path, data.image(index), height, width, channels)?;
    }
    let label = data.label(index);
    Ok(Shown {
        split: arguments.split.name(),
        index,
        label,
        class: data.class_names()[label as usize].clone(),
        height,
        width,
        channels,
        png: arguments.png.as_ref().map(|path| path.display().to_string()),
        drawing: draw(data, index),
    })
}

/// The picture as text; of a wide one every second, third, … pixel, so that it fits.
fn draw(data: &Dataset, index: usize) -> String {
    let (height, width, channels) = (data.height(), data.width(), data.channels());
    let step = width.div_ceil(DRAWN_WIDTH);
    let image = data.image(index);
    let mut pixels = Vec::new();
    for y in (0..height).step_by(step) {
        for x in (0..width).step_by(step) {
            pixels.extend_from_slice(&image[(y * width + x) * channels..][..channels]);
        }
    }
    ascii::draw(&pixels, height.div_ceil(step), width.div_ceil(step), channels)
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}y = {}", self.drawing, self.class)?;
        match &self.png {
            Some(file) => writeln!(f, "written to {file}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_pictures_are_drawn_in_eighty_columns() {
        let data = Dataset::new(vec![255; 100 * 90 * 3], vec![1], [100, 90, 3], vec!["a".into(), "b".into()]);
        let drawing = draw(&data.unwrap(), 0);
        assert_eq!(drawing.lines().count(), 34);
        assert!(drawing.lines().all(|line| line.len() == 60), "{drawing}");
    }

    #[test]
    fn small_pictures_are_drawn_whole() {
        let data = Dataset::new(vec![0, 255, 255, 0], vec![0], [2, 2, 1], vec!["a".into(), "b".into()]);
        assert_eq!(draw(&data.unwrap(), 0), "  @@\n@@\n");
    }
}
