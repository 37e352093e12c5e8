//! Choices graded by how likely the model finds each of them, as the `multiple_choice` tasks of lm-evaluation-harness do.

use super::grader::{Grade, GraderInfo};

/// The choice that the model finds most likely.
pub(super) const LIKELIHOOD: GraderInfo =
    GraderInfo { name: "likelihood", version: 1, about: "the choice with the highest log-probability" };

/// Grades the choice of a model that was asked for no text: the one whose text it finds most likely after the question.
///
/// `choices` are texts, `log_probs` how likely each of them is, summed over its tokens, and `reference` is the letter of
/// the right one. The metric `acc` compares the sums themselves, `acc_norm` the sums by the number of characters (not of
/// bytes or tokens), `acc_bytes` by the number of bytes in UTF-8; a task in lm-evaluation-harness reports those that it
/// lists. Of equals, the first wins. What is not a number counts as the highest, as it does for `numpy`.
///
/// # Panics
///
/// When there are not as many log-probabilities as choices.
pub fn likelihood(reference: &str, choices: &[String], log_probs: &[f64]) -> Grade {
    assert_eq!(choices.len(), log_probs.len(), "there are not as many log-probabilities as choices");
    let right = super::multiple_choice::index(reference);
    let highest_by = |length: fn(&String) -> usize| {
        let scores = choices.iter().zip(log_probs).map(|(choice, log_prob)| log_prob / length(choice) as f64);
        highest(&scores.collect::<Vec<_>>())
    };
    let chosen = highest(log_probs);
    let is_right = |chosen: Option<usize>| chosen.is_some() && chosen == right;
    Grade::new(
        chosen.map(|chosen| super::multiple_choice::letter(chosen).into()),
        [
            ("acc", is_right(chosen)),
            ("acc_norm", is_right(highest_by(|choice| choice.chars().count()))),
            ("acc_bytes", is_right(highest_by(String::len))),
        ],
    )
}

/// Where the first of the highest scores is: `numpy.argmax`.
fn highest(scores: &[f64]) -> Option<usize> {
    let better = |a: f64, b: f64| !b.is_nan() && (a.is_nan() || a > b);
    (0..scores.len()).reduce(|best, at| if better(scores[at], scores[best]) { at } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_likely_choice_is_taken() {
        #[track_caller]
        fn check(choices: &[&str], log_probs: &[f64], [acc, acc_norm, acc_bytes]: [char; 3]) {
            let choices: Vec<String> = choices.iter().map(|&choice| choice.into()).collect();
            for reference in ["A", "B", "C"] {
                let right = |letter: char| reference.starts_with(letter);
                let metrics = [("acc", right(acc)), ("acc_norm", right(acc_norm)), ("acc_bytes", right(acc_bytes))];
                assert_eq!(likelihood(reference, &choices, log_probs).metrics, metrics, "{choices:?} {log_probs:?}");
            }
        }
        for (choices, log_probs, taken) in [
            (&["red", "blue", "green"], [-3.0, -2.0, -4.0], ['B', 'B', 'B']),
            (&["red", "blue", "green"], [-2.0, -2.0, -2.0], ['A', 'C', 'C']),
            (&["no", "not at all", "no"], [-2.0, -5.0, -3.0], ['A', 'B', 'B']),
            (&["aaaa", "éé", "b"], [-4.0, -3.0, -9.0], ['B', 'A', 'B']),
            (&["a", "b", "c"], [f64::NEG_INFINITY, -9.0, f64::NEG_INFINITY], ['B', 'B', 'B']),
            (&["a", "b", "c"], [-1.0, f64::NAN, f64::NAN], ['B', 'B', 'B']),
        ] {
            check(choices, &log_probs, taken);
        }
    }
}
