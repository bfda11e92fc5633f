//! The chart: bars as SVG, with colours that can be read on light and on dark paper.

use std::fmt::Write as _;

use crate::contenders::{CONTENDERS, FTPISH};
use crate::report::{Figures, Report};

const WIDTH: f64 = 680.0;
/// Where bars begin; the names are left of it.
const LEFT: f64 = 140.0;
/// The longest bar; its number stands right of it.
const LONGEST: f64 = 440.0;
const BAR: f64 = 12.0;
const STEP: f64 = 16.0;
const TITLE: f64 = 26.0;

/// Bars longer than this many times ftpish's own are cut: beside them the others could not be told apart.
const CUT: f64 = 6.0;

/// Draws every row in which ftpish and somebody else was measured.
pub fn draw(report: &Report) -> String {
    let shown: Vec<_> = report.rows.iter().filter(|row| is_shown(row)).collect();
    let height = shown.iter().map(|row| TITLE + STEP * row.medians.len() as f64 + 8.0).sum::<f64>() + 24.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
         <title>ftpish beside its peers: seconds, shorter is better</title>\n\
         <style>\n\
         text {{ font: 12px sans-serif; fill: #24292f }}\n\
         .row {{ font-weight: bold }}\n\
         .own {{ fill: #1a7f64 }}\n\
         .peer {{ fill: #9aa4af }}\n\
         @media (prefers-color-scheme: dark) {{ text {{ fill: #d0d7de }} .own {{ fill: #3fb892 }} .peer {{ fill: #6e7781 }} }}\n\
         </style>\n"
    );
    let mut y = 0.0;
    for row in shown {
        y = draw_row(&mut out, row, y);
    }
    let _ = writeln!(out, "<text x=\"8\" y=\"{}\">Seconds: shorter is better.</text>\n</svg>", y + 16.0);
    out
}

fn is_shown(row: &Figures) -> bool {
    row.medians.contains_key(FTPISH) && row.medians.keys().any(|who| !who.starts_with(FTPISH))
}

/// Draws a row below `y`; tells where it ends.
fn draw_row(out: &mut String, row: &Figures, y: f64) -> f64 {
    let mut y = y + TITLE;
    let _ = writeln!(out, "<text class=\"row\" x=\"8\" y=\"{}\">{}</text>", y - 8.0, row.name);
    let longest = row.medians.values().copied().fold(0.0, f64::max).min(CUT * row.medians[FTPISH]);
    for contender in CONTENDERS {
        let Some(seconds) = row.medians.get(contender.name) else { continue };
        let width = (LONGEST * seconds.min(longest) / longest).max(1.0);
        let class = if contender.name.starts_with(FTPISH) { "own" } else { "peer" };
        let more = if *seconds > longest { " …" } else { "" };
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{width:.0}\" height=\"{BAR}\" rx=\"2\"/>\
             <text x=\"{:.0}\" y=\"{}\">{seconds:.3}{more}</text>",
            LEFT - 8.0,
            y + 10.0,
            contender.name,
            LEFT + width + 6.0,
            y + 10.0,
        );
        y += STEP;
    }
    y + 8.0
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_chart_shows_who_was_compared_and_cuts_what_is_too_long() {
        insta::assert_snapshot!(super::draw(&crate::report::sample()));
    }
}
