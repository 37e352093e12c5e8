//! Weights of experts by block, as people write them: `0-11:math=1,12-:code=0.5`.

use std::path::Path;
use std::str::FromStr;

use t2_model::adapter::{Expert, Mixture};

/// What experts weigh in some blocks of the decoder. Ranges are separated by commas, and so are the experts of a range:
/// `0-11:math=1,code=0.2,12-:code=0.5`. A range is a block, `3`, a first and a last, `0-11`, or all from one on, `12-`.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerWeights(Vec<Range>);

#[derive(Clone, Debug, PartialEq)]
struct Range {
    first: usize,
    /// The last block; `None` for that of the model.
    last: Option<usize>,
    /// Names of experts and their weights; experts that are not named have none here.
    weights: Vec<(String, f32)>,
}

/// Why weights by block do not fit the experts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayerWeightsError {
    /// A name fits none of the experts, or several.
    #[error("`{name}` is the name of {found} of the experts; they are {known}")]
    Name {
        /// The name.
        name: String,
        /// How many go by it.
        found: usize,
        /// The names of all.
        known: String,
    },
    /// A block is beyond the last one.
    #[error("the weights name block {block}, the experts scale {layers} blocks, counted from 0")]
    Block {
        /// The block.
        block: usize,
        /// How many there are.
        layers: usize,
    },
    /// Two ranges share a block.
    #[error("block {block} is in two ranges; give each block to one")]
    Twice {
        /// The block.
        block: usize,
    },
    /// A range weighs an expert twice.
    #[error("`{name}` has two weights in one range; keep one")]
    NamedTwice {
        /// The expert, as it is named the second time.
        name: String,
    },
}

/// An expert, what it is called on the command line, and what it weighs in blocks that no range names.
pub struct Part<'a> {
    /// The expert.
    pub expert: &'a Expert,
    /// The file it came from; its stem is a name of the expert too.
    pub path: &'a Path,
    /// Its weight everywhere else.
    pub weight: f32,
}

impl Part<'_> {
    fn is_called(&self, name: &str) -> bool {
        self.expert.info.name == name || self.path.file_stem().is_some_and(|stem| stem == name)
    }
}

impl LayerWeights {
    /// The mixture of `parts` for a model of `layers` blocks.
    ///
    /// # Errors
    ///
    /// [`LayerWeightsError`] for a name that is not that of exactly one part, a block that is not there, and one that is
    /// in two ranges.
    pub fn mixture(&self, parts: &[Part<'_>], layers: usize) -> Result<Mixture, LayerWeightsError> {
        let mut rows: Vec<Vec<f32>> = vec![parts.iter().map(|part| part.weight).collect(); layers];
        let mut named = vec![false; layers];
        for Range { first, last, weights } in &self.0 {
            let mut row = vec![0.0; parts.len()];
            let mut weighed = vec![false; parts.len()];
            for (name, weight) in weights {
                let part = position(parts, name)?;
                if std::mem::replace(&mut weighed[part], true) {
                    return Err(LayerWeightsError::NamedTwice { name: name.clone() });
                }
                row[part] = *weight;
            }
            let last = last.unwrap_or(layers.max(1) - 1);
            if let Some(block) = [*first, last].into_iter().find(|block| *block >= layers) {
                return Err(LayerWeightsError::Block { block, layers });
            }
            for block in *first..=last {
                if std::mem::replace(&mut named[block], true) {
                    return Err(LayerWeightsError::Twice { block });
                }
                rows[block].clone_from(&row);
            }
        }
        Ok(Mixture::per_layer(rows))
    }
}

fn position(parts: &[Part<'_>], name: &str) -> Result<usize, LayerWeightsError> {
    let found: Vec<usize> = (0..parts.len()).filter(|&index| parts[index].is_called(name)).collect();
    match found.as_slice() {
        [index] => Ok(*index),
        _ => {
            let known: Vec<&str> = parts.iter().map(|part| part.expert.info.name.as_str()).collect();
            Err(LayerWeightsError::Name { name: name.to_owned(), found: found.len(), known: known.join(", ") })
        }
    }
}

impl FromStr for LayerWeights {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut ranges: Vec<Range> = vec![];
        for piece in text.split(',').map(str::trim) {
            let weight = match piece.split_once(':') {
                None => piece,
                Some((blocks, weight)) => {
                    let (first, last) = blocks_of(blocks.trim())?;
                    ranges.push(Range { first, last, weights: vec![] });
                    weight
                }
            };
            let range = ranges.last_mut().ok_or_else(|| format!("`{piece}` is in no range; write 0-11:{piece}"))?;
            range.weights.push(weight_of(weight.trim())?);
        }
        Ok(Self(ranges))
    }
}

fn blocks_of(text: &str) -> Result<(usize, Option<usize>), String> {
    let number = |text: &str| {
        text.trim()
            .parse::<usize>()
            .map_err(|_| format!("`{text}` is no block; write 3, 0-11, or 12- for all from 12 on"))
    };
    let (first, last) = match text.split_once('-') {
        None => (number(text)?, Some(number(text)?)),
        Some((first, last)) if last.trim().is_empty() => (number(first)?, None),
        Some((first, last)) => (number(first)?, Some(number(last)?)),
    };
    match last.filter(|&last| last < first) {
        Some(last) => Err(format!("the range {first}-{last} runs backwards; write {last}-{first}")),
        None => Ok((first, last)),
    }
}

fn weight_of(text: &str) -> Result<(String, f32), String> {
    let (name, weight) = text.rsplit_once('=').ok_or_else(|| format!("`{text}` has no weight; write {text}=1"))?;
    match weight.trim().parse::<f32>() {
        Ok(weight) if weight.is_finite() && !name.is_empty() => Ok((name.trim().to_owned(), weight)),
        _ => Err(format!("`{text}` is no expert with its weight; write math=0.5")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use t2_model::adapter::ExpertInfo;

    use super::*;

    fn expert(name: &str) -> Expert {
        let info = serde_json::json!({
            "name": name, "base_model": "00".repeat(32), "targets": "mlp", "parametrization": "scale", "training": "",
        });
        let info: ExpertInfo = serde_json::from_value(info).unwrap();
        Expert::new(BTreeMap::from([("blocks.2.mlp.up.weight".to_owned(), vec![2.0])]), info).unwrap()
    }

    fn mixture(text: &str) -> Result<Mixture, LayerWeightsError> {
        let [math, code] = ["math", "code"].map(expert);
        let part = |expert, path, weight| Part { expert, path: Path::new(path), weight };
        let parts = [part(&math, "a/first.safetensors", 0.1), part(&code, "code.safetensors", 0.2)];
        text.parse::<LayerWeights>().unwrap().mixture(&parts, 3)
    }

    #[track_caller]
    fn check(text: &str, expected: [[f32; 2]; 3]) {
        let rows = expected.map(|row| row.to_vec()).to_vec();
        assert_eq!(mixture(text).unwrap(), Mixture::per_layer(rows), "{text}");
    }

    #[test]
    fn ranges_say_what_experts_weigh_in_them() {
        check("0-1:math=1,2:code=0.5", [[1.0, 0.0], [1.0, 0.0], [0.0, 0.5]]);
        check("0:math=1,code=-2", [[1.0, -2.0], [0.1, 0.2], [0.1, 0.2]]);
        check("1-: first = 3", [[0.1, 0.2], [3.0, 0.0], [3.0, 0.0]]);
        check("2-2:code=1", [[0.1, 0.2], [0.1, 0.2], [0.0, 1.0]]);
    }

    #[track_caller]
    fn check_refused(text: &str, part: &str) {
        let error = match text.parse::<LayerWeights>() {
            Err(error) => error,
            Ok(_) => mixture(text).unwrap_err().to_string(),
        };
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        check_refused("math=1", "0-11:math=1");
        check_refused("0-1:math", "math=1");
        check_refused("0-1:math=much", "math=much");
        check_refused("x:math=1", "`x` is no block");
        check_refused("5-2:math=1", "2-5");
        check_refused("0-3:math=1", "block 3");
        check_refused("0:math=1,first=2", "`first` has two weights");
        check_refused("7-:math=1", "block 7");
        check_refused("0-1:math=1,1:code=1", "block 1");
        check_refused("0:prose=1", "`prose` is the name of 0 of the experts; they are math, code");
    }
}
