//! Plots as SVG elements that take their colours from the page around them.

use std::fmt::Write;

use crate::html::escape;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 40.0;
/// Letters of a title that fit.
const TITLE_LETTERS: usize = 50;
/// Height of a line of the legend.
const LEGEND_LINE: f64 = 18.0;
/// Colours of the page's style, used in turn.
const COLORS: usize = 6;
/// Points of one curve; longer ones are averaged down, so that a page of a long run stays small.
const MAX_POINTS: usize = 600;
/// Gridlines wanted on an axis.
const TICKS: f64 = 5.0;

/// One bar.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bar {
    /// What stands below it.
    pub(crate) label: String,
    /// Its height.
    pub(crate) value: f64,
    /// Half the length of its whisker, when known.
    pub(crate) error: Option<f64>,
    /// Bars of one series share a colour and a line of the legend.
    pub(crate) series: String,
}

/// Curves over a shared axis; points that are not finite are left out.
pub(crate) fn line_chart(title: &str, x_label: &str, curves: &[(&str, Vec<(f64, f64)>)]) -> String {
    let curves: Vec<(&str, Vec<(f64, f64)>)> = curves.iter().map(|(name, points)| (*name, thin(points))).collect();
    let points = || curves.iter().flat_map(|(_, points)| points);
    let x = Axis::over(points().map(|p| p.0), LEFT, WIDTH - RIGHT);
    let y = Axis::rounded(points().map(|p| p.1), HEIGHT - BOTTOM, TOP);
    let mut svg = Svg::new(title);
    svg.y_grid(&y);
    for tick in x.ticks() {
        svg.text(x.place(tick), HEIGHT - BOTTOM + 16.0, "middle", &number(tick));
    }
    svg.text((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 8.0, "middle", x_label);
    for (i, (_, points)) in curves.iter().enumerate() {
        match points.as_slice() {
            [] => {}
            [(px, py)] => svg.dot(x.place(*px), y.place(*py), i),
            points => svg.curve(points.iter().map(|(px, py)| (x.place(*px), y.place(*py))), i),
        }
    }
    if points().next().is_none() {
        svg.text(WIDTH / 2.0, HEIGHT / 2.0, "middle", "no data");
    }
    let names: Vec<&str> = curves.iter().map(|(name, _)| *name).collect();
    svg.finish(&names)
}

/// Bars from zero, with whiskers of `error` to both sides; neighbours with one label stand together.
pub(crate) fn bar_chart(title: &str, y_label: &str, bars: &[Bar]) -> String {
    let ends = bars.iter().flat_map(|bar| [-1.0, 1.0].map(|side| bar.value + side * bar.error.unwrap_or(0.0)));
    let y = Axis::rounded(ends.chain([0.0]), HEIGHT - BOTTOM, TOP);
    let names = distinct(bars.iter().map(|bar| bar.series.as_str()));
    let mut svg = Svg::new(title);
    svg.y_grid(&y);
    svg.text(LEFT, TOP - 6.0, "middle", y_label);
    let groups: Vec<&[Bar]> = bars.chunk_by(|a, b| a.label == b.label).collect();
    let slot = (WIDTH - LEFT - RIGHT) / groups.len().max(1) as f64;
    for (g, group) in groups.iter().enumerate() {
        let start = LEFT + slot * g as f64;
        let width = (slot * 0.8 / group.len() as f64).min(60.0);
        let inset = (slot - width * group.len() as f64) / 2.0;
        for (b, bar) in group.iter().enumerate().filter(|(_, bar)| bar.value.is_finite()) {
            let color = names.iter().position(|name| *name == bar.series).unwrap_or(0);
            svg.bar([start + inset + width * b as f64, width * 0.9], &y, bar, color);
        }
        let letters = (slot / 6.5).max(3.0) as usize;
        svg.text(start + slot / 2.0, HEIGHT - BOTTOM + 16.0, "middle", &shorten(&group[0].label, letters));
    }
    svg.finish(&names)
}

/// A range of values, its gridlines, and where it lies on the picture.
#[derive(Debug)]
struct Axis {
    low: f64,
    high: f64,
    step: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// From the least to the greatest of `values`.
    fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let finite = values.filter(|value| value.is_finite());
        let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        // A single value gets some room.
        let size = high.abs().max(low.abs());
        let room = if high - low > f64::EPSILON * size {
            0.0
        } else if size > 0.0 {
            size / 2.0
        } else {
            0.5
        };
        let (low, high) = (low - room, high + room);
        Self { low, high, step: round_step((high - low) / TICKS), from, to }
    }

    /// The same, widened to gridlines.
    fn rounded(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let axis = Self::over(values, from, to);
        let step = axis.step;
        Self { low: (axis.low / step).floor() * step, high: (axis.high / step).ceil() * step, ..axis }
    }

    fn place(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    fn ticks(&self) -> Vec<f64> {
        let first = (self.low / self.step - 1e-9).ceil();
        let last = (self.high / self.step + 1e-9).floor();
        (0..=(last - first) as usize).map(|i| (first + i as f64) * self.step).collect()
    }
}

/// The next of 1, 2, 5, 10, … that is at least `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= step * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

/// `value` in at most about six characters.
fn number(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || size < 1e-12 {
        "0".to_owned()
    } else if !(1e-3..1e6).contains(&size) {
        format!("{value:.1e}")
    } else {
        let decimals = if size < 0.1 {
            4
        } else if size < 10.0 {
            2
        } else {
            usize::from(size < 100.0)
        };
        let text = format!("{value:.decimals$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    }
}

/// At most [`MAX_POINTS`] points: the finite ones, neighbours averaged.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let finite: Vec<_> = points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
    let size = finite.len().div_ceil(MAX_POINTS).max(1);
    let mean = |chunk: &[(f64, f64)]| {
        let n = chunk.len() as f64;
        (chunk.iter().map(|p| p.0).sum::<f64>() / n, chunk.iter().map(|p| p.1).sum::<f64>() / n)
    };
    finite.chunks(size).map(mean).collect()
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut all: Vec<&str> = vec![];
    names.for_each(|name| {
        if !all.contains(&name) {
            all.push(name);
        }
    });
    all
}

fn shorten(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    text.chars().take(letters.saturating_sub(1)).chain(['…']).collect()
}

/// An SVG element under construction. Writing to a string cannot fail, so the results of `write!` are dropped.
struct Svg {
    title: String,
    body: String,
}

impl Svg {
    fn new(title: &str) -> Self {
        let shown = escape(&shorten(title, TITLE_LETTERS));
        let title = escape(title);
        let body = format!("<title>{title}</title><text class=\"title\" x=\"{LEFT}\" y=\"14\">{shown}</text>");
        Self { title, body }
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let text = escape(text);
        let _ = write!(self.body, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
    }

    fn line(&mut self, class: &str, [x1, y1, x2, y2]: [f64; 4]) {
        let at = format!("x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"");
        let _ = write!(self.body, "<line class=\"{class}\" {at}/>");
    }

    /// Gridlines with their values on the left.
    fn y_grid(&mut self, y: &Axis) {
        for tick in y.ticks() {
            let at = y.place(tick);
            self.line(if tick == 0.0 { "axis" } else { "grid" }, [LEFT, at, WIDTH - RIGHT, at]);
            self.text(LEFT - 6.0, at + 4.0, "end", &number(tick));
        }
    }

    fn curve(&mut self, points: impl Iterator<Item = (f64, f64)>, color: usize) {
        let points = points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ");
        let color = color % COLORS;
        let _ = write!(self.body, "<polyline class=\"curve\" style=\"stroke:var(--c{color})\" points=\"{points}\"/>");
    }

    fn dot(&mut self, x: f64, y: f64, color: usize) {
        let color = color % COLORS;
        let _ = write!(self.body, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" style=\"fill:var(--c{color})\"/>");
    }

    fn bar(&mut self, [x, width]: [f64; 2], y: &Axis, bar: &Bar, color: usize) {
        let (zero, end) = (y.place(0.0), y.place(bar.value));
        let (top, height, color) = (zero.min(end), (zero - end).abs(), color % COLORS);
        let name = escape(&format!("{} {}: {}", bar.label, bar.series, number(bar.value)));
        let _ = write!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             style=\"fill:var(--c{color})\"><title>{name}</title></rect>"
        );
        if let Some(error) = bar.error.filter(|error| error.is_finite()) {
            let middle = x + width / 2.0;
            self.line("whisker", [middle, y.place(bar.value - error), middle, y.place(bar.value + error)]);
        }
    }

    /// The element, with a legend when there are several names.
    fn finish(mut self, names: &[&str]) -> String {
        let mut height = HEIGHT;
        if names.len() > 1 {
            let mut x = LEFT;
            let mut y = HEIGHT + 8.0;
            for (i, name) in names.iter().enumerate() {
                let width = 22.0 + 7.0 * name.chars().count() as f64;
                if x + width > WIDTH && x > LEFT {
                    (x, y) = (LEFT, y + LEGEND_LINE);
                }
                self.dot(x + 4.0, y - 4.0, i);
                self.text(x + 12.0, y, "start", name);
                x += width;
            }
            height = y + 8.0;
        }
        let Self { title, body } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
             aria-label=\"{title}\">{body}</svg>"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_ticks(low: f64, high: f64, expected: &[f64]) {
        let ticks = Axis::rounded([low, high].into_iter(), 0.0, 1.0).ticks();
        assert_eq!(ticks.len(), expected.len(), "{ticks:?}");
        ticks.iter().zip(expected).for_each(|(tick, expected)| assert!((tick - expected).abs() < 1e-9, "{ticks:?}"));
    }

    #[test]
    fn gridlines_are_round_numbers_around_the_data() {
        check_ticks(0.0, 1.0, &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        check_ticks(-0.9, 0.3, &[-1.0, -0.5, 0.0, 0.5]);
        check_ticks(0.002, 0.002, &[0.001, 0.0015, 0.002, 0.0025, 0.003]);
        check_ticks(3.0, 3.0, &[1.0, 2.0, 3.0, 4.0, 5.0]);
    }

    #[test]
    fn numbers_are_short() {
        let cases = [(0.0, "0"), (0.5, "0.5"), (0.0123, "0.0123"), (12.5, "12.5"), (1500.0, "1500"), (1e-5, "1.0e-5")];
        for (value, expected) in cases {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn what_is_not_finite_is_left_out() {
        let points = vec![(0.0, f64::NAN), (1.0, 2.0), (f64::INFINITY, 1.0), (2.0, 3.0)];
        assert_eq!(thin(&points), [(1.0, 2.0), (2.0, 3.0)]);
        let svg = line_chart("a & b", "step", &[("x", points), ("empty", vec![])]);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(svg.contains("a &amp; b"));
        assert!(line_chart("t", "x", &[]).contains("no data"));
        let bar = |value, error| Bar { label: "l".into(), value, error, series: "s".into() };
        let svg = bar_chart("t", "y", &[bar(f64::NAN, None), bar(0.5, Some(f64::NAN)), bar(0.2, Some(0.1))]);
        assert!(!svg.contains("NaN") && svg.matches("<rect").count() == 2, "{svg}");
    }

    #[test]
    fn a_long_curve_is_averaged_down() {
        let points: Vec<_> = (0..5000).map(|i| (f64::from(i), 1.0)).collect();
        let thinned = thin(&points);
        assert!(thinned.len() <= MAX_POINTS && thinned.len() > MAX_POINTS / 2);
        assert!(thinned.iter().all(|p| p.1 == 1.0));
    }
}
