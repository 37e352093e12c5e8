//! A curve over the steps of a run. A long one is drawn as means of neighbours, with a band from the least to the
//! greatest of them.

use std::fmt::Write;

use super::axis::Axis;
use super::{Anchor, Frame, GAP, LETTER, Svg, WIDTH, short, text_width};
use crate::html::Figure;

/// Points that are drawn; neighbours of a longer curve are taken together, so that the page of a long run stays small.
const MAX_POINTS: usize = 160;
/// Values of this size and more count as missing: the difference of two of them may not be finite.
const TOO_LARGE: f64 = 1e300;
/// Rows of the picture: the plot has its unit above and its steps below.
const HEIGHT: f64 = 226.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = 184.0;

/// Values over steps, and what is written beside them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Curve<'a> {
    /// What the figure is called.
    pub(crate) title: &'a str,
    /// A sentence for its caption, or nothing.
    pub(crate) note: &'a str,
    /// What the values are measured in, or nothing.
    pub(crate) unit: &'a str,
    /// Step and value of every point. Where the value is no finite number, the curve has a gap.
    pub(crate) points: &'a [(f64, f64)],
}

/// The neighbours that make one point of the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    /// First and last step.
    steps: [f64; 2],
    /// Mean, least and greatest value; `None` where all are missing.
    values: Option<[f64; 3]>,
}

/// `curve` as a figure with a caption.
pub(crate) fn line_chart(curve: &Curve<'_>) -> Figure {
    let mut points = curve.points.to_vec();
    points.retain(|(step, _)| step.is_finite());
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let size = steps_per_point(points.len());
    let buckets: Vec<Bucket> = points.chunks(size).map(Bucket::of).collect();
    let svg = draw(&buckets, curve.unit, &summary(curve.title, &points));
    Figure { title: curve.title.to_owned(), note: note(curve.note, &points), svg }
}

/// How many of `steps` steps make one point of a curve; the range of more than one is drawn as a band.
pub(crate) fn steps_per_point(steps: usize) -> usize {
    steps.div_ceil(MAX_POINTS).max(1)
}

impl Bucket {
    fn of(points: &[(f64, f64)]) -> Self {
        let values: Vec<f64> = points.iter().map(|point| point.1).filter(|value| is_present(*value)).collect();
        let mean = values.iter().map(|value| value / values.len() as f64).sum();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Self {
            steps: [points[0].0, points[points.len() - 1].0],
            values: (!values.is_empty()).then_some([mean, least, greatest]),
        }
    }

    /// What is shown when the pointer is over the bucket.
    fn title(&self) -> String {
        let [first, last] = self.steps.map(short);
        match self.values {
            None => format!("step {first}: no value"),
            Some([mean, ..]) if first == last => format!("step {first}: {}", short(mean)),
            Some(values) => {
                let [mean, least, greatest] = values.map(short);
                format!("steps {first} to {last}: {mean}, from {least} to {greatest}")
            }
        }
    }
}

fn is_present(value: f64) -> bool {
    value.abs() < TOO_LARGE
}

/// The caption: what the caller says, and what is missing.
fn note(own: &str, points: &[(f64, f64)]) -> String {
    let missing = points.iter().filter(|point| !is_present(point.1)).count();
    if missing == 0 {
        return own.to_owned();
    }
    let [missing, all] = [missing, points.len()].map(|count| short(count as f64));
    format!("{own} No value at {missing} of {all} steps.").trim().to_owned()
}

/// The curve in words.
fn summary(title: &str, points: &[(f64, f64)]) -> String {
    let values: Vec<f64> = points.iter().map(|point| point.1).filter(|value| is_present(*value)).collect();
    let (Some(first), Some(last)) = (values.first(), values.last()) else { return format!("{title}: no values") };
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let [first, last, least, greatest] = [*first, *last, least, greatest].map(short);
    format!("{title}: first {first}, last {last}, least {least}, greatest {greatest}")
}

fn draw(buckets: &[Bucket], unit: &str, label: &str) -> String {
    let x = Axis::over(buckets.iter().flat_map(|bucket| bucket.steps), 1.0);
    let y = Axis::rounded(buckets.iter().filter_map(|bucket| bucket.values).flatten());
    let labels = y.ticks().iter().map(|(_, label)| text_width(label)).fold(0.0, f64::max);
    let frame = Frame { left: labels + GAP, right: WIDTH - 2.0, top: TOP, bottom: BOTTOM };
    let mut svg = Svg::default();
    svg.frame(&frame);
    svg.text("unit", [0.0, LETTER], Anchor::Start, unit);
    for (value, label) in y.ticks() {
        let row = frame.y(y.share(value));
        svg.line(if value == 0.0 { "axis" } else { "grid" }, [frame.left, row], [frame.right, row]);
        svg.text("tick", [frame.left - GAP, row + LETTER / 3.0], Anchor::End, &label);
    }
    for (value, label) in x.ticks() {
        svg.text("tick", [frame.x(x.share(value)), BOTTOM + GAP + LETTER], Anchor::Middle, &label);
    }
    svg.text("unit", [frame.x(0.5), HEIGHT - GAP], Anchor::Middle, "step");
    let column = |bucket: &Bucket| frame.x(x.share(f64::midpoint(bucket.steps[0], bucket.steps[1])));
    let row = |value: f64| frame.y(y.share(value));
    for run in buckets.chunk_by(|a, b| a.values.is_some() == b.values.is_some()) {
        let drawn: Vec<_> = run.iter().filter_map(|b| Some((column(b), b.values?.map(row)))).collect();
        svg.run(&drawn);
    }
    if buckets.iter().all(|bucket| bucket.values.is_none()) {
        svg.text("unit", [frame.x(0.5), frame.y(0.5)], Anchor::Middle, "no values");
    }
    svg.titles(&frame, buckets.iter().map(|bucket| (column(bucket), bucket.title())));
    svg.finish(HEIGHT, label)
}

impl Svg {
    /// Points without a gap: column, and rows of mean, least and greatest value.
    fn run(&mut self, points: &[(f64, [f64; 3])]) {
        let join = |points: &mut dyn Iterator<Item = (f64, f64)>| {
            points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ")
        };
        if points.iter().any(|(_, [_, least, greatest])| least != greatest) {
            let there = points.iter().map(|(x, rows)| (*x, rows[1]));
            let back = points.iter().rev().map(|(x, rows)| (*x, rows[2]));
            self.push(&format!("<polygon class=\"band\" points=\"{}\"/>", join(&mut there.chain(back))));
        }
        match points {
            [] => {}
            [(x, [y, ..])] => self.push(&format!("<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\"/>")),
            points => {
                let means = &mut points.iter().map(|(x, rows)| (*x, rows[0]));
                self.push(&format!("<polyline class=\"curve\" points=\"{}\"/>", join(means)));
            }
        }
    }

    /// Invisible columns over the plot that say their `titles` under the pointer.
    fn titles(&mut self, frame: &Frame, titles: impl ExactSizeIterator<Item = (f64, String)>) {
        let width = (frame.x(1.0) - frame.x(0.0)) / titles.len().max(1) as f64;
        let (top, height) = (frame.top, frame.bottom - frame.top);
        self.push(&format!("<g class=\"titles\" stroke-width=\"{width:.1}\">"));
        for (x, title) in titles {
            let _ = write!(self.body, "<path d=\"M{x:.1} {top:.0}v{height:.0}\"><title>{title}</title></path>");
        }
        self.push("</g>");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: &[(f64, f64)]) -> Figure {
        line_chart(&Curve { title: "a & b", note: "Note.", unit: "nats", points })
    }

    #[track_caller]
    fn check_marks(points: &[(f64, f64)], polylines: usize, dots: usize) {
        let Figure { svg, .. } = chart(points);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert_eq!((svg.matches("<polyline").count(), svg.matches("<circle").count()), (polylines, dots), "{svg}");
    }

    #[test]
    fn what_is_missing_is_a_gap() {
        let values = |values: &[f64]| values.iter().enumerate().map(|(i, v)| (i as f64, *v)).collect::<Vec<_>>();
        check_marks(&values(&[1.0, 2.0, 3.0]), 1, 0);
        check_marks(&values(&[1.0, 2.0, f64::NAN, 3.0, 4.0]), 2, 0);
        check_marks(&values(&[1.0, f64::INFINITY, 3.0, 4.0, 1e301]), 1, 1);
        check_marks(&values(&[f64::NAN, 5.0]), 0, 1);
        check_marks(&values(&[f64::NAN, f64::NAN]), 0, 0);
        check_marks(&[(f64::NAN, 1.0), (2.0, 1.0), (1.0, 1.0)], 1, 0);
        check_marks(&values(&[-1e299, 1e299]), 1, 0);
        check_marks(&[], 0, 0);
    }

    #[test]
    fn the_caption_says_what_is_missing() {
        let figure = chart(&[(1.0, f64::NAN), (2.0, 0.25), (3.0, 0.5)]);
        assert_eq!(figure.note, "Note. No value at 1 of 3 steps.");
        assert!(figure.svg.contains("aria-label=\"a &amp; b: first 0.25, last 0.5, least 0.25, greatest 0.5\""));
        assert!(figure.svg.contains("<title>step 1: no value</title>") && figure.svg.contains("step 2: 0.25"));
        assert!(chart(&[]).svg.contains("no values"));
    }

    #[test]
    fn a_long_curve_is_drawn_as_means_and_their_range() {
        let points: Vec<_> = (0..10_000).map(|i| (f64::from(i), f64::from(i % 2))).collect();
        let Figure { svg, .. } = chart(&points);
        assert_eq!((steps_per_point(160), steps_per_point(points.len())), (1, 63));
        assert!(svg.contains("<polygon") && svg.len() < 30_000, "{}", svg.len());
        let buckets: Vec<_> = points.chunks(4).map(Bucket::of).collect();
        assert_eq!(buckets[1], Bucket { steps: [4.0, 7.0], values: Some([0.5, 0.0, 1.0]) });
        assert_eq!(buckets[1].title(), "steps 4 to 7: 0.5, from 0 to 1");
    }
}
