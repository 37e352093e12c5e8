//! Results in the shape of the lm-evaluation-harness's, for its tables and for other tools that read them.
//!
//! The keys are those of `results.json` as lm-evaluation-harness 0.4 writes it: `results` by task and by
//! `metric,filter`, with standard errors from the sample's deviation, beside `versions`, `n-shot`, `higher_is_better`,
//! `n-samples`, `configs` and `config`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Graded;

/// What the results say of the model that was graded.
#[derive(Clone, Debug, Default)]
pub struct ResultsOf {
    /// The model, as the user named it.
    pub model: String,
    /// Where it ran.
    pub device: String,
    /// Type of its weights.
    pub dtype: String,
    /// Most questions of a task.
    pub limit: Option<usize>,
    /// Seconds since 1970, UTC.
    pub date: f64,
}

/// The results of `graded`, an entry for each.
pub fn results(graded: &[Graded], of: &ResultsOf) -> Value {
    let by_task = |value: &dyn Fn(&Graded) -> Value| -> Value {
        graded.iter().map(|graded| (graded.task.clone(), value(graded))).collect::<Map<String, Value>>().into()
    };
    json!({
        "results": by_task(&metrics),
        "group_subtasks": by_task(&|_| json!([])),
        "configs": by_task(&config),
        "versions": by_task(&|graded| json!(version(graded))),
        "n-shot": by_task(&|graded| json!(graded.shots)),
        "higher_is_better": by_task(&|graded| {
            let names = graded.metrics.keys().map(|name| name.split(',').next().unwrap_or(name).to_owned());
            names.map(|name| (name, true)).collect::<BTreeMap<String, bool>>().into_iter().collect()
        }),
        "n-samples": by_task(&|graded| {
            json!({ "original": graded.accuracy.n + graded.skipped, "effective": graded.accuracy.n })
        }),
        "config": {
            "model": "t2",
            "model_args": of.model,
            "model_dtype": of.dtype,
            "device": of.device,
            "limit": of.limit,
            "bootstrap_iters": 0,
        },
        "date": of.date,
        "t2_version": env!("CARGO_PKG_VERSION"),
    })
}

fn metrics(graded: &Graded) -> Value {
    let mut entry = Map::new();
    entry.insert("alias".to_owned(), json!(graded.task));
    for (name, accuracy) in &graded.metrics {
        let (metric, filter) = name.split_once(',').unwrap_or((name, "none"));
        // The deviation of a sample divides by one less.
        let n = accuracy.n as f64;
        let factor = if graded.repeats > 1 { 1.0 } else { (n / (n - 1.0)).sqrt() };
        let stderr = (n > 1.0).then_some(accuracy.stderr * factor);
        entry.insert(format!("{metric},{filter}"), json!(accuracy.accuracy));
        entry.insert(format!("{metric}_stderr,{filter}"), stderr.map_or(json!("N/A"), Value::from));
    }
    entry.into()
}

fn config(graded: &Graded) -> Value {
    let kind = if graded.is_weighed { "multiple_choice" } else { "generate_until" };
    json!({
        "task": graded.task,
        "tag": [],
        "output_type": kind,
        "num_fewshot": graded.shots,
        "repeats": graded.repeats,
        "test_split": graded.split,
        "metadata": {
            "version": version(graded),
            "grader": graded.grader,
            "variant": graded.variant,
            "strategy": graded.strategy,
            "expert": graded.expert,
            "expert_hash": graded.expert_hash,
        },
    })
}

/// The version of the rules: that of the grader.
fn version(graded: &Graded) -> &str {
    graded.grader.rsplit('@').next().unwrap_or_default()
}
