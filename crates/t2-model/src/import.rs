//! Experts of the original project, which trained the first ones (github.com/SakanaAI/self-adaptive-llms).
//!
//! It keeps a number `p` for each singular value and computes `W' = U diag(m ∘ s) Vᵀ · Σs / Σ(m ∘ s)` with the mask
//! `m = sigmoid(p) · max_mult`. The factor in front is a number for each weight, so `z = m · Σs / Σ(m ∘ s)` is the same
//! expert in our words, exactly. Its files are archives of `PyTorch`: `policy_params.pt` numbers the parameters in the
//! order of the model's MLP matrices, `learnable_params.pt` names them. `pickle.rs` reads what they hold and runs nothing.

mod archive;
mod error;
mod pickle;
mod policy;

pub use error::ImportError;
pub use policy::{ImportOptions, Policy};
