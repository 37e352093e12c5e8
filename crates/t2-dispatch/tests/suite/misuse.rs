//! Strategies, oracles and graders of somebody's own that do not keep to the rules.

use t2_dispatch::strategy::{FewShot, NoExperts, PromptBased};
use t2_dispatch::{
    Choice, DispatchError, ExpertPool, Labelled, Message, ModelOracle, Oracle, Query, Reader, Shot, Strategy, two_pass,
};
use t2_model::adapter::Mixture;
use t2_model::adapter::mixture::MixtureError;
use t2_model::generate::GenerateError;

use crate::scripted::{Given, Scripted, pool};
use crate::tiny::Tiny;

fn queries() -> [Query; 2] {
    [Query::user("Tom has 4."), Query::user("def f")]
}

#[track_caller]
fn check_choices(made: usize) {
    let mut oracle = Scripted::reading(&[]);
    let given = &mut Given(vec![Mixture::base(1); made]);
    let error = two_pass(given, &queries(), &pool(&["math"]), &mut oracle).unwrap_err();
    assert!(matches!(&error, DispatchError::Choices { found, expected: 2, .. } if *found == made), "{error:?}");
    assert!(error.to_string().contains(&format!("`given` made {made} choices for 2 queries")), "{error}");
    assert_eq!(oracle.asked, ["check"]);
}

#[test]
fn a_strategy_chooses_once_for_every_query() {
    check_choices(0);
    check_choices(1);
    check_choices(3);
}

/// A mixture that does not fit is named by its query, whatever the size of a batch.
#[track_caller]
fn check_mixture(tiny: &Tiny, mixture: Mixture, expected: &MixtureError) {
    let mut given = Given(vec![Mixture::base(2), mixture]);
    for max_rows in [1, 8] {
        let error = two_pass(&mut given, &queries(), &tiny.pool, &mut tiny.oracle(max_rows)).unwrap_err();
        assert!(matches!(&error, DispatchError::Mixture(found) if found == expected), "{error:?} is not {expected:?}");
    }
}

#[test]
fn a_strategy_mixes_the_experts_of_the_pool() {
    let tiny = Tiny::new(&["math", "code"]).unwrap();
    check_mixture(&tiny, Mixture::global(vec![0.5; 3]), &MixtureError::Coefficients { row: 1, found: 3, expected: 2 });
    check_mixture(&tiny, Mixture::global(vec![]), &MixtureError::Coefficients { row: 1, found: 0, expected: 2 });
    let three_blocks = Mixture::per_layer(vec![vec![0.5; 2]; 3]);
    check_mixture(&tiny, three_blocks, &MixtureError::Blocks { row: 1, found: 3, expected: 2 });
    let infinite = Mixture::global(vec![0.0, f32::INFINITY]);
    check_mixture(&tiny, infinite, &MixtureError::NotFinite { row: 1, value: f32::INFINITY });
    let nan = Given(vec![Mixture::base(2), Mixture::global(vec![f32::NAN, 1.0])]);
    let error = two_pass(&mut { nan }, &queries(), &tiny.pool, &mut tiny.oracle(8)).unwrap_err();
    assert!(matches!(error, DispatchError::Mixture(MixtureError::NotFinite { row: 1, .. })), "{error:?}");
    assert!(matches!(tiny.pool.choice(Some(2), vec![]), Err(MixtureError::NoExpert { expert: 2, experts: 2 })));
}

#[track_caller]
fn check_answers(strategy: &mut dyn Strategy, mut oracle: Scripted, found: usize, expected: usize) {
    let error = two_pass(strategy, &queries(), &pool(&["math", "code"]), &mut oracle).unwrap_err();
    let is_said = matches!(error, DispatchError::Answers { found: f, expected: e } if (f, e) == (found, expected));
    assert!(is_said, "{error:?} is not {found} for {expected}");
}

#[test]
fn an_oracle_answers_everything_it_is_asked() {
    let reading = |likelihoods: &[f32], loses| Scripted { loses, ..Scripted::reading(likelihoods) };
    check_answers(&mut PromptBased, reading(&[-1.0, -2.0], None), 2, 3);
    check_answers(&mut PromptBased, reading(&[-1.0, -2.0, -3.0, -4.0], None), 4, 3);
    check_answers(&mut PromptBased, reading(&[-1.0, -2.0, -3.0], Some(0)), 1, 2);
    check_answers(&mut NoExperts, reading(&[], Some(0)), 1, 2);
    let valuing = |loses| Scripted { loses: Some(loses), ..Scripted::new(&[], 4, |_, _| (0.0, 0.0)) };
    check_answers(&mut FewShot::default(), valuing(0), 31, 32);
    // After ten populations the base, two experts, three finds and the mean of the elites meet.
    check_answers(&mut FewShot::default(), valuing(10), 6, 7);
}

#[track_caller]
fn check_rewards(rewards: impl Fn(usize) -> Vec<f32> + Send + Sync, message: &str) {
    let tiny = Tiny::new(&["math"]).unwrap();
    let shots = vec![Shot { prompt: vec![Message::user("Tom")], answer: "4".into() }; 2];
    let grade = |graded: &[(usize, &str)]| Ok(rewards(graded.len()));
    let mut oracle = ModelOracle { labelled: Some(Labelled { shots: &shots, grade: &grade }), ..tiny.oracle(64) };
    let error = two_pass(&mut FewShot::default(), &queries(), &tiny.pool, &mut oracle).unwrap_err();
    assert!(matches!(error, DispatchError::Rewards { expected: 32, .. }), "{error:?}");
    assert!(error.to_string().contains(message), "{error} does not say {message:?}");
}

#[test]
fn a_grader_gives_a_finite_reward_for_every_completion() {
    check_rewards(|count| vec![1.0; count - 1], "gave 31 rewards; expected 32 finite rewards");
    check_rewards(|count| vec![1.0; count + 1], "gave 33 rewards; expected 32 finite rewards");
    check_rewards(|_| vec![], "gave 0 rewards; expected 32 finite rewards");
    check_rewards(|count| vec![f32::NAN; count], "gave the reward NaN; expected 32 finite rewards");
    check_rewards(|count| [vec![1.0; count - 1], vec![f32::INFINITY]].concat(), "gave the reward inf");
}

/// Looks at things that are not there.
struct Curious;

impl Strategy for Curious {
    fn name(&self) -> &str {
        "curious"
    }

    fn choose(&mut self, _: &[Query], _: &ExpertPool, oracle: &mut dyn Oracle) -> Result<Vec<Choice>, DispatchError> {
        let shots = oracle.shots();
        oracle.fitness(&[Mixture::base(1)], &[shots]).map(|_| vec![])
    }
}

#[test]
fn a_labelled_example_that_is_not_there_is_refused() {
    let tiny = Tiny::new(&["math"]).unwrap();
    let shots = vec![Shot { prompt: vec![Message::user("Tom")], answer: "4".into() }; 2];
    let grade = |graded: &[(usize, &str)]| Ok(vec![0.0; graded.len()]);
    let mut oracle = ModelOracle { labelled: Some(Labelled { shots: &shots, grade: &grade }), ..tiny.oracle(64) };
    let error = two_pass(&mut Curious, &queries(), &tiny.pool, &mut oracle).unwrap_err();
    assert!(matches!(error, DispatchError::NoShot { index: 2, shots: 2 }), "{error:?}");
}

/// Asks a service that does not answer.
struct Remote;

impl Strategy for Remote {
    fn name(&self) -> &str {
        "remote"
    }

    fn choose(&mut self, _: &[Query], _: &ExpertPool, oracle: &mut dyn Oracle) -> Result<Vec<Choice>, DispatchError> {
        oracle.classify(&[], &[], Reader::Base)?;
        Err(DispatchError::Other("the router does not answer".into()))
    }
}

#[test]
fn a_failure_of_a_strategy_of_ones_own_comes_through() {
    let error = two_pass(&mut Remote, &queries(), &pool(&["math"]), &mut Scripted::reading(&[])).unwrap_err();
    assert!(matches!(error, DispatchError::Other(_)), "{error:?}");
    assert_eq!(error.to_string(), "the router does not answer");
}

#[test]
fn to_choose_takes_questions_and_options() {
    let tiny = Tiny::new(&["math"]).unwrap();
    for (questions, options) in [(vec!["q".to_owned()], vec![]), (vec![], vec!["math"]), (vec![], vec![])] {
        let error = tiny.oracle(4).classify(&questions, &options, Reader::Base).unwrap_err();
        assert!(matches!(error, DispatchError::Generate(GenerateError::NoRows)), "{error:?}");
    }
}
