//! Shares of one as horizontal bars on an axis from 0 to 100 %, in groups that are read one under the other.

use std::fmt::Write;

use super::{Anchor, COLORS, Frame, GAP, LETTER, Svg, WIDTH, percent, shorten, text_width};
use crate::html::{Figure, escape};

/// The bar that others are compared with; it is grey.
pub(crate) const BASE: &str = "base";
/// Most room of the names on the left.
const NAMES: f64 = 130.0;
/// Room of a value on the right, such as `100.0 %`.
const VALUES: f64 = 62.0;
/// Height of a bar with its distance to the next, and of the bar alone.
const ROW: f64 = 22.0;
const BAR: f64 = 14.0;
/// Height of the name of a group, and the distance to the next group.
const HEADING: f64 = 20.0;
const SPACE: f64 = 10.0;
/// Half the height of the end of a whisker.
const CAP: f64 = 4.0;

/// One bar.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bar {
    /// Bars of one group stand together.
    pub(crate) group: String,
    /// The text beside the bar. Bars of one name share a colour.
    pub(crate) name: String,
    /// The length of the bar, from 0 to 1.
    pub(crate) share: f64,
    /// How sure the share is, when known.
    pub(crate) whisker: Option<Whisker>,
}

/// How sure a share is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Whisker {
    /// Wilson's 95 % interval: its ends, as shares.
    Interval(f64, f64),
    /// One standard error to both sides.
    StandardError(f64),
}

/// `bars` as a figure; its caption also says what the whiskers mean.
pub(crate) fn bar_chart(title: &str, note: &str, bars: &[Bar]) -> Figure {
    let groups = grouped(bars);
    let named = bars.iter().map(|bar| text_width(&bar.name)).fold(0.0, f64::max).min(NAMES);
    let names: Vec<&str> = distinct(bars.iter().map(|bar| bar.name.as_str()).filter(|name| *name != BASE));
    let (left, right) = (named + GAP, WIDTH - VALUES);
    let mut svg = Svg::default();
    let mut top = 0.0;
    for (group, bars) in &groups {
        let frame = Frame { left, right, top: top + HEADING, bottom: top + HEADING + ROW * bars.len() as f64 + GAP };
        svg.text("group", [0.0, top + LETTER], Anchor::Start, &shorten(group, WIDTH));
        svg.frame(&frame);
        for percent in (0..=100).step_by(20) {
            let x = frame.x(f64::from(percent) / 100.0);
            svg.line(if percent == 0 { "axis" } else { "grid" }, [x, frame.top], [x, frame.bottom]);
        }
        for (i, bar) in bars.iter().enumerate() {
            let color = names.iter().position(|name| *name == bar.name).map(|color| color % COLORS);
            svg.bar(&frame, frame.top + GAP / 2.0 + ROW * (i as f64 + 0.5), bar, color);
        }
        top = frame.bottom + SPACE;
    }
    let ticks = Frame { left, right, top, bottom: top };
    for percent in (0..=100).step_by(20) {
        let at = [ticks.x(f64::from(percent) / 100.0), top + LETTER / 2.0];
        svg.text("tick", at, Anchor::Middle, &format!("{percent} %"));
    }
    let label = bars.iter().map(|bar| bar.title() + ". ").collect::<String>();
    let svg = svg.finish(top + LETTER, &format!("{title}. {label}"));
    let note = [note, whisker_note(bars)].join(" ").trim().to_owned();
    Figure { title: title.to_owned(), note, svg }
}

impl Bar {
    /// The bar in words.
    fn title(&self) -> String {
        let Self { group, name, share, whisker } = self;
        let whisker = match whisker {
            Some(Whisker::Interval(low, high)) => format!(", 95 % interval {} to {}", percent(*low), percent(*high)),
            Some(Whisker::StandardError(error)) => format!(" ± {}", percent(*error)),
            None => String::new(),
        };
        format!("{name} on {group}: {}{whisker}", percent(*share))
    }

    /// The ends of the whisker.
    fn ends(&self) -> Option<[f64; 2]> {
        let ends = match self.whisker? {
            Whisker::Interval(low, high) => [low, high],
            Whisker::StandardError(error) => [self.share - error, self.share + error],
        };
        ends.iter().all(|end| end.is_finite()).then(|| ends.map(|end| end.clamp(0.0, 1.0)))
    }
}

/// What the whiskers of `bars` mean.
fn whisker_note(bars: &[Bar]) -> &'static str {
    let is_interval = |bar: &Bar| matches!(bar.whisker, Some(Whisker::Interval(..)));
    let is_error = |bar: &Bar| matches!(bar.whisker, Some(Whisker::StandardError(_)));
    match (bars.iter().any(is_interval), bars.iter().any(is_error)) {
        (true, false) => "Whiskers span Wilson’s 95 % interval.",
        (false, true) => "Whiskers reach one standard error to both sides.",
        (true, true) => {
            "Whiskers span Wilson’s 95 % interval where it is known, else one standard error to both sides."
        }
        (false, false) => "",
    }
}

impl Svg {
    /// A bar around the row `y`, in a colour of the page's style or in grey.
    fn bar(&mut self, frame: &Frame, y: f64, bar: &Bar, color: Option<usize>) {
        let baseline = y + LETTER / 3.0;
        let color = color.map_or_else(|| "base".to_owned(), |color| format!("c{color}"));
        let _ = write!(self.body, "<g><title>{}</title>", escape(&bar.title()));
        self.text("name", [frame.left - GAP, baseline], Anchor::End, &shorten(&bar.name, NAMES));
        self.text("value", [WIDTH, baseline], Anchor::End, &percent(bar.share));
        if bar.share.is_finite() {
            let (zero, end) = (frame.x(0.0), frame.x(bar.share.clamp(0.0, 1.0)));
            let (top, width) = (y - BAR / 2.0, end - zero);
            let at = format!("x=\"{zero:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{BAR:.1}\"");
            let _ = write!(self.body, "<rect class=\"bar\" {at} style=\"fill:var(--{color})\"/>");
        }
        if let Some([low, high]) = bar.ends().map(|ends| ends.map(|end| frame.x(end))) {
            let (top, height) = (y - CAP, 2.0 * CAP);
            let path =
                format!("M{low:.1} {top:.1}v{height:.1}M{low:.1} {y:.1}H{high:.1}M{high:.1} {top:.1}v{height:.1}");
            let _ = write!(self.body, "<path class=\"halo\" d=\"{path}\"/><path class=\"whisker\" d=\"{path}\"/>");
        }
        self.push("</g>");
    }
}

/// Bars by their group, in the order in which the groups appear.
fn grouped(bars: &[Bar]) -> Vec<(&str, Vec<&Bar>)> {
    let groups = distinct(bars.iter().map(|bar| bar.group.as_str()));
    groups.into_iter().map(|group| (group, bars.iter().filter(|bar| bar.group == group).collect())).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(name: &str, share: f64, whisker: Option<Whisker>) -> Bar {
        Bar { group: "task".into(), name: name.into(), share, whisker }
    }

    #[test]
    fn what_is_not_finite_is_not_drawn() {
        let bars = [
            bar("a", f64::NAN, None),
            bar("b", 0.5, Some(Whisker::StandardError(f64::NAN))),
            bar("c", 0.2, Some(Whisker::StandardError(0.1))),
        ];
        let Figure { svg, .. } = bar_chart("t", "", &bars);
        assert!(!svg.contains("NaN") && svg.contains("a on task: –"), "{svg}");
        assert_eq!((svg.matches("class=\"bar\"").count(), svg.matches("class=\"whisker\"").count()), (2, 1), "{svg}");
    }

    #[track_caller]
    fn check_note(whiskers: &[Option<Whisker>], expected: &str) {
        let bars: Vec<Bar> = whiskers.iter().map(|whisker| bar("a", 0.5, *whisker)).collect();
        assert_eq!(bar_chart("t", "", &bars).note, expected);
    }

    #[test]
    fn the_caption_says_what_the_whiskers_mean() {
        let (interval, error) = (Some(Whisker::Interval(0.4, 0.6)), Some(Whisker::StandardError(0.1)));
        check_note(&[interval, None], "Whiskers span Wilson’s 95 % interval.");
        check_note(&[error], "Whiskers reach one standard error to both sides.");
        check_note(&[None], "");
        let both = "Whiskers span Wilson’s 95 % interval where it is known, else one standard error to both sides.";
        check_note(&[interval, error], both);
    }

    #[test]
    fn a_name_keeps_its_colour_and_the_base_is_grey() {
        let mut bars = vec![bar(BASE, 0.1, None), bar("x", 0.2, None), bar("y", 0.3, None), bar("x", 0.4, None)];
        bars[3].group = "other".into();
        let Figure { svg, .. } = bar_chart("t", "", &bars);
        let fills: Vec<&str> = svg.split("fill:var(--").skip(1).filter_map(|rest| rest.split(')').next()).collect();
        assert_eq!(fills, ["base", "c0", "c1", "c0"]);
    }
}
