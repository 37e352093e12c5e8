//! Models of the Hub in single files.

use t2_model::architecture::{Architecture, Llama};
use t2_model::decoder::DecoderConfig;
use t2_model::format::gguf::{Description, MetaValue, NewTensor, describe, write};
use t2_model::format::quant::GgmlType;

use super::server::{Files, Hub};
use super::{INFO, REPO, document, offline};
use crate::support::{World, config};

/// A Llama as GGUF, in one file or in `parts`, by the names of the files. Every weight depends on `seed`.
fn models(world: &World, name: &str, parts: usize, seed: usize) -> Files {
    let config = DecoderConfig { tied_head: true, ..config() };
    let Description { family, metadata, .. } = describe(&Llama.to_json(&config)).unwrap();
    let tensors: Vec<_> = config.parameters().map(|(path, shape)| (family.name(&path).unwrap(), shape)).collect();
    let part = |number: usize| {
        let mine = tensors.iter().enumerate().filter(|(at, _)| at % parts == number);
        let tensors = mine.map(|(at, (name, shape))| tensor(name, shape, at + seed));
        let numbers = [("split.no", number), ("split.count", if parts > 1 { parts } else { 0 })];
        let numbers = numbers.map(|(key, value)| (key.to_owned(), MetaValue::from(value as u32)));
        let name = match parts {
            1 => format!("{name}.gguf"),
            _ => format!("{name}-{:05}-of-{parts:05}.gguf", number + 1),
        };
        let path = world.path(&name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        write(&path, &[&metadata[..], &numbers].concat(), tensors.collect()).unwrap();
        (name, std::fs::read(path).unwrap())
    };
    (0..parts).map(part).collect()
}

/// A tensor of small numbers without a pattern, as matrices are stored: turned, but for the embedding.
fn tensor(name: &str, shape: &[usize], seed: usize) -> NewTensor<'static> {
    let turned = if name.starts_with("blk") { shape.iter().rev().copied().collect() } else { shape.to_vec() };
    let len: usize = shape.iter().product();
    let values = move || Ok((0..len).map(|at| ((at + 1000 * seed) as f32 * 12.9898).sin()).collect());
    NewTensor { name: name.to_owned(), shape: turned, ty: GgmlType::F32, values: Box::new(values) }
}

/// Logits of the model called `name`, on the command line.
fn logits(name: &str) -> [&str; 5] {
    ["logits", name, "--ids=2,13,3", "--json", "-q"]
}

#[test]
fn a_file_is_downloaded_once_and_alone() {
    let world = World::new();
    let mut files = models(&world, "small", 1, 1);
    files.extend(models(&world, "q8/other", 1, 2));
    files.insert("README.md".into(), b"# Models".to_vec());
    let hub = Hub::serve(files);
    let mut seen = vec![];
    for file in ["small.gguf", "q8/other.gguf"] {
        let (name, local) = (format!("{REPO}:{file}"), document(&world.run(&logits(file))));
        assert_eq!(document(&hub.run(&world, &logits(&name), |_| {})), local);
        assert_eq!(hub.take_files(), [file.to_owned()].into());
        assert_eq!(document(&hub.run(&world, &logits(&name), |_| {})), local);
        assert_eq!(hub.take_requests().len(), 1, "only the commit is asked for again");
        assert_eq!(document(&hub.run(&world, &logits(&name), offline)), local);
        assert!(hub.take_requests().is_empty());
        seen.push(local);
    }
    assert_ne!(seen[0], seen[1]);
}

#[test]
fn a_model_in_parts_is_downloaded_with_all_of_them() {
    let world = World::new();
    let files = models(&world, "m", 3, 1);
    let (first, hub) = ("m-00001-of-00003.gguf", Hub::serve(files.clone()));
    let (name, local) = (format!("{REPO}:{first}"), document(&world.run(&logits(first))));
    assert_eq!(document(&hub.run(&world, &logits(&name), |_| {})), local);
    assert_eq!(hub.take_files(), files.into_keys().collect());
    assert_eq!(document(&hub.run(&world, &logits(&name), offline)), local);
}

#[test]
fn what_cannot_be_had_is_answered_with_what_can() {
    let world = World::new();
    let mut files = models(&world, "small", 1, 1);
    files.extend(models(&world, "large", 1, 2));
    let hub = Hub::serve(files.clone());
    let check = |hub: &Hub, name: &str, parts: &[&str]| {
        let done = hub.run(&world, &logits(name), |_| {});
        assert_eq!((done.code, done.stdout.as_str()), (1, ""), "{done:?}");
        assert!(parts.iter().all(|part| done.stderr.contains(part)), "{done:?} lacks one of {parts:?}");
        assert!(hub.take_files().is_empty(), "nothing is downloaded");
    };
    check(&hub, "org/name:medium.gguf", &["org/name has no medium.gguf", "large.gguf, small.gguf"]);
    check(&hub, REPO, &["no config.json", "name one of its files", "org/name:large.gguf"]);
    let missing = "m-00002-of-00003.gguf";
    let parts = models(&world, "m", 3, 1).into_iter().filter(|(name, _)| name != missing).collect();
    check(&Hub::serve(parts), "org/name:m-00001-of-00003.gguf", &["has no m-00002-of-00003.gguf"]);
    check(&Hub::serve(Files::new()), "org/name:a.gguf", &["no GGUF files"]);

    // The config of a model whose weights are there as GGUF alone.
    files.extend(super::files(&world).into_iter().filter(|(name, _)| name == "config.json"));
    let hub = Hub::serve(files);
    document(&hub.run(&world, &INFO, |_| {}));
    hub.take_files();
    check(&hub, REPO, &["no model.safetensors", "org/name:large.gguf"]);

    let done = hub.run(&world, &logits("org/name:small.gguf"), offline);
    assert!(done.code == 1 && done.stderr.contains("small.gguf") && done.stderr.contains("cache"), "{done:?}");
}
