//! Reading the container: what is there, and everything that may be wrong with it.

use t2_model::checkpoint::LoadError;
use t2_model::format::gguf::{Gguf, Header, MetaArray, MetaValue, Problem, parse};
use t2_model::format::quant::GgmlType;

use crate::raw::{Raw, list, sized, string};

fn sound() -> Header {
    parse(&Raw::sound().bytes()).unwrap()
}

#[test]
fn a_header_says_what_the_tensors_are_and_where() {
    let header = sound();
    let [first, second] = &header.tensors[..] else { panic!("{:?}", header.tensors) };
    assert_eq!((first.name.as_str(), first.ty, first.shape.as_slice()), ("first", GgmlType::Q8_0, &[3, 64][..]));
    assert_eq!((second.name.as_str(), second.ty, second.shape.as_slice()), ("second", GgmlType::F32, &[5][..]));
    assert_eq!((first.bytes.len(), second.bytes.len(), second.bytes.start - first.bytes.start), (204, 20, 224));
    assert_eq!(first.bytes.start % 32, 0);
    assert_eq!(second.bytes.end, Raw::sound().bytes().len());
    assert_eq!(header.version, 3);
    assert_eq!(parse(&Raw { version: 2, ..Raw::sound() }.bytes()).unwrap().tensors, header.tensors);
}

#[test]
fn a_scalar_and_four_dimensions_are_shapes() {
    let mut raw = Raw::sound();
    raw.tensors[0].dims = vec![32, 1, 3, 2];
    raw.tensors[1].dims = vec![];
    let tensors = parse(&raw.bytes()).unwrap().tensors;
    assert_eq!((tensors[0].shape.as_slice(), tensors[1].shape.as_slice()), (&[2, 3, 1, 32][..], &[][..]));
    assert_eq!(tensors[1].bytes.len(), 4);
}

#[test]
fn tensors_are_aligned_as_the_file_says() {
    let mut raw = Raw::sound().with("general.alignment", 4, &256_u32.to_le_bytes());
    (raw.alignment, raw.tensors[1].offset, raw.data) = (256, 256, 256 + 20);
    let tensors = parse(&raw.bytes()).unwrap().tensors;
    assert_eq!((tensors[0].bytes.start % 256, tensors[1].bytes.end), (0, raw.bytes().len()));
}

#[test]
fn every_kind_of_value_is_read() {
    let raw = Raw::sound()
        .with("u8", 0, &[200])
        .with("i8", 1, &[200])
        .with("u16", 2, &[1, 2])
        .with("i16", 3, &[254, 255])
        .with("i32", 5, &(-9_i32).to_le_bytes())
        .with("f32", 6, &1e-6_f32.to_le_bytes())
        .with("bool", 7, &[1])
        .with("u64", 10, &u64::MAX.to_le_bytes())
        .with("i64", 11, &(-1_i64).to_le_bytes())
        .with("f64", 12, &0.1_f64.to_le_bytes())
        .with("strings", 9, &list(8, 2, &[string("a"), string("")].concat()))
        .with("floats", 9, &list(6, 1, &0.5_f32.to_le_bytes()))
        .with("bools", 9, &list(7, 3, &[0, 1, 0]))
        .with("none", 9, &list(11, 0, &[]));
    let all = parse(&raw.bytes()).unwrap().metadata;
    assert_eq!(all.str("general.architecture"), Ok(Some("llama")));
    assert_eq!(all.get("i8"), Some(&MetaValue::I8(-56)));
    assert_eq!(
        ["u8", "u16", "llama.block_count", "u64"].map(|key| all.u64(key)),
        [Ok(Some(200)), Ok(Some(513)), Ok(Some(7)), Ok(Some(u64::MAX))]
    );
    assert_eq!(["i16", "i32", "i64"].map(|key| all.get(key).unwrap().integer()), [Some(-2), Some(-9), Some(-1)]);
    assert_eq!(["f32", "f64", "u8"].map(|key| all.f64(key)), [Ok(Some(1e-6)), Ok(Some(0.1)), Ok(Some(200.0))]);
    assert_eq!(all.bool("bool"), Ok(Some(true)));
    assert_eq!(all.strings("strings").unwrap().unwrap(), ["a", ""]);
    assert_eq!(all.floats("floats"), Ok(Some(vec![0.5])));
    assert_eq!(all.bools("bools"), Ok(Some(vec![false, true, false])));
    assert_eq!(all.get("none"), Some(&MetaValue::Array(MetaArray::I64(vec![]))));
    assert_eq!(all.integers("none"), Ok(Some(vec![])));
    assert_eq!((all.u64("absent"), all.strings("absent")), (Ok(None), Ok(None)));
}

#[test]
fn a_value_of_another_type_is_named() {
    let metadata = Raw::sound().with("x", 8, &string("seven")).with("minus", 1, &[255]).with("nan", 6, &[255; 4]);
    let metadata = parse(&metadata.with("list", 9, &list(8, 1, &string("a"))).bytes()).unwrap().metadata;
    #[track_caller]
    fn check<T: std::fmt::Debug>(got: Result<T, Problem>, said: &str) {
        assert_eq!(got.unwrap_err().to_string(), said);
    }
    check(metadata.u64("x"), "`x` is \"seven\", expected a whole number from 0 on");
    check(metadata.u64("minus"), "`minus` is -1, expected a whole number from 0 on");
    check(metadata.f64("nan"), "`nan` is NaN, expected a finite number");
    check(metadata.str("llama.block_count"), "`llama.block_count` is 7, expected a string");
    check(metadata.integers("list"), "`list` is a list of 1, expected a list of whole numbers");
    check(metadata.bool("list"), "`list` is a list of 1, expected true or false");
}

/// Expect that `raw` is refused with all of `parts`.
#[track_caller]
fn check_refused(raw: &Raw, parts: &[&str]) {
    let error = parse(&raw.bytes()).unwrap_err().to_string();
    assert!(parts.iter().all(|part| error.contains(part)), "{error} lacks one of {parts:?}");
}

/// A sound file but for `change`.
fn but(change: impl FnOnce(&mut Raw)) -> Raw {
    let mut raw = Raw::sound();
    change(&mut raw);
    raw
}

#[test]
fn another_format_or_version_is_named() {
    check_refused(&but(|raw| raw.magic = *b"ggjt"), &["begins with ggjt", "expected GGUF"]);
    check_refused(&but(|raw| raw.version = 1), &["version 1", "2 or 3"]);
    check_refused(&but(|raw| raw.version = 4), &["version 4", "2 or 3"]);
    check_refused(&but(|raw| raw.version = 3_u32.swap_bytes()), &["big-endian"]);
    assert_eq!(parse(b"GG").unwrap_err().to_string(), "it is no GGUF file: it begins with GG, expected GGUF");
    assert_eq!(parse(b"").unwrap_err().to_string(), "it is empty; download or copy it again");
}

#[test]
fn absurd_counts_are_refused_before_room_is_made_for_them() {
    check_refused(&but(|raw| raw.counts = Some([2, u64::MAX])), &["beyond its end"]);
    check_refused(&but(|raw| raw.counts = Some([u64::MAX, 2])), &["beyond its end"]);
    for kind in [0, 4, 8, 12] {
        let raw = Raw::sound().with("list", 9, &list(kind, 1 << 60, &[]));
        check_refused(&raw, &["1152921504606846976 items", "beyond its end"]);
    }
    let endless = Raw::sound().with("text", 8, &u64::MAX.to_le_bytes());
    check_refused(&endless, &["string of 18446744073709551615 bytes", "beyond its end"]);
}

#[test]
fn a_broken_key_is_named() {
    check_refused(&Raw::sound().with("llama.block_count", 4, &[0; 4]), &["`llama.block_count` occurs twice"]);
    check_refused(&Raw::sound().with("x", 13, &[]), &["no kind of values 13"]);
    check_refused(&Raw::sound().with("x", 9, &list(99, 1, &[])), &["no kind of values 99"]);
    check_refused(&Raw::sound().with("x", 9, &list(9, 1, &[0; 16])), &["list of lists"]);
    check_refused(&Raw::sound().with("x", 7, &[2]), &["truth value", "is 2"]);
    check_refused(&Raw::sound().with("x", 8, &sized(&[0xff])), &["not UTF-8"]);
    check_refused(&but(|raw| raw.keys[0].0 = vec![0xc3]), &["not UTF-8"]);
    check_refused(&Raw::sound().with("general.alignment", 4, &24_u32.to_le_bytes()), &["general.alignment", "24"]);
    check_refused(&Raw::sound().with("general.alignment", 4, &[0; 4]), &["general.alignment", "power of two"]);
    check_refused(&Raw::sound().with("general.alignment", 10, &(1_u64 << 63).to_le_bytes()), &["1048576"]);
}

#[test]
fn a_broken_tensor_is_named() {
    let first = |change: fn(&mut crate::raw::RawTensor)| but(|raw| change(&mut raw.tensors[0]));
    check_refused(&first(|tensor| tensor.name = b"second".to_vec()), &["`second` occurs twice"]);
    check_refused(&first(|tensor| tensor.name = vec![0xff]), &["not UTF-8"]);
    check_refused(&first(|tensor| tensor.name = vec![b'x'; 65]), &["name of 65 bytes", "at most 64"]);
    check_refused(&first(|tensor| tensor.dims = vec![32; 5]), &["`first` has 5 dimensions", "at most 4"]);
    check_refused(&first(|tensor| tensor.dims = vec![64, 0]), &["`first` is [64, 0]", "without numbers"]);
    check_refused(&first(|tensor| tensor.dims = vec![1 << 32; 3]), &["`first`", "larger than memory"]);
    check_refused(&first(|tensor| tensor.dims = vec![1 << 62, 1 << 2]), &["`first`", "larger than memory"]);
    check_refused(&first(|tensor| tensor.dims = vec![48]), &["`first`", "rows of 48 numbers", "blocks of 32 as Q8_0"]);
    check_refused(&first(|tensor| tensor.ty = 19), &["`first`", "IQ1_S", "Q6_K"]);
    check_refused(&first(|tensor| tensor.offset = 16), &["`first`", "offset 16", "alignment, 32"]);
    check_refused(&first(|tensor| tensor.offset = 1 << 40), &["`first`", "beyond its end"]);
    check_refused(&first(|tensor| tensor.offset = 0_u64.wrapping_sub(32)), &["`first`", "beyond its end"]);
    check_refused(&but(|raw| raw.tensors[1].offset = 192), &["`first` and `second` share bytes"]);
    let within = but(|raw| (raw.tensors[0].offset, raw.tensors[1].offset, raw.data) = (0, 32, 1000));
    check_refused(&within, &["`first` and `second` share bytes"]);
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    let whole = Raw::sound().with("list", 9, &list(8, 2, &[string("a"), string("bc")].concat())).bytes();
    assert!(parse(&whole).is_ok());
    for len in 0..whole.len() {
        let error = parse(&whole[..len]).unwrap_err();
        assert!(matches!(error, Problem::Broken(_) | Problem::NotGguf { .. } | Problem::Empty), "{len} bytes: {error}");
    }
}

#[test]
fn no_byte_of_the_header_brings_the_reader_down() {
    let sound = Raw::sound().with("list", 9, &list(8, 2, &[string("a"), string("bc")].concat())).bytes();
    let mut refused = 0;
    for at in 0..sound.len() - Raw::sound().data {
        for value in [0, 1, 0x7f, 0x80, 0xff, sound[at] ^ 1, sound[at] ^ 0x40] {
            let mut bytes = sound.clone();
            bytes[at] = value;
            // Whatever is accepted lies within the file.
            match parse(&bytes) {
                Ok(header) => assert!(header.tensors.iter().all(|tensor| bytes.get(tensor.bytes.clone()).is_some())),
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 500, "{refused} of the changes are refused");
}

#[test]
fn the_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let error = |content: &[u8]| {
        std::fs::write(&path, content).unwrap();
        Gguf::open(&path).unwrap_err()
    };
    for content in [&b""[..], b"GGUF", b"something else", &Raw::sound().bytes()[..200]] {
        let said = error(content).to_string();
        assert!(said.contains("model.gguf: it is "), "{said}");
    }
    let pointer = error(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n");
    assert!(matches!(pointer, LoadError::Pointer { .. }));
    let absent = Gguf::open(&dir.path().join("absent.gguf")).unwrap_err();
    assert!(absent.to_string().contains("absent.gguf"));
}
