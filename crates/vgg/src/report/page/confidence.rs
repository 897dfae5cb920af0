//! Calibration: the reliability diagram and the expected calibration error.

use super::html::{Percent, count, counted};
use super::plot::{Axis, Plot, Scale, percent};
use super::training::figure;
use crate::report::Report;
use crate::report::calibration::{BINS, Bin};
use vgg_train::evaluate::accuracy_interval;

pub(super) fn section(report: &Report) -> String {
    let calibration = report.scores.calibration();
    let bins: Vec<&Bin> = calibration.bins().iter().filter(|bin| bin.answers > 0).collect();
    let excess = calibration.overconfidence();
    let whole = match format!("{:.2}", Percent(excess.abs())) {
        nothing if nothing.starts_with("0.00") => "as sure as it was right".to_owned(),
        much if excess > 0.0 => format!("{much} surer than it was right"),
        much => format!("{much} less sure than it was right"),
    };
    format!(
        "<section id=\"calibration\">\n<h2>Can its confidence be trusted?</h2>\n\
         <p>Expected calibration error <b>{error}</b>: so far apart are confidence and accuracy, on the mean over \
         {BINS} bins of confidence. On the whole, the network was {whole}.</p>\n<div class=\"beside\">\n{}{}</div>\n\
         <p class=\"after\">Each dot is the answers of one bin, the bar through it the 95\u{a0}% interval of their \
         accuracy, long where they are few. Where a dot is on the dashed line, confidence can be taken at its \
         word.</p>\n</section>\n",
        diagram(&bins),
        table(calibration.bins()),
        error = Percent(calibration.error()),
    )
}

fn mean_confidence(bin: &Bin) -> f64 {
    bin.confidence / bin.answers as f64
}

fn diagram(bins: &[&Bin]) -> String {
    let axis = Axis { scale: Scale::Linear, low: 0.0, high: 1.0, label: percent };
    let mut plot = Plot::new(axis, axis);
    plot.line("diagonal", [Some((0.0, 0.0)), Some((1.0, 1.0))]);
    for bin in bins {
        let [low, high] = accuracy_interval(bin.right, bin.answers);
        plot.line("whisker", [low, high].map(|share| Some((mean_confidence(bin), share))));
    }
    plot.dots("dot", bins.iter().map(|bin| (mean_confidence(bin), bin.right as f64 / bin.answers as f64)));
    let description = "Reliability diagram: accuracy over confidence; the table beside it has the numbers.";
    figure("Right, by confidence", &[], &plot.html("square", description))
}

fn table(bins: &[Bin; BINS]) -> String {
    let most = bins.iter().map(|bin| bin.answers).max().unwrap_or(0).max(1);
    let row = |(position, bin): (usize, &Bin)| {
        let [from, to] = [position, position + 1].map(|edge| 100.0 * edge as f64 / BINS as f64);
        let right = bin.right as f64 / bin.answers as f64;
        format!(
            "<tr><th scope=\"row\">{from:.0} to {to:.0}\u{a0}%</th><td class=\"amount\" style=\"--v:{:.3}\">{}</td>\
             <td>{:.1}</td><td>{:.1}</td></tr>\n",
            bin.answers as f64 / most as f64,
            count(bin.answers),
            Percent(mean_confidence(bin)),
            Percent(right)
        )
    };
    let rows: String = bins.iter().enumerate().filter(|(_, bin)| bin.answers > 0).map(row).collect();
    format!(
        "<table>\n<caption>{} by confidence</caption>\n<thead><tr><th scope=\"col\">Confidence</th>\
         <th scope=\"col\">Answers</th><th scope=\"col\">Mean</th><th scope=\"col\">Right</th></tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table>\n",
        counted(bins.iter().map(|bin| bin.answers).sum(), "answer")
    )
}
