//! The sandbox, with programs that are right, wrong, hostile, and with walls that are missing.

#![cfg(unix)]

#[cfg(test)]
mod broken;
#[cfg(test)]
mod court;
#[cfg(test)]
mod ends;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod ordinary;
#[cfg(test)]
mod traces;
#[cfg(test)]
mod user;
