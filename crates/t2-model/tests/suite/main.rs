//! Experts on tiny random decoders: decomposing, adapting, mixing, generating.

#[cfg(test)]
mod cpu;
#[cfg(test)]
mod decomposition;
#[cfg(test)]
mod engine;
#[cfg(test)]
mod expert;
#[cfg(test)]
mod export;
#[cfg(test)]
mod generation;
#[cfg(test)]
mod half;
#[cfg(test)]
mod import;
#[cfg(test)]
mod loading;
#[cfg(test)]
mod mixtures;
#[cfg(test)]
mod svf;
#[cfg(test)]
mod tiny;
#[cfg(test)]
mod world;
