//! Text and numbers in HTML.

use std::fmt;
use vgg_arch::text::one_line;
use vgg_train::log::Thousands;

/// Characters of a name from outside, such as a class's; of a longer one the middle is left out.
const LONGEST_NAME: usize = 60;

/// Text from outside as HTML shows it: nothing in it is taken for a tag, an entity or the end of an attribute.
pub(super) fn text(raw: &str) -> String {
    let mut escaped = String::with_capacity(raw.len());
    for character in raw.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(character),
            // HTML knows no other controls.
            control if control.is_control() => escaped.extend(control.escape_default()),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A name from outside on one line of a bounded length.
pub(super) fn name(raw: &str) -> String {
    text(&one_line(raw, LONGEST_NAME))
}

/// A whole number with a comma between thousands.
pub(super) fn count(number: usize) -> Thousands {
    Thousands(number as u64)
}

/// `1 picture`, `2 pictures`.
pub(super) fn counted(number: usize, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A share as `98.42 %`, the space being one at which no line is broken.
pub(super) struct Percent(pub(super) f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        write!(f, "{:.digits$}\u{a0}%", 100.0 * self.0)
    }
}

/// Seconds as `0.8 s`, `12 s`, `3 min 05 s` or `2 h 07 min`.
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        _ if seconds < 9.95 => format!("{seconds:.1}\u{a0}s"),
        0..60 => format!("{whole}\u{a0}s"),
        60..3_600 => format!("{}\u{a0}min {:02}\u{a0}s", whole / 60, whole % 60),
        _ => format!("{}\u{a0}h {:02}\u{a0}min", Thousands(whole / 3_600), whole / 60 % 60),
    }
}

/// A positive number with about three digits: `2.3`, `0.0231`, `4.1e-6`.
pub(super) fn small(number: f64) -> String {
    match number {
        0.0 => "0".to_owned(),
        _ if number.abs() < 1e-4 => format!("{number:.1e}"),
        _ => {
            let digits = (2.0 - number.abs().log10().floor()).clamp(0.0, 6.0) as usize;
            format!("{number:.digits$}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_is_markup() {
        assert_eq!(
            text("<script>alert('x')</script> & \"y\"\u{1b}\n"),
            "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;y&quot;\\u{1b}\n"
        );
        assert_eq!(name("a\n<b>"), "a\\n&lt;b&gt;");
        // Cut before it is escaped, so that no entity is cut.
        assert_eq!(name(&"<".repeat(100)).matches("&lt;").count(), LONGEST_NAME - 1);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(Percent(0.98421).to_string(), "98.42\u{a0}%");
        assert_eq!(format!("{:.1}", Percent(1.0)), "100.0\u{a0}%");
        let durations = [0.04, 9.96, 185.0, 7_620.0, 36_000_000.0].map(duration);
        assert_eq!(
            durations.map(|text| text.replace('\u{a0}', " ")),
            ["0.0 s", "10 s", "3 min 05 s", "2 h 07 min", "10,000 h 00 min"]
        );
        assert_eq!([2.3125, 0.0231, 4.1e-6, 0.0, 123.4].map(small), ["2.31", "0.0231", "4.1e-6", "0", "123"]);
        assert_eq!(
            (counted(1, "mistake"), counted(2_000, "mistake")),
            ("1 mistake".into(), "2,000 mistakes".into())
        );
    }
}
