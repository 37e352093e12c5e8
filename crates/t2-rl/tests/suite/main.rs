//! Training on a tiny random decoder with a task that can be learned in seconds.

#[cfg(test)]
mod resume;
#[cfg(test)]
mod tiny;
#[cfg(test)]
mod train;
