//! Where the parameters of a decoder come from in the checkpoints of a family.

use burn::tensor::{DType, TensorData};

use crate::decoder::DecoderConfig;
use crate::decoder::config::{EMBED, HEAD, is_norm};

pub use crate::format::layout::{Layout, Rows};

/// What a checkpoint stores in place of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transform {
    /// The number.
    None,
    /// Its distance from one.
    PlusOne,
}

impl Transform {
    /// The numbers of a parameter for what is `stored`.
    pub(crate) fn in_memory(self, stored: TensorData) -> TensorData {
        match self {
            Self::None => stored,
            Self::PlusOne => {
                let dtype = stored.dtype();
                let mut values = stored.convert_dtype(DType::F32);
                values.as_mut_slice::<f32>().into_iter().flatten().for_each(|value| *value += 1.0);
                values.convert_dtype(dtype)
            }
        }
    }
}

/// Where a parameter comes from: a stored tensor, or some of its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Path in the decoder: `blocks.3.attn.q.weight`.
    pub path: String,
    /// Shape in the decoder.
    pub shape: Vec<usize>,
    /// Names that the tensor may be stored under. The first is the one it is saved under.
    pub names: Vec<String>,
    /// Which rows of the stored tensor.
    pub rows: Rows,
    /// Which way round the stored tensor is.
    pub layout: Layout,
    /// What is stored in place of each number.
    pub transform: Transform,
}

impl Source {
    /// A parameter that is a whole stored tensor called `name`. Linear layers are stored transposed, `[d_out, d_in]`.
    pub fn plain(path: String, shape: Vec<usize>, name: String) -> Self {
        let layout = if shape.len() == 2 && path != EMBED { Layout::Transposed } else { Layout::Same };
        let inner = name.strip_prefix(PREFIX);
        let others: Vec<_> = inner.iter().flat_map(|inner| PREFIXES.map(|prefix| format!("{prefix}{inner}"))).collect();
        let names = std::iter::once(name).chain(others).collect();
        Self { path, shape, names, rows: Rows::All, layout, transform: Transform::None }
    }

    /// The type of the parameter in a model with weights of `dtype`: gains of norms stay f32 in any model.
    pub(crate) fn dtype(&self, dtype: DType) -> DType {
        if is_norm(&self.path) { DType::F32 } else { dtype }
    }

    /// What is stored in place of `values`. A distance from one is read back as the same number, though it may not be the
    /// distance that it was once read from.
    pub(crate) fn on_disk(&self, mut values: Vec<f32>) -> Vec<f32> {
        match self.transform {
            Transform::None => {}
            Transform::PlusOne => values.iter_mut().for_each(|value| *value -= 1.0),
        }
        values
    }

    /// Shape of the stored tensor.
    pub fn stored_shape(&self) -> Vec<usize> {
        self.rows.stored_shape(self.layout.turn(&self.shape))
    }
}

/// How the names of all tensors but the head begin.
const PREFIX: &str = "model.";
/// What a checkpoint may have instead: nothing when a base model was saved without its head; the others when it is the
/// text of a model that sees images too, as transformers writes it before version 5 and since.
const PREFIXES: [&str; 3] = ["", "language_model.model.", "model.language_model."];

/// Where every parameter of `config` comes from if each is a whole stored tensor. `names` are pairs of a stored name
/// and a path in the decoder, with `{}` in place of the number of the layer. An iterator, not a list: a damaged config
/// may ask for any number of layers.
pub(crate) fn plain_sources<'a>(
    config: &'a DecoderConfig,
    names: &'a [(&str, &str)],
) -> impl Iterator<Item = Source> + 'a {
    config.parameters().map(|(path, shape)| {
        let name = their_name(names, &path).unwrap_or_else(|| path.clone());
        let mut source = Source::plain(path, shape, name);
        // A tied embedding may be stored under the name of the head alone.
        if config.tied_head && source.path == EMBED {
            source.names.extend(their_name(names, HEAD));
        }
        source
    })
}

/// The stored name of the parameter at `path`: `model.layers.3.self_attn.q_proj.weight` for `blocks.3.attn.q.weight`.
fn their_name(names: &[(&str, &str)], path: &str) -> Option<String> {
    let (pattern, layer) = pattern_of(path);
    let (theirs, _) = names.iter().find(|(_, ours)| *ours == pattern)?;
    Some(theirs.replacen("{}", &layer, 1))
}

/// Whether the family may have a tensor called `name`; the number of the layer does not matter.
pub(crate) fn is_known(names: &[(&str, &str)], name: &str) -> bool {
    let (pattern, _) = pattern_of(name);
    let is_other = |theirs: &str| {
        let inner = theirs.strip_prefix(PREFIX);
        inner.is_some_and(|inner| PREFIXES.iter().any(|prefix| pattern.strip_prefix(prefix) == Some(inner)))
    };
    names.iter().any(|(theirs, _)| *theirs == pattern || is_other(theirs))
}

/// The pattern of a name and the number in it: `a.3.b` gives `a.{}.b` and `3`.
fn pattern_of(name: &str) -> (String, String) {
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match name.split('.').find(is_number) {
        Some(number) => (name.replacen(&format!(".{number}."), ".{}.", 1), number.to_owned()),
        None => (name.to_owned(), String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[(&str, &str)] = &[
        ("model.embed_tokens.weight", "embed.weight"),
        ("model.layers.{}.self_attn.q_proj.weight", "blocks.{}.attn.q.weight"),
        ("lm_head.weight", "head.weight"),
    ];

    #[test]
    fn names_carry_the_number_of_the_layer() {
        let name = |path| their_name(NAMES, path);
        assert_eq!(name("blocks.12.attn.q.weight").as_deref(), Some("model.layers.12.self_attn.q_proj.weight"));
        assert_eq!(name("embed.weight").as_deref(), Some("model.embed_tokens.weight"));
        assert_eq!(name("blocks.0.attn.rotary"), None);
    }

    #[test]
    fn a_name_of_the_family_is_known_in_any_layer_with_or_without_its_prefix() {
        assert!(is_known(NAMES, "model.layers.99.self_attn.q_proj.weight"));
        assert!(is_known(NAMES, "layers.0.self_attn.q_proj.weight"));
        assert!(is_known(NAMES, "model.language_model.layers.0.self_attn.q_proj.weight"));
        assert!(is_known(NAMES, "language_model.model.layers.0.self_attn.q_proj.weight"));
        assert!(!is_known(NAMES, "vision_tower.layers.0.self_attn.q_proj.weight"));
        assert!(!is_known(NAMES, "model.layers.0.self_attn.rotary_emb.inv_freq"));
    }

    #[test]
    fn a_distance_from_one_is_read_and_written() {
        let plain = Source::plain("norm.gamma".to_owned(), vec![3], "model.norm.weight".to_owned());
        let source = Source { transform: Transform::PlusOne, ..plain };
        assert_eq!((source.dtype(DType::BF16), plain_weight().dtype(DType::BF16)), (DType::F32, DType::BF16));
        let read = |stored: &[f32]| source.transform.in_memory(TensorData::from(stored)).try_into_vec::<f32>().unwrap();
        let values = read(&[0.25, -1.5, 1e-9]);
        assert_eq!(values, [1.25, -0.5, 1.0]);
        assert_eq!(read(&source.on_disk(values)), [1.25, -0.5, 1.0]);
    }

    fn plain_weight() -> Source {
        Source::plain("blocks.0.mlp.up.weight".to_owned(), vec![2, 3], "up".to_owned())
    }

    #[test]
    fn a_tied_embedding_may_go_by_the_name_of_the_head() {
        let sources =
            |tied_head| plain_sources(&DecoderConfig { tied_head, ..DecoderConfig::tiny() }, NAMES).collect::<Vec<_>>();
        let is_head = |name: &String| name == "lm_head.weight";
        let [tied, untied] = [true, false].map(|tied| sources(tied)[0].names.clone());
        assert_eq!(tied[..2], ["model.embed_tokens.weight", "embed_tokens.weight"]);
        assert!(tied.last().is_some_and(is_head) && !untied.iter().any(is_head));
        assert_eq!(sources(false).last().unwrap().names, ["lm_head.weight"]);
    }
}
