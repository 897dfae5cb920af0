//! The progress bar on standard error, and log lines that do not garble it. Where standard error
//! is not a terminal there is no bar, only the lines.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, LineWriter, Write};
use vgg::train::TrainError;
use vgg::{Event, Listener};

const TEMPLATE: &str = "{wide_bar} {pos}/{len} {msg} [{elapsed} + {eta}]";

/// Shows a training run as a bar.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar that appears when training starts.
    pub(crate) fn new() -> Self {
        Self { bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()) }
    }

    /// Where to write lines while the bar is there: each appears above it.
    pub(crate) fn lines(&self) -> impl Write + use<> {
        LineWriter::new(AboveBar { bar: self.bar.clone() })
    }

    /// Removes the bar.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Listener for Progress {
    fn notice(&mut self, event: &Event<'_>) -> Result<(), TrainError> {
        let bar = &self.bar;
        match event {
            Event::Started(info) | Event::Resumed(info) => {
                bar.set_style(style());
                bar.set_length(info.end);
                bar.set_position(info.global_step);
                bar.set_draw_target(ProgressDrawTarget::stderr());
                bar.reset_eta();
            }
            Event::Step(report) => {
                bar.set_message(format!("loss {:.4}", report.loss));
                bar.set_position(report.global_step);
            }
            Event::Evaluating { split, done, total } => {
                bar.set_message(format!("{split} {done}/{total}"));
                bar.tick();
            }
            Event::Saving { .. } => bar.set_message("saving"),
            Event::Finished { .. } | Event::Interrupted { .. } => self.clear(),
            Event::Saved { .. } | Event::Evaluated { .. } | Event::Warning(_) => {}
        }
        Ok(())
    }
}

/// A bar for the evaluation of `total` pictures.
pub(crate) fn evaluation_bar(split: &str, total: usize) -> ProgressBar {
    ProgressBar::new(total as u64).with_style(style()).with_message(format!("{split} pictures"))
}

/// A count of things that nobody knows the number of.
pub(crate) fn counting_bar(things: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{pos} {msg} [{elapsed}]");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
    ProgressBar::no_length().with_style(style).with_message(things.to_owned())
}

fn style() -> ProgressStyle {
    // The template is a constant, and a test makes it.
    ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Standard error, from which the bar is taken away while something is written.
struct AboveBar {
    bar: ProgressBar,
}

impl Write for AboveBar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bar.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_understood() {
        ProgressStyle::with_template(TEMPLATE).unwrap();
    }

    #[test]
    fn the_bar_follows_the_steps() {
        let mut progress = Progress::new();
        let report = vgg::train::StepReport {
            global_step: 7,
            epoch: 0,
            loss: 0.5,
            correct: 3,
            examples: 4,
            learning_rate: 0.1,
            seconds: 0.2,
        };
        progress.notice(&Event::Step(&report)).unwrap();
        assert_eq!(progress.bar.position(), 7);
        assert_eq!(progress.bar.message(), "loss 0.5000");
        progress.notice(&Event::Interrupted { global_step: 7 }).unwrap();
        assert!(progress.bar.is_finished());
    }
}
