//! How the tensors of a checkpoint are spread over files.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::format::safetensors::SINGLE;

/// Positions of tensors whose sizes in bytes are `sizes`, in files of at most `limit` bytes each. A larger tensor has a
/// file of its own.
pub(super) fn split(sizes: &[u64], limit: u64) -> Vec<Vec<usize>> {
    let mut shards: Vec<Vec<usize>> = vec![];
    let mut room = 0;
    for (index, &size) in sizes.iter().enumerate() {
        match shards.last_mut() {
            Some(shard) if size <= room => shard.push(index),
            _ => {
                shards.push(vec![index]);
                room = limit;
            }
        }
        room = room.saturating_sub(size);
    }
    shards
}

/// The file names of `count` shards.
pub(super) fn names(count: usize) -> Vec<String> {
    match count {
        0 | 1 => vec![SINGLE.to_owned()],
        _ => (1..=count).map(|shard| format!("model-{shard:05}-of-{count:05}.safetensors")).collect(),
    }
}

/// The index of a checkpoint of several files: which tensor is in which, and the bytes of all.
pub(super) fn index(files: &BTreeMap<String, String>, bytes: u64) -> Value {
    json!({ "metadata": { "total_size": bytes }, "weight_map": files })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sizes: &[u64], limit: u64, expected: &[&[usize]]) {
        assert_eq!(split(sizes, limit), expected, "{sizes:?} in files of {limit}");
    }

    #[test]
    fn files_are_filled_in_order() {
        check(&[], 10, &[]);
        check(&[4, 4, 4], 12, &[&[0, 1, 2]]);
        check(&[4, 4, 4], 11, &[&[0, 1], &[2]]);
        check(&[1, 30, 1, 9, 1], 10, &[&[0], &[1], &[2, 3], &[4]]);
        check(&[5, 5], 0, &[&[0], &[1]]);
    }

    #[test]
    fn one_file_has_the_plain_name() {
        assert_eq!(names(1), ["model.safetensors"]);
        assert_eq!(names(2), ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]);
    }
}
