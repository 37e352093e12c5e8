//! Plots as SVG elements that take their colours from the style of the page around them.
//!
//! Every plot is as wide as the next, so that letters have one size on a page. What explains a plot is text of the
//! page, in the caption of its [`Figure`](crate::html::Figure); the picture holds marks, gridlines and their labels.

mod axis;
mod bars;
mod curve;
mod number;

use std::fmt::Write;

pub(crate) use bars::{BASE, Bar, Whisker, bar_chart};
pub(crate) use curve::{Curve, line_chart, steps_per_point};
pub(crate) use number::{MISSING, brief, percent, short};

use crate::html::escape;

/// Width of a plot in units of its own; letters are [`LETTER`] of them high.
const WIDTH: f64 = 420.0;
/// Height of a letter, as in the style of the page.
const LETTER: f64 = 12.0;
/// Room between a label and what it belongs to.
const GAP: f64 = 6.0;
/// Marks stay this far from the edges of their frame, so that whiskers and curves at its limits are seen whole.
const INSET: f64 = 7.0;
/// Colours of the page's style, used in turn.
const COLORS: usize = 6;

/// The part of a picture that marks are drawn in.
#[derive(Clone, Copy, Debug)]
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl Frame {
    /// The column of `share`, 0 at the left and 1 at the right.
    fn x(&self, share: f64) -> f64 {
        self.left + INSET + share * (self.right - self.left - 2.0 * INSET)
    }

    /// The row of `share`, 0 at the bottom and 1 at the top.
    fn y(&self, share: f64) -> f64 {
        self.bottom - INSET - share * (self.bottom - self.top - 2.0 * INSET)
    }
}

/// Which part of a text stands at the position it is drawn at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Anchor {
    Start,
    Middle,
    End,
}

/// An SVG element under construction. Writing to a string cannot fail, so the results of `write!` are dropped.
#[derive(Default)]
struct Svg {
    body: String,
}

impl Svg {
    /// Text whose baseline is at `y`; it is moved sideways where it would leave the picture.
    fn text(&mut self, class: &str, [x, y]: [f64; 2], anchor: Anchor, text: &str) {
        let width = text_width(text).min(WIDTH);
        let (anchor, before) = match anchor {
            Anchor::Start => ("start", 0.0),
            Anchor::Middle => ("middle", width / 2.0),
            Anchor::End => ("end", width),
        };
        let x = x.clamp(before, WIDTH - width + before);
        let text = escape(text);
        let _ = write!(
            self.body,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        );
    }

    fn line(&mut self, class: &str, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) {
        let at = format!("x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"");
        let _ = write!(self.body, "<line class=\"{class}\" {at}/>");
    }

    fn frame(&mut self, frame: &Frame) {
        let Frame { left, right, top, bottom } = frame;
        let (width, height) = (right - left, bottom - top);
        let at = format!("x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"");
        let _ = write!(self.body, "<rect class=\"frame\" {at}/>");
    }

    /// Add an element that is already written out.
    fn push(&mut self, element: &str) {
        self.body.push_str(element);
    }

    /// The finished element. `label` describes the picture to readers who cannot see it.
    fn finish(self, height: f64, label: &str) -> String {
        let label = escape(label);
        let body = self.body;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH:.0} {height:.0}\" role=\"img\" \
             aria-label=\"{label}\">{body}</svg>"
        )
    }
}

/// An estimate of the width of `text`, on the large side since fonts differ.
fn text_width(text: &str) -> f64 {
    let width = |c: char| match c {
        'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '|' | '\'' | '!' | ' ' => 0.36,
        'm' | 'w' | 'M' | 'W' | '%' | '@' | '…' => 1.0,
        '\u{1100}'..='\u{1fff}' | '\u{2e80}'.. => 1.1,
        _ => 0.65,
    };
    text.chars().map(width).sum::<f64>() * LETTER
}

/// `text`, or its beginning where it is wider than `room`.
fn shorten(text: &str, room: f64) -> String {
    if text_width(text) <= room {
        return text.to_owned();
    }
    let mut short = text.to_owned();
    while !short.is_empty() && text_width(&short) + LETTER > room {
        short.pop();
    }
    short + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_text(at: f64, anchor: Anchor, text: &str, expected: &str) {
        let mut svg = Svg::default();
        svg.text("", [at, 10.0], anchor, text);
        assert!(svg.body.contains(&format!("x=\"{expected}\"")), "{}", svg.body);
    }

    #[test]
    fn text_stays_within_the_picture() {
        check_text(100.0, Anchor::Middle, "aa", "100.0");
        check_text(0.0, Anchor::Middle, "aa", "7.8");
        check_text(420.0, Anchor::Middle, "aa", "412.2");
        check_text(419.0, Anchor::Start, "aa", "404.4");
        check_text(1.0, Anchor::End, "aa", "15.6");
    }

    #[test]
    fn long_names_are_shortened_to_their_room() {
        for (text, expected) in [("short", "short"), ("a rather long name", "a rath…"), ("名前名前名前", "名前名…")]
        {
            let short = shorten(text, 60.0);
            assert_eq!(short, expected);
            assert!(text_width(&short) <= 60.0, "{short} is {}", text_width(&short));
        }
    }
}
