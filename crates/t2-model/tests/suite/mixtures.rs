//! Rows of one batch under different mixtures: each is what it would be alone.

use t2_model::adapter::mixture::MixtureError;
use t2_model::adapter::{Active, Bank, Expert, ExpertError, ExpertInfo, Mixture, RowScales};
use t2_model::decoder::{CausalLm, Decoder};
use t2_model::generate::score::{log_likelihoods, option_log_likelihoods};
use t2_model::generate::{Completion, FinishReason, GenerateConfig, GenerateError, Prompts, Sampling, generate};

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
            Mixture::one_hot(0, 3).unwrap(),
            Mixture::base(3),
            Mixture::global(vec![0.5, 0.3, 0.2]),
            Mixture::per_layer(vec![vec![1.0, 0.0, 0.0], vec![0.0, 0.4, 0.6]]),
            Mixture::one_hot(2, 3).unwrap(),
            Mixture::global(vec![-0.3, 0.9, 0.0]),
            Mixture::per_layer(vec![vec![0.0; 3], vec![0.2, 0.0, 0.5]]),
            Mixture::base(3),
        ];
        Self { model, experts, bank, mixtures }
    }

    fn rows(&self) -> RowScales {
        self.bank.rows(&self.mixtures).unwrap()
    }

    fn logits(&self, rows: &[Vec<u32>], active: Active<'_>) -> Vec<Vec<f32>> {
        let logits = tiny::values(self.model.forward(tiny::tokens(rows), None, active));
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
    let together = bench.logits(&rows, Active::Rows(&bench.rows()));
    for ((row, mixture), together) in rows.into_iter().zip(&bench.mixtures).zip(together) {
        let scales = bench.bank.rows(std::slice::from_ref(mixture)).unwrap();
        let alone = bench.logits(&[row], Active::Rows(&scales)).concat();
        let error = tiny::relative_error(&together, &alone);
        assert!(error < SAME_ROW, "{mixture:?}: {error:e}");
    }
}

#[test]
fn rows_without_an_expert_are_the_base_model_bit_for_bit() {
    let bench = Bench::new();
    let rows = prompts();
    let base = bench.logits(&rows, Active::Base);
    let mixed = bench.logits(&rows, Active::Rows(&bench.rows()));
    for ((mixture, base), mixed) in bench.mixtures.iter().zip(&base).zip(&mixed) {
        assert_eq!(mixture.is_base(), base == mixed, "{mixture:?}");
    }
    let all_base = vec![Mixture::base(3); rows.len()];
    assert_eq!(bench.logits(&rows, Active::Rows(&bench.bank.rows(&all_base).unwrap())), base);
    for (row, base) in rows.into_iter().zip(base) {
        let alone = bench.logits(&[row], Active::Base).concat();
        assert!(tiny::relative_error(&base, &alone) < SAME_ROW);
    }
}

#[test]
fn a_mixed_expert_acts_like_its_row() {
    let bench = Bench::new();
    let rows = prompts();
    let together = bench.logits(&rows, Active::Rows(&bench.rows()));
    let mut compared = 0;
    for (index, mixture) in bench.mixtures.iter().enumerate() {
        if mixture.at(0) != mixture.at(1) {
            continue;
        }
        let parts: Vec<(&Expert, f32)> = bench.experts.iter().zip(mixture.at(0).iter().copied()).collect();
        let expert = Expert::mix(&parts).unwrap();
        let own = expert.apply_to(bench.model.clone()).unwrap();
        let own = tiny::values(own.forward(tiny::tokens(&rows[index..=index]), None, Active::Own));
        let error = tiny::relative_error(&own, &together[index]);
        assert!(error < SAME_ROW, "{mixture:?}: {error:e}");
        compared += 1;
    }
    assert_eq!(compared, 6);
}

fn complete(bench: &Bench, prompts: &[Vec<u32>], mixtures: &[Mixture]) -> Vec<Completion> {
    let config = GenerateConfig {
        max_new_tokens: 20,
        sampling: Sampling::PLAIN,
        stop: vec![0, 1, 2],
        ..GenerateConfig::default()
    };
    let seeds: Vec<u64> = prompts.iter().map(|prompt| u64::from(prompt[0]) + prompt.len() as u64).collect();
    let scales = bench.bank.rows(mixtures).unwrap();
    let prompts = Prompts::new(prompts).under(Active::Rows(&scales)).seeded(&seeds);
    generate(&bench.model, prompts, &config).unwrap()
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
    let info = ExpertInfo::for_model("other", &bench.model);
    let unknown = Expert::new(z.clone(), info.clone()).unwrap();
    assert!(matches!(Bank::new(&bench.model, &[&unknown]), Err(ExpertError::UnknownTarget { .. })));
    z.remove("blocks.7.mlp.up.weight");
    z.insert("blocks.0.mlp.up.weight".to_owned(), vec![1.0]);
    let short = Expert::new(z, info.clone()).unwrap();
    assert!(matches!(Bank::new(&bench.model, &[&short]), Err(ExpertError::OtherRank { found: 1, expected: 24, .. })));
    let empty = Bank::new(&bench.model, &[]).unwrap();
    assert!(empty.is_empty() && bench.bank.len() == 3);
    let rows = prompts();
    let scales = empty.rows(&vec![Mixture::base(0); rows.len()]).unwrap();
    assert_eq!(bench.logits(&rows, Active::Rows(&scales)), bench.logits(&rows, Active::Base));
}

#[test]
fn a_bank_refuses_an_expert_of_another_model() {
    let (bench, other) = (Bench::new(), tiny::adapted(&tiny::decoder(4)));
    assert!(matches!(Bank::new(&other, &[&bench.experts[0]]), Err(ExpertError::OtherBase { .. })));
}

#[track_caller]
fn check_refused(mixture: Mixture, expected: &MixtureError) {
    assert_eq!(Bench::new().bank.rows(&[Mixture::base(3), mixture]).unwrap_err(), *expected);
}

#[test]
fn mixtures_that_do_not_fit_the_bank_are_refused() {
    check_refused(Mixture::global(vec![0.5; 2]), &MixtureError::Coefficients { row: 1, found: 2, expected: 3 });
    check_refused(Mixture::per_layer(vec![]), &MixtureError::Blocks { row: 1, found: 0, expected: 2 });
    check_refused(Mixture::per_layer(vec![vec![0.0; 3]; 5]), &MixtureError::Blocks { row: 1, found: 5, expected: 2 });
    let ragged = Mixture::per_layer(vec![vec![0.0; 3], vec![0.0; 4]]);
    check_refused(ragged, &MixtureError::Coefficients { row: 1, found: 4, expected: 3 });
    let infinite = Mixture::global(vec![0.0, f32::INFINITY, 0.0]);
    check_refused(infinite, &MixtureError::NotFinite { row: 1, value: f32::INFINITY });
    assert_eq!(Mixture::one_hot(5, 2), Err(MixtureError::NoExpert { expert: 5, experts: 2 }));
}

#[test]
fn what_a_model_cannot_run_under_is_refused() {
    fn refuse(prompts: &[Vec<u32>], model: &Decoder, active: Active<'_>) -> MixtureError {
        match generate(model, Prompts::new(&prompts[..3]).under(active), &GenerateConfig::default()) {
            Err(GenerateError::Mixture(error)) => error,
            other => panic!("{other:?}"),
        }
    }
    let (bench, prompts) = (Bench::new(), prompts());
    let plain = tiny::decoder(3);
    assert_eq!(refuse(&prompts, &plain, Active::Own), MixtureError::NoAdapter);
    let three = bench.bank.rows(&bench.mixtures[..3]).unwrap();
    assert_eq!(refuse(&prompts, &plain, Active::Rows(&three)), MixtureError::OtherModel { found: 14 });
    assert_eq!(
        refuse(&prompts, &tiny::adapted(&tiny::decoder(9)), Active::Rows(&three)),
        MixtureError::OtherModel { found: 14 }
    );
    for rows in [1, 2, 8] {
        let scales = bench.bank.rows(&bench.mixtures[..rows]).unwrap();
        let error = refuse(&prompts, &bench.model, Active::Rows(&scales));
        assert_eq!(error, MixtureError::Rows { found: rows, expected: 3 });
    }
    let pair: [(&[u32], &[u32]); 1] = [(&[1, 2], &[3])];
    let scored = log_likelihoods(&plain, &pair, Active::Own).unwrap_err();
    assert!(matches!(scored, GenerateError::Mixture(MixtureError::NoAdapter)), "{scored}");
}

#[test]
fn options_weigh_what_they_weigh_as_completions() {
    let bench = Bench::new();
    let prompts: Vec<Vec<u32>> = (0..8).map(|row| tiny::ids(3 + row as usize, 40, 60 + row)).collect();
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    for options in [vec![vec![4], vec![7, 2, 9], vec![7, 5]], vec![vec![4], vec![5]]] {
        let options: Vec<&[u32]> = options.iter().map(Vec::as_slice).collect();
        let rows = bench.rows();
        let weights = option_log_likelihoods(&bench.model, &prompts, &options, Active::Rows(&rows)).unwrap();
        for (row, weights) in weights.iter().enumerate() {
            let scales = bench.bank.rows(&vec![bench.mixtures[row].clone(); options.len()]).unwrap();
            let pairs: Vec<(&[u32], &[u32])> = options.iter().map(|option| (prompts[row], *option)).collect();
            let alone = log_likelihoods(&bench.model, &pairs, Active::Rows(&scales)).unwrap();
            for (weight, alone) in weights.iter().zip(&alone) {
                assert!((weight - alone).abs() < SAME_LOGPROB, "row {row}: {weights:?}, as completions {alone:?}");
            }
        }
    }
}
