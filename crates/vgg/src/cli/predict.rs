//! `vgg predict`: the class of pictures, a hundred at a time, however many there are.

use super::output::{self, Thousands};
use super::pictures::{Pictures, STANDARD_INPUT};
use super::{BATCH_SIZE, MODEL_DIR, progress};
use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use vgg::arch::text::one_line;
use vgg::data::read_picture_from;
use vgg::train::Views;
use vgg::{Estimator, Prediction, TrainError, read_picture};

pub(super) const EXAMPLES: &str = "\
Examples:
  vgg predict digit.png
  vgg predict --top 3 scans/            every picture in a folder and below it
  vgg predict --model-dir model --json *.png
  curl -s https://example.org/seven.png | vgg predict -

MNIST shows white digits on black; a picture of another size is resized.";

/// Characters of a name in the table that others are lined up with; longer ones stick out.
const WIDEST: usize = 40;

/// Longest name in the table.
const LONGEST_NAME: usize = 4096;

/// What `vgg predict` takes.
#[derive(Args)]
pub(crate) struct PredictArguments {
    /// Where the trained network is kept
    #[arg(long, value_name = "DIR", default_value = MODEL_DIR)]
    model_dir: PathBuf,
    /// Say the N most probable classes of each picture
    #[arg(long, value_name = "N", value_parser = top)]
    top: Option<usize>,
    /// Take the mean over nine looks at each picture, moved by up to a pixel
    #[arg(long)]
    test_time_shifts: bool,
    /// PNG or JPEG files, folders of them, or - for one on standard input
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
}

fn top(text: &str) -> Result<usize, String> {
    super::whole_number(text, 1, 1_000_000)
}

/// What the network says of one picture.
#[derive(Serialize)]
struct Line {
    file: String,
    class: usize,
    class_name: String,
    probabilities: Vec<f64>,
    /// The most probable classes, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    top: Option<Vec<Share>>,
}

/// A class and its probability.
#[derive(Serialize)]
struct Share {
    class: usize,
    class_name: String,
    probability: f64,
}

/// Prints what the newest checkpoint says of every picture that can be read, in portions. The others are
/// named on standard error, and then the exit code is that of bad input.
///
/// # Errors
/// No trained network; a standard output that cannot be written.
pub(crate) fn run(arguments: &PredictArguments, json: bool) -> Result<ExitCode, TrainError> {
    if arguments.images.iter().filter(|image| image.as_os_str() == STANDARD_INPUT).count() > 1 {
        let cause = "standard input (-) is given twice, but has one picture; give it once";
        return Err(TrainError::Usage(cause.to_owned()));
    }
    // Memory is taken for no more pictures than there are.
    let has_folders = arguments.images.iter().any(|image| image.is_dir());
    let batch_size = if has_folders { BATCH_SIZE } else { arguments.images.len().min(BATCH_SIZE) };
    let mut estimator = super::open_estimator(&arguments.model_dir, batch_size, 0)?;
    if arguments.test_time_shifts {
        estimator.set_views(Views::Shifted);
    }
    let names = estimator.config().data.class_names.clone();
    let mut output = Output::new(io::stdout().lock(), json, &names);
    let mut reader = Reader::new();
    let ended = tell_all(arguments, &mut estimator, &mut reader, &mut output, &names);
    reader.conclude();
    let closed = output.finish(ended.is_ok());
    ended?;
    output::unless_closed(closed)?;
    Ok(reader.failure.map_or(ExitCode::SUCCESS, |error| ExitCode::from(error.exit_code())))
}

/// Tells all pictures, or as many as are wanted.
fn tell_all(
    arguments: &PredictArguments,
    estimator: &mut Estimator,
    reader: &mut Reader,
    output: &mut Output<impl Write>,
    names: &[String],
) -> Result<(), TrainError> {
    let mut pictures = Pictures::new(&arguments.images);
    loop {
        let (files, pixels) = reader.read(&mut pictures, estimator);
        if files.is_empty() {
            return Ok(());
        }
        let found = estimator.predict(&pixels)?;
        let lines = files.into_iter().zip(found).map(|(file, p)| Line::new(file, p, arguments.top, names));
        let lines: Vec<Line> = lines.collect();
        let written = reader.bar.suspend(|| output.write(&lines));
        if !output::unless_closed(written)? {
            return Ok(());
        }
    }
}

/// Reads pictures and says what is wrong with those that cannot be read.
struct Reader {
    /// Counts pictures where the answers do not show on the terminal.
    bar: ProgressBar,
    read: u64,
    failed: u64,
    /// The first error.
    failure: Option<TrainError>,
    resized: u64,
}

impl Reader {
    fn new() -> Self {
        let shown = !io::stdout().is_terminal();
        let bar = if shown { progress::counting_bar("pictures") } else { ProgressBar::hidden() };
        Self { bar, read: 0, failed: 0, failure: None, resized: 0 }
    }

    /// The names and pixels of the next pictures that can be read, a batch at most; none at the end.
    fn read(&mut self, pictures: &mut Pictures<'_>, estimator: &Estimator) -> (Vec<String>, Vec<u8>) {
        let input = estimator.network().input;
        let [height, width, channels] = [input.height, input.width, input.channels];
        let (mut files, mut pixels) = (Vec::new(), Vec::new());
        while files.len() < BATCH_SIZE
            && let Some(picture) = pictures.next()
        {
            let picture = picture.and_then(|path| {
                let read = if path.as_os_str() == STANDARD_INPUT {
                    let name = Path::new("standard input");
                    read_picture_from(name, io::stdin().lock(), height, width, channels)
                } else {
                    read_picture(&path, height, width, channels)
                };
                Ok((path, read?))
            });
            self.read += 1;
            self.bar.set_position(self.read);
            match picture {
                Ok((path, (picture, note))) => {
                    note.into_iter().for_each(|note| self.note_resized(&note));
                    files.push(path.display().to_string());
                    pixels.extend(picture);
                }
                Err(error) => {
                    output::note(format_args!("error: {error}"));
                    self.failed += 1;
                    self.failure.get_or_insert(error);
                }
            }
        }
        (files, pixels)
    }

    /// Of pictures that had to be resized the first is named; of the others there may be thousands.
    fn note_resized(&mut self, note: &str) {
        if self.resized == 0 {
            output::note(format_args!("note: {note}"));
        }
        self.resized += 1;
    }

    /// Says what there was to say of many pictures.
    fn conclude(&self) {
        self.bar.finish_and_clear();
        if self.resized > 1 {
            output::note(format_args!("note: {} more were resized", Thousands(self.resized - 1)));
        }
        if self.failed > 0 && self.read > 1 {
            let (failed, read) = (Thousands(self.failed), Thousands(self.read));
            output::note(format_args!("note: {failed} of {read} could not be told"));
        }
    }
}

impl Line {
    fn new(file: String, prediction: Prediction, top: Option<usize>, names: &[String]) -> Self {
        let Prediction { class, class_name, probabilities } = prediction;
        let top = top.map(|count| best(&probabilities, count, names));
        Self { file, class, class_name, probabilities, top }
    }
}

/// The `count` most probable classes, the first of equal ones first, as in the prediction.
fn best(probabilities: &[f64], count: usize, names: &[String]) -> Vec<Share> {
    let mut ranking: Vec<usize> = (0..probabilities.len()).collect();
    // A stable sort.
    ranking.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
    let share =
        |class: usize| Share { class, class_name: names[class].clone(), probability: probabilities[class] };
    ranking.into_iter().take(count).map(share).collect()
}

/// Where predictions go: lines of a table, or items of one JSON object.
struct Output<W> {
    writer: W,
    json: bool,
    started: bool,
    /// The widest file name so far, and the widest class name, up to [`WIDEST`].
    file_width: usize,
    class_width: usize,
}

impl<W: Write> Output<W> {
    fn new(writer: W, json: bool, names: &[String]) -> Self {
        let class_width = names.iter().map(|name| width(name)).max().unwrap_or(0);
        Self { writer, json, started: false, file_width: 0, class_width }
    }

    /// Writes the next predictions.
    fn write(&mut self, lines: &[Line]) -> io::Result<()> {
        if self.json {
            for line in lines {
                self.writer.write_all(if self.started { b"," } else { b"{\"predictions\":[" })?;
                self.started = true;
                serde_json::to_writer(&mut self.writer, line)?;
            }
        } else {
            let widest = lines.iter().map(|line| width(&line.file)).max().unwrap_or(0);
            self.file_width = self.file_width.max(widest);
            lines.iter().try_for_each(|line| self.row(line))?;
        }
        self.writer.flush()
    }

    /// A line of the table, and one for each further class.
    fn row(&mut self, line: &Line) -> io::Result<()> {
        let single = [Share {
            class: line.class,
            class_name: line.class_name.clone(),
            probability: line.probabilities[line.class],
        }];
        let mut file = one_line(&line.file, LONGEST_NAME);
        for share in line.top.as_deref().unwrap_or(&single) {
            let class = one_line(&share.class_name, LONGEST_NAME);
            let percent = 100.0 * share.probability;
            let (file_width, class_width) = (self.file_width, self.class_width);
            writeln!(self.writer, "{file:file_width$}  {class:class_width$}  {percent:6.2} %")?;
            file.clear();
        }
        Ok(())
    }

    /// Ends the JSON object; one that was not begun is written only when all went well.
    fn finish(&mut self, well: bool) -> io::Result<()> {
        if self.json && (self.started || well) {
            let begin = if self.started { "" } else { "{\"predictions\":[" };
            writeln!(self.writer, "{begin}]}}")?;
        }
        self.writer.flush()
    }
}

/// The width of a column that `text` fits into, unless it is too wide.
fn width(text: &str) -> usize {
    one_line(text, LONGEST_NAME).chars().count().min(WIDEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        ["cat", "dog", "horse", "emu"].map(String::from).to_vec()
    }

    fn line(file: &str, top: Option<usize>) -> Line {
        let probabilities = vec![0.1, 0.05, 0.7, 0.15];
        let prediction = Prediction { class: 2, class_name: "horse".into(), probabilities };
        Line::new(file.into(), prediction, top, &names())
    }

    /// What is printed of portions of lines.
    fn printed(json: bool, portions: &[&[Line]], well: bool) -> String {
        let mut bytes = Vec::new();
        let mut output = Output::new(&mut bytes, json, &names());
        portions.iter().for_each(|lines| output.write(lines).unwrap());
        output.finish(well).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_table_has_file_class_and_probability() {
        let long = "long/".repeat(20);
        let text = printed(
            false,
            &[&[line("x.png", None), line("photo.jpg", None)], &[line("y\n", None), line(&long, None)]],
            true,
        );
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["x.png      horse   70.00 %", "photo.jpg  horse   70.00 %"]);
        assert_eq!(lines[2], format!("{:40}  horse   70.00 %", "y\\n"));
        assert_eq!(lines[3], format!("{long}  horse   70.00 %"));
    }

    #[test]
    fn the_best_classes_follow_below() {
        let text = printed(false, &[&[line("x.png", Some(3)), line("y.png", Some(1))]], true);
        let lines: Vec<&str> = text.lines().collect();
        let expected = [
            "x.png  horse   70.00 %",
            "       emu     15.00 %",
            "       cat     10.00 %",
            "y.png  horse   70.00 %",
        ];
        assert_eq!(lines, expected);
        assert_eq!(best(&[0.25; 4], 9, &names()).iter().map(|s| s.class).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    #[test]
    fn json_is_one_object_however_many_portions() {
        let text =
            printed(true, &[&[line("x.png", None), line("y.png", None)], &[line("z.png", Some(2))]], true);
        assert_eq!(text.lines().count(), 1);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let predictions = json["predictions"].as_array().unwrap();
        assert_eq!(predictions.len(), 3);
        assert_eq!(
            predictions[1],
            serde_json::json!({
                "file": "y.png", "class": 2, "class_name": "horse", "probabilities": [0.1, 0.05, 0.7, 0.15]
            })
        );
        assert_eq!(
            predictions[2]["top"],
            serde_json::json!([
                {"class": 2, "class_name": "horse", "probability": 0.7},
                {"class": 3, "class_name": "emu", "probability": 0.15},
            ])
        );
        assert_eq!(printed(true, &[], true), "{\"predictions\":[]}\n");
        assert_eq!(printed(true, &[], false), "", "nothing was found out");
        assert!(printed(true, &[&[line("x.png", None)]], false).ends_with("]}\n"));
    }
}
