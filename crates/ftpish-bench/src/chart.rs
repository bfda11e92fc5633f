//! The chart: bars as SVG, two rows of the table side by side, with colours that can be read on light and on dark paper.

use std::fmt::Write as _;

use crate::contenders::{CONTENDERS, FTPISH};
use crate::outcome::Outcome;
use crate::report::Report;

/// How wide a row is; two stand side by side.
const PANEL: f64 = 430.0;
/// Where bars begin; the names are left of it.
const LEFT: f64 = 130.0;
/// The longest bar; its number stands right of it.
const LONGEST: f64 = 240.0;
const BAR: f64 = 12.0;
const STEP: f64 = 16.0;
const TITLE: f64 = 34.0;

/// Bars longer than this many times ftpish's own are cut: beside them the others could not be told apart.
const CUT: f64 = 6.0;

/// Draws every row in which ftpish and somebody else was measured.
pub fn draw(report: &Report) -> String {
    let shown: Vec<_> = report.rows.iter().filter(|row| !row.ratios.is_empty()).collect();
    let mut bars = String::new();
    let mut y = 0.0;
    for pair in shown.chunks(2) {
        let ends = pair.iter().zip([0.0, PANEL]).map(|(row, x)| draw_row(&mut bars, row, x, y));
        y = ends.fold(y, f64::max);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" role=\"img\">\n\
         <title>ftpish beside its peers: seconds, shorter is better</title>\n\
         <style>\n\
         text {{ font: 12px sans-serif; fill: #24292f }}\n\
         .row {{ font-weight: bold }}\n\
         .own {{ fill: #1a7f64 }}\n\
         .peer {{ fill: #9aa4af }}\n\
         @media (prefers-color-scheme: dark) {{ text {{ fill: #d0d7de }} .own {{ fill: #3fb892 }} .peer {{ fill: #6e7781 }} }}\n\
         </style>\n\
         {bars}<text x=\"8\" y=\"{}\">Seconds: shorter is better. A bar with … goes on.</text>\n</svg>\n",
        2.0 * PANEL,
        y + 36.0,
        y + 24.0,
    )
}

/// Draws a row right of `x` and below `y`; tells where it ends.
fn draw_row(out: &mut String, row: &Outcome, x: f64, y: f64) -> f64 {
    let mut y = y + TITLE;
    let _ = writeln!(out, "<text class=\"row\" x=\"{}\" y=\"{}\">{}</text>", x + 8.0, y - 8.0, row.name);
    let longest = row.medians.values().copied().fold(0.0, f64::max).min(CUT * row.medians[FTPISH]);
    for contender in CONTENDERS {
        let Some(seconds) = row.medians.get(contender.name) else { continue };
        let width = (LONGEST * seconds.min(longest) / longest).max(1.0);
        let class = if contender.name.starts_with(FTPISH) { "own" } else { "peer" };
        let more = if *seconds > longest { " …" } else { "" };
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{base}\" text-anchor=\"end\">{}</text>\
             <rect class=\"{class}\" x=\"{}\" y=\"{y}\" width=\"{width:.0}\" height=\"{BAR}\" rx=\"2\"/>\
             <text x=\"{:.0}\" y=\"{base}\">{seconds:.3}{more}</text>",
            x + LEFT - 8.0,
            contender.name,
            x + LEFT,
            x + LEFT + width + 6.0,
            base = y + 10.0,
        );
        y += STEP;
    }
    y
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_chart_shows_who_was_compared_and_cuts_what_is_too_long() {
        insta::assert_snapshot!(super::draw(&crate::report::sample()));
    }
}
