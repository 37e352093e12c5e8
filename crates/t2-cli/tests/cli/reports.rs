//! Reports of runs.

use crate::support::World;

const METRICS: &str = concat!(
    r#"{"step": 0, "reward_mean": -0.5, "kl": 0.0, "my<metric": 3, "expert_hash": "aa", "note": null}"#,
    "\n",
    r#"{"step": 1, "reward_mean": 0.25, "kl": 0.01, "my<metric": 4, "expert_hash": "a<b"}"#,
    "\n",
);
const EVAL: &str = r#"[
    {"task": "tiny-math", "split": "test", "n": 1000, "accuracy": 0.5, "stderr": 0.0158},
    {"task": "tiny-math", "split": "test", "n": 1000, "accuracy": 0.7, "stderr": 0.0145, "expert": "math"},
    {"task": "tiny-code", "split": "test", "n": 10, "accuracy": 0.4, "strategy": "few-shot"}
]"#;
/// The limits of a share, and names that are longer than their room.
const EXTREMES: &str = r#"[
    {"task": "a task whose name is longer than the plot under it is wide, were it not shortened to the room there is",
     "split": "test", "n": 20, "accuracy": 1.0, "stderr": 0.0, "low": 0.84, "high": 1.0,
     "expert": "an expert with a very long name", "expert_hash": "ab1234567890cdefab1234567890cdef"},
    {"task": "b", "split": "test", "n": 20, "accuracy": 1.0, "stderr": 0.0, "expert_hash": null},
    {"task": "b", "split": "test", "n": 20, "accuracy": 0.0, "low": 0.0, "high": 0.16, "expert": "0"}
]"#;

/// About how wide a letter is, as a share of its height: less than in common fonts.
const LETTER_WIDTH: f64 = 0.45;
/// Heights of letters in the style of the page.
const LETTER: f64 = 12.0;

/// What a picture is made of: name and attributes of an element, and the text right behind its tag.
struct Element<'a> {
    tag: &'a str,
    text: &'a str,
}

/// Left, top, right and bottom.
type Area = [f64; 4];

impl Element<'_> {
    fn attribute(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.tag.split_once(&format!(" {name}=\""))?;
        Some(rest.split_once('"').unwrap().0)
    }

    #[track_caller]
    fn number(&self, name: &str) -> f64 {
        self.attribute(name).unwrap().parse().unwrap()
    }

    fn has_class(&self, class: &str) -> bool {
        self.attribute("class") == Some(class)
    }

    fn is(&self, name: &str) -> bool {
        self.tag.split_whitespace().next() == Some(name)
    }

    /// Where a text or a rectangle is.
    fn area(&self) -> Area {
        let [x, y] = ["x", "y"].map(|name| self.number(name));
        if self.is("rect") {
            return [x, y, x + self.number("width"), y + self.number("height")];
        }
        let width = LETTER_WIDTH * LETTER * self.text.chars().count() as f64;
        let left = match self.attribute("text-anchor") {
            Some("middle") => x - width / 2.0,
            Some("end") => x - width,
            _ => x,
        };
        [left, y - 0.75 * LETTER, left + width, y + 0.2 * LETTER]
    }
}

/// The elements of every picture of `html`, the picture itself first.
fn pictures(html: &str) -> Vec<Vec<Element<'_>>> {
    html.split("<svg").skip(1).map(|rest| elements(rest.split_once("</svg>").unwrap().0)).collect()
}

fn elements(svg: &str) -> Vec<Element<'_>> {
    let tags = svg.split('<').map(|part| part.split_once('>').unwrap());
    tags.map(|(tag, text)| Element { tag, text }).collect()
}

/// Every element that is opened is closed, in order.
#[track_caller]
fn check_elements(html: &str) {
    let mut open = vec![];
    let body = html.trim_start_matches("<!DOCTYPE html>");
    for tag in body.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').unwrap();
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        let name: String = tag.chars().take_while(|c| !c.is_whitespace()).collect();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop().as_deref(), Some(name)),
            None if tag.ends_with('/') => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

/// The page is whole, loads nothing from elsewhere, suits every reader, and says in words what it draws.
#[track_caller]
fn check_page(html: &str) {
    assert!(html.starts_with("<!DOCTYPE html>\n<html lang="));
    check_elements(html);
    let elsewhere = html.replace("http://www.w3.org/2000/svg", "");
    for outside in ["src=", "href=", "url(", "@import", "<script", "://"] {
        assert!(!elsewhere.contains(outside), "{outside}");
    }
    for part in ["width=device-width", "screen and (prefers-color-scheme: dark)", "@media print"] {
        assert!(html.contains(part), "{part}");
    }
    let count = |part: &str| html.matches(part).count();
    assert_eq!(count("<h1"), 1);
    assert_eq!(count("<figure>"), count("<figcaption>"));
    assert_eq!(count("<table"), count("<caption>"));
    assert_eq!(count("<svg"), count("role=\"img\" aria-label=\""));
    pictures(html).iter().for_each(|picture| check_picture(picture));
}

/// Labels can be read, and marks end within their frame.
#[track_caller]
fn check_picture(picture: &[Element<'_>]) {
    let size: Vec<f64> = picture[0].attribute("viewBox").unwrap().split(' ').map(|n| n.parse().unwrap()).collect();
    let texts: Vec<_> = picture.iter().filter(|element| element.is("text") && !element.text.is_empty()).collect();
    for (i, text) in texts.iter().enumerate() {
        let [left, top, right, bottom] = text.area();
        let is_inside = left >= 0.0 && top >= 0.0 && right <= size[2] && bottom <= size[3];
        assert!(is_inside, "{} at {:?} in {size:?}", text.text, text.area());
        for other in &texts[..i] {
            let [l, t, r, b] = other.area();
            let is_apart = right < l || r < left || bottom < t || b < top;
            assert!(is_apart, "{} over {}", text.text, other.text);
        }
    }
    let frames: Vec<Area> = picture.iter().filter(|element| element.has_class("frame")).map(Element::area).collect();
    assert!(!frames.is_empty());
    let check_within = |x: f64, y: f64, what: &str| {
        let is_within = |[l, t, r, b]: &Area| (*l..=*r - 2.0).contains(&x) && (*t..=*b).contains(&y);
        assert!(frames.iter().any(is_within), "{what} at {x}, {y} leaves {frames:?}");
    };
    for bar in picture.iter().filter(|element| element.has_class("bar")) {
        let [left, top, right, bottom] = bar.area();
        check_within(left, top, bar.tag);
        check_within(right, bottom, bar.tag);
    }
    for whisker in picture.iter().filter(|element| element.has_class("whisker")) {
        let ends =
            whisker.attribute("d").unwrap().split('M').skip(1).map(|part| part.split(['v', 'H']).next().unwrap());
        for end in ends {
            let (x, y) = end.split_once(' ').unwrap();
            check_within(x.parse().unwrap(), y.parse().unwrap(), whisker.tag);
        }
    }
    for point in picture.iter().filter_map(|element| element.attribute("points")).flat_map(|points| points.split(' ')) {
        let (x, y) = point.split_once(',').unwrap();
        check_within(x.parse().unwrap(), y.parse().unwrap(), point);
    }
}

/// The page of a run with these files.
#[track_caller]
fn report(metrics: &str, eval: &str) -> String {
    let world = World::new();
    world.write("run/metrics.jsonl", metrics);
    world.write("run/eval.json", eval);
    world.json(&["report", "run"]);
    let html = std::fs::read_to_string(world.path("run/report.html")).unwrap();
    check_page(&html);
    html
}

#[test]
fn a_run_becomes_one_page() {
    let world = World::new();
    world.write("run/metrics.jsonl", METRICS);
    world.write("run/eval.json", EVAL);
    let json = world.json(&["report", "run"]);
    assert_eq!(json, serde_json::json!({ "report": "run/report.html", "steps": 2, "evaluations": 3 }));
    let html = std::fs::read_to_string(world.path("run/report.html")).unwrap();
    check_page(&html);
    for part in ["nats per token", "my&lt;metric", "a&lt;b", "70.0 %", "few-shot", "base → math", "−0.5 → 0.25"] {
        assert!(html.contains(part), "{part}");
    }
    let done = world.run(&["report", "run", "--out", "page.html"]);
    assert_eq!((done.code, done.stdout.as_str()), (0, "page.html\n"));
}

#[test]
fn whiskers_show_the_interval_where_it_is_known() {
    let html = report("", EXTREMES);
    for part in ["95 % interval where it is known, else one standard error", "95 % interval 84.0 % to 100.0 %"] {
        assert!(html.contains(part), "{part}");
    }
    assert!(html.contains("<td>ab123456</td>") && !html.contains("ab1234567"), "the hash is short");
    let html = report("", EVAL);
    assert!(
        html.contains("one standard error to both sides") && html.contains("base on tiny-math, test: 50.0 % ± 1.6 %")
    );
    assert!(!html.contains("95 %") && !html.contains("hash"), "columns without a value are left out");
}

#[test]
fn a_value_that_is_missing_is_a_gap() {
    let line = |step: usize, value: &str| format!("{{\"step\": {step}, \"loss\": {value}}}\n");
    let values = ["0.5", "0.4", "null", "0.3", "0.2"];
    let metrics: String = values.iter().enumerate().map(|(step, value)| line(step, value)).collect();
    let html = report(&metrics, "[]");
    assert_eq!(html.matches("<polyline").count(), 2);
    assert!(html.contains("No value at 1 of 5 steps.") && html.contains("step 2: no value"));
    assert!(report(&"{\"reward_mean\": null}\n".repeat(3), "[]").contains("no values"));
}

#[test]
fn a_long_run_stays_small() {
    let line = |step: usize| {
        let values: String = (0..10).map(|i| format!(", \"metric {i}\": {}", (step * (i + 7)) % 101)).collect();
        format!("{{\"step\": {step}{values}}}\n")
    };
    let html = report(&(1..=10_000).map(line).collect::<String>(), "[]");
    assert!(html.len() < 300_000, "{} bytes", html.len());
    assert_eq!(html.matches("class=\"band\"").count(), 10);
}

#[test]
fn a_line_that_is_still_being_written_is_left_out() {
    let world = World::new();
    world.write("run/metrics.jsonl", &format!("{METRICS}{{\"step\": 2, \"rew"));
    assert_eq!(world.json(&["report", "run"])["steps"], 2);
}

#[test]
fn broken_files_are_named() {
    let world = World::new();
    let check = |parts: &[&str]| {
        let done = world.run(&["report", "run"]);
        assert_eq!(done.code, 1, "{done:?}");
        parts.iter().for_each(|part| assert!(done.stderr.contains(part), "{part}: {}", done.stderr));
        assert!(!world.path("run/report.html").exists());
    };
    check(&["run has neither metrics.jsonl nor eval.json"]);
    world.write("run/metrics.jsonl", "{\"step\": 0}\nnonsense\n{\"step\": 1}\n");
    check(&["line 2 of run/metrics.jsonl"]);
    world.write("run/metrics.jsonl", METRICS);
    world.write("run/eval.json", "[{\"task\": 1}]");
    check(&["run/eval.json is broken"]);
    world.write("run/eval.json", &EVAL.replace("0.7", "70"));
    check(&["accuracy 70 in row 2 of run/eval.json", "0 to 1", "divide percentages by 100"]);
}
