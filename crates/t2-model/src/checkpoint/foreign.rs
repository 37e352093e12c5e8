//! Folders that hold something else than a model whose weights are plain floats: adapters, quantized weights, and the
//! stand-ins that git keeps in place of large files.

use std::path::Path;

use serde_json::Value;

use super::LoadError;
use crate::format::CONFIG;
use crate::format::safetensors::{INDEX, SINGLE};

const ADAPTER: &str = "adapter_config.json";
/// How the stand-ins begin that git-lfs puts in place of files.
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/";
/// How the names of tensors end that only checkpoints with quantized weights have.
const QUANTIZED: [&str; 7] =
    [".qweight", ".qzeros", ".weight_packed", ".weight_scale", ".weight_scale_inv", ".weight.absmax", ".SCB"];

/// Refuse a folder that is known to hold no plain weights. `config` is its parsed `config.json`, or `null` without one.
pub(crate) fn refuse_foreign(dir: &Path, config: &Value) -> Result<(), LoadError> {
    let has = |file: &str| dir.join(file).exists();
    if has(ADAPTER) && !has(SINGLE) && !has(INDEX) {
        let json = std::fs::read(dir.join(ADAPTER)).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
        let base = json.as_ref().and_then(|json| json["base_model_name_or_path"].as_str());
        return Err(LoadError::Adapter { dir: dir.to_owned(), base: base.unwrap_or("its base model").to_owned() });
    }
    // MLX calls it `quantization`.
    let settings = ["quantization_config", "quantization"].into_iter().find_map(|key| config[key].as_object());
    let Some(settings) = settings else { return Ok(()) };
    let method = settings.get("quant_method").and_then(Value::as_str).map(str::to_owned);
    let bits = || settings.get("bits").map(|bits| format!("{bits} bits"));
    let method = method.or_else(bits).unwrap_or_else(|| "by an unnamed method".to_owned());
    Err(LoadError::Quantized { found: method }.within(&dir.join(CONFIG)))
}

/// Refuse tensors that are the parts of quantized weights, which some folders say nothing about in their config.
pub(crate) fn refuse_quantized<'a>(mut names: impl Iterator<Item = &'a String>) -> Result<(), LoadError> {
    match names.find(|name| QUANTIZED.iter().any(|end| name.ends_with(end))) {
        Some(name) => Err(LoadError::Quantized { found: format!("there is a tensor `{name}`") }),
        None => Ok(()),
    }
}

/// True for what git-lfs puts in place of a file until it is pulled.
pub(crate) fn is_pointer(bytes: &[u8]) -> bool {
    bytes.starts_with(LFS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Expect that a folder with `files`, its config among them, is refused with all of `parts`, or not at all.
    #[track_caller]
    fn check(files: &[(&str, Value)], parts: Option<&[&str]>) {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(dir.path().join(name), content.to_string()).unwrap();
        }
        let config =
            files.iter().find(|(name, _)| *name == "config.json").map_or(Value::Null, |(_, json)| json.clone());
        let refused = refuse_foreign(dir.path(), &config).map_err(|e| e.to_string());
        match parts {
            Some(parts) => {
                let error = refused.unwrap_err();
                assert!(parts.iter().all(|part| error.contains(part)), "{error} lacks one of {parts:?}");
            }
            None => assert_eq!(refused, Ok(())),
        }
    }

    #[test]
    fn an_adapter_names_its_base() {
        let adapter = || (ADAPTER, json!({ "base_model_name_or_path": "org/base", "peft_type": "LORA" }));
        let adapted = ["adapter", "org/base", "merge_and_unload"];
        check(&[adapter(), ("adapter_model.safetensors", json!(""))], Some(&adapted));
        check(&[adapter(), ("config.json", json!({}))], Some(&adapted));
        check(&[(ADAPTER, json!([]))], Some(&["its base model"]));
        check(&[adapter(), ("config.json", json!({})), (SINGLE, json!(""))], None);
        check(&[("config.json", json!({}))], None);
        check(&[], None);
    }

    #[test]
    fn quantized_weights_are_known_by_the_config() {
        let config = |json: Value| [("config.json", json)];
        let check_method = |settings: Value, method: &str| {
            check(&config(json!({ "quantization_config": settings })), Some(&[method, "quantized", "config.json"]));
        };
        check_method(json!({ "quant_method": "gptq", "bits": 4 }), "gptq");
        check_method(json!({ "quant_method": "awq", "bits": 4 }), "awq");
        check_method(json!({ "quant_method": "bitsandbytes", "load_in_4bit": true }), "bitsandbytes");
        check_method(json!({ "bits": 4, "group_size": 128 }), "4 bits");
        check(&config(json!({ "quantization": { "bits": 8 } })), Some(&["8 bits"]));
        check(&config(json!({ "quantization_config": null })), None);
    }

    #[test]
    fn quantized_weights_are_known_by_their_names() {
        let check = |name: &str, refused: bool| {
            let error = refuse_quantized([format!("model.layers.0.mlp.up_proj{name}")].iter());
            assert_eq!(error.is_err(), refused, "{name}");
        };
        for name in [".qweight", ".weight.absmax", ".weight_packed", ".weight_scale_inv", ".SCB"] {
            check(name, true);
        }
        check(".weight", false);
        check(".bias", false);
    }
}
