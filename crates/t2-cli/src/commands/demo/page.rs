//! The demo as one self-contained HTML page.

use t2_rl::evaluate::Accuracy;
use t2_rl::metrics::StepMetrics;

use super::{SAMPLE, SEEN, Story, cell_rows, dispatched_rows, header, pass_seconds, tasks_of};
use crate::html::{Fact, Figure, Page, Table};
use crate::plot::{BASE, Bar, Curve, Whisker, bar_chart, line_chart, percent, short};

/// The page of `story`.
pub(super) fn write(story: &Story) -> String {
    let mut page = Page::new("T²: experts from singular values");
    page.paragraph(
        "A frozen language model is decomposed once. Each expert is a vector that rescales its singular values, trained \
         by reinforcement learning on one family of problems. A first pass looks at a prompt and chooses among the \
         experts; a second pass answers.",
    );
    page.paragraph(&format!("{}.", story.decomposed));
    page.facts(&facts(story));
    page.heading("An expert trained while you watch");
    page.figures(&[
        live(story, "Reward", "Mean of the completions of a step.", "reward", |step| step.reward_mean),
        live(story, "Entropy", "How undecided the model is about the next token.", "nats per token", |step| {
            step.entropy.unwrap_or(f32::NAN)
        }),
        live(story, "Length of completions", "Mean of a step.", "tokens", |step| step.completion_len),
    ]);
    seen(&mut page, story);
    unseen(&mut page, story);
    page.heading(&format!("The first held-out problem of {SAMPLE} that the base model gets wrong"));
    let answer = &story.answer;
    page.texts(&[
        ("question", &answer.question),
        ("answer of the base model", &answer.base),
        ("answer in two passes", &answer.adapted),
        ("mixture chosen by the first pass", &answer.mixture),
    ]);
    page.finish()
}

/// What each expert is worth on its own family, and how long everything took.
fn facts(story: &Story) -> Vec<Fact> {
    let find = |name: &str, task: &str| story.cells.iter().find(|cell| cell.expert == name && cell.task == task);
    let gains = SEEN.iter().filter_map(|(name, task)| {
        let [base, own] = [find(BASE, task)?, find(name, task)?].map(|cell| percent(cell.accuracy.accuracy));
        let note = format!("right on held-out problems, {BASE} → {name}");
        Some(Fact { label: (*task).to_owned(), value: format!("{base} → {own}"), note })
    });
    let time =
        Fact { label: "All of this".into(), value: format!("{:.0} s", story.seconds), note: "on this machine".into() };
    gains.chain([time]).collect()
}

fn live(story: &Story, title: &str, note: &str, unit: &str, value: fn(&StepMetrics) -> f32) -> Figure {
    let points: Vec<_> = story.live.iter().map(|step| (step.step as f64, f64::from(value(step)))).collect();
    line_chart(&Curve { title, note, unit, points: &points })
}

fn seen(page: &mut Page, story: &Story) {
    let mut tasks: Vec<&str> = story.cells.iter().map(|cell| cell.task.as_str()).collect();
    tasks.dedup();
    let bars: Vec<Bar> = story.cells.iter().map(|cell| bar(&cell.task, &cell.expert, &cell.accuracy)).collect();
    page.heading("Families that the experts were trained on");
    page.figure_and_table(
        &bar_chart("Accuracy by expert", &right_of(story.cells.first().map(|cell| &cell.accuracy)), &bars),
        &table(header("expert", &tasks), cell_rows(&story.cells, &tasks)),
    );
}

fn unseen(page: &mut Page, story: &Story) {
    let tasks = tasks_of(&story.dispatched);
    let name = |strategy: &str| {
        if strategy == t2_dispatch::strategy::base().name { BASE.to_owned() } else { strategy.to_owned() }
    };
    let bars: Vec<Bar> = story.dispatched.iter().map(|d| bar(&d.task, &name(&d.strategy), &d.accuracy)).collect();
    page.heading("Unseen families, in two passes");
    page.figure_and_table(
        &bar_chart("Accuracy by strategy", &right_of(story.dispatched.first().map(|d| &d.accuracy)), &bars),
        &table(header("strategy", &tasks), dispatched_rows(&story.dispatched, &tasks)),
    );
    let (first, second) = pass_seconds(&story.dispatched);
    page.paragraph(&format!(
        "Choosing by topic, the first pass took {first:.1} s and the second {second:.1} s: {:.0} %.",
        100.0 * first / second
    ));
}

fn bar(group: &str, name: &str, accuracy: &Accuracy) -> Bar {
    let Accuracy { accuracy: share, low, high, .. } = *accuracy;
    Bar { group: group.to_owned(), name: name.to_owned(), share, whisker: Some(Whisker::Interval(low, high)) }
}

/// The caption of a figure: what its bars are shares of. Every family has as many problems as the `first` one.
fn right_of(first: Option<&Accuracy>) -> String {
    let n = first.map_or(0, |accuracy| accuracy.n);
    format!("Share of {} held-out problems answered right.", short(n as f64))
}

fn table(header: Vec<&str>, rows: Vec<Vec<String>>) -> Table {
    let header = header.into_iter().map(str::to_owned).collect();
    Table { caption: "The same in numbers: percent right and Wilson's 95 % interval".into(), header, rows }
}

#[cfg(test)]
mod tests {
    use t2_session::Graded;

    use super::super::{Cell, Sample};
    use super::*;

    fn story() -> Story {
        let accuracy = |accuracy| Accuracy { n: 10, accuracy, stderr: 0.1, low: accuracy / 2.0, high: 1.0 };
        let cell =
            |expert: &str, share| Cell { expert: expert.into(), task: "tiny-math".into(), accuracy: accuracy(share) };
        let dispatched = |strategy: &str, share| Graded {
            task: "tiny-math-hard".into(),
            accuracy: accuracy(share),
            strategy: strategy.into(),
            first_pass_secs: 1.0,
            second_pass_secs: 2.0,
            ..Graded::empty()
        };
        let answer = ["2 < 3?", "no", "yes", "math 1.00"].map(str::to_owned);
        let [question, base, adapted, mixture] = answer;
        Story {
            decomposed: "14 matrices decomposed".into(),
            live: vec![],
            cells: vec![cell("base", 0.5), cell("math", 1.0)],
            dispatched: vec![dispatched("none", 0.0), dispatched("prompt", 0.25)],
            answer: Sample { question, base, adapted, mixture },
            seconds: 3.0,
        }
    }

    #[test]
    fn the_page_tells_the_story() {
        let html = write(&story());
        let expected = [
            "50.0 % → 100.0 %",
            "math on tiny-math: 100.0 %",
            "base on tiny-math-hard: 0.0 %",
            "95 % interval",
            "2 &lt; 3?",
            "the second 2.0 s",
            "no values",
        ];
        expected.iter().for_each(|part| assert!(html.contains(part), "{part} in {html}"));
        assert!(!html.contains("NaN") && html.matches("<figure>").count() == 5, "{html}");
    }
}
