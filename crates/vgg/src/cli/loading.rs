//! How far reading or downloading data has come, for whoever waits longer than a second: a bar on a
//! terminal, elsewhere one line for each task. The bar is the progress line of the whole program.

use super::output::{self, Bytes, Thousands};
use super::progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use vgg::data::{Loading, Progress, Unit};

/// What takes less is not worth a word.
const WAIT: Duration = Duration::from_secs(1);

/// The task at hand.
struct Task {
    name: String,
    since: Instant,
    /// Whether it has been spoken of.
    told: bool,
    bar: ProgressBar,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Progress on standard error, until training is interrupted.
pub(super) fn progress() -> Progress {
    let task: Mutex<Option<Task>> = Mutex::new(None);
    Progress::new(move |loading| {
        let mut task = task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_none_or(|task| task.name != loading.task) {
            // The task before gives the line back before it is taken.
            *task = None;
            let bar = progress::loading_bar();
            bar.set_length(loading.total);
            *task = Some(Task { name: loading.task.to_owned(), since: Instant::now(), told: false, bar });
        }
        if loading.done >= loading.total {
            *task = None;
        } else if let Some(task) = task.as_mut() {
            task.tell(loading);
        }
    })
    .until(|| super::train::STOP.load(Ordering::SeqCst))
}

impl Task {
    fn tell(&mut self, loading: &Loading<'_>) {
        if !self.told && self.since.elapsed() >= WAIT {
            self.told = true;
            self.bar.set_style(style(loading.unit));
            self.bar.set_message(self.name.clone());
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            // Nothing can be redrawn in a file, a pipe, or a terminal that is `dumb`.
            if self.bar.is_hidden() {
                output::note(line(loading));
            }
        }
        self.bar.set_position(loading.done);
    }
}

fn line(loading: &Loading<'_>) -> String {
    match loading.unit {
        Unit::Bytes => format!("{}, {} …", loading.task, Bytes(loading.total)),
        Unit::Pictures | Unit::Files => format!("{}, {} …", loading.task, Thousands(loading.total)),
    }
}

fn style(unit: Unit) -> ProgressStyle {
    let template = match unit {
        Unit::Bytes => "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} [{eta}]",
        Unit::Pictures | Unit::Files => "{msg} {wide_bar} {pos}/{len} [{eta}]",
    };
    // The templates are constants, and a test makes them.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_and_how_much() {
        let loading = |unit, total| line(&Loading { task: "reading pictures", done: 1, total, unit });
        assert_eq!(loading(Unit::Pictures, 60_000), "reading pictures, 60,000 …");
        assert_eq!(loading(Unit::Bytes, 26_421_880), "reading pictures, 26 MB …");
    }

    #[test]
    fn the_bar_is_the_line_of_the_program() {
        let progress = progress();
        let tell = |done| {
            progress.tell(&Loading { task: "reading", done, total: 4242, unit: Unit::Pictures });
        };
        tell(1);
        assert_eq!(progress::loading_bar().length(), Some(4242));
        tell(4242);
    }

    #[test]
    fn the_templates_are_understood() {
        for unit in [Unit::Bytes, Unit::Pictures] {
            let bar = ProgressBar::hidden().with_style(style(unit));
            bar.set_position(1);
        }
    }
}
