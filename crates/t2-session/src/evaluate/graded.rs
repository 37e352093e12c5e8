//! What an evaluation found.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use t2_model::Hash;
use t2_rl::evaluate::Accuracy;
use t2_task::grade::pass_at_k;
use t2_task::{AnswerBy, Split, Task};

use super::SampleRecord;

/// The numbers of tries for which pass@k is reported, where there are as many answers.
const TRIES: [usize; 3] = [1, 10, 100];
/// The metric of programs.
const PASS_AT_1: &str = "pass@1";

/// pass@k over examples with as many answers as `repeats`; `None` where answers are no programs.
fn pass_at(samples: &[SampleRecord], repeats: usize, k: usize) -> Option<Accuracy> {
    samples.first()?.metrics.get(PASS_AT_1)?;
    let estimates = samples.chunks(repeats).map(|tries| {
        let passed = tries.iter().filter(|sample| sample.is_right()).count();
        pass_at_k(tries.len() as u64, passed as u64, k as u64)
    });
    Some(Accuracy::of_shares(&estimates.collect::<Vec<_>>()))
}

/// How well a task was answered.
#[derive(Clone, Debug, Serialize)]
pub struct Graded {
    /// The task.
    pub task: String,
    /// Where its examples are from.
    pub split: Split,
    /// How its questions were put.
    pub variant: String,
    /// Examples with their answers that went before every question.
    pub shots: usize,
    /// The grader and its version.
    pub grader: String,
    /// Answers to each example.
    pub repeats: usize,
    /// True where choices were weighed, false where answers were written.
    #[serde(skip)]
    pub is_weighed: bool,
    /// The share of right answers, by the first metric of the grader.
    #[serde(flatten)]
    pub accuracy: Accuracy,
    /// The share by each metric, called `metric,filter` as in the lm-evaluation-harness.
    pub metrics: BTreeMap<String, Accuracy>,
    /// Answers that were cut off at the limit of tokens.
    pub cut: usize,
    /// Examples that were left out because they are too long for the model.
    pub skipped: usize,
    /// How experts were chosen.
    pub strategy: String,
    /// What the expert is called, where one and the same answered everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expert: Option<String>,
    /// Hash of the expert that answered everything; none for the base model and in two passes.
    pub expert_hash: Option<Hash>,
    /// Hashes of the experts to choose among, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub expert_hashes: BTreeMap<String, Hash>,
    /// Time of the first pass, in seconds, over the answers that were given now.
    pub first_pass_secs: f64,
    /// Time of the second pass, in seconds, over the answers that were given now.
    pub second_pass_secs: f64,
    /// Answers that an earlier, interrupted run had given.
    pub resumed: usize,
    /// How often each expert, `base` or a mixture was chosen.
    pub choices: BTreeMap<String, usize>,
    /// Mean coefficients of the experts, by name, over the answers that were given now.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub mixture: BTreeMap<String, f32>,
    /// Every answer.
    #[serde(skip)]
    pub samples: Vec<SampleRecord>,
}

impl Graded {
    /// Of no answers, to be filled in.
    pub fn empty() -> Self {
        Self {
            task: String::new(),
            split: Split::Test,
            variant: "plain".to_owned(),
            shots: 0,
            grader: String::new(),
            repeats: 1,
            is_weighed: false,
            accuracy: Accuracy::of_verdicts([]),
            metrics: BTreeMap::new(),
            cut: 0,
            skipped: 0,
            strategy: t2_dispatch::strategy::base().name.to_owned(),
            expert: None,
            expert_hash: None,
            expert_hashes: BTreeMap::new(),
            first_pass_secs: 0.0,
            second_pass_secs: 0.0,
            resumed: 0,
            choices: BTreeMap::new(),
            mixture: BTreeMap::new(),
            samples: vec![],
        }
    }

    /// Of all `samples` to a split of `task`, as many for each example as `repeats`, in the order of the examples.
    pub(super) fn of(task: &dyn Task, split: Split, repeats: usize, samples: Vec<SampleRecord>) -> Self {
        let repeats = repeats.max(1);
        // Of those samples that are judged at all: rows of one file may be graded by different metrics.
        let share = |is_right: &dyn Fn(&SampleRecord) -> Option<bool>| {
            if repeats == 1 {
                return Accuracy::of_verdicts(samples.iter().filter_map(is_right));
            }
            let shares = samples.chunks(repeats).filter_map(|all| {
                let judged: Vec<bool> = all.iter().filter_map(is_right).collect();
                let right = judged.iter().filter(|&&right| right).count();
                (!judged.is_empty()).then(|| right as f64 / judged.len() as f64)
            });
            Accuracy::of_shares(&shares.collect::<Vec<_>>())
        };
        let mut metrics = BTreeMap::new();
        for k in TRIES.into_iter().filter(|&k| k > 1 && k <= repeats) {
            if let Some(estimate) = pass_at(&samples, repeats, k) {
                metrics.insert(format!("pass@{k}"), estimate);
            }
        }
        let names: BTreeSet<&String> = samples.iter().flat_map(|sample| sample.metrics.keys()).collect();
        let is_right = |name: &String| {
            let name = name.clone();
            move |sample: &SampleRecord| sample.metrics.get(&name).and_then(Value::as_bool)
        };
        Self {
            task: task.name().to_owned(),
            split,
            variant: task.variant().to_owned(),
            shots: task.shots(),
            grader: task.grader(),
            repeats,
            is_weighed: task.answering().by == AnswerBy::Likelihood,
            accuracy: share(&|sample| Some(sample.is_right())),
            metrics: names.into_iter().map(|name| (name.clone(), share(&is_right(name)))).chain(metrics).collect(),
            cut: samples.iter().filter(|sample| sample.cut).count(),
            samples,
            ..Self::empty()
        }
    }

    /// What people should know about the answers besides how many were right; `None` when there is nothing.
    pub fn note(&self) -> Option<String> {
        let all = self.samples.len();
        let cut = (self.cut > 0).then(|| format!("{} of {all} answers were cut off at the limit of tokens", self.cut));
        let skipped = (self.skipped > 0).then(|| {
            let total = self.accuracy.n + self.skipped;
            format!("{} of {total} examples are too long for the model and were left out", self.skipped)
        });
        let parts: Vec<String> = cut.into_iter().chain(skipped).collect();
        if parts.is_empty() { None } else { Some(parts.join("; ")) }
    }
}
