//! Which layers see all that came before, and which a window of it.

use serde_json::Value;

use super::keys::{Keys, bad};
use crate::checkpoint::LoadError;
use crate::decoder::{BlockKind, DecoderConfig};

const SLIDING: &str = "sliding_attention";
const FULL: &str = "full_attention";
/// Models whose layers differ are listed layer by layer: more than this is no model but a damaged file.
const MAX_LAYERS: usize = 1 << 16;

/// Which of `count` layers see a window: what `layer_types` says, or `is_sliding` where there is no such key.
pub(super) fn sliding(
    keys: &Keys<'_>,
    count: usize,
    is_sliding: impl Fn(usize) -> bool,
) -> Result<Vec<bool>, LoadError> {
    if count > MAX_LAYERS {
        return Err(bad("num_hidden_layers", count, format!("at most {MAX_LAYERS}, as they are not all alike")));
    }
    let Some(types) = keys.each_layer("layer_types", count)? else { return Ok((0..count).map(is_sliding).collect()) };
    let is_sliding = |value: &Value| match value.as_str() {
        Some(SLIDING) => Ok(true),
        Some(FULL) => Ok(false),
        _ => Err(bad("layer_types", value, format!("a list of {SLIDING} and {FULL}"))),
    };
    types.iter().map(is_sliding).collect()
}

/// Kinds of blocks that are plain but for the `window` of those that slide.
pub(super) fn kinds(sliding: &[bool], window: Option<usize>) -> Vec<BlockKind> {
    let kind = |&sliding: &bool| BlockKind { window: window.filter(|_| sliding), ..BlockKind::PLAIN };
    BlockKind::pattern(sliding.iter().map(kind).collect())
}

/// The window of the layers that have one.
pub(super) fn window(config: &DecoderConfig) -> Option<usize> {
    config.kinds.iter().find_map(|kind| kind.window)
}

/// The list `layer_types` for `config`.
pub(super) fn types(config: &DecoderConfig) -> Vec<&'static str> {
    (0..config.layers).map(|layer| if config.kind(layer).window.is_some() { SLIDING } else { FULL }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn layers_that_are_listed_wrongly_are_refused() {
        #[track_caller]
        fn check(json: &Value, count: usize, parts: &[&str]) {
            let error = sliding(&Keys(json), count, |_| true).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
        check(&json!({ "layer_types": [FULL] }), 2, &["layer_types", "1 long", "2 layers"]);
        check(&json!({ "layer_types": [FULL, "linear_attention"] }), 2, &["linear_attention", SLIDING]);
        check(&json!({ "layer_types": FULL }), 1, &["layer_types", "a list"]);
        check(&json!({}), 1 << 30, &["num_hidden_layers", "65536"]);
    }

    #[test]
    fn only_layers_that_slide_have_the_window() {
        let found =
            sliding(&Keys(&json!({ "layer_types": [FULL, SLIDING] })), 2, |_| panic!("they are listed")).unwrap();
        let windows = |window| kinds(&found, window).iter().map(|kind| kind.window).collect::<Vec<_>>();
        assert_eq!(windows(Some(4)), [None, Some(4)]);
        assert_eq!(windows(None), []);
    }
}
