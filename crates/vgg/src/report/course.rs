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
}

/// A line of the file.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line {
    Step { global_step: u64, loss: f64, accuracy: f64, examples: u64, learning_rate: f64, seconds: f64 },
    Evaluated { split: String, global_step: u64, accuracy: f64, loss: f64, examples: u64 },
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
            Ok(Line::Step { global_step, loss, accuracy, examples, learning_rate, seconds }) => {
                if global_step <= end {
                    let seconds = seconds.max(0.0);
                    let (steps, least, most) = (1, loss, loss);
                    let point =
                        Point { steps, loss, least, most, learning_rate, accuracy, examples, seconds };
                    self.add_step(global_step, point);
                }
            }
            Ok(Line::Evaluated { split, global_step: step, accuracy, loss, examples }) => {
                if split == "validation" && step <= end {
                    self.forget_validations(step);
                    self.validations.push(Validation { step, accuracy, loss, examples });
                }
            }
            Err(_) if is_other_event(line) => {}
            Err(_) => self.bad_lines += 1,
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
            "{{\"event\":\"evaluated\",\"split\":\"validation\",\"accuracy\":{accuracy},\"loss\":1.5,\
             \"global_step\":{step},\"examples\":8}}\n"
        )
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
        assert_eq!(course.validations, [Validation { step: 2, accuracy: 0.25, loss: 1.5, examples: 8 }]);
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
