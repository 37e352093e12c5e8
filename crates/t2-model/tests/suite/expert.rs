//! Expert files: what goes in comes out, and nothing else is let in.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::Path;

use burn::module::Module;
use safetensors::tensor::{Dtype, TensorView};
use t2_linalg::HostSvd;
use t2_model::decomposition::{Decomposition, Targets};
use t2_model::expert::{Expert, ExpertError, ExpertInfo, Hash};

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
    assert_eq!(Expert::from_model(&adapted, expert.info.clone()), expert);
    assert_eq!(expert.num_params(), Targets::ALL.num_scales(&tiny::config()));
    // What an expert does not name goes back to one.
    let mut z = scales(&expert);
    z.retain(|path, _| path.contains(".mlp."));
    let partial = Expert::new(z, ExpertInfo::default()).apply_to(adapted).unwrap();
    let partial = Expert::from_model(&partial, ExpertInfo::default());
    for (path, z) in partial.iter() {
        assert_eq!(z == expert.z(path).unwrap(), path.contains(".mlp."), "{path}");
        assert!(path.contains(".mlp.") || z.iter().all(|&z| z == 1.0), "{path}");
    }
}

#[test]
fn an_expert_of_another_base_model_is_refused() {
    let expert = expert();
    expert.check_base(&tiny::BASE_MODEL).unwrap();
    let error = expert.check_base(&Hash([8; 32])).unwrap_err();
    assert!(matches!(error, ExpertError::OtherBase { .. }));
    let said = error.to_string();
    assert!(said.contains("expert-9") && said.contains(&"07".repeat(32)) && said.contains(&"08".repeat(32)), "{said}");
}

#[test]
fn an_expert_of_other_weights_is_refused() {
    let base = tiny::decoder(1);
    let mlp = Targets { mlp: true, attn: false };
    let keep_on = |_| ControlFlow::Continue(());
    let decomposition = Decomposition::of(&base, mlp, &HostSvd::default(), None, keep_on).unwrap();
    let error = expert().apply_to(base.apply_reparameterization(&decomposition)).unwrap_err();
    let ExpertError::UnknownTarget { target, targets, .. } = &error else { panic!("{error}") };
    assert_eq!((target.as_str(), targets.as_str()), ("blocks.0.attn.k.weight", "mlp,attn"));

    let mut z = scales(&expert());
    z.get_mut("blocks.1.mlp.up.weight").unwrap().pop();
    let short = Expert::new(z, ExpertInfo::default());
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
        check_malformed(&bytes[..len], "`t2 train` writes experts");
    }
    check_malformed(b"{\"not\": \"safetensors, but long enough to look into\"}", "");
    check_malformed(&safetensors::serialize(Vec::<(&str, TensorView<'_>)>::new(), None).unwrap(), "t2_expert");
    check_malformed(&file(Dtype::F32, &[4], "{\"name\": 3}"), "t2_expert");
    let info = serde_json::to_string(&ExpertInfo::default()).unwrap();
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
        Expert::new(z, info).hash()
    };
    let same = changed(|_, info| *info = ExpertInfo { base_model: info.base_model.clone(), ..ExpertInfo::default() });
    assert_eq!(same, expert.hash());
    let others = [
        changed(|z, _| z.values_mut().next().unwrap()[3] += 1e-6),
        changed(|z, _| {
            let (_, first) = z.pop_first().unwrap();
            z.insert("blocks.0.attn.a.weight".to_owned(), first);
        }),
        changed(|z, _| drop(z.pop_first())),
        changed(|_, info| info.base_model = "another".to_owned()),
    ];
    assert!(others.iter().all(|other| *other != expert.hash()));
    assert_eq!(expert.hash().short(), expert.hash().to_string()[..8]);
}
