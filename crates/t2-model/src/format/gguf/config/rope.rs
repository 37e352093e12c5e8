//! Rotary encodings: keys and tensors as the `rope_parameters` of a `config.json`.

use std::f64::consts::TAU;

use serde_json::{Value, json};

use super::Keys;
use crate::format::gguf::Problem;

/// How far the factors of a file may be from those of the formula: both are computed in 32 bits.
const ROUNDING: f64 = 1e-5;

/// The stretch of Llama 3.1 to 3.3, of which only `factor` differs between models: wavelengths above
/// `original / low` are stretched in full, those below `original / high` are kept.
pub(in crate::format::gguf) struct Llama3 {
    pub(in crate::format::gguf) factor: f64,
    pub(in crate::format::gguf) low: f64,
    pub(in crate::format::gguf) high: f64,
    pub(in crate::format::gguf) original: f64,
}

impl Keys<'_> {
    /// `rope_parameters`, with `theta` where the file has none.
    pub(in crate::format::gguf) fn rope(&self, theta: f64) -> Result<Value, Problem> {
        let theta = self.number("rope.freq_base")?.unwrap_or(theta);
        let mut json = match self.lists()? {
            Some(lists) => lists,
            None => self.factors(theta)?.map_or_else(|| self.scaling(), Ok)?,
        };
        json["rope_theta"] = theta.into();
        let (head_dim, turned) = (self.head_dim()?, self.count("rope.dimension_count")?);
        if let Some(turned) = turned.filter(|&turned| turned != head_dim) {
            json["partial_rotary_factor"] = (turned as f64 / head_dim as f64).into();
        }
        Ok(json)
    }

    /// The lists of Phi-3, one for contexts as long as those of pretraining, one for longer ones.
    fn lists(&self) -> Result<Option<Value>, Problem> {
        let list = |name| self.tensor(name).map(|tensor| tensor.values().into_iter().map(decimal).collect::<Vec<_>>());
        let (short, long) = (list("rope_factors_short.weight"), list("rope_factors_long.weight"));
        let (Some(short), Some(long)) = (short, long) else { return Ok(None) };
        let context = self.required("context_length")?;
        let original = self.count("rope.scaling.original_context_length")?.unwrap_or(context);
        let mut json = json!({
            "rope_type": "longrope",
            "short_factor": short,
            "long_factor": long,
            "original_max_position_embeddings": original,
        });
        if let Some(factor) = self.number("rope.scaling.attn_factor")? {
            json["attention_factor"] = factor.into();
        }
        Ok(Some(json))
    }

    /// What divides each frequency. Where it is the stretch of Llama 3, it is called that, elsewhere a `longrope`.
    fn factors(&self, theta: f64) -> Result<Option<Value>, Problem> {
        let Some(tensor) = self.tensor("rope_freqs.weight") else { return Ok(None) };
        let factors: Vec<f64> = tensor.values().into_iter().map(decimal).collect();
        if let Some(odd) = factors.iter().find(|factor| !(factor.is_finite() && **factor > 0.0)) {
            return Err(Problem::bad("rope_freqs.weight", odd, "numbers above 0"));
        }
        let factor = factors.iter().copied().fold(1.0, f64::max);
        if factor == 1.0 && factors.iter().all(|&factor| factor == 1.0) {
            return Ok(None);
        }
        let llama3 = Llama3 { factor, low: 1.0, high: 4.0, original: 8192.0 };
        let is_close = |(one, other): (&f64, f64)| (one / other - 1.0).abs() <= ROUNDING;
        Ok(Some(match factors.iter().zip(llama3.factors(theta, factors.len())).all(is_close) {
            true => json!({
                "rope_type": "llama3",
                "factor": llama3.factor,
                "low_freq_factor": llama3.low,
                "high_freq_factor": llama3.high,
                "original_max_position_embeddings": llama3.original as u64,
            }),
            // A list for short contexts and the same for long ones, with nothing made up for.
            false => json!({
                "rope_type": "longrope",
                "short_factor": factors,
                "long_factor": factors,
                "attention_factor": 1.0,
                "original_max_position_embeddings": self.required("context_length")?,
            }),
        }))
    }

    /// The encodings that are described by keys alone.
    fn scaling(&self) -> Result<Value, Problem> {
        const TYPE: &str = "rope.scaling.type";
        // `rope.scale_linear` is what files of 2023 have.
        let factor = self.number("rope.scaling.factor")?.or(self.number("rope.scale_linear")?).filter(|&by| by != 1.0);
        match (self.metadata().str(&self.key(TYPE))?, factor) {
            (None | Some("none"), None) | (Some("linear"), None) => Ok(json!({ "rope_type": "default" })),
            (None | Some("linear"), Some(factor)) => Ok(json!({ "rope_type": "linear", "factor": factor })),
            (Some("yarn"), Some(factor)) => self.yarn(factor),
            (Some("yarn"), None) => Err(self.bad("rope.scaling.factor", "missing", "a number, as its type is yarn")),
            (Some("longrope"), _) => Err(self.bad(
                TYPE,
                "longrope",
                "the tensors rope_factors_short.weight and rope_factors_long.weight with it",
            )),
            (Some("none"), Some(_)) => Ok(json!({ "rope_type": "default" })),
            (Some(other), _) => Err(self.bad(TYPE, other, "one of none, linear, yarn, longrope")),
        }
    }

    fn yarn(&self, factor: f64) -> Result<Value, Problem> {
        let context = self.required("context_length")?;
        let original = self.count("rope.scaling.original_context_length")?.unwrap_or(context);
        let mut json = json!({ "rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original });
        for (theirs, ours) in [
            ("beta_fast", "rope.scaling.yarn_beta_fast"),
            ("beta_slow", "rope.scaling.yarn_beta_slow"),
            ("attention_factor", "rope.scaling.yarn_attn_factor"),
            ("mscale_all_dim", "rope.scaling.yarn_log_multiplier"),
        ] {
            if let Some(number) = self.number(ours)? {
                json[theirs] = number.into();
            }
        }
        if json["mscale_all_dim"].is_number() {
            json["mscale"] = 1.0.into();
        }
        Ok(json)
    }
}

impl Llama3 {
    /// What each of `count` frequencies is divided by, for the base `theta`.
    pub(in crate::format::gguf) fn factors(&self, theta: f64, count: usize) -> impl Iterator<Item = f64> {
        (0..count).map(move |index| {
            let wavelength = TAU * theta.powf(index as f64 / count as f64);
            let share = (self.original / wavelength - self.low) / (self.high - self.low);
            let share = share.clamp(0.0, 1.0);
            1.0 / ((1.0 - share) / self.factor + share)
        })
    }
}

/// The shortest decimal fraction that rounds to `x`.
fn decimal(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}
