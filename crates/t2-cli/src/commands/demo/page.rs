//! The demo as one self-contained HTML page.

use super::{Story, cell_rows, dispatched_rows, header, pass_seconds, tasks_of};
use crate::html::Page;
use crate::plot::{Bar, bar_chart, line_chart};

/// The page of `story`.
pub(super) fn write(story: &Story) -> String {
    let mut page = Page::new("T²: experts from singular values");
    page.paragraph(
        "A frozen language model is decomposed once. Each expert is a vector that rescales its singular values, trained \
         by reinforcement learning on one family of problems. A first pass looks at a prompt and chooses among the \
         experts; a second pass answers.",
    );
    page.paragraph(&story.decomposed);
    page.heading("An expert trained while you watch");
    let points = |f: fn(&t2_rl::metrics::StepMetrics) -> f32| {
        story.live.iter().map(|step| (step.step as f64, f64::from(f(step)))).collect::<Vec<_>>()
    };
    page.figures(&[
        line_chart("Mean reward", "step", &[("reward", points(|step| step.reward_mean))]),
        line_chart("Entropy, nats per token", "step", &[("entropy", points(|step| step.entropy))]),
    ]);
    seen(&mut page, story);
    unseen(&mut page, story);
    page.heading("The first held-out problem that the base model gets wrong");
    page.verbatim(&story.answer.lines());
    page.paragraph(&format!("All of this took {:.0} s.", story.seconds));
    page.finish()
}

fn seen(page: &mut Page, story: &Story) {
    let mut tasks: Vec<&str> = story.cells.iter().map(|cell| cell.task.as_str()).collect();
    tasks.dedup();
    page.heading("Seen families: percent right on held-out problems, ± standard error");
    page.table(&header("expert", &tasks), &cell_rows(&story.cells, &tasks));
    let bars = story.cells.iter().map(|cell| Bar {
        label: cell.task.clone(),
        value: 100.0 * cell.accuracy.accuracy,
        error: Some(100.0 * cell.accuracy.stderr),
        series: cell.expert.clone(),
    });
    page.figures(&[bar_chart("Accuracy by expert", "%", &bars.collect::<Vec<_>>())]);
}

fn unseen(page: &mut Page, story: &Story) {
    let tasks = tasks_of(&story.dispatched);
    page.heading("Unseen families, in two passes");
    page.table(&header("strategy", &tasks), &dispatched_rows(&story.dispatched, &tasks));
    let bars = story.dispatched.iter().map(|d| Bar {
        label: d.task.clone(),
        value: 100.0 * d.accuracy.accuracy,
        error: Some(100.0 * d.accuracy.stderr),
        series: if d.strategy == "none" { "base".to_owned() } else { d.strategy.clone() },
    });
    page.figures(&[bar_chart("Accuracy by strategy", "%", &bars.collect::<Vec<_>>())]);
    let (first, second) = pass_seconds(&story.dispatched);
    page.paragraph(&format!(
        "Choosing by topic, the first pass took {first:.1} s and the second {second:.1} s: {:.0} %.",
        100.0 * first / second
    ));
}
