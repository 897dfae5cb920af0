//! The confusion matrix and the table of classes.

use super::class_name;
use super::html::{Percent, count, counted};
use crate::report::Report;
use crate::report::scores::ClassScore;
use std::fmt::Write;

/// Most classes whose matrix has its numbers in it; with more, they would not be readable on a small window.
const MOST_WITH_NUMBERS: usize = 12;

/// Most classes whose matrix is drawn at all.
const MOST_DRAWN: usize = 30;

/// Rows that are shown of a list that may be long.
const MOST_ROWS: usize = 20;

pub(super) fn sections(report: &Report) -> String {
    format!("{}{}", confusion(report), classes(report))
}

fn confusion(report: &Report) -> String {
    let (scores, classes) = (&report.scores, report.scores.classes());
    let wrong = scores.pictures() - scores.right();
    let words = if wrong == 0 {
        "<p>Every picture was taken for what it is.</p>\n".to_owned()
    } else {
        let (label, taken_for, times) = scores.confused_pairs()[0];
        format!(
            "<p>{} in all. The most frequent: <b>{}</b> taken for <b>{}</b>, {}.</p>\n",
            counted(wrong, "mistake"),
            class_name(report, label),
            class_name(report, taken_for),
            counted(times, "time")
        )
    };
    let matrix = if classes <= MOST_WITH_NUMBERS {
        matrix_table(report)
    } else if classes <= MOST_DRAWN {
        format!("<div class=\"beside\">\n{}{}</div>\n", matrix_drawing(report), pairs(report))
    } else {
        pairs(report)
    };
    format!("<section id=\"confusion\">\n<h2>What was taken for what</h2>\n{words}{matrix}</section>\n")
}

/// How strongly a cell is coloured: by the share of its row if it is right, or by the root of its share of the
/// most frequent mistake, as a single mistake must be seen beside many.
fn strength(report: &Report, label: usize, taken_for: usize, pictures: usize, most_wrong: usize) -> f64 {
    let count = report.scores.count(label, taken_for) as f64;
    match label == taken_for {
        true => count / pictures.max(1) as f64,
        false => (count / most_wrong.max(1) as f64).sqrt(),
    }
}

fn most_wrong(report: &Report) -> usize {
    report.scores.confused_pairs().first().map_or(0, |&(.., count)| count)
}

fn matrix_table(report: &Report) -> String {
    let (classes, most_wrong) = (report.scores.classes(), most_wrong(report));
    let is_long = (0..classes).any(|class| class_name(report, class).chars().count() > 3);
    let head: String = (0..classes)
        .map(|class| format!("<th scope=\"col\"><span>{}</span></th>", class_name(report, class)))
        .collect();
    let mut rows = String::new();
    for score in report.scores.class_scores() {
        let label = score.class;
        let _ = write!(rows, "<tr><th scope=\"row\">{}</th>", class_name(report, label));
        for taken_for in 0..classes {
            let number = report.scores.count(label, taken_for);
            let kind = if label == taken_for { "right" } else { "wrong" };
            if number == 0 {
                rows += "<td class=\"none\">·</td>";
            } else {
                let strength = strength(report, label, taken_for, score.pictures, most_wrong);
                let _ =
                    write!(rows, "<td class=\"{kind}\" style=\"--v:{strength:.3}\">{}</td>", count(number));
            }
        }
        rows += "</tr>\n";
    }
    format!(
        "<table class=\"confusion{}\">\n<caption>Rows: what a picture is. Columns: what it was taken for.</caption>\n\
         <thead><tr><td></td>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n",
        if is_long { " long" } else { "" }
    )
}

/// The matrix in colours alone, each cell with its meaning in its title.
fn matrix_drawing(report: &Report) -> String {
    let (classes, most_wrong) = (report.scores.classes(), most_wrong(report));
    let mut cells = String::new();
    for score in report.scores.class_scores() {
        for taken_for in 0..classes {
            let number = report.scores.count(score.class, taken_for);
            if number > 0 {
                let kind = if score.class == taken_for { "right" } else { "wrong" };
                let strength = strength(report, score.class, taken_for, score.pictures, most_wrong);
                let _ = write!(
                    cells,
                    "<rect class=\"{kind}\" x=\"{taken_for}\" y=\"{}\" width=\"1\" height=\"1\" style=\"--v:{strength:.3}\">\
                     <title>{} taken for {}: {}</title></rect>",
                    score.class,
                    class_name(report, score.class),
                    class_name(report, taken_for),
                    count(number)
                );
            }
        }
    }
    format!(
        "<figure class=\"matrix\">\n<figcaption>Rows from above: what a picture is, in the order of the classes. Columns: \
         what it was taken for.</figcaption>\n<svg viewBox=\"0 0 {classes} {classes}\" role=\"img\" \
         aria-label=\"Confusion matrix of {classes} classes; the list of mistakes has its numbers.\">\
         <rect class=\"frame\" width=\"{classes}\" height=\"{classes}\"/>{cells}</svg>\n</figure>\n"
    )
}

fn pairs(report: &Report) -> String {
    let pairs = report.scores.confused_pairs();
    if pairs.is_empty() {
        return String::new();
    }
    let row = |&(label, taken_for, times): &(usize, usize, usize)| {
        let (label, taken_for) = (class_name(report, label), class_name(report, taken_for));
        format!(
            "<tr><th scope=\"row\">{label}</th><td class=\"word\">{taken_for}</td><td>{}</td></tr>\n",
            count(times)
        )
    };
    let rows: String = pairs.iter().take(MOST_ROWS).map(row).collect();
    let caption = match pairs.len() {
        ..=MOST_ROWS => "All pairs of classes that were confused".to_owned(),
        all => format!("The {MOST_ROWS} most frequent of {} pairs of classes that were confused", count(all)),
    };
    format!(
        "<table class=\"pairs\">\n<caption>{caption}</caption>\n<thead><tr><th scope=\"col\">A picture of</th>\
         <th scope=\"col\" class=\"word\">taken for</th><th scope=\"col\">Times</th></tr></thead>\n<tbody>\n{rows}</tbody>\n\
         </table>\n"
    )
}

fn classes(report: &Report) -> String {
    let scores = report.scores.class_scores();
    let least = least(&scores).map(|least| least.class);
    let known: Vec<f64> =
        scores.iter().filter(|score| score.pictures > 0).filter_map(|score| score.f1).collect();
    let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
    let words = format!(
        "<p>Precision: of the pictures taken for a class, the share that is of it. Recall: of the pictures of a class, \
         the share that was taken for it. F1 is their harmonic mean: <b>{}</b> on the mean over the classes{}.</p>\n",
        Percent(mean),
        least.map_or_else(String::new, |class| format!(", lowest for <b>{}</b>", class_name(report, class)))
    );
    let tables = if scores.len() <= MOST_DRAWN {
        class_table(report, &scores, least, "All classes")
    } else {
        let mut worst: Vec<ClassScore> = scores.iter().filter(|score| score.pictures > 0).cloned().collect();
        worst.sort_by(|a, b| a.f1.unwrap_or(0.0).total_cmp(&b.f1.unwrap_or(0.0)));
        worst.truncate(MOST_ROWS);
        format!(
            "{}<details>\n<summary>All {} classes</summary>\n{}</details>\n",
            class_table(report, &worst, least, &format!("The {} classes with the lowest F1", worst.len())),
            count(scores.len()),
            class_table(report, &scores, least, "All classes")
        )
    };
    format!("<section id=\"classes\">\n<h2>Class by class</h2>\n{words}{tables}</section>\n")
}

/// The table of some classes, in which the one with the lowest F1 stands out. Shares are in hundredths, as the
/// head says: there is no room for more signs in a narrow window.
fn class_table(report: &Report, scores: &[ClassScore], least: Option<usize>, caption: &str) -> String {
    let share =
        |share: Option<f64>| share.map_or_else(|| "–".to_owned(), |share| format!("{:.1}", 100.0 * share));
    let row = |score: &ClassScore| {
        let taken = score.most_taken_for.map_or_else(
            || "–".to_owned(),
            |(class, times)| {
                format!("{} <span class=\"times\">×{}</span>", class_name(report, class), count(times))
            },
        );
        format!(
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td{}>{}</td><td \
             class=\"word\">{taken}</td></tr>\n",
            class_name(report, score.class),
            count(score.pictures),
            share(score.precision),
            share(score.recall),
            if least == Some(score.class) { " class=\"least\"" } else { "" },
            share(score.f1)
        )
    };
    format!(
        "<table class=\"classes\">\n<caption>{caption}; shares in %</caption>\n<thead><tr><th scope=\"col\">Class</th>\
         <th scope=\"col\">Pictures</th><th scope=\"col\">Precision</th><th scope=\"col\">Recall</th><th scope=\"col\">F1</th>\
         <th scope=\"col\" class=\"word\">Most often taken for</th></tr></thead>\n<tbody>\n{}</tbody>\n</table>\n",
        scores.iter().map(row).collect::<String>()
    )
}

/// The class with the lowest F1 below 1 (the first of equal ones).
fn least(scores: &[ClassScore]) -> Option<&ClassScore> {
    let known = scores.iter().filter(|score| score.pictures > 0 && score.f1.is_some_and(|f1| f1 < 1.0));
    known.min_by(|a, b| a.f1.unwrap_or(1.0).total_cmp(&b.f1.unwrap_or(1.0)))
}
