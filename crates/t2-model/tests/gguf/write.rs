//! Writing, and reading what was written.

use std::path::Path;

use t2_model::format::gguf::{Gguf, GgufWriteError, MetaValue, NewTensor, write};
use t2_model::format::quant::GgmlType;

/// A tensor with the numbers 0, 1, 2, … times `step`.
fn tensor(name: &str, shape: &[usize], ty: GgmlType, step: f32) -> NewTensor<'static> {
    let len: usize = shape.iter().product();
    let values = Box::new(move || Ok((0..len).map(|at| at as f32 * step).collect()));
    NewTensor { name: name.to_owned(), shape: shape.to_vec(), ty, values }
}

fn metadata() -> Vec<(String, MetaValue)> {
    let pairs: [(&str, MetaValue); 7] = [
        ("general.architecture", "llama".into()),
        ("llama.block_count", 2_u32.into()),
        ("llama.attention.layer_norm_rms_epsilon", 1e-5_f32.into()),
        ("tokenizer.ggml.tokens", vec!["a".to_owned(), "é".to_owned(), String::new()].into()),
        ("tokenizer.ggml.token_type", vec![1_i32, 3, -1].into()),
        ("tokenizer.ggml.add_bos_token", true.into()),
        ("big", u64::MAX.into()),
    ];
    pairs.map(|(key, value)| (key.to_owned(), value)).into()
}

/// Write `tensors` and open the file.
fn written(dir: &Path, metadata: &[(String, MetaValue)], tensors: Vec<NewTensor<'_>>) -> Gguf {
    let path = dir.join("model.gguf");
    write(&path, metadata, tensors).unwrap();
    Gguf::open(&path).unwrap()
}

#[test]
fn what_was_written_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let tensors = || {
        vec![
            tensor("singles", &[3, 5], GgmlType::F32, 1.0),
            tensor("halves", &[7], GgmlType::F16, 0.5),
            tensor("brain", &[2, 3], GgmlType::Bf16, 2.0),
            tensor("bytes", &[2, 2, 32], GgmlType::Q8_0, 1.0),
            tensor("scalar", &[], GgmlType::F32, 1.0),
        ]
    };
    let gguf = written(dir.path(), &metadata(), tensors());
    for (tensor, read) in tensors().into_iter().zip(gguf.tensors()) {
        assert_eq!((tensor.name.as_str(), tensor.shape.as_slice(), tensor.ty), (read.name, read.shape, read.ty));
        let expected = tensor.ty.quantize(&(tensor.values)().unwrap()).unwrap();
        assert_eq!(expected, read.bytes, "{}", read.name);
        assert_eq!(read.bytes.as_ptr() as usize % 32, 0, "{} is aligned", read.name);
    }
    assert_eq!(gguf.tensors().count(), 5);
    assert_eq!(gguf.tensor("singles").unwrap().values()[14], 14.0);
    for (key, value) in metadata() {
        assert_eq!(gguf.metadata().get(&key), Some(&value), "{key}");
    }
    assert_eq!(gguf.metadata().iter().count(), metadata().len());
}

#[test]
fn equal_models_give_equal_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = |name: &str| {
        let path = dir.path().join(name);
        write(&path, &metadata(), vec![tensor("t", &[2, 32], GgmlType::Q8_0, 0.1)]).unwrap();
        std::fs::read(path).unwrap()
    };
    assert_eq!(bytes("one"), bytes("other"));
}

#[test]
fn tensors_are_aligned_as_the_metadata_says() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = [("general.alignment".to_owned(), 128_u32.into())];
    let tensors = ["a", "b"].map(|name| tensor(name, &[3], GgmlType::F32, 1.0));
    let gguf = written(dir.path(), &metadata, tensors.into());
    let starts: Vec<_> = gguf.tensors().map(|tensor| tensor.bytes.as_ptr() as usize % 128).collect();
    assert_eq!(starts, [0, 0]);
}

#[test]
fn numbers_are_asked_for_one_tensor_at_a_time() {
    let asked = std::cell::RefCell::new(vec![]);
    let dir = tempfile::tempdir().unwrap();
    let tensor = |name: &str| {
        let owned = name.to_owned();
        let values = Box::new(|| {
            asked.borrow_mut().push(owned);
            Ok(vec![0.0; 2])
        });
        NewTensor { name: name.to_owned(), shape: vec![2], ty: GgmlType::F32, values }
    };
    let tensors = vec![tensor("a"), tensor("b")];
    assert!(asked.borrow().is_empty(), "none before the file is written");
    written(dir.path(), &[], tensors);
    assert_eq!(*asked.borrow(), ["a", "b"]);
}

/// Expect that a tensor is refused with `said`, and that no file is left.
#[track_caller]
fn check_refused(tensor: NewTensor<'_>, said: &str) {
    let dir = tempfile::tempdir().unwrap();
    let error: GgufWriteError = write(&dir.path().join("m.gguf"), &[], vec![tensor]).unwrap_err();
    assert_eq!(error.to_string(), said);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn what_a_type_cannot_hold_is_refused() {
    check_refused(
        tensor("t", &[2, 48], GgmlType::Q8_0, 1.0),
        "tensor `t` has rows of 48 numbers, which cannot be written as Q8_0; write it as F32, F16 or BF16",
    );
    check_refused(
        tensor("t", &[256], GgmlType::Q4K, 1.0),
        "tensor `t` has rows of 256 numbers, which cannot be written as Q4_K; write it as F32, F16, BF16 or Q8_0",
    );
    let cannot = |value: &str, ty: &str| {
        format!("tensor `t` holds {value}, which {ty} cannot; write it as F32, or the weights are damaged")
    };
    check_refused(tensor("t", &[2], GgmlType::F16, 65520.0), &cannot("65520", "F16"));
    check_refused(
        tensor("t", &[2], GgmlType::Bf16, 3.4e38),
        &cannot("3.4e38", "BF16").replace("3.4e38", &3.4e38_f32.to_string()),
    );
    check_refused(tensor("t", &[32], GgmlType::Q8_0, 9e6), &cannot("9000000", "Q8_0"));
    check_refused(tensor("t", &[2], GgmlType::F32, f32::NAN), &cannot("NaN", "F32"));
}

#[test]
fn the_largest_numbers_of_a_type_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let largest = [(GgmlType::F16, 65504.0), (GgmlType::Q8_0, 65504.0 * 127.0), (GgmlType::F32, f32::MAX)];
    for (ty, largest) in largest {
        let values = Box::new(move || Ok(vec![largest; 32]));
        let tensor = NewTensor { name: "t".to_owned(), shape: vec![32], ty, values };
        assert_eq!(written(dir.path(), &[], vec![tensor]).tensor("t").unwrap().values(), [largest; 32], "{ty}");
    }
}
