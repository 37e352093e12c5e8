//! GGUF: the numbers of its blocks, its container, and writing it.

#[cfg(test)]
mod quant;
