//! Data sets as files: formats, descriptions, splits, prompts, and the descriptions that ship.

#[cfg(test)]
mod folder;
#[cfg(test)]
mod formats;
#[cfg(test)]
mod prompts;
#[cfg(test)]
mod shipped;
#[cfg(test)]
mod specs;
#[cfg(test)]
mod splits;
#[cfg(test)]
mod topics;
