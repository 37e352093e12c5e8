//! Rows of one batch under different mixtures: each is what it would be alone.

use std::ops::ControlFlow;

use t2_model::decoder::{CausalLm, Decoder};
use t2_model::expert::{Expert, ExpertError, ExpertInfo};
use t2_model::generate::{Completion, FinishReason, GenerateConfig, generate};
use t2_model::mix::{Bank, Mix, Mixture};
use t2_model::sample::Sampling;
use t2_model::score::{log_likelihoods, option_log_likelihoods};

use crate::tiny;

/// The same products in batches of other sizes, and `z` mixed on the device or on the host: some roundings of f32.
const SAME_ROW: f64 = 1e-5;
/// The largest difference of one log-probability between a row alone and in a batch; they are near -4.
const SAME_LOGPROB: f32 = 1e-4;

/// An adapted model, three experts, and eight ways to mix them.
struct Bench {
    model: Decoder,
    experts: Vec<Expert>,
    bank: Bank,
    mixtures: Vec<Mixture>,
}

impl Bench {
    fn new() -> Self {
        let model = tiny::adapted(&tiny::decoder(3));
        let experts: Vec<Expert> = (0..3).map(|seed| tiny::expert(&model, seed)).collect();
        let bank = Bank::new(&model, &experts.iter().collect::<Vec<_>>()).unwrap();
        let mixtures = vec![
            Mixture::one_hot(0, 3),
            Mixture::base(3),
            Mixture::global(vec![0.5, 0.3, 0.2]),
            Mixture::per_layer(vec![vec![1.0, 0.0, 0.0], vec![0.0, 0.4, 0.6]]),
            Mixture::one_hot(2, 3),
            Mixture::global(vec![-0.3, 0.9, 0.0]),
            Mixture::per_layer(vec![vec![0.0; 3], vec![0.2, 0.0, 0.5]]),
            Mixture::base(3),
        ];
        Self { model, experts, bank, mixtures }
    }

    fn logits(&self, rows: &[Vec<u32>], mix: Mix<'_>) -> Vec<Vec<f32>> {
        let logits = tiny::values(self.model.forward(tiny::tokens(rows), None, mix));
        logits.chunks(logits.len() / rows.len()).map(<[f32]>::to_vec).collect()
    }
}

fn prompts() -> Vec<Vec<u32>> {
    (0..8).map(|row| tiny::ids(10, 40, 100 + row)).collect()
}

#[test]
fn a_row_is_what_it_would_be_alone() {
    let bench = Bench::new();
    let rows = prompts();
    let together = bench.logits(&rows, Mix::Rows(&bench.bank.rows(&bench.mixtures)));
    for ((row, mixture), together) in rows.into_iter().zip(&bench.mixtures).zip(together) {
        let mix = bench.bank.rows(std::slice::from_ref(mixture));
        let alone = bench.logits(&[row], Mix::Rows(&mix)).concat();
        let error = tiny::relative_error(&together, &alone);
        assert!(error < SAME_ROW, "{mixture:?}: {error:e}");
    }
}

#[test]
fn rows_without_an_expert_are_the_base_model_bit_for_bit() {
    let bench = Bench::new();
    let rows = prompts();
    let base = bench.logits(&rows, Mix::Base);
    let mixed = bench.logits(&rows, Mix::Rows(&bench.bank.rows(&bench.mixtures)));
    for ((mixture, base), mixed) in bench.mixtures.iter().zip(&base).zip(&mixed) {
        assert_eq!(mixture.is_base(), base == mixed, "{mixture:?}");
    }
    let all_base = vec![Mixture::base(3); rows.len()];
    assert_eq!(bench.logits(&rows, Mix::Rows(&bench.bank.rows(&all_base))), base);
    for (row, base) in rows.into_iter().zip(base) {
        let alone = bench.logits(&[row], Mix::Base).concat();
        assert!(tiny::relative_error(&base, &alone) < SAME_ROW);
    }
}

#[test]
fn a_mixed_expert_acts_like_its_row() {
    let bench = Bench::new();
    let rows = prompts();
    let together = bench.logits(&rows, Mix::Rows(&bench.bank.rows(&bench.mixtures)));
    let mut compared = 0;
    for (index, mixture) in bench.mixtures.iter().enumerate() {
        if mixture.at(0) != mixture.at(1) {
            continue;
        }
        let parts: Vec<(&Expert, f32)> = bench.experts.iter().zip(mixture.at(0).iter().copied()).collect();
        let expert = Expert::mix(&parts, ExpertInfo::default());
        let own = expert.apply_to(bench.model.clone()).unwrap();
        let own = tiny::values(own.forward(tiny::tokens(&rows[index..=index]), None, Mix::Own));
        let error = tiny::relative_error(&own, &together[index]);
        assert!(error < SAME_ROW, "{mixture:?}: {error:e}");
        compared += 1;
    }
    assert_eq!(compared, 6);
}

fn complete(bench: &Bench, prompts: &[Vec<u32>], mixtures: &[Mixture]) -> Vec<Completion> {
    let config = GenerateConfig { max_new_tokens: 20, sampling: Sampling::PLAIN, stop: vec![0, 1, 2] };
    let seeds: Vec<u64> = prompts.iter().map(|prompt| u64::from(prompt[0]) + prompt.len() as u64).collect();
    let mix = bench.bank.rows(mixtures);
    generate(&bench.model, prompts, &seeds, (Mix::Rows(&mix), &config), |_, _| ControlFlow::Continue(())).unwrap()
}

#[test]
fn rows_that_stop_early_leave_the_others_their_mixtures() {
    let bench = Bench::new();
    let prompts: Vec<Vec<u32>> = prompts().into_iter().enumerate().map(|(row, ids)| ids[row % 4..].to_vec()).collect();
    let together = complete(&bench, &prompts, &bench.mixtures);
    let stopped = together.iter().filter(|row| row.finish == FinishReason::Stop).count();
    let lengths: std::collections::BTreeSet<usize> = together.iter().map(|row| row.ids.len()).collect();
    assert!(stopped > 2 && lengths.len() > 3, "rows should end at different steps: {lengths:?}");
    for ((prompt, mixture), together) in prompts.iter().zip(&bench.mixtures).zip(together) {
        let alone = &complete(&bench, std::slice::from_ref(prompt), std::slice::from_ref(mixture))[0];
        assert_eq!((&together.ids, together.finish), (&alone.ids, alone.finish), "{mixture:?}");
        for (together, alone) in together.logprobs.iter().zip(&alone.logprobs) {
            assert!((together - alone).abs() < SAME_LOGPROB, "{mixture:?}: {together} vs {alone}");
        }
    }
}

#[test]
fn a_bank_refuses_an_expert_that_does_not_fit() {
    let bench = Bench::new();
    let mut z: std::collections::BTreeMap<String, Vec<f32>> =
        bench.experts[0].iter().map(|(path, z)| (path.to_owned(), z.to_vec())).collect();
    z.insert("blocks.7.mlp.up.weight".to_owned(), vec![1.0]);
    let unknown = Expert::new(z.clone(), ExpertInfo::default());
    assert!(matches!(Bank::new(&bench.model, &[&unknown]), Err(ExpertError::UnknownTarget { .. })));
    z.remove("blocks.7.mlp.up.weight");
    z.insert("blocks.0.mlp.up.weight".to_owned(), vec![1.0]);
    let short = Expert::new(z, ExpertInfo::default());
    assert!(matches!(Bank::new(&bench.model, &[&short]), Err(ExpertError::OtherRank { found: 1, expected: 24, .. })));
    let empty = Bank::new(&bench.model, &[]).unwrap();
    assert!(empty.is_empty() && bench.bank.len() == 3);
    let rows = prompts();
    let mix = empty.rows(&vec![Mixture::base(0); rows.len()]);
    assert_eq!(bench.logits(&rows, Mix::Rows(&mix)), bench.logits(&rows, Mix::Base));
}

#[test]
fn options_weigh_what_they_weigh_as_completions() {
    let bench = Bench::new();
    let prompts: Vec<Vec<u32>> = (0..8).map(|row| tiny::ids(3 + row as usize, 40, 60 + row)).collect();
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    for options in [vec![vec![4], vec![7, 2, 9], vec![7, 5]], vec![vec![4], vec![5]]] {
        let options: Vec<&[u32]> = options.iter().map(Vec::as_slice).collect();
        let rows = bench.bank.rows(&bench.mixtures);
        let weights = option_log_likelihoods(&bench.model, &prompts, &options, Mix::Rows(&rows)).unwrap();
        for (row, weights) in weights.iter().enumerate() {
            let mix = bench.bank.rows(&vec![bench.mixtures[row].clone(); options.len()]);
            let pairs: Vec<(&[u32], &[u32])> = options.iter().map(|option| (prompts[row], *option)).collect();
            let alone = log_likelihoods(&bench.model, &pairs, Mix::Rows(&mix)).unwrap();
            for (weight, alone) in weights.iter().zip(&alone) {
                assert!((weight - alone).abs() < SAME_LOGPROB, "row {row}: {weights:?}, as completions {alone:?}");
            }
        }
    }
}
