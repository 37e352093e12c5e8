//! What a caller sees of a run while it runs.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use t2_model::generate::FinishReason;
use t2_rl::metrics::{Monitor, Step, StepMetrics};
use t2_rl::train::{TrainConfig, TrainError, TrainInputs, train};
use t2_task::{AnswerBy, Answering, Example, Split, Task, TaskError, reward};

use crate::heard::warnings;
use crate::tiny::{Spoilt, Tiny, config};

#[test]
fn a_monitor_sees_every_completion_and_its_reward() {
    let tiny = Tiny::new();
    let dir = tempfile::tempdir().unwrap();
    // Four of five questions a step: each is asked four times.
    let config = TrainConfig { steps: 5, ..config() };
    let mut asked = BTreeMap::<String, usize>::new();
    let mut check = |step: Step<'_>| {
        let Step { metrics, samples } = step;
        assert_eq!(samples.len(), config.prompts * config.group);
        for group in samples.chunks(config.group) {
            assert!(group.iter().all(|sample| sample.example == group[0].example), "{group:?}");
            *asked.entry(group[0].example.question.clone()).or_default() += 1;
        }
        for sample in samples {
            let graded = [(sample.example, sample.rollout.text.as_str())];
            assert_eq!(tiny.task.rewards(&graded).unwrap(), [sample.reward], "{sample:?}");
            let prompt = tiny.tokenizer.encode_chat(&tiny.task.prompt(sample.example)).unwrap();
            assert_eq!(sample.rollout.prompt, prompt);
        }
        let total: f32 = samples.iter().map(|sample| sample.reward).sum();
        assert!((total / samples.len() as f32 - metrics.reward_mean).abs() < 1e-6, "{metrics:?}");
        let cut = samples.iter().filter(|sample| sample.rollout.is_cut()).count();
        assert!((cut as f32 / samples.len() as f32 - metrics.cut_share).abs() < 1e-6, "{metrics:?}");
        ControlFlow::Continue(())
    };
    train(tiny.model.clone(), &config, tiny.inputs(dir.path()), &mut check).unwrap();
    assert_eq!(asked.into_values().collect::<Vec<_>>(), [4; 5]);
}

/// Breaks off after the first step.
struct Once;

impl Monitor for Once {
    fn log(&mut self, _: Step<'_>) -> std::io::Result<ControlFlow<()>> {
        Ok(ControlFlow::Break(()))
    }
}

#[test]
fn either_of_two_monitors_may_break_off_and_both_see_the_step() {
    let tiny = Tiny::new();
    let config = TrainConfig { steps: 2, ..config() };
    let run = |monitor: &mut dyn Monitor| {
        let dir = tempfile::tempdir().unwrap();
        train(tiny.model.clone(), &config, tiny.inputs(dir.path()), monitor)
    };
    let (mut before, mut after) = ((Vec::<StepMetrics>::new(), Once), (Once, Vec::<StepMetrics>::new()));
    assert!(matches!(run(&mut before), Err(TrainError::Interrupted { step: 1, steps: 2 })));
    assert!(matches!(run(&mut after), Err(TrainError::Interrupted { step: 1, steps: 2 })));
    assert_eq!((before.0.len(), after.1.len()), (1, 1));
    assert!(run(&mut ()).is_ok());
}

#[test]
fn a_record_that_cannot_be_kept_ends_the_run() {
    struct Full;
    impl Monitor for Full {
        fn log(&mut self, _: Step<'_>) -> std::io::Result<ControlFlow<()>> {
            Err(std::io::Error::other("the disk is full"))
        }
    }
    let tiny = Tiny::new();
    let dir = tempfile::tempdir().unwrap();
    let error = train(tiny.model.clone(), &config(), tiny.inputs(dir.path()), &mut Full).unwrap_err();
    assert!(matches!(error, TrainError::Monitor(_)), "{error:?}");
}

/// Trains for `steps` steps, of which those for which `same` holds give every completion the same reward.
#[track_caller]
fn check_idle(steps: usize, same: fn(usize) -> bool, said: usize) {
    let tiny = Tiny::new();
    let dir = tempfile::tempdir().unwrap();
    let task = Spoilt::by(|step, rewards: Vec<f32>| if same(step) { vec![-1.0; rewards.len()] } else { rewards });
    let inputs = TrainInputs { task: &task, ..tiny.inputs(dir.path()) };
    let config = TrainConfig { steps, ..config() };
    let ((_, metrics), heard) = warnings(|| tiny.finish(&config, inputs));
    assert_eq!(metrics.iter().filter(|step| step.grad_norm == 0.0).count(), (0..steps).filter(|&s| same(s)).count());
    assert_eq!(heard.len(), said, "{heard:?}");
    assert!(heard.iter().all(|note| note.contains("nothing was learned in the last 5 steps")), "{heard:?}");
}

#[test]
fn training_that_learns_nothing_says_so_once() {
    check_idle(7, |_| true, 1);
    check_idle(4, |_| true, 0);
    check_idle(8, |step| step != 3, 0);
    check_idle(11, |step| step != 5, 2);
}

/// [`Vowels`](crate::tiny::Vowels) whose answers end at one, or are weighed.
struct Ended(Answering);

impl Task for Ended {
    fn name(&self) -> &'static str {
        "ended"
    }

    fn load(&self, _: Split, _: usize) -> Result<Vec<Example>, TaskError> {
        Ok(vec![])
    }

    fn answering(&self) -> Answering {
        self.0.clone()
    }

    fn rewards(&self, graded: &[(&Example, &str)]) -> Result<Vec<f32>, TaskError> {
        Ok(graded.iter().map(|(_, text)| reward(text.len() % 2 == 0)).collect())
    }
}

#[test]
fn what_is_learned_from_ends_at_a_stop_string() {
    let (tiny, dir) = (Tiny::new(), tempfile::tempdir().unwrap());
    let stop: Vec<String> = ["a", "e", "i", "o"].map(str::to_owned).to_vec();
    let task = Ended(Answering { stop: stop.clone(), ..Answering::default() });
    let config = TrainConfig { steps: 2, ..config() };
    let (mut ended, mut gap) = (0, 0.0_f32);
    let mut check = |Step { metrics, samples }: Step<'_>| {
        gap = gap.max(metrics.logprob_gap);
        for sample in samples {
            let (completion, text) = (&sample.rollout.completion, &sample.rollout.text);
            assert_eq!(completion.ids.len(), completion.logprobs.len());
            assert!(!stop.iter().any(|stop| text.contains(stop.as_str())), "{text:?}");
            let whole = tiny.tokenizer.decode(&completion.ids).unwrap();
            let is_ended = completion.finish == FinishReason::Text;
            // The token that brings the string is the last that is learned from.
            let before = tiny.tokenizer.decode(&completion.ids[..completion.ids.len() - 1]).unwrap();
            let holds = |text: &str| stop.iter().any(|stop| text.contains(stop.as_str()));
            assert_eq!((is_ended, false), (holds(&whole), holds(&before)), "{whole:?}");
            assert!(!is_ended || !sample.rollout.is_cut());
            ended += usize::from(is_ended);
        }
        ControlFlow::Continue(())
    };
    let inputs = TrainInputs { task: &task, ..tiny.inputs(dir.path()) };
    train(tiny.model.clone(), &config, inputs, &mut check).unwrap();
    assert!(ended > 0 && gap < 1e-3, "{ended} ended, {gap}");
    // Another string makes another run.
    let other = Ended(Answering { stop: vec!["u".to_owned()], ..Answering::default() });
    let inputs = TrainInputs { task: &other, ..tiny.inputs(dir.path()) };
    let error = train(tiny.model.clone(), &config, inputs, &mut ()).unwrap_err();
    assert!(error.to_string().contains("stop strings"), "{error}");
}

#[test]
fn a_task_whose_choices_are_weighed_teaches_nothing() {
    let (tiny, dir) = (Tiny::new(), tempfile::tempdir().unwrap());
    let task = Ended(Answering { by: AnswerBy::Likelihood, ..Answering::default() });
    let inputs = TrainInputs { task: &task, ..tiny.inputs(dir.path()) };
    let error = train(tiny.model.clone(), &config(), inputs, &mut ()).unwrap_err();
    assert!(matches!(error, TrainError::Weighed { .. }) && error.to_string().contains("ended"), "{error}");
}
