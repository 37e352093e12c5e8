//! Blocks against what the gguf package makes of them (`golden/make_gguf.py`), and what holds without it.

use std::path::Path;

use safetensors::SafeTensors;
use t2_model::format::quant::GgmlType;

/// Whether a `read` case is the same number: the same bits, or both NaN, whose bits say nothing.
fn is_same(ours: f32, theirs: f32) -> bool {
    ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan())
}

/// The bytes of a tensor in the golden file.
fn golden(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gguf_blocks.safetensors");
    let file = std::fs::read(path).unwrap();
    SafeTensors::deserialize(&file).unwrap().tensor(name).unwrap().data().to_vec()
}

fn floats(name: &str) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(&golden(name))
}

fn dequantize(ty: GgmlType, bytes: &[u8]) -> Vec<f32> {
    let mut out = vec![f32::NAN; bytes.len() / ty.block_bytes() * ty.block_len()];
    ty.dequantize(bytes, &mut out);
    out
}

#[test]
fn every_type_is_read_bit_for_bit_as_the_gguf_package_does() {
    for ty in GgmlType::ALL {
        let theirs = floats(&format!("read.{ty}.values"));
        let ours = dequantize(ty, &golden(&format!("read.{ty}.bytes")));
        assert_eq!(ours.len(), theirs.len(), "{ty}");
        let differs = ours.iter().zip(&theirs).position(|(ours, theirs)| !is_same(*ours, *theirs));
        assert_eq!(differs.map(|at| (at, ours[at], theirs[at])), None, "{ty}");
    }
}

#[test]
fn what_is_written_is_bit_for_bit_what_the_gguf_package_writes() {
    for ty in [GgmlType::F32, GgmlType::F16, GgmlType::Bf16, GgmlType::Q8_0] {
        let ours = ty.quantize(&floats(&format!("write.{ty}.values"))).unwrap();
        assert_eq!(ours, golden(&format!("write.{ty}.bytes")), "{ty}");
    }
}

#[test]
fn the_other_types_are_only_read() {
    let written = |ty: &GgmlType| ty.quantize(&vec![1.0; ty.block_len()]).is_some();
    let names: Vec<_> = GgmlType::ALL.into_iter().filter(written).map(GgmlType::name).collect();
    assert_eq!(names, ["F32", "F16", "BF16", "Q8_0"]);
}

/// Bytes that look random, the same every time.
fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

#[test]
fn a_block_stands_for_the_same_numbers_wherever_it_is() {
    for ty in GgmlType::ALL {
        // More numbers than a thread is given at a time, and no multiple of them.
        let blocks = 150_000 / ty.block_len();
        let bytes = noise(blocks * ty.block_bytes(), ty.id());
        let together = dequantize(ty, &bytes);
        let alone = bytes.chunks(ty.block_bytes()).flat_map(|block| dequantize(ty, block));
        assert_eq!(together.len(), blocks * ty.block_len());
        assert!(together.iter().zip(alone).all(|(together, alone)| is_same(*together, alone)), "{ty}");
    }
}

#[test]
fn numbers_that_were_read_are_written_as_they_were() {
    let halves = noise(4096, 1).into_iter().map(|byte| byte & 0x7B).collect::<Vec<_>>();
    for ty in [GgmlType::F32, GgmlType::F16, GgmlType::Bf16] {
        assert_eq!(ty.quantize(&dequantize(ty, &halves)).unwrap(), halves, "{ty}");
    }
    // In a block that has a 127 the scale is found again.
    let mut blocks = noise(34 * 100, 2);
    for block in blocks.chunks_mut(34) {
        (block[1], block[2]) = (0x21, 127);
        block.iter_mut().skip(3).filter(|byte| **byte == 128).for_each(|byte| *byte = 0);
    }
    assert_eq!(GgmlType::Q8_0.quantize(&dequantize(GgmlType::Q8_0, &blocks)).unwrap(), blocks);
}

#[test]
fn numbers_in_8_bits_are_off_by_half_a_step_at_most() {
    let values: Vec<f32> = noise(32 * 50, 3).into_iter().map(|byte| (f32::from(byte) - 127.5) * 1e-3).collect();
    let read = dequantize(GgmlType::Q8_0, &GgmlType::Q8_0.quantize(&values).unwrap());
    for (values, read) in values.chunks(32).zip(read.chunks(32)) {
        let largest = values.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        // A step is a 127th of the largest; rounding the step to 16 bits moves the largest by another 2^-11.
        let bound = largest * (0.5 / 127.0 + 2.0_f32.powi(-11));
        assert!(values.iter().zip(read).all(|(value, read)| (value - read).abs() <= bound));
    }
}

#[test]
fn a_type_goes_by_its_number_and_name() {
    for ty in GgmlType::ALL {
        assert_eq!(GgmlType::from_id(ty.id()), Ok(ty));
        assert_eq!(ty.bytes_of(3 * ty.block_len()), Some(3 * ty.block_bytes()));
        assert_eq!(ty.bytes_of(ty.block_len() + 1), (ty.block_len() == 1).then_some(2 * ty.block_bytes()));
    }
    assert_eq!(GgmlType::Q8_0.bytes_of(usize::MAX - 31), None, "more bytes than numbers, and too many");
}

#[test]
fn a_type_that_is_not_read_is_named_with_those_that_are() {
    let said = |id| GgmlType::from_id(id).unwrap_err().to_string();
    assert_eq!(
        said(23),
        "the type IQ4_XS is not read; known are F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, \
         Q6_K; use a file of one of these"
    );
    assert!(said(39).contains("MXFP4") && said(35).contains("TQ2_0"));
    assert!(said(77).starts_with("there is no type 77; known are F32"));
}
