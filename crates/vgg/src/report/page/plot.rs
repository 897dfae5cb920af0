//! Curves as SVG that stretches with the window, with labels in HTML that do not.

use super::html::small;
use std::fmt::Write;
use vgg_train::log::Thousands;

/// Units of the drawing across and down; it is stretched to its place.
const SIDE: f64 = 1000.0;

/// How numbers are laid along an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// Evenly.
    Linear,
    /// By their logarithm.
    Log,
    /// Shares right, by the logarithm of the share wrong: 90 %, 99 % and 99.9 % are equally far apart.
    Accuracy,
}

/// An axis from `low` to `high`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub(super) scale: Scale,
    pub(super) low: f64,
    pub(super) high: f64,
    /// How its ticks are written.
    pub(super) label: fn(f64) -> String,
}

/// Marks in a frame with two axes.
pub(super) struct Plot {
    x: Axis,
    y: Axis,
    marks: String,
}

impl Axis {
    /// Where a number is, from 0 (low) to 1 (high); numbers beyond are at the ends.
    pub(super) fn place(&self, value: f64) -> f64 {
        let (low, high, value) = (self.laid(self.low), self.laid(self.high), self.laid(value));
        if high > low && !value.is_nan() { ((value - low) / (high - low)).clamp(0.0, 1.0) } else { 0.5 }
    }

    fn laid(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(f64::MIN_POSITIVE).log10(),
            Scale::Accuracy => -(1.0 - value).max(f64::MIN_POSITIVE).log10(),
        }
    }

    /// Round numbers in the range, at least a twelfth of the axis apart.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let mut ticks: Vec<f64> = Vec::new();
        let slack = 1e-9 * (self.high - self.low).abs();
        for tick in self.round_numbers() {
            let is_inside = (self.low - slack..=self.high + slack).contains(&tick);
            let is_apart = ticks.last().is_none_or(|&last| self.place(tick) - self.place(last) > 1.0 / 12.0);
            if is_inside && is_apart {
                ticks.push(tick);
            }
        }
        ticks
    }

    fn round_numbers(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let step = round_step((self.high - self.low) / 5.0);
                let first = (self.low / step).ceil();
                (0..=10).map(|number| (first + f64::from(number)) * step).collect()
            }
            Scale::Log => {
                let decades = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
                let factors: &[f64] = if decades.clone().count() > 4 { &[1.0] } else { &[1.0, 2.0, 5.0] };
                decades
                    .flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)))
                    .collect()
            }
            Scale::Accuracy => {
                vec![0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999]
            }
        }
    }
}

/// The smallest of 1, 2 and 5 times a power of ten that is at least `step`.
fn round_step(step: f64) -> f64 {
    if !(step > 0.0 && step.is_finite()) {
        return 1.0;
    }
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|&round| round >= step * 0.999_999)
        .unwrap_or(step)
}

/// A tick that counts.
pub(super) fn whole(value: f64) -> String {
    Thousands(value.round().max(0.0) as u64).to_string()
}

/// A tick that is a share.
pub(super) fn percent(value: f64) -> String {
    // Rounded first: the number of digits is then that of the decimal number.
    let percent = (value * 1e6).round() / 1e4;
    format!("{percent}\u{a0}%")
}

/// A tick of a small number, without digits that say nothing.
pub(super) fn number(value: f64) -> String {
    let text = small(value);
    if text.contains('.') && !text.contains('e') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text.replace(".0e", "e")
    }
}

impl Plot {
    pub(super) fn new(x: Axis, y: Axis) -> Self {
        Self { x, y, marks: String::new() }
    }

    fn point(&self, (x, y): (f64, f64)) -> String {
        let number = |value: f64| format!("{}", (value * 10.0).round() / 10.0);
        format!("{} {}", number(SIDE * self.x.place(x)), number(SIDE * (1.0 - self.y.place(y))))
    }

    /// A line through the points, broken where there is none. A point alone becomes a dot.
    pub(super) fn line(&mut self, class: &str, points: impl IntoIterator<Item = Option<(f64, f64)>>) {
        let (mut path, mut is_drawing) = (String::new(), false);
        for point in points {
            match point {
                Some(point) if is_drawing => path += &format!("L{}", self.point(point)),
                Some(point) => path += &format!("M{}h0", self.point(point)),
                None => {}
            }
            is_drawing = point.is_some();
        }
        self.path(class, &path);
    }

    /// A filled area between the lower and the upper value at each `x`, given as `(x, lower, upper)`.
    pub(super) fn band(&mut self, class: &str, points: &[(f64, f64, f64)]) {
        let upper = points.iter().map(|&(x, _, upper)| (x, upper));
        let lower = points.iter().rev().map(|&(x, lower, _)| (x, lower));
        let corners: Vec<String> = upper.chain(lower).map(|point| self.point(point)).collect();
        if !corners.is_empty() {
            self.path(class, &format!("M{}Z", corners.join("L")));
        }
    }

    /// A dot at each point.
    pub(super) fn dots(&mut self, class: &str, points: impl IntoIterator<Item = (f64, f64)>) {
        let path: String = points.into_iter().map(|point| format!("M{}h0", self.point(point))).collect();
        self.path(class, &path);
    }

    fn path(&mut self, class: &str, path: &str) {
        if !path.is_empty() {
            let _ = write!(self.marks, "<path class=\"{class}\" d=\"{path}\"/>");
        }
    }

    /// The drawing with its axes. `description` is for those who cannot see it; `class` says how large it is.
    pub(super) fn html(&self, class: &str, description: &str) -> String {
        let (mut grid, mut labels) = (String::new(), String::new());
        for tick in self.y.ticks() {
            let y = 1.0 - self.y.place(tick);
            let _ = write!(grid, "M0 {:.1}H{SIDE}", SIDE * y);
            let _ = write!(
                labels,
                "<span class=\"y\" style=\"top:{:.2}%\">{}</span>",
                100.0 * y,
                (self.y.label)(tick)
            );
        }
        for tick in self.x.ticks() {
            let x = self.x.place(tick);
            let _ = write!(grid, "M{:.1} {SIDE}v-12", SIDE * x);
            let _ = write!(
                labels,
                "<span class=\"x\" style=\"left:{:.2}%\">{}</span>",
                100.0 * x,
                (self.x.label)(tick)
            );
        }
        format!(
            "<div class=\"plot {class}\"><svg viewBox=\"0 0 {SIDE} {SIDE}\" preserveAspectRatio=\"none\" role=\"img\" \
             aria-label=\"{description}\"><path class=\"grid\" d=\"{grid}\"/>{}</svg>\
             <div aria-hidden=\"true\">{labels}</div></div>\n",
            self.marks
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(scale: Scale, low: f64, high: f64, label: fn(f64) -> String) -> Axis {
        Axis { scale, low, high, label }
    }

    fn labels(axis: Axis) -> Vec<String> {
        axis.ticks().into_iter().map(axis.label).collect()
    }

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(labels(axis(Scale::Linear, 0.0, 1100.0, whole)), ["0", "500", "1,000"]);
        assert_eq!(labels(axis(Scale::Linear, 0.0, 3.0, whole)), ["0", "1", "2", "3"]);
        assert_eq!(labels(axis(Scale::Linear, 0.0, 0.012, number)), ["0", "0.005", "0.01"]);
        assert_eq!(labels(axis(Scale::Log, 0.03, 2.5, number)), ["0.05", "0.1", "0.2", "0.5", "1", "2"]);
        assert_eq!(
            labels(axis(Scale::Log, 1e-6, 2.5, number)),
            ["1e-6", "1e-5", "0.0001", "0.001", "0.01", "0.1", "1"]
        );
        let found = labels(axis(Scale::Accuracy, 0.1, 0.995, percent));
        assert_eq!(found.first().unwrap(), "50\u{a0}%");
        assert_eq!(found.last().unwrap(), "99.5\u{a0}%");
    }

    #[test]
    fn places_are_between_the_ends() {
        assert_eq!(axis(Scale::Linear, 0.0, 10.0, whole).place(2.5), 0.25);
        assert!((axis(Scale::Log, 0.01, 1.0, number).place(0.1) - 0.5).abs() < 1e-12);
        assert!((axis(Scale::Accuracy, 0.9, 0.999, percent).place(0.99) - 0.5).abs() < 1e-9);
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.0, 0.0, -1.0] {
            for scale in [Scale::Linear, Scale::Log, Scale::Accuracy] {
                let place = axis(scale, 0.1, 0.9, number).place(value);
                assert!((0.0..=1.0).contains(&place), "{scale:?} {value}: {place}");
            }
        }
        assert_eq!(axis(Scale::Linear, 3.0, 3.0, whole).place(3.0), 0.5);
        assert!(!labels(axis(Scale::Linear, 3.0, 3.0, whole)).is_empty());
    }

    #[test]
    fn lines_break_where_nothing_is() {
        let linear = axis(Scale::Linear, 0.0, 10.0, whole);
        let mut plot = Plot::new(linear, linear);
        plot.line("a", [Some((0.0, 0.0)), Some((5.0, 10.0)), None, Some((10.0, 5.0))]);
        assert_eq!(plot.marks, "<path class=\"a\" d=\"M0 1000h0L500 0M1000 500h0\"/>");
        plot.line("a", [None]);
        plot.band("b", &[]);
        assert_eq!(plot.marks.matches("<path").count(), 1);
    }
}
