//! How training went, from `metrics.jsonl`. The file may be missing, longer than memory, cut off, or
//! hold lines of steps that were made once more after a resume.

use serde::Deserialize;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use vgg_formats::{Entry, ModelDir};
use vgg_train::METRICS_FILE;

/// Most points of a curve. Twice as many steps make points of two steps each, and so on.
const MOST_POINTS: usize = 1024;

/// Longer lines are none of ours.
const LONGEST_LINE: u64 = 1 << 16;

/// What training measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Course {
    /// The steps in order, so many of them to a point that there are at most 1,024.
    pub points: Vec<Point>,
    /// The last step that was found; 0 when there is none.
    pub last_step: u64,
    /// Steps from one point to the next.
    pub steps_per_point: u64,
    /// Steps in an epoch; `None` where the file does not show the end of one.
    pub steps_per_epoch: Option<u64>,
    /// Evaluations of the validation split in order.
    pub validations: Vec<Validation>,
    /// Lines that could not be understood.
    pub bad_lines: u64,
}

/// Some steps that follow each other; sums over those that were found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// Number of steps found.
    pub steps: u64,
    /// Sum of their losses.
    pub loss: f64,
    /// Smallest loss.
    pub least: f64,
    /// Largest loss.
    pub most: f64,
    /// Sum of their learning rates.
    pub learning_rate: f64,
    /// Sum of their accuracies on the training pictures.
    pub accuracy: f64,
    /// Pictures in all of them.
    pub examples: u64,
    /// Seconds that all of them took.
    pub seconds: f64,
}

/// An evaluation of the validation split.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Validation {
    /// Updates that had been made.
    pub step: u64,
    /// Share of the pictures that were told right.
    pub accuracy: f64,
    /// Mean softmax cross-entropy.
    pub loss: f64,
    /// Number of pictures.
    pub examples: u64,
    /// Seconds since training was asked for; a run that was gone on with counts anew. Older files do not have it.
    pub seconds_since_start: Option<f64>,
}

/// A line of the file.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line {
    Step {
        global_step: u64,
        epoch: Option<u64>,
        loss: f64,
        accuracy: f64,
        examples: u64,
        learning_rate: f64,
        seconds: f64,
    },
    Evaluated {
        split: String,
        global_step: u64,
        accuracy: f64,
        loss: f64,
        examples: u64,
        seconds_since_start: Option<f64>,
    },
}

impl Course {
    /// Reads the file of a model directory, up to step `end`. What cannot be read is left out: the
    /// curves are then shorter.
    pub fn read(model_dir: &ModelDir, end: u64) -> Self {
        let path = model_dir.path().join(METRICS_FILE);
        let is_file = matches!(model_dir.entry(&path), Some(Entry::File(_)));
        match model_dir.storage().open(&path) {
            Ok(file) if is_file => Self::from_lines(BufReader::new(file), end),
            _ => Self::new(),
        }
    }

    fn new() -> Self {
        Self { steps_per_point: 1, ..Self::default() }
    }

    fn from_lines(mut file: impl BufRead, end: u64) -> Self {
        let mut course = Self::new();
        let mut line = Vec::new();
        loop {
            line.clear();
            match file.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
                Ok(0) => return course,
                Ok(_) => course.add_line(&line, end),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    course.bad_lines += 1;
                    return course;
                }
            }
        }
    }

    /// Lines of other events, and of steps after `end`, are passed over.
    fn add_line(&mut self, line: &[u8], end: u64) {
        match serde_json::from_slice(line) {
            Ok(Line::Step { global_step: 0, .. }) => self.bad_lines += 1,
            Ok(Line::Step { global_step, epoch, loss, accuracy, examples, learning_rate, seconds }) => {
                if global_step <= end {
                    self.note_epoch(global_step, epoch);
                    let seconds = seconds.max(0.0);
                    let (steps, least, most) = (1, loss, loss);
                    let point =
                        Point { steps, loss, least, most, learning_rate, accuracy, examples, seconds };
                    self.add_step(global_step, point);
                }
            }
            Ok(Line::Evaluated {
                split,
                global_step: step,
                accuracy,
                loss,
                examples,
                seconds_since_start,
            }) => {
                if split == "validation" && step <= end {
                    self.forget_validations(step);
                    let validation = Validation { step, accuracy, loss, examples, seconds_since_start };
                    self.validations.push(validation);
                }
            }
            Err(_) if is_other_event(line) => {}
            Err(_) => self.bad_lines += 1,
        }
    }

    /// The first step after a whole epoch says how many steps that has.
    fn note_epoch(&mut self, step: u64, epoch: Option<u64>) {
        if self.steps_per_epoch.is_none() && epoch == Some(1) && step == self.last_step + 1 {
            self.steps_per_epoch = Some(self.last_step).filter(|&steps| steps > 0);
        }
    }

    fn add_step(&mut self, step: u64, point: Point) {
        self.last_step = step;
        while (step - 1) / self.steps_per_point >= MOST_POINTS as u64 {
            self.points = self.points.chunks(2).map(merged).collect();
            self.steps_per_point *= 2;
        }
        let place = ((step - 1) / self.steps_per_point) as usize;
        // A step of an earlier point is made once more, and with it what followed.
        if place + 1 < self.points.len() {
            self.points.truncate(place);
            self.forget_validations(step);
        }
        self.points.resize(self.points.len().max(place + 1), Point::default());
        let present = self.points[place];
        self.points[place] =
            if present.steps < self.steps_per_point { merged(&[present, point]) } else { point };
    }

    /// Drops the validations of `step` and later.
    fn forget_validations(&mut self, step: u64) {
        let kept = self.validations.partition_point(|validation| validation.step < step);
        self.validations.truncate(kept);
    }

    /// Sums over all steps.
    pub fn total(&self) -> Point {
        merged(&self.points)
    }

    /// Whether the run ended before its length of `steps`: at the end of an epoch when the best validation
    /// accuracy (the first of equal ones) was `patience` epochs old. Never with a patience of 0.
    pub fn ended_early(&self, patience: u64, steps: u64) -> bool {
        let Some(steps_per_epoch) = self.steps_per_epoch else { return false };
        let ends =
            self.validations.iter().filter(|validation| validation.step.is_multiple_of(steps_per_epoch));
        let since_best = highest(ends).map_or(0, |best| self.last_step.saturating_sub(best.step));
        patience > 0 && self.last_step < steps && since_best / steps_per_epoch >= patience
    }

    /// The validation with the highest accuracy, the first of equal ones.
    pub fn best_validation(&self) -> Option<&Validation> {
        highest(self.validations.iter())
    }

    /// The validations with a higher accuracy than all before them.
    pub fn rises(&self) -> Vec<Validation> {
        let mut rises: Vec<Validation> = Vec::new();
        for validation in &self.validations {
            if rises.last().is_none_or(|last| validation.accuracy > last.accuracy) {
                rises.push(*validation);
            }
        }
        rises
    }

    /// Whether all validations have the seconds since one start: they grow, and are no fewer than the steps
    /// before took. After a start anew they are, but for a run that was stopped within moments.
    pub fn has_times_of_one_start(&self) -> bool {
        let times: Option<Vec<f64>> =
            self.validations.iter().map(|validation| validation.seconds_since_start).collect();
        let (Some(times), Some(last)) = (times, self.validations.last()) else { return false };
        let whole_points = (last.step / self.steps_per_point) as usize;
        let trained: f64 = self.points.iter().take(whole_points).map(|point| point.seconds).sum();
        times.is_sorted() && times.last().is_some_and(|&time| time >= trained)
    }

    /// The mean over the points around each one, `value` being the sum of a point: a window of about a
    /// twentieth of the curve in which the middle weighs most. `None` where no step was found.
    pub fn smoothed(&self, value: impl Fn(&Point) -> f64) -> Vec<Option<f64>> {
        let radius = (self.points.len() / 40).max(1);
        let mean = |place: usize| {
            let first = place.saturating_sub(radius);
            let window = &self.points[first..self.points.len().min(place + radius + 1)];
            let (mut sum, mut weights) = (0.0, 0.0);
            for (position, point) in window.iter().enumerate() {
                let distance = (first + position).abs_diff(place);
                let weight = (radius + 1 - distance) as f64;
                sum += weight * value(point);
                weights += weight * point.steps as f64;
            }
            (self.points[place].steps > 0).then(|| sum / weights)
        };
        (0..self.points.len()).map(mean).collect()
    }
}

fn highest<'a>(validations: impl Iterator<Item = &'a Validation>) -> Option<&'a Validation> {
    validations.reduce(|best, other| if other.accuracy > best.accuracy { other } else { best })
}

/// Points put together; an empty one adds nothing.
fn merged(points: &[Point]) -> Point {
    points.iter().filter(|point| point.steps > 0).fold(Point::default(), |sum, point| Point {
        steps: sum.steps + point.steps,
        loss: sum.loss + point.loss,
        least: if sum.steps > 0 { sum.least.min(point.least) } else { point.least },
        most: if sum.steps > 0 { sum.most.max(point.most) } else { point.most },
        learning_rate: sum.learning_rate + point.learning_rate,
        accuracy: sum.accuracy + point.accuracy,
        examples: sum.examples.saturating_add(point.examples),
        seconds: sum.seconds + point.seconds,
    })
}

/// Whether a line is an object of another kind than this program draws.
fn is_other_event(line: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Other {
        event: String,
    }
    serde_json::from_slice::<Other>(line).is_ok_and(|other| !["step", "evaluated"].contains(&&*other.event))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: u64, loss: f64) -> String {
        format!(
            "{{\"event\":\"step\",\"global_step\":{step},\"epoch\":0,\"loss\":{loss},\"accuracy\":0.5,\
             \"examples\":4,\"learning_rate\":0.5,\"seconds\":0.25}}\n"
        )
    }

    fn validation(step: u64, accuracy: f64) -> String {
        format!(
            "{{\"event\":\"evaluated\",\"split\":\"validation\",\"accuracy\":{accuracy},\"interval\":[0,1],\
             \"loss\":1.5,\"global_step\":{step},\"examples\":8}}\n"
        )
    }

    fn timed(step: u64, accuracy: f64, seconds: f64) -> String {
        validation(step, accuracy).replace("}\n", &format!(",\"seconds_since_start\":{seconds}}}\n"))
    }

    /// Steps of a quarter of a second in epochs of three, each with an evaluation that found `accuracies`.
    fn epochs(accuracies: &[f64]) -> String {
        let epoch = |(number, &accuracy): (usize, &f64)| {
            let first = 3 * number as u64 + 1;
            let steps = (first..first + 3)
                .map(|at| step(at, 1.0).replace("\"epoch\":0", &format!("\"epoch\":{number}")));
            steps.collect::<String>() + &validation(first + 2, accuracy)
        };
        accuracies.iter().enumerate().map(epoch).collect()
    }

    fn read(text: &str) -> Course {
        Course::from_lines(text.as_bytes(), u64::MAX)
    }

    fn losses(course: &Course) -> Vec<f64> {
        course.points.iter().map(|point| point.loss).collect()
    }

    #[test]
    fn a_short_run_has_a_point_for_each_step() {
        let course = read(&[step(1, 3.0), step(2, 2.0), validation(2, 0.25), step(3, 1.0)].concat());
        assert_eq!(losses(&course), [3.0, 2.0, 1.0]);
        let expected =
            Validation { step: 2, accuracy: 0.25, loss: 1.5, examples: 8, seconds_since_start: None };
        assert_eq!(course.validations, [expected]);
        assert_eq!((course.bad_lines, course.last_step), (0, 3));
        let total = course.total();
        assert_eq!((total.steps, total.examples, total.seconds), (3, 12, 0.75));
        assert_eq!((total.least, total.most), (1.0, 3.0));
    }

    #[test]
    fn a_long_run_has_points_of_several_steps() {
        let text: String = (1..=5000).map(|number| step(number, number as f64)).collect();
        let course = read(&text);
        assert_eq!((course.steps_per_point, course.points.len()), (8, 625));
        let first = Point {
            steps: 8,
            loss: 36.0,
            least: 1.0,
            most: 8.0,
            learning_rate: 4.0,
            accuracy: 4.0,
            examples: 32,
            seconds: 2.0,
        };
        assert_eq!(course.points[0], first);
        assert_eq!(course.total().steps, 5000);
    }

    /// A step that no run reaches must not make points without end.
    #[test]
    fn a_huge_step_is_one_more_point() {
        let course = read(&[step(1, 3.0), step(u64::MAX, 2.0)].concat());
        assert!(course.points.len() <= MOST_POINTS && course.total().steps == 2, "{}", course.points.len());
    }

    #[test]
    fn steps_made_once_more_take_the_place_of_the_first() {
        let lost = [step(1, 9.0), step(2, 9.0), step(3, 9.0), validation(3, 0.1), step(4, 9.0)].concat();
        let again = [step(2, 2.0), step(3, 1.0), validation(3, 0.9)].concat();
        let course = read(&(lost + &again));
        assert_eq!(losses(&course), [9.0, 2.0, 1.0]);
        assert_eq!(course.validations.iter().map(|v| v.accuracy).collect::<Vec<_>>(), [0.9]);
        // The last step alone.
        assert_eq!(losses(&read(&[step(1, 9.0), step(2, 9.0), step(2, 2.0)].concat())), [9.0, 2.0]);
    }

    #[test]
    fn a_run_ends_early_when_its_best_is_old_enough() {
        let course = read(&epochs(&[0.25, 0.75, 0.75, 0.5]));
        assert_eq!((course.steps_per_epoch, course.last_step), (Some(3), 12));
        // The best is the first of equal ones, of step 6.
        assert_eq!(course.best_validation().map(|best| best.step), Some(6));
        assert!(course.ended_early(1, 100) && course.ended_early(2, 100));
        assert!(!course.ended_early(3, 100), "it still has an epoch to get better");
        assert!(!course.ended_early(0, 100), "it was not asked to");
        assert!(!course.ended_early(2, 12), "it has its whole length");
        // Evaluations within an epoch do not count.
        let within = epochs(&[0.25, 0.75, 0.75, 0.5]).replacen(
            &validation(9, 0.75),
            &[validation(8, 0.9), validation(9, 0.75)].concat(),
            1,
        );
        assert!(read(&within).ended_early(2, 100));
        assert!(!Course::new().ended_early(1, 100) && !read(&epochs(&[0.5])).ended_early(1, 100));
    }

    #[test]
    fn rises_are_the_first_of_their_accuracy() {
        let course = read(&epochs(&[0.5, 0.25, 0.5, 0.75, 0.75, 0.8]));
        assert_eq!(course.rises().iter().map(|rise| rise.step).collect::<Vec<_>>(), [3, 12, 18]);
    }

    #[test]
    fn times_are_known_of_a_run_made_in_one_go() {
        let steps = |range: std::ops::RangeInclusive<u64>| range.map(|at| step(at, 1.0)).collect::<String>();
        let of = |parts: &[String]| read(&parts.concat());
        let one_go = of(&[steps(1..=40), timed(40, 0.5, 11.0), steps(41..=80), timed(80, 0.6, 22.0)]);
        assert_eq!(one_go.validations[1].seconds_since_start, Some(22.0));
        assert!(one_go.has_times_of_one_start());
        let anew = of(&[steps(1..=40), timed(40, 0.5, 11.0), steps(41..=80), timed(80, 0.6, 12.0)]);
        assert!(!anew.has_times_of_one_start(), "80 steps took 20 seconds");
        let smaller = of(&[steps(1..=2), timed(1, 0.5, 11.0), timed(2, 0.6, 3.0)]);
        assert!(!smaller.has_times_of_one_start(), "time went back");
        assert!(!of(&[steps(1..=2), validation(1, 0.5), timed(2, 0.6, 3.0)]).has_times_of_one_start());
        assert!(!Course::new().has_times_of_one_start());
    }

    #[test]
    fn what_is_not_understood_is_counted_and_passed_over() {
        let text = format!(
            "{}not json\n{}{{\"event\":\"other\"}}\n{{\"event\":\"step\",\"loss\":null}}\n\u{0}{}\n{}{}",
            step(1, 2.0),
            step(0, 1.0),
            "x".repeat(200_000),
            step(3, 1.0),
            &step(4, 1.0)[..40]
        );
        let course = read(&text);
        assert_eq!(course.points.iter().map(|point| point.steps).collect::<Vec<_>>(), [1, 0, 1]);
        assert!(course.bad_lines >= 4, "{}", course.bad_lines);
        assert_eq!(Course::from_lines(step(5, 1.0).as_bytes(), 4).points, []);
        assert_eq!(Course::read(&ModelDir::new("no/such/folder"), 9), Course::new());
    }

    #[test]
    fn smoothing_weighs_the_middle_most_and_keeps_gaps() {
        let course = read(&[step(1, 1.0), step(2, 4.0), step(3, 1.0), step(5, 6.0)].concat());
        let smooth = course.smoothed(|point| point.loss);
        // Weights 1, 2, 1; the point without steps has no weight.
        assert_eq!(smooth, [Some(2.0), Some(2.5), Some(2.0), None, Some(6.0)]);
    }
}
