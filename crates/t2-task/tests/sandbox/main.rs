//! The sandbox, with programs that are right, wrong, hostile, and with walls that are missing.

#![cfg(unix)]

#[cfg(all(test, target_os = "linux"))]
mod broken;
#[cfg(test)]
mod court;
#[cfg(all(test, target_os = "linux"))]
mod hostile;
#[cfg(test)]
mod ordinary;
#[cfg(all(test, target_os = "linux"))]
mod traces;
#[cfg(all(test, target_os = "linux"))]
mod user;
