//! Files that hold named tensors, and how a stored tensor becomes a parameter.

pub mod gguf;
pub(crate) mod layout;
pub(crate) mod mapped;
pub mod quant;
pub(crate) mod safetensors;
pub(crate) mod stored;
