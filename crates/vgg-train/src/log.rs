//! The log of a training run in the form of TensorFlow's estimator.

use crate::error::TrainError;
use crate::events::{Event, Listener, RunInfo, StepReport};
use std::fmt;
use std::io::Write;

/// Steps from one line of the log to the next.
const INTERVAL: u64 = 100;

/// Writes loss, step and speed every 100 steps, checkpoints and the end. An output that cannot be
/// written (a closed pipe) does not disturb training.
pub struct Log<W> {
    output: W,
    /// Steps and seconds since the last line; `None` before the first.
    since: Option<(u64, f64)>,
}

impl<W: Write> Log<W> {
    /// A log to `output`, usually standard error.
    pub fn new(output: W) -> Self {
        Self { output, since: None }
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        // Nobody is there to be told.
        let _ = writeln!(self.output, "{line}");
    }

    fn start(&mut self, verb: &str, run: &RunInfo<'_>) {
        self.since = None;
        if run.global_step >= run.end {
            return;
        }
        let (network, engine) = (&run.config.network, run.engine);
        self.line(format_args!(
            "{verb} {} on {} in {}: steps {} to {}, {} threads, kernels {}, {}",
            network.name,
            run.config.data.source,
            run.model_dir.display(),
            run.global_step + 1,
            run.end,
            engine.threads,
            engine.tier,
            engine.precision,
        ));
    }

    fn step(&mut self, report: &StepReport) {
        let StepReport { loss, global_step, .. } = *report;
        let Some((steps, seconds)) = self.since else {
            self.line(format_args!("loss = {loss}, step = {global_step}"));
            self.since = Some((0, 0.0));
            return;
        };
        let (steps, seconds) = (steps + 1, seconds + report.seconds);
        self.since = Some((steps, seconds));
        if steps == INTERVAL {
            self.line(format_args!("global_step/sec: {}", SixDigits(steps as f64 / seconds)));
            self.line(format_args!("loss = {loss}, step = {global_step} ({seconds:.3} sec)"));
            self.since = Some((0, 0.0));
        }
    }
}

impl<W: Write> Listener for Log<W> {
    fn notice(&mut self, event: &Event<'_>) -> Result<(), TrainError> {
        match *event {
            Event::Started(run) => self.start("Training", run),
            Event::Resumed(run) => self.start("Going on with", run),
            Event::Step(report) => self.step(report),
            Event::Saved { global_step, path } => {
                self.line(format_args!("Saving checkpoints for {global_step} into {}.", path.display()));
            }
            Event::Evaluated { split, evaluation } => self.line(format_args!(
                "Evaluation of {split} for global step {}: accuracy = {}, loss = {}",
                evaluation.global_step, evaluation.accuracy, evaluation.loss
            )),
            Event::Finished { loss: Some(loss), .. } => {
                self.line(format_args!("Loss for final step: {loss}."));
            }
            Event::Finished { global_step, loss: None } => {
                self.line(format_args!("Nothing to train: step {global_step} has been reached."));
            }
            Event::Interrupted { global_step } => {
                self.line(format_args!("Interrupted; all {global_step} steps are saved."));
            }
            Event::Warning(text) => self.line(format_args!("Warning: {text}")),
            Event::Saving { .. } | Event::Evaluating { .. } => {}
        }
        Ok(())
    }
}

/// A number with six significant digits, as C's `%g` shows those below a million.
struct SixDigits(f64);

impl fmt::Display for SixDigits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before_point = self.0.abs().max(1e-9).log10().floor() + 1.0;
        let decimals = (6.0 - before_point).clamp(0.0, 12.0) as usize;
        write!(f, "{:.decimals$}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn report(global_step: u64) -> StepReport {
        let (loss, seconds) = (2.302_445_7, 0.029_99);
        StepReport { global_step, epoch: 0, loss, correct: 1, examples: 100, learning_rate: 0.1, seconds }
    }

    #[test]
    fn the_log_has_the_tutorials_form() {
        let mut log = Log::new(Vec::new());
        for step in 1..=250 {
            log.notice(&Event::Step(&report(step))).unwrap();
        }
        let path = Path::new("DIR/ckpt-055000");
        log.notice(&Event::Saved { global_step: 55_000, path }).unwrap();
        log.notice(&Event::Finished { global_step: 55_000, loss: Some(0.007_031_409) }).unwrap();
        assert_eq!(
            String::from_utf8(log.output).unwrap(),
            "loss = 2.3024457, step = 1\n\
             global_step/sec: 33.3444\n\
             loss = 2.3024457, step = 101 (2.999 sec)\n\
             global_step/sec: 33.3444\n\
             loss = 2.3024457, step = 201 (2.999 sec)\n\
             Saving checkpoints for 55000 into DIR/ckpt-055000.\n\
             Loss for final step: 0.007031409.\n"
        );
    }

    #[test]
    fn speeds_have_six_digits() {
        for (speed, text) in
            [(0.5, "0.500000"), (1.0 / 3.0, "0.333333"), (9.5, "9.50000"), (1234.5, "1234.50")]
        {
            assert_eq!(SixDigits(speed).to_string(), text);
        }
    }

    #[test]
    fn a_closed_output_does_not_disturb() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        Log::new(Closed).notice(&Event::Step(&report(1))).unwrap();
    }
}
