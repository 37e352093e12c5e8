//! Strategies on scripted oracles, and both passes on a tiny random model.

#[cfg(test)]
mod classification;
#[cfg(test)]
mod few_shot;
#[cfg(test)]
mod model;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod scripted;
#[cfg(test)]
mod tiny;
