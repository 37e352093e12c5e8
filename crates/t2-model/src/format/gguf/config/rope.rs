//! Rotary encodings: keys and tensors as the `rope_parameters` of a `config.json`.

use std::f64::consts::TAU;

use serde_json::{Value, json};

use super::Keys;
use crate::format::gguf::Problem;

const TYPE: &str = "rope.scaling.type";
/// Divisors of the frequencies: for every context, for short ones, for long ones.
const FREQS: &str = "rope_freqs.weight";
const SHORT: &str = "rope_factors_short.weight";
const LONG: &str = "rope_factors_long.weight";
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
        let mut json = self.by_tensors(theta)?.map_or_else(|| self.scaling(), Ok)?;
        json["rope_theta"] = theta.into();
        let (head_dim, turned) = (self.head_dim()?, self.count("rope.dimension_count")?);
        if let Some(turned) = turned.filter(|&turned| turned != head_dim) {
            json["partial_rotary_factor"] = share(turned, head_dim).into();
        }
        Ok(json)
    }

    /// The encodings that are described by tensors. llama.cpp lets keys work on top of them, which no `config.json` says.
    fn by_tensors(&self, theta: f64) -> Result<Option<Value>, Problem> {
        let (name, json) = match (self.lists()?, self.factors(theta)?) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => {
                let expected = format!("one of them, as there are {SHORT} and {LONG} too");
                return Err(Problem::bad(FREQS, "stored", expected));
            }
            (Some(json), None) => (SHORT, json),
            (None, Some(json)) => (FREQS, json),
        };
        let ty = self.metadata().str(&self.key(TYPE))?;
        let expected = format!("none, as there is the tensor {name}, which has the factors");
        match (ty, self.stretch()?) {
            (Some(ty @ ("linear" | "yarn")), Some(_)) => Err(self.bad(TYPE, ty, &expected)),
            (None, Some(factor)) => Err(self.bad("rope.scaling.factor", factor, &expected)),
            _ => Ok(Some(json)),
        }
    }

    /// The lists of Phi-3, one for contexts as long as those of pretraining, one for longer ones.
    fn lists(&self) -> Result<Option<Value>, Problem> {
        let (short, long) = match (self.divisors(SHORT)?, self.divisors(LONG)?) {
            (Some(short), Some(long)) => (short, long),
            (None, None) => return Ok(None),
            (None, Some(_)) => return Err(Problem::bad(SHORT, "missing", format!("it, as there is {LONG}"))),
            (Some(_), None) => return Err(Problem::bad(LONG, "missing", format!("it, as there is {SHORT}"))),
        };
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
        let Some(factors) = self.divisors(FREQS)? else { return Ok(None) };
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

    /// The numbers of the tensor called `name`, which frequencies are divided by.
    fn divisors(&self, name: &str) -> Result<Option<Vec<f64>>, Problem> {
        let Some(tensor) = self.tensor(name) else { return Ok(None) };
        let numbers: Vec<f64> = tensor.values().into_iter().map(decimal).collect();
        match numbers.iter().find(|number| !(number.is_finite() && **number > 0.0)) {
            Some(odd) => Err(Problem::bad(name, odd, "numbers above 0")),
            None => Ok(Some(numbers)),
        }
    }

    /// How much longer contexts are than those of pretraining, for encodings that have one number for it.
    fn stretch(&self) -> Result<Option<f64>, Problem> {
        // `rope.scale_linear` is what files of 2023 have.
        let factor = self.number("rope.scaling.factor")?.or(self.number("rope.scale_linear")?);
        Ok(factor.filter(|&by| by != 1.0))
    }

    /// The encodings that are described by keys alone.
    fn scaling(&self) -> Result<Value, Problem> {
        match (self.metadata().str(&self.key(TYPE))?, self.stretch()?) {
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

/// The share of a head's `head_dim` coordinates that `turned` of them are, such that `head_dim` times the share, cut off to a
/// whole number, is `turned` again: so is a `partial_rotary_factor` read.
fn share(turned: u64, head_dim: u64) -> f64 {
    let share = turned as f64 / head_dim as f64;
    if ((head_dim as f64 * share) as u64) < turned { share.next_up() } else { share }
}

/// The shortest decimal fraction that rounds to `x`.
fn decimal(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_coordinates_turn_as_the_file_says() {
        /// Wider than the head of any model.
        const WIDEST: u64 = 512;
        for head_dim in 1..=WIDEST {
            for turned in 1..=head_dim {
                let read = (head_dim as f64 * share(turned, head_dim)) as u64;
                assert_eq!(read, turned, "of {head_dim}");
            }
        }
        assert_eq!(share(12, 16), 0.75);
    }
}
