//! The `rope_parameters` of a `config.json` as keys and tensors.

use serde_json::Value;

use super::{Writer, float};
use crate::format::gguf::Problem;
use crate::format::gguf::config::Llama3;

impl Writer<'_> {
    pub(super) fn rope(&mut self) -> Result<(), Problem> {
        let both = self.config["rope_parameters"].clone();
        let rope = if both["full_attention"].is_object() { &both["full_attention"] } else { &both };
        let head_dim = self.count("head_dim")?;
        let share = rope["partial_rotary_factor"].as_f64().unwrap_or(1.0);
        let turned = (f64::from(head_dim) * share) as u32;
        self.put("rope.dimension_count", turned);
        self.put("rope.freq_base", number(rope, "rope_theta")?);
        let local = &both["sliding_attention"];
        if let Some(theta) = float(&local["rope_theta"]) {
            self.put("rope.freq_base_swa", theta);
        }
        if !matches!(local["rope_type"].as_str(), None | Some("default")) {
            let expected = "default, as files have no key for it";
            return Err(Problem::bad("sliding_attention.rope_type", &local["rope_type"], expected));
        }
        match rope["rope_type"].as_str().unwrap_or("default") {
            "default" => {}
            "linear" => {
                self.put("rope.scaling.type", "linear");
                self.put("rope.scaling.factor", number(rope, "factor")?);
            }
            "yarn" => self.yarn(rope)?,
            "llama3" => {
                let of = |key| number(rope, key).map(f64::from);
                let stretch = Llama3 {
                    factor: of("factor")?,
                    low: of("low_freq_factor")?,
                    high: of("high_freq_factor")?,
                    original: of("original_max_position_embeddings")?,
                };
                let theta = rope["rope_theta"].as_f64().unwrap_or_default();
                let factors = stretch.factors(theta, turned as usize / 2).map(|factor| factor as f32);
                self.tensors.push(("rope_freqs.weight", factors.collect()));
            }
            "longrope" => self.longrope(rope)?,
            other => return Err(Problem::bad("rope_type", other, "one of default, linear, yarn, llama3, longrope")),
        }
        Ok(())
    }

    fn yarn(&mut self, rope: &Value) -> Result<(), Problem> {
        self.put("rope.scaling.type", "yarn");
        self.put("rope.scaling.factor", number(rope, "factor")?);
        self.put("rope.scaling.original_context_length", original(rope)?);
        for (key, theirs) in
            [("yarn_beta_fast", "beta_fast"), ("yarn_beta_slow", "beta_slow"), ("yarn_attn_factor", "attention_factor")]
        {
            if let Some(number) = float(&rope[theirs]) {
                self.put(&format!("rope.scaling.{key}"), number);
            }
        }
        // The one counts only together with the other, and neither beside a factor of the scores.
        match (float(&rope["mscale"]), float(&rope["mscale_all_dim"])) {
            _ if rope["attention_factor"].is_number() => {}
            (Some(1.0), Some(all)) => self.put("rope.scaling.yarn_log_multiplier", all),
            (Some(other), Some(_)) => return Err(Problem::bad("mscale", other, "1, as files have no key for it")),
            _ => {}
        }
        match &rope["truncate"] {
            Value::Null | Value::Bool(true) => Ok(()),
            other => Err(Problem::bad("truncate", other, "true, as files have no key for it")),
        }
    }

    /// The factor of the scores is a key here, where transformers computes it from the two lengths. One list for contexts of
    /// any length is a tensor of its own.
    fn longrope(&mut self, rope: &Value) -> Result<(), Problem> {
        let (original, context) = (original(rope)?, self.count("max_position_embeddings")?);
        let stretch = f64::from(context) / f64::from(original);
        let computed = if stretch > 1.0 { (1.0 + stretch.ln() / f64::from(original).ln()).sqrt() } else { 1.0 };
        let [long, short] = [list(rope, "long_factor")?, list(rope, "short_factor")?];
        let factor = float(&rope["attention_factor"]).unwrap_or(computed as f32);
        if long == short && factor == 1.0 {
            self.tensors.push(("rope_freqs.weight", long));
            return Ok(());
        }
        self.put("rope.scaling.type", "longrope");
        self.put("rope.scaling.original_context_length", original);
        self.put("rope.scaling.attn_factor", factor);
        self.tensors.push(("rope_factors_long.weight", long));
        self.tensors.push(("rope_factors_short.weight", short));
        Ok(())
    }
}

fn number(rope: &Value, key: &str) -> Result<f32, Problem> {
    float(&rope[key]).ok_or_else(|| Problem::bad(key, &rope[key], "a number in rope_parameters"))
}

fn original(rope: &Value) -> Result<u32, Problem> {
    const KEY: &str = "original_max_position_embeddings";
    let number = rope[KEY].as_u64().and_then(|n| u32::try_from(n).ok()).filter(|&n| n > 1);
    number.ok_or_else(|| Problem::bad(KEY, &rope[KEY], "a whole number in rope_parameters"))
}

fn list(rope: &Value, key: &str) -> Result<Vec<f32>, Problem> {
    let list = rope[key].as_array().and_then(|list| list.iter().map(float).collect());
    list.ok_or_else(|| Problem::bad(key, &rope[key], "a list of numbers in rope_parameters"))
}
