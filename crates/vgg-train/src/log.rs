//! The log of a training run in the form of TensorFlow's estimator.

use crate::error::TrainError;
use crate::events::{Event, Listener, RunInfo, StepReport};
use std::fmt;
use std::io::Write;

/// Steps from one line of the log to the next.
const INTERVAL: u64 = 100;

/// Writes what the run is, loss, step and speed every 100 steps, checkpoints and the end. An output that cannot be
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

    /// Everything about the run, when there is something to train.
    fn start(&mut self, start: &str, info: &RunInfo<'_>) -> Result<(), TrainError> {
        self.since = None;
        if info.global_step >= info.end {
            return Ok(());
        }
        let (network, recipe, run) = (&info.config.network, &info.config.recipe, &info.config.run);
        let (engine, source) = (info.engine, &info.config.data.source);
        let parameters = Thousands(info.config.build_network()?.parameter_count() as u64);
        let (end, steps, epoch) =
            (Thousands(info.end), Thousands(run.steps), Thousands(info.steps_per_epoch));
        self.line(format_args!("kernels   {} {}, {} threads", engine.tier, engine.precision, engine.threads));
        self.line(format_args!("network   {}, head {}, {parameters} parameters", network.name, network.head));
        self.line(format_args!(
            "data      {source}: pictures of {}, {} classes",
            network.input, network.classes
        ));
        self.line(format_args!(
            "recipe    {}: learning rate {}, {} pictures a step, seed {}",
            recipe.name, recipe.learning_rate, run.batch_size, run.seed
        ));
        self.line(format_args!("run       {start}, to step {end} of {steps}; an epoch has {epoch} steps"));
        self.line(format_args!("kept in   {}", info.model_dir.display()));
        Ok(())
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
            Event::Started(run) => self.start("from the start", run)?,
            Event::Resumed(run) => {
                self.start(&format!("resumed at step {}", Thousands(run.global_step)), run)?;
            }
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
            Event::Interrupted { global_step: 0 } => {
                self.line(format_args!("Interrupted before the first step; there was nothing to save."));
            }
            Event::Interrupted { global_step } => {
                self.line(format_args!("Interrupted; all {global_step} steps are saved."));
            }
            Event::Note(text) => self.line(format_args!("Note: {text}")),
            Event::Warning(text) => self.line(format_args!("Warning: {text}")),
            Event::Saving { .. } | Event::Evaluating { .. } => {}
        }
        Ok(())
    }
}

/// A whole number with a comma between thousands.
pub struct Thousands(pub u64);

impl fmt::Display for Thousands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::with_capacity(digits.len() + digits.len() / 3);
        for (position, digit) in digits.chars().enumerate() {
            if position > 0 && (digits.len() - position).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad(&text)
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

    fn told(tell: impl FnOnce(&mut Log<Vec<u8>>)) -> String {
        let mut log = Log::new(Vec::new());
        tell(&mut log);
        String::from_utf8(log.output).unwrap()
    }

    #[test]
    fn a_run_is_described_unless_it_is_at_its_end() {
        let splits = vgg_data::open(&vgg_data::Source::Mnist, &vgg_data::DataOptions::default()).unwrap();
        let options = crate::TrainOptions::new("model");
        let (_, config) = options.resolve(None, &splits, &vgg_data::Source::Mnist).unwrap();
        let engine = vgg_engine::EngineInfo {
            tier: "avx2".into(),
            precision: "f32".into(),
            threads: 2,
            batch_size: 100,
            arena_bytes: 0,
        };
        let model_dir = Path::new("model");
        let (config, engine) = (&config, &engine);
        let run = RunInfo { model_dir, config, engine, global_step: 3, end: 500, steps_per_epoch: 430 };
        let text = told(|log| log.notice(&Event::Resumed(&run)).unwrap());
        assert_eq!(
            text,
            "kernels   avx2 f32, 2 threads\n\
             network   vgg13, head tutorial, 32,393,410 parameters\n\
             data      mnist: pictures of 28×28×1, 10 classes\n\
             recipe    fast: learning rate 0.04, 128 pictures a step, seed 1\n\
             run       resumed at step 3, to step 500 of 860; an epoch has 430 steps\n\
             kept in   model\n"
        );
        let run = RunInfo { end: 2, ..run };
        assert_eq!(told(|log| log.notice(&Event::Resumed(&run)).unwrap()), "");
    }

    #[test]
    fn an_interrupt_says_what_is_saved() {
        let text = |global_step| told(|log| log.notice(&Event::Interrupted { global_step }).unwrap());
        assert_eq!(text(3), "Interrupted; all 3 steps are saved.\n");
        assert_eq!(text(0), "Interrupted before the first step; there was nothing to save.\n");
    }

    #[test]
    fn thousands_are_separated() {
        let shown: Vec<String> =
            [0, 12, 999, 1000, 32_393_410].iter().map(|&n| Thousands(n).to_string()).collect();
        assert_eq!(shown, ["0", "12", "999", "1,000", "32,393,410"]);
        assert_eq!(format!("{:>7}", Thousands(1000)), "  1,000");
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
