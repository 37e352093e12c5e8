//! Expert files: what goes in comes out, and nothing else is let in.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use t2_model::Hash;
use t2_model::adapter::expert::Parametrization;
use t2_model::adapter::{Expert, ExpertError, ExpertInfo, Mixture};
use t2_model::decoder::CausalLm;
use t2_model::decomposition::{Decomposition, Targets};

use crate::tiny;

fn expert() -> Expert {
    tiny::expert(&tiny::adapted(&tiny::decoder(1)), 9)
}

fn scales(expert: &Expert) -> BTreeMap<String, Vec<f32>> {
    expert.iter().map(|(path, z)| (path.to_owned(), z.to_vec())).collect()
}

#[test]
fn a_file_holds_the_whole_expert_in_the_same_bytes() {
    let (expert, dir) = (expert(), tempfile::tempdir().unwrap());
    let [one, two] = ["one.safetensors", "deep/two.safetensors"].map(|name| dir.path().join(name));
    expert.save(&one).unwrap();
    let loaded = Expert::load(&one).unwrap();
    assert_eq!(loaded, expert);
    assert_eq!(loaded.hash(), expert.hash());
    loaded.save(&two).unwrap();
    assert_eq!(std::fs::read(one).unwrap(), std::fs::read(two).unwrap());
}

#[test]
fn a_model_gives_back_the_expert_it_was_given() {
    let model = tiny::adapted(&tiny::decoder(1));
    let expert = expert();
    let adapted = expert.apply_to(model.clone()).unwrap();
    assert_eq!(Expert::from_model(&adapted, expert.info.clone()).unwrap(), expert);
    assert_eq!(expert.num_params(), Targets::ALL.num_scales(&tiny::config()));
    // What an expert does not name goes back to one.
    let mut z = scales(&expert);
    z.retain(|path, _| path.contains(".mlp."));
    let partial = Expert::new(z, expert.info.clone()).unwrap().apply_to(adapted).unwrap();
    let partial = Expert::from_model(&partial, expert.info.clone()).unwrap();
    for (path, z) in partial.iter() {
        assert_eq!(z == expert.z(path).unwrap(), path.contains(".mlp."), "{path}");
        assert!(path.contains(".mlp.") || z.iter().all(|&z| z == 1.0), "{path}");
    }
}

#[test]
fn an_expert_of_another_base_model_is_refused() {
    let expert = expert();
    let base = tiny::decoder(1).base_hash();
    expert.check_base(&base).unwrap();
    let error = expert.check_base(&Hash([8; 32])).unwrap_err();
    assert!(matches!(error, ExpertError::OtherBase { .. }));
    let said = error.to_string();
    assert!(said.contains("expert-9") && said.contains(&base.to_string()) && said.contains(&"08".repeat(32)), "{said}");
    let other = tiny::adapted(&tiny::decoder(2));
    assert!(matches!(expert.apply_to(other).unwrap_err(), ExpertError::OtherBase { .. }));
}

#[test]
fn an_expert_of_other_weights_is_refused() {
    let base = tiny::decoder(1);
    let decomposition = Decomposition::of(&base, Targets::MLP).unwrap();
    let error = expert().apply_to(base.adapted(&decomposition).unwrap()).unwrap_err();
    let ExpertError::UnknownTarget { target, targets, .. } = &error else { panic!("{error}") };
    assert_eq!((target.as_str(), *targets), ("blocks.0.attn.k.weight", Targets::ALL));

    let mut z = scales(&expert());
    z.get_mut("blocks.1.mlp.up.weight").unwrap().pop();
    let short = Expert::new(z, expert().info).unwrap();
    let error = short.apply_to(tiny::adapted(&tiny::decoder(1))).unwrap_err();
    assert!(matches!(error, ExpertError::OtherRank { found: 23, expected: 24, .. }), "{error}");
}

#[track_caller]
fn check_malformed(bytes: &[u8], reason: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("expert.safetensors");
    std::fs::write(&path, bytes).unwrap();
    let error = Expert::load(&path).unwrap_err();
    assert!(matches!(error, ExpertError::Malformed { .. }), "{error:?}");
    let said = error.to_string();
    assert!(said.contains(&path.display().to_string()) && said.contains(reason), "{said}");
}

/// A safetensors file with one tensor `z` of this kind.
fn file(dtype: Dtype, shape: &[usize], metadata: &str) -> Vec<u8> {
    let data = vec![0; shape.iter().product::<usize>() * dtype.bitsize() / 8];
    let view = TensorView::new(dtype, shape.to_vec(), &data).unwrap();
    let metadata = HashMap::from([("t2_expert".to_owned(), metadata.to_owned())]);
    safetensors::serialize([("z", view)], Some(metadata)).unwrap()
}

#[test]
fn what_is_no_expert_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("expert.safetensors");
    expert().save(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for len in [0, 7, 8, 60, bytes.len() / 2, bytes.len() - 1] {
        check_malformed(&bytes[..len], "is not an expert file");
    }
    check_malformed(b"{\"not\": \"safetensors, but long enough to look into\"}", "");
    check_malformed(&safetensors::serialize(Vec::<(&str, TensorView<'_>)>::new(), None).unwrap(), "t2_expert");
    check_malformed(&file(Dtype::F32, &[4], "{\"name\": 3}"), "t2_expert");
    let info = serde_json::to_string(&expert().info).unwrap();
    check_malformed(
        &file(Dtype::F32, &[4], &info.replace("scale", "lora")),
        "unknown variant `lora`, expected `scale`",
    );
    check_malformed(&file(Dtype::F32, &[4], &info.replace("mlp,attn", "head")), "`head` is no target");
    check_malformed(&file(Dtype::F16, &[4], &info), "F16 [4]");
    check_malformed(&file(Dtype::F32, &[2, 2], &info), "F32 [2, 2]");
    let missing = Expert::load(Path::new("no/such/expert.safetensors")).unwrap_err();
    assert!(matches!(missing, ExpertError::Read { .. }));
    assert!(missing.to_string().contains("no/such/expert.safetensors"));
}

#[test]
fn the_hash_is_that_of_what_an_expert_does() {
    let expert = expert();
    let changed = |change: fn(&mut BTreeMap<String, Vec<f32>>, &mut ExpertInfo)| {
        let (mut z, mut info) = (scales(&expert), expert.info.clone());
        change(&mut z, &mut info);
        Expert::new(z, info).unwrap().hash()
    };
    let same = changed(|_, info| (info.name, info.training) = ("other".to_owned(), "otherwise".to_owned()));
    assert_eq!(same, expert.hash());
    let others = [
        changed(|z, _| z.values_mut().next().unwrap()[3] += 1e-6),
        changed(|z, _| {
            let (_, first) = z.pop_first().unwrap();
            z.insert("blocks.0.attn.a.weight".to_owned(), first);
        }),
        changed(|z, _| drop(z.pop_first())),
        changed(|_, info| info.base_model = Hash([8; 32])),
    ];
    assert!(others.iter().all(|other| *other != expert.hash()));
    assert_eq!(expert.hash().short(), expert.hash().to_string()[..8]);
}

#[test]
fn scales_that_are_no_numbers_are_refused() {
    for value in [f32::NAN, f32::INFINITY] {
        let (mut z, info) = (scales(&expert()), expert().info);
        z.get_mut("blocks.1.mlp.up.weight").unwrap()[3] = value;
        let error = Expert::new(z, info).unwrap_err();
        assert!(matches!(error, ExpertError::NotFinite { index: 3, .. }), "{error}");
        let bytes = [1.0, value].map(f32::to_le_bytes).concat();
        let view = TensorView::new(Dtype::F32, vec![2], &bytes).unwrap();
        let info = serde_json::to_string(&expert().info).unwrap();
        let metadata = HashMap::from([("t2_expert".to_owned(), info)]);
        check_malformed(&safetensors::serialize([("z", view)], Some(metadata)).unwrap(), "at 1");
    }
}

#[test]
fn a_model_without_factors_gives_no_expert() {
    let plain = tiny::decoder(1);
    let error = Expert::from_model(&plain, ExpertInfo::for_model("none", &plain)).unwrap_err();
    assert!(matches!(error, ExpertError::NoAdapter { .. }), "{error}");
}

#[test]
fn the_model_fills_in_what_an_expert_says_about_itself() {
    let base = tiny::decoder(1);
    let mlp = base.clone().adapted(&Decomposition::of(&base, Targets::MLP).unwrap()).unwrap();
    let info = ExpertInfo::for_model("math", &mlp);
    assert_eq!((info.name.as_str(), info.targets, info.base_model), ("math", Targets::MLP, base.base_hash()));
    assert_eq!(info.parametrization, Parametrization::Scale);
}

#[test]
fn experts_mix_when_they_belong_together() {
    let (model, expert) = (tiny::adapted(&tiny::decoder(1)), expert());
    let other = tiny::expert(&model, 2);
    assert_eq!(Expert::mix(&[(&expert, 1.0)]).unwrap(), expert);
    let mixed = Expert::mix(&[(&expert, 0.5), (&other, -1.0)]).unwrap();
    assert_eq!((mixed.info.name.as_str(), mixed.info.targets), ("0.5*expert-9+-1*expert-2", Targets::ALL));
    let path = "blocks.0.mlp.up.weight";
    let expected = 1.0 + 0.5 * (expert.z(path).unwrap()[0] - 1.0) - (other.z(path).unwrap()[0] - 1.0);
    assert!((mixed.z(path).unwrap()[0] - expected).abs() < 1e-6);
    assert!(matches!(Expert::mix(&[]), Err(ExpertError::NothingToMix)));
    assert!(matches!(Expert::mix(&[(&expert, f32::NAN)]), Err(ExpertError::BadWeight { .. })));
    let foreign = tiny::expert(&tiny::adapted(&tiny::decoder(2)), 3);
    assert!(matches!(Expert::mix(&[(&expert, 1.0), (&foreign, 1.0)]), Err(ExpertError::OtherBase { .. })));
}

#[test]
fn experts_mix_by_block() {
    let model = tiny::adapted(&tiny::decoder(1));
    let (a, b) = (tiny::expert(&model, 9), tiny::expert(&model, 10));
    assert_eq!(Expert::layers(&[&a, &b]), 2);
    let mixture = Mixture::per_layer(vec![vec![1.0, 0.0], vec![0.25, 0.5]]);
    let mixed = Expert::mix_by_layer(&[&a, &b], &mixture).unwrap();
    let both = Expert::mix(&[(&a, 0.25), (&b, 0.5)]).unwrap();
    for (path, z) in mixed.iter() {
        let expected = if path.starts_with("blocks.0.") { a.z(path) } else { both.z(path) };
        let distance = z.iter().zip(expected.unwrap()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // `1 + (z - 1)` rounds once.
        assert!(distance <= f32::EPSILON, "{path}: {distance:e}");
    }
    let one_block = Expert::mix_by_layer(&[&a, &b], &Mixture::per_layer(vec![vec![1.0, 0.0]; 3])).unwrap_err();
    assert!(one_block.to_string().contains("3 blocks"), "{one_block}");
    let one_weight = Expert::mix_by_layer(&[&a, &b], &Mixture::global(vec![1.0])).unwrap_err();
    assert!(one_weight.to_string().contains("1 coefficients"), "{one_weight}");
}
