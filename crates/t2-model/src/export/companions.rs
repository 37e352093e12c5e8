//! What a checkpoint has beside weights and config: its tokenizer, chat template and suggested sampling.

use std::path::Path;

use serde_json::{Value, json};

use super::ExportError;
use crate::checkpoint::Files;
use crate::files::write_atomically;
use crate::format::gguf::Gguf;
use crate::text::{GgufVocabulary, Tokenizer};

/// How the names of files begin that a folder has beside weights and config, and that belong to the model.
const COMPANIONS: [&str; 9] = [
    "tokenizer",
    "special_tokens_map",
    "added_tokens",
    "vocab.",
    "merges.",
    "chat_template",
    "additional_chat_templates",
    "generation_config",
    "spiece",
];

/// Write what `files` have beside weights and config to the folder `to`: copies of the files of a folder, and files in
/// their place where a GGUF file holds it all.
pub(super) fn write(files: &Files, to: &Path) -> Result<(), ExportError> {
    if files.path().is_dir() {
        return copy(files.path(), to);
    }
    let generation = files.generation()?;
    write_atomically(&to.join("generation_config.json"), format!("{:#}\n", generation.to_json()).as_bytes())?;
    let Some(vocabulary) = Gguf::open(files.path())?.vocabulary()? else { return Ok(()) };
    let tokenizer = Tokenizer::from_gguf(&vocabulary, files.path())?;
    write_atomically(&to.join("tokenizer.json"), tokenizer.to_json()?.as_bytes())?;
    let config = tokenizer_config(&vocabulary);
    write_atomically(&to.join("tokenizer_config.json"), format!("{config:#}\n").as_bytes())?;
    Ok(())
}

/// The special tokens and the chat template as a `tokenizer_config.json` has them.
fn tokenizer_config(vocabulary: &GgufVocabulary) -> Value {
    let mut config = json!({ "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false });
    let text = |id: Option<u32>| vocabulary.token(id).map(str::to_owned);
    let known = [
        ("bos_token", text(vocabulary.bos)),
        ("eos_token", text(vocabulary.eos)),
        ("unk_token", text(vocabulary.unk)),
        ("pad_token", text(vocabulary.pad)),
        ("chat_template", vocabulary.chat_template.clone()),
    ];
    for (key, value) in known {
        if let Some(value) = value {
            config[key] = value.into();
        }
    }
    config
}

/// Copy what the folder `from` has of tokenizer, chat template and suggested sampling.
fn copy(from: &Path, to: &Path) -> Result<(), ExportError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ExportError::Copy { path, source }
    };
    for entry in std::fs::read_dir(from).map_err(failed(from))? {
        let (entry, path) = entry.map(|entry| (entry.file_name(), entry.path())).map_err(failed(from))?;
        let name = entry.to_string_lossy().into_owned();
        if !COMPANIONS.iter().any(|begin| name.starts_with(begin)) {
            continue;
        }
        if path.is_dir() {
            std::fs::create_dir_all(to.join(&name)).map_err(failed(&to.join(&name)))?;
            for file in std::fs::read_dir(&path).map_err(failed(&path))? {
                let file = file.map_err(failed(&path))?;
                std::fs::copy(file.path(), to.join(&name).join(file.file_name())).map_err(failed(&file.path()))?;
            }
        } else {
            std::fs::copy(&path, to.join(&name)).map_err(failed(&path))?;
        }
    }
    Ok(())
}
