//! Where the parameters of a decoder come from in the checkpoints of a family.

use crate::decoder::DecoderConfig;
use crate::decoder::config::{EMBED, HEAD};

pub use crate::format::layout::{Layout, Rows};

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
}

impl Source {
    /// A parameter that is a whole stored tensor called `name`. Linear layers are stored transposed, `[d_out, d_in]`.
    pub fn plain(path: String, shape: Vec<usize>, name: String) -> Self {
        let layout = if shape.len() == 2 && path != EMBED { Layout::Transposed } else { Layout::Same };
        // A base model saved without its head has names without this prefix.
        let bare = name.strip_prefix("model.").map(str::to_owned);
        Self { path, shape, names: std::iter::once(name).chain(bare).collect(), rows: Rows::All, layout }
    }

    /// Shape of the stored tensor.
    pub fn stored_shape(&self) -> Vec<usize> {
        self.rows.stored_shape(self.layout.turn(&self.shape))
    }
}

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
    names.iter().any(|(theirs, _)| *theirs == pattern || theirs.strip_prefix("model.") == Some(&pattern))
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
        assert!(!is_known(NAMES, "model.layers.0.self_attn.rotary_emb.inv_freq"));
    }

    #[test]
    fn a_tied_embedding_may_go_by_the_name_of_the_head() {
        let sources =
            |tied_head| plain_sources(&DecoderConfig { tied_head, ..DecoderConfig::tiny() }, NAMES).collect::<Vec<_>>();
        assert_eq!(sources(true)[0].names, ["model.embed_tokens.weight", "embed_tokens.weight", "lm_head.weight"]);
        assert_eq!(sources(false)[0].names, ["model.embed_tokens.weight", "embed_tokens.weight"]);
        assert_eq!(sources(false).last().unwrap().names, ["lm_head.weight"]);
    }
}
