//! Oracles and strategies that do what a test tells them to.

use std::ops::ControlFlow;

use t2_dispatch::{
    Choice, DispatchError, ExpertPool, Fitness, Message, Oracle, Query, Question, Reader, Reply, Strategy,
};
use t2_model::adapter::{Expert, ExpertInfo, Mixture};
use t2_model::generate::{Completion, FinishReason, GenerateError};

use crate::tiny::decoder;

/// What a test says of a mixture on some examples: reward and log-likelihood.
pub(crate) type Worth = fn(&Mixture, &[usize]) -> (f32, f32);

/// An oracle that says what a test tells it to, and remembers what it was asked. It has no model.
pub(crate) struct Scripted {
    /// Log-likelihoods of the options, whatever the question.
    pub(crate) likelihoods: Vec<f32>,
    /// Number of labelled examples.
    pub(crate) shots: usize,
    pub(crate) worth: Worth,
    /// The prompt that is refused.
    pub(crate) refused: Option<&'static str>,
    /// Which batch of answers loses its last one, counted from 0.
    pub(crate) loses: Option<usize>,
    /// The methods called, in turn.
    pub(crate) asked: Vec<&'static str>,
    /// Who was asked which questions with which options.
    pub(crate) questions: Vec<(Reader, Vec<String>, String)>,
    /// The populations valued, with the examples.
    pub(crate) valued: Vec<(Vec<Mixture>, Vec<usize>)>,
    /// Batches answered so far.
    pub(crate) batches: usize,
}

impl Scripted {
    pub(crate) fn new(likelihoods: &[f32], shots: usize, worth: Worth) -> Self {
        Self {
            likelihoods: likelihoods.to_vec(),
            shots,
            worth,
            refused: None,
            loses: None,
            asked: vec![],
            questions: vec![],
            valued: vec![],
            batches: 0,
        }
    }

    /// One that is asked for topics alone.
    pub(crate) fn reading(likelihoods: &[f32]) -> Self {
        Self::new(likelihoods, 0, |_, _| unreachable!("nothing is valued"))
    }

    fn batch<T>(&mut self, mut answers: Vec<T>) -> Vec<T> {
        if self.loses == Some(self.batches) {
            answers.pop();
        }
        self.batches += 1;
        answers
    }
}

impl Oracle for Scripted {
    fn classify(
        &mut self,
        questions: &[String],
        options: &[&str],
        reader: Reader,
    ) -> Result<Vec<Vec<f32>>, DispatchError> {
        self.asked.push("classify");
        self.questions.push((reader, questions.to_vec(), options.join(" ")));
        let answers = vec![self.likelihoods.clone(); questions.len()];
        Ok(self.batch(answers))
    }

    fn shots(&self) -> usize {
        self.shots
    }

    fn fitness(&mut self, population: &[Mixture], shots: &[usize]) -> Result<Vec<Fitness>, DispatchError> {
        self.asked.push("fitness");
        self.valued.push((population.to_vec(), shots.to_vec()));
        let fitness = |mixture| {
            let (reward, log_likelihood) = (self.worth)(mixture, shots);
            Fitness { reward, log_likelihood }
        };
        let answers = population.iter().map(fitness).collect();
        Ok(self.batch(answers))
    }

    fn check(&mut self, prompts: &[&[Message]]) -> Result<(), DispatchError> {
        self.asked.push("check");
        let is_refused = |prompt: &&[Message]| prompt.iter().any(|turn| Some(turn.content.as_str()) == self.refused);
        match prompts.iter().position(is_refused) {
            Some(row) => Err(GenerateError::EmptyPrompt { row }.into()),
            None => Ok(()),
        }
    }

    /// Says the seed and the coefficients of each question. Its only token is the seed.
    fn answer(
        &mut self,
        questions: &[Question<'_>],
        on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Result<Vec<Reply>, DispatchError> {
        self.asked.push("answer");
        let mut answers = vec![];
        for (row, Question { seed, mixture, .. }) in questions.iter().enumerate() {
            let id = *seed as u32;
            let completion = Completion { ids: vec![id], logprobs: vec![-1.0], finish: FinishReason::Length };
            answers.push(Reply { text: format!("{seed} under {:?}", mixture.mean()), completion });
            if on_token(row, id).is_break() {
                let completions = answers.into_iter().map(|reply| reply.completion).collect();
                return Err(GenerateError::Interrupted { completions }.into());
            }
        }
        Ok(self.batch(answers))
    }
}

/// A strategy that chooses what it was given.
pub(crate) struct Given(pub(crate) Vec<Mixture>);

impl Strategy for Given {
    fn name(&self) -> &str {
        "given"
    }

    fn choose(&mut self, _: &[Query], _: &ExpertPool, _: &mut dyn Oracle) -> Result<Vec<Choice>, DispatchError> {
        let choice = |mixture: &Mixture| Choice { mixture: mixture.clone(), label: "given".into(), scores: vec![] };
        Ok(self.0.iter().map(choice).collect())
    }
}

/// Experts in name only, for strategies that never get to a model.
pub(crate) fn pool(names: &[&str]) -> ExpertPool {
    let model = decoder(0);
    let expert = |name: &&str| Expert::new([].into(), ExpertInfo::for_model(*name, &model)).unwrap();
    ExpertPool::new(&model, names.iter().map(expert).collect()).unwrap()
}
