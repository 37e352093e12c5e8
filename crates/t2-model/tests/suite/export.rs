//! Experts for other programs: a merged folder acts like the model under the expert, and an adapter leaves out what it says.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use burn::prelude::*;
use burn::tensor::DType;
use safetensors::tensor::SafeTensors;
use serde_json::Value;
use t2_linalg::HostSvd;
use t2_model::adapter::{Active, Expert};
use t2_model::architecture::Llama;
use t2_model::checkpoint::{self, Files, GenerationDefaults};
use t2_model::decoder::{CausalLm, Decoder};
use t2_model::decomposition::{self, DecomposeConfig, Targets};
use t2_model::export::{
    Export, ExportError, LoraOptions, LoraReport, MergeOptions, MergeReport, write_gguf, write_lora, write_merged,
};
use t2_model::format::quant::GgmlType;
use tempfile::TempDir;

use crate::tiny;

/// Logits through factors against those of merged weights: two f32 passes that multiply in another order.
const SAME_LOGITS: f64 = 1e-5;
/// What is left of the change at full rank, and the distance of a residual from what is stated: `B A` is a product in f32
/// of square roots, and the change it is compared with a difference of f32 weights.
const SAME_CHANGE: f64 = 1e-5;
/// A merged weight of 8 significant bits moves logits through two blocks by some roundings of 2⁻⁹.
const HALF_LOGITS: f64 = 2e-2;

/// A checkpoint on disk with the factors of its weights, and an expert of it.
struct World {
    root: TempDir,
    model: Decoder,
    expert: Expert,
}

impl World {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let base = root.path().join("base");
        checkpoint::save(&tiny::decoder(1), &Llama, &GenerationDefaults::default(), &base).unwrap();
        let model = tiny::adapted(&checkpoint::load(&base, None, &Device::flex()).unwrap().model);
        let expert = tiny::expert(&model, 5);
        let files = Files::open(&base).unwrap();
        let weights = files.weights(Targets::ALL, None, &Device::flex()).unwrap();
        let cache = root.path().join("factors");
        let config = DecomposeConfig::default();
        let keep_on = |_| ControlFlow::Continue(());
        decomposition::decompose(weights, config, &HostSvd::default(), &cache, keep_on).unwrap();
        Self { root, model, expert }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.root.path().join(name)
    }

    fn export<T>(&self, expert: Option<&Expert>, write: impl FnOnce(Export<'_>) -> T) -> T {
        let files = Files::open(&self.path("base")).unwrap();
        let mut keep_on = |_, _| ControlFlow::Continue(());
        write(Export {
            files: &files,
            expert,
            factors: &self.path("factors"),
            device: &Device::flex(),
            progress: &mut keep_on,
        })
    }

    fn merge(&self, expert: Option<&Expert>, options: MergeOptions, name: &str) -> Result<MergeReport, ExportError> {
        self.export(expert, |export| write_merged(export, options, &self.path(name)))
    }

    fn gguf(&self, expert: Option<&Expert>, ty: GgmlType, name: &str) -> Result<MergeReport, ExportError> {
        self.export(expert, |export| write_gguf(export, ty, &self.path(name)))
    }

    fn lora(&self, rank: usize, name: &str) -> Result<LoraReport, ExportError> {
        let options = LoraOptions { rank, base_model: "org/base".to_owned() };
        self.export(Some(&self.expert), |export| write_lora(export, &options, &self.path(name)))
    }

    fn load(&self, name: &str) -> Decoder {
        checkpoint::load(&self.path(name), None, &Device::flex()).unwrap().model
    }

    /// Logits of the model under the expert.
    fn expected(&self) -> Vec<f32> {
        logits(&self.expert.apply_to(self.model.clone()).unwrap(), Active::Own)
    }
}

fn logits(model: &Decoder, active: Active<'_>) -> Vec<f32> {
    tiny::values(model.forward(tiny::tokens(&[tiny::ids(9, 40, 1), tiny::ids(9, 40, 2)]), None, active))
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Tensors of a safetensors file as f32.
fn tensors(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let bytes = std::fs::read(path).unwrap();
    let found = SafeTensors::deserialize(&bytes).unwrap().tensors();
    let values = |view: &safetensors::tensor::TensorView<'_>| bytemuck::pod_collect_to_vec::<u8, f32>(view.data());
    found.into_iter().map(|(name, view)| (name, (view.shape().to_vec(), values(&view)))).collect()
}

#[test]
fn a_merged_folder_acts_like_the_model_under_the_expert() {
    let world = World::new();
    let report = world.merge(Some(&world.expert), MergeOptions::default(), "merged").unwrap();
    assert_eq!((report.files.as_slice(), report.changed), (&["model.safetensors".to_owned()][..], 14));
    let error = tiny::relative_error(&logits(&world.load("merged"), Active::Base), &world.expected());
    println!("merged in f32: {error:.1e}");
    assert!(error < SAME_LOGITS, "{error:e}");
}

#[test]
fn a_folder_of_several_files_has_an_index_and_loads_the_same() {
    let world = World::new();
    let options = MergeOptions { shard_bytes: 10_000, ..MergeOptions::default() };
    let report = world.merge(Some(&world.expert), options, "sharded").unwrap();
    world.merge(Some(&world.expert), MergeOptions::default(), "whole").unwrap();
    assert!(report.files.len() > 2, "{:?}", report.files);
    let index = json(&world.path("sharded/model.safetensors.index.json"));
    assert_eq!(index["metadata"]["total_size"], report.bytes);
    assert_eq!(index["weight_map"].as_object().unwrap().len(), report.tensors);
    for file in &report.files {
        let len = std::fs::metadata(world.path("sharded").join(file)).unwrap().len();
        assert!(file.contains(&format!("-of-{:05}", report.files.len())) && len < 12_000, "{file}: {len} bytes");
    }
    assert_eq!(
        logits(&world.load("sharded"), Active::Base),
        logits(&world.load("whole"), Active::Base),
        "the same bits from several files"
    );
}

#[test]
fn what_the_expert_leaves_alone_is_copied_bit_for_bit() {
    let world = World::new();
    world.merge(None, MergeOptions::default(), "copy").unwrap();
    assert_eq!(checkpoint::hash(&world.path("copy")).unwrap(), checkpoint::hash(&world.path("base")).unwrap());
    world.merge(Some(&world.expert), MergeOptions::default(), "merged").unwrap();
    let [base, merged] = ["base", "merged"].map(|name| tensors(&world.path(name).join("model.safetensors")));
    let same = base.iter().filter(|(name, tensor)| merged[*name] == **tensor).map(|(name, _)| name.as_str());
    let is_scaled = |name: &str| name.contains("_proj.weight");
    assert!(same.clone().count() > 0 && same.clone().all(|name| !is_scaled(name)), "{:?}", same.collect::<Vec<_>>());
    assert_eq!(same.count(), base.keys().filter(|name| !is_scaled(name)).count());
}

#[track_caller]
fn check_type(world: &World, dtype: DType, name: &str, in_config: &str) {
    let options = MergeOptions { dtype: Some(dtype), ..MergeOptions::default() };
    world.merge(Some(&world.expert), options, name).unwrap();
    assert_eq!(json(&world.path(name).join("config.json"))["dtype"], in_config);
    let loaded = checkpoint::load(&world.path(name), None, &Device::flex()).unwrap();
    assert_eq!(loaded.stored_dtype, dtype);
    let error = tiny::relative_error(&logits(&loaded.model, Active::Base), &world.expected());
    println!("merged as {in_config}: {error:.1e}");
    assert!(error < HALF_LOGITS, "{in_config}: {error:e}");
}

#[test]
fn weights_are_written_in_the_type_that_is_asked_for() {
    let world = World::new();
    check_type(&world, DType::F32, "f32", "float32");
    check_type(&world, DType::BF16, "bf16", "bfloat16");
    check_type(&world, DType::F16, "f16", "float16");
}

#[test]
fn a_merged_gguf_file_acts_like_the_model_under_the_expert() {
    let world = World::new();
    for (ty, bound) in [
        (GgmlType::F32, SAME_LOGITS),
        (GgmlType::F16, HALF_LOGITS),
        (GgmlType::Bf16, HALF_LOGITS),
        (GgmlType::Q8_0, HALF_LOGITS),
    ] {
        let name = format!("{ty}.gguf");
        let report = world.gguf(Some(&world.expert), ty, &name).unwrap();
        assert_eq!((report.files.as_slice(), report.changed), (&[name.clone()][..], 14));
        let error = tiny::relative_error(&logits(&world.load(&name), Active::Base), &world.expected());
        println!("merged as {ty}: {error:.1e}");
        assert!(error < bound, "{ty}: {error:e}");
    }
}

#[test]
fn the_tokenizer_and_the_config_come_along() {
    let world = World::new();
    let base = world.path("base");
    let files = ["tokenizer.json", "tokenizer.model", "special_tokens_map.json", "chat_template.jinja", "merges.txt"];
    for name in files {
        std::fs::write(base.join(name), name).unwrap();
    }
    std::fs::write(base.join("README.md"), "about").unwrap();
    let mut config = json(&base.join("config.json"));
    config["of_another_tool"] = "kept".into();
    std::fs::write(base.join("config.json"), config.to_string()).unwrap();
    world.merge(Some(&world.expert), MergeOptions::default(), "merged").unwrap();
    for name in files {
        assert_eq!(std::fs::read_to_string(world.path("merged").join(name)).unwrap(), name);
    }
    assert!(!world.path("merged/README.md").exists());
    assert_eq!(json(&world.path("merged/config.json")), config);
    assert_eq!(json(&world.path("merged/generation_config.json")), json(&base.join("generation_config.json")));
}

/// `‖ΔW - B A‖ / ‖ΔW‖` of every module and of all together, from the files alone.
fn residuals(world: &World, adapter: &str) -> (f64, BTreeMap<String, f64>) {
    let [base, merged] = ["base", "merged"].map(|name| tensors(&world.path(name).join("model.safetensors")));
    let adapter = tensors(&world.path(adapter).join("adapter_model.safetensors"));
    let (mut lost, mut whole, mut by_module) = (0.0, 0.0, BTreeMap::new());
    for (name, (shape, a)) in adapter.iter().filter(|(name, _)| name.contains("lora_A")) {
        let module = name.strip_prefix("base_model.model.").unwrap().strip_suffix(".lora_A.weight").unwrap();
        let (b_shape, b) = &adapter[&name.replace("lora_A", "lora_B")];
        let ([rank, d_in], [d_out, _]) = ([shape[0], shape[1]], [b_shape[0], b_shape[1]]);
        let [old, new] = [&base, &merged].map(|tensors| &tensors[&format!("{module}.weight")].1);
        let (mut lost_here, mut whole_here) = (0.0, 0.0);
        for (row, column) in (0..d_out).flat_map(|row| (0..d_in).map(move |column| (row, column))) {
            let product: f64 = (0..rank).map(|i| f64::from(b[row * rank + i]) * f64::from(a[i * d_in + column])).sum();
            let change = f64::from(new[row * d_in + column]) - f64::from(old[row * d_in + column]);
            lost_here += (change - product).powi(2);
            whole_here += change.powi(2);
        }
        by_module.insert(module.to_owned(), (lost_here / whole_here).sqrt());
        lost += lost_here;
        whole += whole_here;
    }
    ((lost / whole).sqrt(), by_module)
}

#[test]
fn an_adapter_leaves_out_what_it_says() {
    let world = World::new();
    world.merge(Some(&world.expert), MergeOptions::default(), "merged").unwrap();
    for (rank, name) in [(3, "three"), (10, "ten"), (40, "all")] {
        let report = world.lora(rank, name).unwrap();
        let (all, by_module) = residuals(&world, name);
        println!("rank {rank}: {:.4} is left out", report.residual);
        assert!((all - report.residual).abs() < SAME_CHANGE, "rank {rank}: {all} and {} stated", report.residual);
        assert_eq!(report.matrices.len(), 14);
        for matrix in &report.matrices {
            let found = by_module[&matrix.module];
            assert!((found - matrix.residual).abs() < SAME_CHANGE, "rank {rank}: {found} and {matrix:?}");
        }
        assert!((report.residual == 0.0) == (rank == 40), "rank {rank}: {}", report.residual);
    }
}

#[test]
fn an_adapter_says_what_it_is_for() {
    let world = World::new();
    world.lora(4, "adapter").unwrap();
    let config = json(&world.path("adapter/adapter_config.json"));
    assert_eq!(
        (config["peft_type"].as_str(), config["base_model_name_or_path"].as_str()),
        (Some("LORA"), Some("org/base"))
    );
    assert_eq!((config["r"].as_u64(), config["lora_alpha"].as_u64()), (Some(4), Some(4)));
    let modules = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"];
    assert_eq!(config["target_modules"], serde_json::json!(modules));
    // An expert of one matrix: its name alone would mean those of other blocks too.
    let path = "blocks.1.mlp.up.weight";
    let one = BTreeMap::from([(path.to_owned(), world.expert.z(path).unwrap().to_vec())]);
    let one = Expert::new(one, world.expert.info.clone()).unwrap();
    let options = LoraOptions { rank: 4, base_model: "org/base".to_owned() };
    world.export(Some(&one), |export| write_lora(export, &options, &world.path("one"))).unwrap();
    let config = json(&world.path("one/adapter_config.json"));
    assert_eq!(config["target_modules"], serde_json::json!(["model.layers.1.mlp.up_proj"]));
}

#[test]
fn what_cannot_be_written_is_named() {
    let world = World::new();
    let says = |result: Result<MergeReport, ExportError>, part: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    says(world.merge(Some(&world.expert), MergeOptions::default(), "base"), "there already");
    let wild = Expert::mix(&[(&world.expert, 1e9)]).unwrap();
    let half = MergeOptions { dtype: Some(DType::F16), ..MergeOptions::default() };
    says(world.merge(Some(&wild), half, "wild"), "as f16");
    assert!(!world.path("wild/config.json").exists() && !world.path("wild/model.safetensors").exists());
    std::fs::remove_dir_all(world.path("factors")).unwrap();
    says(world.merge(Some(&world.expert), MergeOptions::default(), "lost"), "has no f32 factors of `blocks.0.");
    assert!(world.lora(0, "none").unwrap_err().to_string().contains("rank 0"));
    says(world.gguf(None, GgmlType::F16, "folder"), "end in .gguf");
    world.gguf(None, GgmlType::F16, "model.gguf").unwrap();
    says(world.gguf(None, GgmlType::F16, "model.gguf"), "there already");
    says(world.gguf(None, GgmlType::Q4K, "small.gguf"), "cannot be written as Q4_K");
    assert!(!world.path("small.gguf").exists());
}

#[test]
fn an_adapter_holds_no_more_directions_than_there_are() {
    let world = World::new();
    world.lora(usize::MAX, "adapter").unwrap();
    let rank = json(&world.path("adapter/adapter_config.json"))["r"].as_u64().unwrap();
    let most = world.expert.iter().map(|(_, z)| z.len()).max().unwrap();
    assert_eq!(rank, most as u64);
}

#[test]
fn an_expert_of_what_is_no_target_is_refused() {
    let world = World::new();
    let norm = BTreeMap::from([("blocks.0.attn_norm.gamma".to_owned(), vec![1.0])]);
    let expert = Expert::new(norm, world.expert.info.clone()).unwrap();
    let error = world.merge(Some(&expert), MergeOptions::default(), "merged").unwrap_err();
    assert!(matches!(error, ExportError::Expert(_)) && error.to_string().contains("attn_norm"), "{error}");
}

#[test]
fn breaking_off_leaves_no_model_behind() {
    let world = World::new();
    let files = Files::open(&world.path("base")).unwrap();
    let mut impatient = |done, _| if done < 5 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
    let export = Export {
        files: &files,
        expert: Some(&world.expert),
        factors: &world.path("factors"),
        device: &Device::flex(),
        progress: &mut impatient,
    };
    let error = write_merged(export, MergeOptions::default(), &world.path("merged")).unwrap_err();
    assert!(matches!(error, ExportError::Interrupted { done: 5, .. }), "{error}");
    assert!(checkpoint::load(&world.path("merged"), None, &Device::flex()).is_err());
}
