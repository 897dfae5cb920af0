//! The progress line on standard error, and log lines that do not garble it. Where standard error is not a
//! terminal that can move its cursor (a pipe, a file, `TERM=dumb`) there are only the lines. It has no colours.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::Display;
use std::io::{self, LineWriter, Write};
use std::sync::LazyLock;
use std::time::Duration;
use vgg::train::{RunInfo, StepReport, TrainError};
use vgg::{Event, Listener};

/// The text, and a bar in what it leaves of the terminal's width.
const TEMPLATE: &str = "{msg} {wide_bar}";

const EVALUATION_TEMPLATE: &str = "{wide_bar} {pos}/{len} {msg} [{elapsed} + {eta}]";
/// The length of what is counted here is not known.
const COUNTING_TEMPLATE: &str = "{pos} {msg} [{elapsed}]";

/// Columns that the bar should have before the text grows longer.
const BAR: usize = 6;

/// What a step adds to the running means of accuracy and time, the share of what was before.
const MEMORY: f64 = 0.98;

/// The one line of this process that is redrawn.
static LINE: LazyLock<ProgressBar> =
    LazyLock::new(|| ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()));

/// Shows a training run as a line that is redrawn.
pub(crate) struct Progress {
    bar: ProgressBar,
    course: Course,
}

impl Progress {
    /// A line that appears when training starts.
    pub(crate) fn new() -> Self {
        Self { bar: LINE.clone(), course: Course::default() }
    }

    /// Where to write lines while the progress line is there: each appears above it.
    pub(crate) fn lines(&self) -> impl Write + use<> {
        LineWriter::new(Above)
    }
}

impl Listener for Progress {
    fn notice(&mut self, event: &Event<'_>) -> Result<(), TrainError> {
        let bar = &self.bar;
        match event {
            Event::Started(info) | Event::Resumed(info) => {
                self.course = Course::new(info);
                bar.reset();
                bar.set_style(style(TEMPLATE));
                bar.set_length(info.end);
                bar.set_position(info.global_step);
                bar.set_message("starting");
                bar.set_draw_target(ProgressDrawTarget::stderr());
            }
            Event::Step(report) => {
                self.course.step(report);
                bar.set_message(self.course.text(columns()));
                bar.set_position(report.global_step);
            }
            Event::Evaluating { split, done, total } => {
                bar.set_message(format!("{split} {done}/{total}"));
                bar.tick();
            }
            Event::Saving { .. } => bar.set_message("saving"),
            Event::Finished { .. } | Event::Interrupted { .. } => self.bar.finish_and_clear(),
            Event::Saved { .. } | Event::Evaluated { .. } | Event::Note(_) | Event::Warning(_) => {}
        }
        Ok(())
    }
}

/// A bar for the evaluation of `total` pictures.
pub(crate) fn evaluation_bar(split: &str, total: usize) -> ProgressBar {
    let bar = LINE.clone();
    bar.reset();
    bar.set_style(style(EVALUATION_TEMPLATE));
    bar.set_length(total as u64);
    bar.set_message(format!("{split} pictures"));
    bar.set_draw_target(ProgressDrawTarget::stderr());
    bar
}

/// A bar for what is done before the work proper, such as reading pictures; hidden until it is told where to
/// draw.
pub(super) fn loading_bar() -> ProgressBar {
    LINE.reset();
    LINE.set_draw_target(ProgressDrawTarget::hidden());
    LINE.clone()
}

/// A count of things that nobody knows the number of.
pub(crate) fn counting_bar(things: &str) -> ProgressBar {
    let bar = LINE.clone();
    bar.reset();
    bar.unset_length();
    bar.set_style(style(COUNTING_TEMPLATE));
    bar.set_message(things.to_owned());
    bar.set_draw_target(ProgressDrawTarget::stderr());
    bar
}

/// Removes the progress line.
pub(crate) fn clear() {
    LINE.finish_and_clear();
}

/// Writes a line on standard error, above the progress line if there is one.
pub(crate) fn line(line: impl Display) -> io::Result<()> {
    above(|| writeln!(io::stderr().lock(), "{line}"))
}

/// Takes the progress line away while `write` writes. One that is not shown stays out of it: a pipe that is
/// full holds up who writes into it, and must hold up nobody else.
fn above<R>(write: impl FnOnce() -> R) -> R {
    if LINE.is_hidden() { write() } else { LINE.suspend(write) }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants, and a test makes them.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Columns of the terminal, less the last: what is written there moves some cursors to the next line.
fn columns() -> usize {
    usize::from(console::Term::stderr().size().1).saturating_sub(1)
}

/// Where a run is, how well it does and how fast.
#[derive(Default)]
struct Course {
    epochs: u64,
    epoch: u64,
    step: u64,
    end: u64,
    loss: f32,
    /// Running sums, of which each step leaves [`MEMORY`]: pictures, those that were right, seconds, steps.
    pictures: f64,
    correct: f64,
    seconds: f64,
    steps: f64,
}

impl Course {
    fn new(info: &RunInfo<'_>) -> Self {
        let epochs = info.config.run.steps.div_ceil(info.steps_per_epoch);
        Self { epochs, step: info.global_step, end: info.end, ..Self::default() }
    }

    fn step(&mut self, report: &StepReport) {
        (self.epoch, self.step, self.loss) = (report.epoch + 1, report.global_step, report.loss);
        for (sum, value) in [
            (&mut self.pictures, report.examples as f64),
            (&mut self.correct, report.correct as f64),
            (&mut self.seconds, report.seconds),
            (&mut self.steps, 1.0),
        ] {
            *sum = MEMORY * *sum + value;
        }
    }

    /// As much of it as fits so many columns beside a bar, and less of the bar before less of the text.
    fn text(&self, columns: usize) -> String {
        let steps = format!("{}/{}", self.step, self.end);
        let loss = format!("loss {:.4}", self.loss);
        let accuracy = format!("accuracy {:.1} %", 100.0 * self.correct / self.pictures);
        let speed = format!("{:.0} images/s", self.pictures / self.seconds);
        let left = self.end.saturating_sub(self.step) as f64 * self.seconds / self.steps;
        // A time that is no number, or for ever, is not said.
        let left =
            Duration::try_from_secs_f64(left).map_or(String::new(), |time| format!("{} left", clock(time)));
        let epoch = format!("epoch {}/{}", self.epoch, self.epochs);
        let step = format!("step {steps}");
        let forms: [&[&String]; 7] = [
            &[&epoch, &step, &loss, &accuracy, &speed, &left],
            &[&epoch, &steps, &loss, &accuracy, &speed, &left],
            &[&epoch, &steps, &loss, &accuracy, &left],
            &[&steps, &loss, &accuracy, &left],
            &[&steps, &loss, &left],
            &[&steps, &left],
            &[&steps],
        ];
        let texts = forms.map(|parts| {
            let parts = parts.iter().map(|part| part.as_str()).filter(|part| !part.is_empty());
            parts.collect::<Vec<_>>().join(" ")
        });
        let fits = |room: usize| texts.iter().find(|text| text.len() + room <= columns);
        // The first two say the same: the shorter one if that leaves room for a bar.
        let widest = texts[..2].iter().find(|text| text.len() + 1 + BAR <= columns);
        widest.or_else(|| fits(0)).unwrap_or(&texts[6]).clone()
    }
}

/// Hours, minutes and seconds.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// Standard error, from which the progress line is taken away while something is written.
struct Above;

impl Write for Above {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        above(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(global_step: u64) -> StepReport {
        StepReport {
            global_step,
            epoch: global_step / 550,
            loss: 0.5,
            correct: 97,
            examples: 100,
            learning_rate: 0.1,
            seconds: 0.125,
        }
    }

    #[test]
    fn the_templates_are_understood() {
        ProgressStyle::with_template(TEMPLATE).unwrap();
        ProgressStyle::with_template(EVALUATION_TEMPLATE).unwrap();
        ProgressStyle::with_template(COUNTING_TEMPLATE).unwrap();
    }

    #[test]
    fn the_line_follows_the_steps() {
        let course = Course { epochs: 2, end: 1100, ..Course::default() };
        let mut progress = Progress { bar: ProgressBar::hidden(), course };
        progress.notice(&Event::Step(&report(700))).unwrap();
        assert_eq!(progress.bar.position(), 700);
        assert!(progress.bar.message().contains("700/1100 loss 0.5000"), "{}", progress.bar.message());
        progress.notice(&Event::Interrupted { global_step: 700 }).unwrap();
        assert!(progress.bar.is_finished());
    }

    #[test]
    fn the_text_fits_the_terminal() {
        let mut course = Course { epochs: 2, end: 1100, ..Course::default() };
        course.step(&report(351));
        for (columns, text) in [
            (119, "epoch 1/2 step 351/1100 loss 0.5000 accuracy 97.0 % 800 images/s 1:33 left"),
            (79, "epoch 1/2 351/1100 loss 0.5000 accuracy 97.0 % 800 images/s 1:33 left"),
            (69, "epoch 1/2 351/1100 loss 0.5000 accuracy 97.0 % 800 images/s 1:33 left"),
            (60, "epoch 1/2 351/1100 loss 0.5000 accuracy 97.0 % 1:33 left"),
            (50, "351/1100 loss 0.5000 accuracy 97.0 % 1:33 left"),
            (39, "351/1100 loss 0.5000 1:33 left"),
            (20, "351/1100 1:33 left"),
            (9, "351/1100"),
            (0, "351/1100"),
        ] {
            assert_eq!(course.text(columns), text, "{columns}");
        }
        let mut long = Course { epochs: 100, end: 55_000, ..Course::default() };
        long.step(&StepReport { seconds: 0.0284, ..report(54_901) });
        assert_eq!(
            long.text(79),
            "epoch 100/100 54901/55000 loss 0.5000 accuracy 97.0 % 3521 images/s 0:02 left"
        );
    }

    #[test]
    fn accuracy_and_speed_follow_the_latest_steps() {
        let mut course = Course { epochs: 2, end: 1100, ..Course::default() };
        course.step(&StepReport { correct: 0, seconds: 60.0, ..report(1) });
        assert!(course.text(200).contains("accuracy 0.0 % 2 images/s 18:19:00 left"), "{}", course.text(200));
        (2..600).for_each(|step| course.step(&report(step)));
        assert!(course.text(200).contains("accuracy 97.0 % 800 images/s 1:02 left"), "{}", course.text(200));
    }

    /// A clock that stands still gives no speed and no time left, and nothing breaks.
    #[test]
    fn steps_without_time_say_no_time() {
        let mut course = Course { epochs: 1, end: u64::MAX, ..Course::default() };
        course.step(&StepReport { seconds: f64::INFINITY, ..report(1) });
        assert!(!course.text(200).contains("left"));
    }
}
