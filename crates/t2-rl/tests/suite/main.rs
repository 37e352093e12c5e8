//! Training and evaluating a tiny random decoder on a task that can be learned in seconds.

#[cfg(test)]
mod evaluate;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod heard;
#[cfg(test)]
mod monitor;
#[cfg(test)]
mod refused;
#[cfg(test)]
mod resume;
#[cfg(test)]
mod tiny;
#[cfg(test)]
mod train;
