//! Line charts as SVG text: losses and scores over steps.
//!
//! The same chart gives the same bytes. A value that is no number leaves a gap in its line, and a long series is reduced
//! to what its pixels can show, so that a chart of a million steps stays small. Colours read on light and dark pages: the
//! page's preference decides where the viewer knows it, and middle tones are used where it does not.

use std::fmt::Write;

use crate::axis::Axis;

/// A line chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chart {
    /// Above the chart.
    pub title: String,
    /// Below the horizontal axis.
    pub x_label: String,
    /// Along the vertical axis.
    pub y_label: String,
    /// One line each; the legend is left out when there is only one without a name.
    pub series: Vec<Series>,
}

/// A line of a chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// What the legend calls it.
    pub name: String,
    /// (x, y), in the order in which they are joined. Infinite values and NaN leave a gap.
    pub points: Vec<(f64, f64)>,
}

/// The size of every chart, in pixels of its own; pages scale it.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const BOTTOM: f64 = 48.0;
const LEGEND_LINE: f64 = 18.0;
/// Width of a letter of a legend's 12-pixel text, on the generous side (the viewer chooses the font).
const LETTER: f64 = 6.8;

/// Middle tones: at least 3:1 against white and against #16181d.
const COLORS: [&str; 8] =
    ["#3b82f6", "#e8590c", "#2f9e44", "#e03131", "#8f5cf7", "#0c97a8", "#d6409f", "#a07400"];

/// The chart as an SVG document, which may also stand inside a page.
pub fn line_chart_svg(chart: &Chart) -> String {
    let legend = Legend::new(chart);
    let top = 40.0 + legend.height();
    let xs = chart.series.iter().flat_map(|s| &s.points).filter(|p| drawable(p)).map(|p| p.0);
    let ys = chart.series.iter().flat_map(|s| &s.points).filter(|p| drawable(p)).map(|p| p.1);
    let plot = Plot { x: Axis::over(xs, 7), y: Axis::over(ys, 6).map(Axis::to_marks), top };
    let mut out = String::new();
    head(&mut out, chart);
    plot.grid(&mut out);
    for (i, series) in chart.series.iter().enumerate() {
        plot.line(&mut out, series, i);
    }
    if plot.x.is_none() {
        let (x, y) = ((LEFT + WIDTH - RIGHT) / 2.0, (top + HEIGHT - BOTTOM) / 2.0);
        text(&mut out, [x, y], "middle", "nothing to draw");
    }
    words(&mut out, chart, top);
    legend.draw(&mut out);
    out.push_str("</svg>\n");
    out
}

/// Numbers, and such that differences of two are numbers too.
fn drawable(point: &(f64, f64)) -> bool {
    point.0.abs() < 1e300 && point.1.abs() < 1e300
}

fn head(out: &mut String, chart: &Chart) {
    let title = escape(if chart.title.is_empty() { "line chart" } else { &chart.title }, 200);
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"care-chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\" aria-label=\"{title}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\">\n\
         <style>.care-chart .grid{{stroke-opacity:.28}}\
         @media (prefers-color-scheme:light){{.care-chart text{{fill:#495057}}}}\
         @media (prefers-color-scheme:dark){{.care-chart text{{fill:#ced4da}}}}</style>\n"
    );
}

/// The title and the names of the axes.
fn words(out: &mut String, chart: &Chart, top: f64) {
    let middle = (LEFT + WIDTH - RIGHT) / 2.0;
    let title = escape(&chart.title, 72);
    let _ = writeln!(
        out,
        "<text x=\"{LEFT}\" y=\"24\" fill=\"#868e96\" font-size=\"15\" font-weight=\"600\">{title}</text>"
    );
    text(out, [middle, HEIGHT - 10.0], "middle", &escape(&chart.x_label, 80));
    let center = (top + HEIGHT - BOTTOM) / 2.0;
    let label = escape(&chart.y_label, 40);
    let _ = writeln!(
        out,
        "<text transform=\"translate(14 {center:.0}) rotate(-90)\" text-anchor=\"middle\" fill=\"#868e96\">{label}</text>"
    );
}

fn text(out: &mut String, [x, y]: [f64; 2], anchor: &str, escaped: &str) {
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"{anchor}\" fill=\"#868e96\">{escaped}</text>",
        short(x),
        short(y)
    );
}

/// The field between the axes; without an axis there is nothing to draw.
struct Plot {
    x: Option<Axis>,
    y: Option<Axis>,
    top: f64,
}

impl Plot {
    fn grid(&self, out: &mut String) {
        let (Some(x_axis), Some(y_axis)) = (&self.x, &self.y) else { return };
        let bottom = HEIGHT - BOTTOM;
        let mut lines = String::new();
        for (at, label) in y_axis.ticks() {
            let y = self.y_at(y_axis, at);
            let _ = write!(lines, "M{LEFT} {}H{}", short(y), WIDTH - RIGHT);
            text(out, [LEFT - 8.0, y + 4.0], "end", &label);
        }
        for (at, label) in x_axis.ticks() {
            let x = self.x_at(x_axis, at);
            let _ = write!(lines, "M{} {bottom}v5", short(x));
            text(out, [x, bottom + 18.0], "middle", &label);
        }
        let _ = writeln!(out, "<path class=\"grid\" d=\"{lines}\" fill=\"none\" stroke=\"#868e96\"/>");
    }

    fn x_at(&self, axis: &Axis, value: f64) -> f64 {
        LEFT + axis.share(value) * (WIDTH - RIGHT - LEFT)
    }

    fn y_at(&self, axis: &Axis, value: f64) -> f64 {
        let bottom = HEIGHT - BOTTOM;
        bottom - axis.share(value) * (bottom - self.top)
    }

    /// A line, its gaps, and dots where a point stands alone.
    fn line(&self, out: &mut String, series: &Series, index: usize) {
        let (Some(x_axis), Some(y_axis)) = (&self.x, &self.y) else { return };
        let place = |p: &(f64, f64)| [self.x_at(x_axis, p.0), self.y_at(y_axis, p.1)];
        let mut path = String::new();
        let mut dots = String::new();
        for run in series.points.split(|p| !drawable(p)).filter(|run| !run.is_empty()) {
            let places: Vec<[f64; 2]> = run.iter().map(place).collect();
            match reduce(&places)[..] {
                [[x, y]] => {
                    let _ = write!(dots, "M{} {}h0", short(x), short(y));
                }
                ref kept => kept.iter().enumerate().for_each(|(i, [x, y])| {
                    let _ = write!(path, "{}{} {}", if i == 0 { 'M' } else { 'L' }, short(*x), short(*y));
                }),
            }
        }
        let style = stroke(index);
        for (path, width) in [(path, 1.8), (dots, 5.0)].iter().filter(|(path, _)| !path.is_empty()) {
            let _ = writeln!(
                out,
                "<path d=\"{path}\" fill=\"none\" stroke-width=\"{width}\" stroke-linejoin=\"round\" \
                 stroke-linecap=\"round\" {style}/>"
            );
        }
    }
}

/// Colours come round again after the last, with dashes.
fn stroke(index: usize) -> String {
    let dashes = ["", " stroke-dasharray=\"6 4\"", " stroke-dasharray=\"1 4\""];
    format!("stroke=\"{}\"{}", COLORS[index % COLORS.len()], dashes[index / COLORS.len() % dashes.len()])
}

/// At most four points per pixel column (first, lowest, highest, last in their order): the line looks the same.
fn reduce(places: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let column = |i: usize| places[i][0].floor();
    let mut kept = Vec::new();
    let mut start = 0;
    while start < places.len() {
        let end = (start..places.len()).find(|&i| column(i) != column(start)).unwrap_or(places.len());
        let by_y = |a: &usize, b: &usize| places[*a][1].total_cmp(&places[*b][1]).then(a.cmp(b));
        let lowest = (start..end).min_by(by_y).unwrap_or(start);
        let highest = (start..end).max_by(by_y).unwrap_or(start);
        let mut of_column = [start, lowest, highest, end - 1];
        of_column.sort_unstable();
        let mut last = None;
        for i in of_column {
            if last.replace(i) != Some(i) {
                kept.push(places[i]);
            }
        }
        start = end;
    }
    kept
}

/// The names of the lines, in as many rows as they need.
struct Legend {
    /// Index of the series, left and row of its entry, and its name, escaped.
    entries: Vec<(usize, f64, usize, String)>,
}

impl Legend {
    fn new(chart: &Chart) -> Self {
        let named = chart.series.iter().enumerate().filter(|(_, s)| !s.name.is_empty());
        let (mut x, mut row) = (LEFT, 0);
        let entries = named.map(|(i, series)| {
            let letters = series.name.chars().count().min(LONGEST_NAME) as f64;
            let width = 24.0 + letters * LETTER + 16.0;
            if x > LEFT && x + width > WIDTH - RIGHT {
                (x, row) = (LEFT, row + 1);
            }
            x += width;
            (i, x - width, row, escape(&series.name, LONGEST_NAME))
        });
        // More rows would leave no chart.
        Self { entries: entries.filter(|e| e.2 < 8).collect() }
    }

    fn height(&self) -> f64 {
        self.entries.last().map_or(0.0, |e| (e.2 + 1) as f64 * LEGEND_LINE)
    }

    fn draw(&self, out: &mut String) {
        for (index, x, row, name) in &self.entries {
            let y = 44.0 + *row as f64 * LEGEND_LINE;
            let _ = writeln!(
                out,
                "<path d=\"M{} {}h18\" fill=\"none\" stroke-width=\"3\" {}/>",
                short(*x),
                short(y - 4.0),
                stroke(*index)
            );
            text(out, [x + 24.0, y], "start", name);
        }
    }
}

const LONGEST_NAME: usize = 48;

/// A coordinate with at most one decimal: a tenth of a pixel cannot be seen.
fn short(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// One line of XML text of at most `most` characters.
fn escape(text: &str, most: usize) -> String {
    let long = text.chars().count() > most;
    let mut out = String::new();
    for c in text.chars().take(if long { most - 1 } else { most }).chain(long.then_some('…')) {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML has no place for control characters, and none for these two.
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        let series = vec![Series { name: "loss".into(), points }];
        Chart { title: "Loss".into(), x_label: "step".into(), y_label: "loss".into(), series }
    }

    /// The drawn path of the only line.
    fn paths(svg: &str) -> Vec<&str> {
        svg.lines().filter(|l| l.contains("stroke-linejoin")).collect()
    }

    #[test]
    fn the_corners_of_the_data_are_the_corners_of_the_plot() {
        let svg = line_chart_svg(&chart(vec![(0.0, 0.0), (10.0, 5.0)]));
        let lines = paths(&svg);
        assert_eq!(lines.len(), 1, "{svg}");
        assert!(lines[0].contains("d=\"M64 312L624 58\""), "{}", lines[0]);
        assert_eq!(svg, line_chart_svg(&chart(vec![(0.0, 0.0), (10.0, 5.0)])));
    }

    #[test]
    fn values_that_are_no_numbers_leave_gaps_and_lone_points_are_dots() {
        let nan = f64::NAN;
        let points = vec![(0.0, 1.0), (1.0, 2.0), (2.0, nan), (3.0, 1.0), (4.0, f64::INFINITY), (nan, 2.0)];
        let svg = line_chart_svg(&chart(points));
        let lines = paths(&svg);
        assert_eq!(lines.len(), 2, "{svg}");
        assert_eq!(lines[0].matches('M').count(), 1);
        assert!(lines[1].contains("h0"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn nothing_to_draw_is_said_and_no_value_breaks_the_chart() {
        for points in [vec![], vec![(f64::NAN, 1.0)], vec![(1.0, f64::NEG_INFINITY)]] {
            assert!(line_chart_svg(&chart(points)).contains("nothing to draw"));
        }
        let odd =
            [0.0, -0.0, 5e-324, -1e-310, 1e-9, 0.5, 1.0, 1.0 + f64::EPSILON, 123456789.5, -9e299, 9e299];
        for a in odd {
            for b in odd {
                let svg = line_chart_svg(&chart(vec![(a, b), (b, a)]));
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{a} {b}: {svg}");
                assert!(svg.len() < 6000, "{a} {b}: {}", svg.len());
            }
        }
    }

    #[test]
    fn a_million_points_make_a_small_file_that_keeps_the_peak() {
        let mut points: Vec<(f64, f64)> = (0..1_000_000).map(|i| (f64::from(i), f64::from(i % 7))).collect();
        points[500_000].1 = 100.0;
        let svg = line_chart_svg(&chart(points));
        assert!(svg.len() < 60_000, "{}", svg.len());
        assert!(paths(&svg)[0].contains("L344 58"), "{svg}");
    }

    #[test]
    fn words_are_escaped_and_names_wrap() {
        let mut c = chart(vec![(0.0, 1.0)]);
        c.title = "a < b & \"c\"\n\u{1}".into();
        c.series = (0..20).map(|i| Series { name: format!("a class named {i}"), points: vec![] }).collect();
        c.series[3].points = vec![(0.0, 1.0), (1.0, 3.0)];
        let svg = line_chart_svg(&c);
        assert!(svg.contains("a &lt; b &amp; &quot;c&quot;"), "{svg}");
        assert!(!svg.contains('\u{1}'));
        assert!(svg.contains("class named 19</text>"));
    }
}
