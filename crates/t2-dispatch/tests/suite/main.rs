//! Strategies and both passes on scripted oracles, then on a tiny random model.

#[cfg(test)]
mod breaking_off;
#[cfg(test)]
mod classification;
#[cfg(test)]
mod few_shot;
#[cfg(test)]
mod misuse;
#[cfg(test)]
mod model;
#[cfg(test)]
mod passes;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod scripted;
#[cfg(test)]
mod tiny;
