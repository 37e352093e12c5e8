//! Rotary encoding in `config.json`, in the newer spelling (`rope_parameters`) and the older (`rope_theta` beside
//! `rope_scaling`).

use serde_json::{Value, json};

use super::keys::{Keys, MAX_COUNT, bad, missing};
use crate::checkpoint::LoadError;
use crate::decoder::{Outgrown, RopeConfig, RopeScaling};

/// The rotary encoding of a family that turns every coordinate.
pub(super) fn read(keys: &Keys<'_>) -> Result<RopeConfig, LoadError> {
    whole(read_partial(keys)?)
}

/// `rope`, of a family that turns every coordinate.
pub(super) fn whole(rope: RopeConfig) -> Result<RopeConfig, LoadError> {
    match rope.fraction {
        1.0 => Ok(rope),
        fraction => Err(bad("partial_rotary_factor", fraction, "1, as this family turns every coordinate")),
    }
}

/// The rotary encoding of a family that may turn a part of each head.
pub(super) fn read_partial(keys: &Keys<'_>) -> Result<RopeConfig, LoadError> {
    let nested = nested(keys)?;
    if let Some(kind) = ["full_attention", "sliding_attention"].into_iter().find(|kind| nested.get(kind).is_some()) {
        return Err(bad("rope_parameters", format!("one for {kind}"), "one for all layers"));
    }
    read_nested(keys, &nested, keys.number("rope_theta")?)
}

/// What `config.json` says of the rotary encoding in an object of its own; `null` when there is none. An empty object
/// counts as absent, as in transformers.
fn nested<'a>(keys: &Keys<'a>) -> Result<Keys<'a>, LoadError> {
    let [older, newer] = [keys.object("rope_scaling")?, keys.object("rope_parameters")?];
    Ok(older.or(newer).unwrap_or(Keys(&Value::Null)))
}

/// The rotary encoding that `nested` describes, with `theta` where it has none of its own.
pub(super) fn read_nested(keys: &Keys<'_>, nested: &Keys<'_>, theta: Option<f64>) -> Result<RopeConfig, LoadError> {
    let theta = nested.number("rope_theta")?.or(theta);
    let fraction = nested.number("partial_rotary_factor")?.or(keys.number("partial_rotary_factor")?);
    Ok(RopeConfig {
        theta: theta.ok_or_else(|| missing("rope_theta", "a number above 0"))?,
        fraction: fraction.unwrap_or(1.0),
        scaling: Scaling { keys, nested }.read()?,
    })
}

/// Refuse an encoding that does not fit heads of `head_dim`.
pub(super) fn check(rope: &RopeConfig, head_dim: usize) -> Result<(), LoadError> {
    let rotated = rope.rotated(head_dim);
    if !rotated.is_multiple_of(2) || !(2..=head_dim).contains(&rotated) {
        let expected = format!("a share of {head_dim} that is an even number, 2 at least");
        return Err(bad("partial_rotary_factor", rope.fraction, expected));
    }
    let RopeScaling::LongRope { short, long, .. } = &rope.scaling else { return Ok(()) };
    match [("short_factor", short), ("long_factor", long)].into_iter().find(|(_, list)| list.len() != rotated / 2) {
        Some((key, list)) => Err(bad(key, format!("{} long", list.len()), format!("{} numbers", rotated / 2))),
        None => Ok(()),
    }
}

/// The object that says how frequencies are rescaled, and the config around it.
struct Scaling<'a> {
    keys: &'a Keys<'a>,
    nested: &'a Keys<'a>,
}

impl Scaling<'_> {
    fn read(&self) -> Result<RopeScaling, LoadError> {
        let kind = self.nested.string("rope_type")?.or(self.nested.string("type")?).unwrap_or("default");
        match kind {
            "default" => Ok(RopeScaling::None),
            "linear" => Ok(RopeScaling::Linear { factor: self.number("factor", kind)? }),
            "dynamic" => self.dynamic(),
            "yarn" => self.yarn(),
            "llama3" => self.llama3(),
            // The name that Phi-3 had for it at first.
            "longrope" | "su" => self.longrope(),
            other => Err(bad("rope_type", other, "one of default, linear, dynamic, yarn, llama3, longrope")),
        }
    }

    fn dynamic(&self) -> Result<RopeScaling, LoadError> {
        let original_max_seq_len = self.keys.required("max_position_embeddings")?;
        let factor = self.number("factor", "dynamic")?;
        if factor < 1.0 {
            return Err(bad("factor", factor, "1 at least, as rope_type is dynamic"));
        }
        check_stretched(factor, original_max_seq_len)?;
        Ok(RopeScaling::Dynamic { factor, original_max_seq_len })
    }

    /// Numbers that have a default have it for zero too, as in transformers.
    fn yarn(&self) -> Result<RopeScaling, LoadError> {
        let original_max_seq_len = self.original()?;
        let factor = self.factor(original_max_seq_len)?;
        check_stretched(factor, original_max_seq_len)?;
        let number = |key| self.nested.number_unless_zero(key);
        let mscale = |by: f64| if factor <= 1.0 { 1.0 } else { 0.1 * by * factor.ln() + 1.0 };
        let attention_factor = match (number("mscale")?, number("mscale_all_dim")?) {
            (Some(one), Some(all)) => mscale(one) / mscale(all),
            _ => mscale(1.0),
        };
        Ok(RopeScaling::Yarn {
            factor,
            attention_factor: self.nested.number("attention_factor")?.unwrap_or(rounded(attention_factor)),
            beta_fast: number("beta_fast")?.unwrap_or(32.0),
            beta_slow: number("beta_slow")?.unwrap_or(1.0),
            original_max_seq_len,
            truncate: self.nested.get("truncate").is_none() || self.nested.flag("truncate")?,
        })
    }

    fn llama3(&self) -> Result<RopeScaling, LoadError> {
        let number = |key| self.number(key, "llama3");
        let (low_freq_factor, high_freq_factor) = (number("low_freq_factor")?, number("high_freq_factor")?);
        if low_freq_factor >= high_freq_factor {
            return Err(bad("low_freq_factor", low_freq_factor, format!("less than {high_freq_factor}")));
        }
        let (factor, original_max_seq_len) = (number("factor")?, self.original()?);
        Ok(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_seq_len })
    }

    fn longrope(&self) -> Result<RopeScaling, LoadError> {
        let original_max_seq_len = self.original()?;
        let factor = self.factor(original_max_seq_len)?;
        // Table 1 of LongRoPE (arXiv 2402.13753) has no such factor; it is that of the Phi-3 checkpoints.
        let attention_factor = match factor {
            ..=1.0 => 1.0,
            factor => (1.0 + factor.ln() / (original_max_seq_len as f64).ln()).sqrt(),
        };
        let list = |key| self.nested.numbers(key)?.ok_or_else(|| missing(key, "a list of numbers above 0"));
        Ok(RopeScaling::LongRope {
            short: list("short_factor")?,
            long: list("long_factor")?,
            attention_factor: self.nested.number("attention_factor")?.unwrap_or(rounded(attention_factor)),
            original_max_seq_len,
            outgrown: Outgrown::Keep,
        })
    }

    fn number(&self, key: &'static str, kind: &str) -> Result<f64, LoadError> {
        self.nested.number(key)?.ok_or_else(|| missing(key, format!("a number, as rope_type is {kind}")))
    }

    /// Stretch of the context: what the config says, or how much longer than the original context it is.
    fn factor(&self, original: usize) -> Result<f64, LoadError> {
        let ratio = self.keys.required("max_position_embeddings")? as f64 / original as f64;
        Ok(self.nested.number("factor")?.unwrap_or(rounded(ratio)))
    }

    /// Context length of pretraining. The key beside `rope_parameters` wins over the one inside, as in transformers.
    fn original(&self) -> Result<usize, LoadError> {
        const KEY: &str = "original_max_position_embeddings";
        match self.keys.count(KEY)?.or(self.nested.count(KEY)?) {
            Some(original) => Ok(original),
            None => self.keys.required("max_position_embeddings"),
        }
    }
}

/// Refuse a context of `original` tokens that is stretched beyond what a config may hold.
fn check_stretched(factor: f64, original: usize) -> Result<(), LoadError> {
    match factor * original as f64 <= MAX_COUNT as f64 {
        true => Ok(()),
        false => Err(bad("factor", factor, format!("at most {}, of {original} tokens", MAX_COUNT / original as u64))),
    }
}

/// `x` to twelve digits: more than f32 tells apart, and few enough that JSON gives the same number back.
fn rounded(x: f64) -> f64 {
    const DIGITS: f64 = 1e12;
    (x * DIGITS).round() / DIGITS
}

/// Rotary encoding in the newer spelling.
pub(super) fn write(rope: &RopeConfig) -> Value {
    let mut json = match &rope.scaling {
        RopeScaling::None => json!({ "rope_type": "default" }),
        RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
        // The original length is `max_position_embeddings`.
        RopeScaling::Dynamic { factor, .. } => json!({ "rope_type": "dynamic", "factor": factor }),
        RopeScaling::Yarn { factor, attention_factor, beta_fast, beta_slow, original_max_seq_len, truncate } => json!({
            "rope_type": "yarn",
            "factor": factor,
            "attention_factor": attention_factor,
            "beta_fast": beta_fast,
            "beta_slow": beta_slow,
            "original_max_position_embeddings": original_max_seq_len,
            "truncate": truncate,
        }),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_seq_len } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original_max_seq_len,
        }),
        RopeScaling::LongRope { short, long, attention_factor, original_max_seq_len, .. } => json!({
            "rope_type": "longrope",
            "short_factor": short,
            "long_factor": long,
            "attention_factor": attention_factor,
            "original_max_position_embeddings": original_max_seq_len,
        }),
    };
    json["rope_theta"] = rope.theta.into();
    if rope.fraction != 1.0 {
        json["partial_rotary_factor"] = rope.fraction.into();
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::{Architecture, Llama, Phi3};
    use crate::decoder::DecoderConfig;

    /// What `architecture` makes of a small config with `extra` keys. A head of 16, of which Phi-3 may turn a part.
    fn config(architecture: &dyn Architecture, extra: &Value) -> Result<DecoderConfig, LoadError> {
        let mut json = json!({
            "vocab_size": 10, "hidden_size": 64, "intermediate_size": 6, "num_hidden_layers": 1, "num_attention_heads": 4,
            "max_position_embeddings": 4096,
        });
        json.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        architecture.config(&json)
    }

    #[track_caller]
    fn check_of(architecture: &dyn Architecture, extra: &Value, expected: &RopeConfig) {
        let found = config(architecture, extra).unwrap();
        assert_eq!(found.rope, *expected);
        let again = architecture.config(&architecture.to_json(&found)).unwrap();
        assert_eq!(found, again, "written and read back");
    }

    #[track_caller]
    fn check(extra: &Value, theta: f64, scaling: RopeScaling) {
        check_of(&Llama, extra, &RopeConfig { scaling, ..RopeConfig::new(theta) });
    }

    #[test]
    fn every_spelling_is_read() {
        let llama3 = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_seq_len: 8192,
        };
        let keys = json!({
            "rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192, "rope_theta": 2e5,
        });
        check(&json!({ "rope_theta": 3, "rope_scaling": null }), 3.0, RopeScaling::None);
        check(&json!({ "rope_parameters": { "rope_theta": 3, "rope_type": "default" } }), 3.0, RopeScaling::None);
        let linear = RopeScaling::Linear { factor: 2.0 };
        check(&json!({ "rope_scaling": { "type": "linear", "factor": 2 } }), 10_000.0, linear);
        check(&json!({ "rope_scaling": {}, "rope_parameters": keys }), 2e5, llama3.clone());
        check(&json!({ "rope_scaling": {}, "rope_parameters": {} }), 10_000.0, RopeScaling::None);
        check(&json!({ "rope_parameters": keys }), 2e5, llama3.clone());
        check(&json!({ "rope_scaling": keys, "rope_theta": 7 }), 2e5, llama3);
    }

    #[test]
    fn a_context_is_stretched_by_what_the_config_says() {
        let dynamic = RopeScaling::Dynamic { factor: 2.0, original_max_seq_len: 4096 };
        check(&json!({ "rope_scaling": { "type": "dynamic", "factor": 2.0 } }), 10_000.0, dynamic);
        let yarn = |factor: f64, attention_factor, original_max_seq_len| RopeScaling::Yarn {
            factor,
            attention_factor,
            beta_fast: 32.0,
            beta_slow: 1.0,
            original_max_seq_len,
            truncate: true,
        };
        let usual = 0.1 * 4f64.ln() + 1.0;
        let both = rounded((0.2 * 4f64.ln() + 1.0) / usual);
        let usual = rounded(usual);
        check(&json!({ "rope_scaling": { "type": "yarn", "factor": 4 } }), 10_000.0, yarn(4.0, usual, 4096));
        let original = json!({ "rope_type": "yarn", "original_max_position_embeddings": 1024 });
        check(&json!({ "rope_parameters": original }), 10_000.0, yarn(4.0, usual, 1024));
        let zeros =
            json!({ "type": "yarn", "factor": 4, "mscale": 0, "mscale_all_dim": 0.0, "beta_fast": 0, "beta_slow": 0 });
        check(&json!({ "rope_scaling": zeros }), 10_000.0, yarn(4.0, usual, 4096));
        let given = json!({ "rope_type": "yarn", "factor": 4.0, "attention_factor": 1.5, "mscale": 2.0 });
        check(&json!({ "rope_parameters": given }), 10_000.0, yarn(4.0, 1.5, 4096));
        let scales = json!({ "rope_type": "yarn", "factor": 4.0, "mscale": 2.0, "mscale_all_dim": 1.0 });
        check(&json!({ "rope_parameters": scales }), 10_000.0, yarn(4.0, both, 4096));
        let ramp = json!({ "rope_type": "yarn", "factor": 4.0, "beta_fast": 16, "beta_slow": 2, "truncate": false });
        let RopeScaling::Yarn { .. } = config(&Llama, &json!({ "rope_parameters": ramp })).unwrap().rope.scaling else {
            panic!("yarn is read as yarn");
        };
    }

    #[test]
    fn sequences_may_be_as_long_as_the_context_is_stretched_to() {
        #[track_caller]
        fn check(rope: &Value, max_seq_len: usize) {
            assert_eq!(config(&Llama, &json!({ "rope_scaling": rope })).unwrap().max_seq_len, max_seq_len);
        }
        check(&json!({ "type": "linear", "factor": 2 }), 4096);
        check(&json!({ "type": "dynamic", "factor": 2.5 }), 10_240);
        check(&json!({ "type": "yarn", "factor": 4 }), 16_384);
        check(&json!({ "type": "yarn", "factor": 4, "original_max_position_embeddings": 1024 }), 4096);
    }

    #[test]
    fn phi3_turns_a_part_of_each_head_at_frequencies_of_its_own() {
        let (short, long) = (vec![1.0; 6], vec![4.0; 6]);
        let scaling = RopeScaling::LongRope {
            attention_factor: rounded((1.0 + 2f64.ln() / 2048f64.ln()).sqrt()),
            short: short.clone(),
            long: long.clone(),
            original_max_seq_len: 2048,
            outgrown: Outgrown::Reread,
        };
        let rope = RopeConfig { fraction: 0.75, scaling, ..RopeConfig::new(10_000.0) };
        for name in ["longrope", "su", "yarn"] {
            let keys = json!({ "type": name, "short_factor": short, "long_factor": long });
            let extra = json!({
                "rope_scaling": keys, "original_max_position_embeddings": 2048, "partial_rotary_factor": 0.75,
            });
            check_of(&Phi3, &extra, &rope);
        }
    }

    #[track_caller]
    fn check_refused(architecture: &dyn Architecture, extra: &Value, parts: &[&str]) {
        let error = config(architecture, extra).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }

    #[test]
    fn what_the_decoder_cannot_run_is_refused() {
        let refused = |extra, parts: &[&str]| check_refused(&Llama, &extra, parts);
        refused(json!({ "rope_scaling": { "type": "mrope" } }), &["mrope", "default, linear, dynamic, yarn"]);
        refused(json!({ "rope_scaling": { "type": "linear" } }), &["factor", "missing", "linear"]);
        refused(json!({ "rope_scaling": "linear" }), &["rope_scaling", "linear", "an object"]);
        refused(json!({ "rope_scaling": { "type": "dynamic", "factor": 0.5 } }), &["factor", "0.5", "1 at least"]);
        for kind in ["dynamic", "yarn"] {
            for factor in [1e6, 1e300] {
                refused(json!({ "rope_scaling": { "type": kind, "factor": factor } }), &["factor", "at most 524287"]);
            }
        }
        refused(json!({ "partial_rotary_factor": 0.5 }), &["partial_rotary_factor", "0.5"]);
        let flat = json!({ "rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4 });
        refused(json!({ "rope_parameters": flat }), &["low_freq_factor", "less than 4"]);
        refused(json!({ "rope_parameters": { "full_attention": {} } }), &["full_attention", "one for all layers"]);
        let lists = json!({ "type": "longrope", "short_factor": [1.0], "long_factor": [1.0] });
        refused(json!({ "rope_scaling": lists }), &["short_factor", "1 long", "8 numbers"]);
        check_refused(&Phi3, &json!({ "partial_rotary_factor": 0.2 }), &["partial_rotary_factor", "0.2", "even"]);
    }
}
