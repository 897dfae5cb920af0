//! What became of a run, as one page: `report.html`, which opens from disk in any browser, without
//! scripts and without a network.
//!
//! Read in this order: this file ([`Report::collect`] puts everything together), [`scores`] and
//! [`calibration`] (what the network said of the pictures), [`course`] (how training went),
//! [`origin`] (machine, time, and the command that repeats it), then the private module `page`, which
//! makes HTML of it and computes nothing.

pub mod calibration;
pub mod course;
pub mod origin;
mod page;
pub mod scores;

use course::Course;
use origin::{Machine, Moment};
use scores::{Answer, Scores};
use std::path::PathBuf;
use vgg_data::{Dataset, Split, Splits};
use vgg_formats::ModelDir;
use vgg_train::config::CONFIG_FILE;
use vgg_train::{Config, Estimator, TrainError};

/// Name in a model directory of the page about the run's own test pictures; see [`Report::file_name`].
pub const REPORT_FILE: &str = "report.html";

/// Everything that the page shows.
#[derive(Clone, Debug)]
pub struct Report {
    /// Everything that the run is.
    pub config: Config,
    /// The same as it is written in the model directory.
    pub config_text: String,
    /// Number of trained values of the network.
    pub parameters: usize,
    /// Updates that made the network. Training may have gone on after them: see [`Course::last_step`].
    pub global_step: u64,
    /// Whose pictures were told.
    pub split: Split,
    /// When they were told.
    pub occasion: Occasion,
    /// What their data are called.
    pub data_name: String,
    /// Whether these are the data of the run.
    pub is_data_of_the_run: bool,
    /// Number of pictures in the three splits of the data.
    pub sizes: [usize; 3],
    /// What the network said of them.
    pub scores: Scores,
    /// The wrong answers with the largest loss; the right ones where none is wrong.
    pub worst: Vec<(Answer, Picture)>,
    /// How training went.
    pub course: Course,
    /// The windows of the first convolution.
    pub filters: Filters,
    /// What the pictures were told on.
    pub machine: Machine,
    /// When that was.
    pub written: Moment,
    /// The command that repeats the run.
    pub command: String,
}

/// When a report is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// At the end of training, with the first look at the pictures of the test.
    EndOfTraining,
    /// Any time later; the pictures may have been looked at before.
    Later,
}

/// A picture with its pixels, `[y][x][channel]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
    /// 1 for grey, 3 for colour.
    pub channels: usize,
    /// One byte a value.
    pub pixels: Vec<u8>,
}

/// The weights of a convolution, `[filter][channel][row][column]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Filters {
    /// Number of filters.
    pub count: usize,
    /// Channels of each.
    pub channels: usize,
    /// Rows, and columns, of each.
    pub side: usize,
    /// All weights.
    pub weights: Vec<f32>,
}

/// What a report is about.
#[derive(Debug)]
pub struct Subject<'a> {
    /// Where the run is kept.
    pub model_dir: &'a ModelDir,
    /// The data whose pictures were told.
    pub splits: &'a Splits,
    /// Which of them.
    pub split: Split,
    /// What the network said of them.
    pub scores: Scores,
    /// When.
    pub occasion: Occasion,
}

impl Report {
    /// Puts together what `estimator` said of the subject's pictures, and what its model directory
    /// tells of its training.
    ///
    /// # Errors
    /// When the configuration in the model directory cannot be read.
    pub fn collect(estimator: &Estimator, subject: Subject<'_>) -> Result<Self, TrainError> {
        /// As long as the configuration itself may be.
        const LONGEST_CONFIG: u64 = 1 << 20;
        let Subject { model_dir, splits, split, scores, occasion } = subject;
        let config = estimator.config().clone();
        let text = model_dir.read(CONFIG_FILE, LONGEST_CONFIG)?.unwrap_or_default();
        let data = splits.get(split);
        let answers = if scores.mistakes().is_empty() { scores.doubts() } else { scores.mistakes() };
        let worst = answers.iter().map(|answer| (answer.clone(), picture(data, answer.index))).collect();
        let global_step = estimator.global_step();
        // The network of a run that may end early is an earlier one than the newest.
        let newest = vgg_formats::list(model_dir)?.last().map_or(global_step, |(step, _)| *step);
        Ok(Self {
            config_text: String::from_utf8_lossy(&text).into_owned(),
            parameters: estimator.network().parameter_count(),
            global_step,
            split,
            occasion,
            data_name: splits.name.clone(),
            is_data_of_the_run: splits.fingerprint() == config.data.fingerprint,
            sizes: Split::ALL.map(|split| splits.get(split).len()),
            worst,
            scores,
            course: Course::read(model_dir, newest),
            filters: first_filters(estimator)?,
            machine: Machine::here(&estimator.engine_info()),
            written: Moment::now(),
            command: origin::command(&config),
            config,
        })
    }

    /// The page.
    pub fn page(&self) -> String {
        page::page(self)
    }

    /// Name of the page's file: [`REPORT_FILE`] for the test pictures of the run, another one for each other
    /// split, and for other data, so that no page takes the place of that about the test.
    pub fn file_name(&self) -> String {
        let data = if self.is_data_of_the_run { "" } else { "-other-data" };
        match self.split {
            Split::Test if self.is_data_of_the_run => REPORT_FILE.to_owned(),
            Split::Test => format!("report{data}.html"),
            split => format!("report{data}-{}.html", split.name()),
        }
    }

    /// Writes the page into the model directory, complete or not at all, and gives its path.
    ///
    /// # Errors
    /// When the file cannot be created or written.
    pub fn write(&self, model_dir: &ModelDir) -> Result<PathBuf, TrainError> {
        let name = self.file_name();
        model_dir.replace(&name, self.page().as_bytes())?;
        Ok(model_dir.path().join(name))
    }
}

fn picture(data: &Dataset, index: usize) -> Picture {
    Picture {
        height: data.height(),
        width: data.width(),
        channels: data.channels(),
        pixels: data.image(index).to_vec(),
    }
}

/// The weights of the first layer; every network of the table begins with a convolution.
fn first_filters(estimator: &Estimator) -> Result<Filters, TrainError> {
    let parameters = estimator.network().parameters();
    match parameters.first().map(|parameter| parameter.shape.as_slice()) {
        Some(&[count, channels, side, _]) => {
            Ok(Filters { count, channels, side, weights: estimator.parameter(0)? })
        }
        _ => Ok(Filters { count: 0, channels: 0, side: 0, weights: Vec::new() }),
    }
}
