//! An oracle that says what a test tells it to, and remembers what it was asked.

use t2_dispatch::{DispatchError, ExpertPool, Fitness, Oracle, Reader};
use t2_model::adapter::{Expert, ExpertInfo};
use t2_model::adapter::Mixture;

use crate::tiny::{BASE_MODEL, decoder};

/// What a test says of a mixture on some examples: reward and log-likelihood.
pub(crate) type Worth = fn(&Mixture, &[usize]) -> (f32, f32);

pub(crate) struct Scripted {
    /// Log-likelihoods of the options, whatever the question.
    pub(crate) likelihoods: Vec<f32>,
    /// Number of labelled examples.
    pub(crate) shots: usize,
    pub(crate) worth: Worth,
    /// Who was asked which questions with which options.
    pub(crate) questions: Vec<(Reader, Vec<String>, String)>,
    /// Sizes of the populations valued, with the examples.
    pub(crate) valued: Vec<(usize, Vec<usize>)>,
}

impl Scripted {
    pub(crate) fn new(likelihoods: &[f32], shots: usize, worth: Worth) -> Self {
        Self { likelihoods: likelihoods.to_vec(), shots, worth, questions: vec![], valued: vec![] }
    }
}

impl Oracle for Scripted {
    fn classify(
        &mut self,
        questions: &[String],
        options: &[&str],
        reader: Reader,
    ) -> Result<Vec<Vec<f32>>, DispatchError> {
        self.questions.push((reader, questions.to_vec(), options.join(" ")));
        Ok(vec![self.likelihoods.clone(); questions.len()])
    }

    fn shots(&self) -> usize {
        self.shots
    }

    fn fitness(&mut self, population: &[Mixture], shots: &[usize]) -> Result<Vec<Fitness>, DispatchError> {
        self.valued.push((population.len(), shots.to_vec()));
        let fitness = |mixture| {
            let (reward, log_likelihood) = (self.worth)(mixture, shots);
            Fitness { reward, log_likelihood }
        };
        Ok(population.iter().map(fitness).collect())
    }
}

/// Experts in name only, for strategies that never get to a model.
pub(crate) fn pool(names: &[&str]) -> ExpertPool {
    let expert = |name: &&str| {
        let info = ExpertInfo { name: (*name).into(), base_model: BASE_MODEL.to_string(), ..ExpertInfo::default() };
        Expert::new([].into(), info)
    };
    ExpertPool::new(&decoder(), &BASE_MODEL, names.iter().map(expert).collect()).unwrap()
}
