//! The search for a mixture on scripted fitness.

use t2_dispatch::cross_entropy::CrossEntropy;
use t2_dispatch::strategy::{Coefficients, FewShot, FewShotConfig, find};
use t2_dispatch::{Choice, Query, Strategy, StrategyConfig};
use t2_model::adapter::Mixture;

use crate::scripted::{Scripted, Worth, pool};

const NAMES: [&str; 3] = ["math", "code", "reason"];

fn choose(config: FewShotConfig, worth: Worth) -> (Choice, Scripted) {
    let mut oracle = Scripted::new(&[], 10, worth);
    let choices = FewShot::new(config).choose(&[Query::user("1 + 1?")], &pool(&NAMES), &mut oracle);
    (choices.unwrap().remove(0), oracle)
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum()
}

#[track_caller]
fn check(worth: Worth, label: &str, alpha: [f32; 3]) {
    for seed in 0..3 {
        let (choice, _) = choose(FewShotConfig { seed, ..FewShotConfig::default() }, worth);
        assert_eq!(choice.label, label, "seed {seed}: {choice:?}");
        // Three coefficients, each within a few of the smallest standard deviations (0.02) after ten iterations.
        assert!(distance(&choice.mixture.mean(), &alpha) < 0.2, "seed {seed}: {choice:?}");
    }
}

#[test]
fn the_only_expert_that_helps_is_found() {
    check(|m, _| (m.at(0)[1] - 0.5 * m.at(0)[0] - 0.5 * m.at(0)[2], 0.0), "code", [0.0, 1.0, 0.0]);
}

#[test]
fn likelihood_finds_it_where_rewards_tie() {
    check(|m, _| (1.0, m.at(0)[1] - m.at(0)[0] - m.at(0)[2]), "code", [0.0, 1.0, 0.0]);
}

#[test]
fn a_mixture_is_found_where_it_is_better_than_any_expert() {
    check(|m, _| (-distance(m.at(0), &[0.6, 0.3, 0.0]), 0.0), "mixture", [0.6, 0.3, 0.0]);
}

#[test]
fn the_base_model_is_kept_where_every_expert_harms() {
    check(|m, _| (-m.at(0).iter().sum::<f32>(), 0.0), "base", [0.0, 0.0, 0.0]);
}

#[test]
fn what_shines_on_the_tuning_examples_alone_is_not_chosen() {
    // Even examples reward the first expert, odd ones punish it.
    check(|m, shots| (m.at(0)[0] * if shots[0] == 0 { 1.0 } else { -1.0 }, 0.0), "base", [0.0, 0.0, 0.0]);
}

#[test]
fn coefficients_by_block_are_found() {
    let search = CrossEntropy { iterations: 25, ..CrossEntropy::default() };
    let config = FewShotConfig { coefficients: Coefficients::PerLayer, search, ..FewShotConfig::default() };
    let (choice, _) = choose(config, |m, _| (m.at(0)[0] + m.at(1)[2] - m.at(0)[2] - m.at(1)[0], 0.0));
    assert_eq!(choice.label, "mixture");
    assert!(choice.mixture.at(0)[0] > 0.9 && choice.mixture.at(1)[0] < 0.1, "{choice:?}");
    assert!(choice.mixture.at(1)[2] > 0.9 && choice.mixture.at(0)[2] < 0.1, "{choice:?}");
}

#[test]
fn populations_are_batches_and_the_last_one_meets_unseen_examples() {
    let (choice, oracle) = choose(FewShotConfig::default(), |m, _| (m.at(0)[1], 0.0));
    let tuning = (32, vec![0, 2, 4, 6, 8]);
    // Base, three experts, three finds and the mean of the elites.
    let held_out = (8, vec![1, 3, 5, 7, 9]);
    let sizes: Vec<_> = oracle.valued.into_iter().map(|(population, shots)| (population.len(), shots)).collect();
    assert_eq!(sizes, [vec![tuning; 10], vec![held_out]].concat());
    let names: Vec<&str> = choice.scores.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["base", "math", "code", "reason", "mixture"]);
}

#[test]
fn a_task_is_searched_once() {
    let mut oracle = Scripted::new(&[], 4, |m, _| (m.at(0)[2], 0.0));
    let mut strategy = FewShot::default();
    let pool = pool(&NAMES);
    let first = strategy.choose(&[Query::user("a")], &pool, &mut oracle).unwrap();
    let asked = oracle.valued.len();
    let next = strategy.choose(&[Query::user("b"), Query::user("c")], &pool, &mut oracle).unwrap();
    assert_eq!(next, [first[0].clone(), first[0].clone()]);
    assert_eq!(oracle.valued.len(), asked);
}

#[test]
fn a_seed_fixes_the_search() {
    let worth: Worth = |m: &Mixture, _| (-distance(m.at(0), &[0.6, 0.3, 0.0]), 0.0);
    let run = |seed| choose(FewShotConfig { seed, ..FewShotConfig::default() }, worth);
    let ((choice, oracle), (same, same_oracle), (other, other_oracle)) = (run(1), run(1), run(2));
    assert_eq!((&choice, &oracle.valued), (&same, &same_oracle.valued));
    assert_ne!(oracle.valued[0].0, other_oracle.valued[0].0, "the first population is drawn with the seed");
    assert_ne!(choice, other);
}

#[test]
fn the_registry_builds_it_as_configured() {
    let few_shot = FewShotConfig { seed: 3, finalists: 1, ..FewShotConfig::default() };
    let mut oracle = Scripted::new(&[], 10, |m, _| (m.at(0)[1], 0.0));
    let mut strategy = find("few-shot", &StrategyConfig { few_shot }).unwrap();
    strategy.choose(&[Query::user("1 + 1?")], &pool(&NAMES), &mut oracle).unwrap();
    let (_, same) = choose(few_shot, |m, _| (m.at(0)[1], 0.0));
    assert_eq!(oracle.valued, same.valued);
}
