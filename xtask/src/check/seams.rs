//! Two invariants of `docs/architecture.md` that no lint can express:
//!
//! - a backend is named only where kernels are written (t2-linalg, for GPUs and for CPUs) or those of a vendor are called
//!   (there too), and where a device is chosen (t2-cli);
//! - a library takes its device from the caller and never calls `Device::default()`, nor what calls it.
//!
//! Comments, string literals and tests may say what they like, except `feature = "wgpu"`, which names a backend.

use super::rust_text::{before_tests, code_only, words};
use super::sources::{Source, sources};
use super::{Args, Verdict};

/// Words that name a backend.
const BACKENDS: &[&str] = &["wgpu", "cuda", "flex", "cubecl", "rocm", "vulkan"];

/// The files in which a backend may be named: these, and the modules `kernel`, `gpu`, `cpu` and `cusolver` of
/// t2-linalg.
const BACKEND_FILES: &[&str] = &["crates/t2-cli/src/device.rs"];

/// What takes the default device, which a build with CUDA has on a machine without it too: asking for it, and Burn's
/// container of optimizer states, which loads them there.
const DEFAULT_DEVICE: &[&str] = &["Device::default(", "ModuleOptimizer"];

/// The one crate that is no library.
const BINARY: &str = "crates/t2-cli/";

/// Every file of `crates/*/src` keeps to the two invariants.
pub(super) fn check(_: &Args) -> anyhow::Result<Verdict> {
    let sources = sources()?;
    let in_crates = sources.iter().filter(|source| source.is_rust() && is_crate_code(&source.path));
    Ok(Verdict::of(in_crates.flat_map(violations).collect()))
}

/// Whether `path` is code of a crate and no test: `crates/t2-model/src/svf.rs` is, `crates/t2-model/tests/svf.rs` and
/// `crates/t2-model/src/svf/tests.rs` are not.
fn is_crate_code(path: &str) -> bool {
    let parts: Vec<_> = path.split('/').collect();
    matches!(parts[..], ["crates", _, "src", ..]) && !path.contains("/tests/") && !path.ends_with("/tests.rs")
}

fn may_name_backend(path: &str) -> bool {
    let is_kernel = |module: &str| {
        let inside = path.strip_prefix("crates/t2-linalg/src/").and_then(|path| path.strip_prefix(module));
        inside.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    };
    ["kernel", "gpu", "cpu", "cusolver"].into_iter().any(is_kernel) || BACKEND_FILES.contains(&path)
}

fn violations(source: &Source) -> Vec<String> {
    let code = code_only(&source.text);
    let code = before_tests(&code);
    let mut found = Vec::new();
    if !may_name_backend(&source.path) {
        found.extend(backends(source, code));
        found.extend(backend_features(source, code));
    }
    if !source.path.starts_with(BINARY) {
        found.extend(default_devices(source, code));
    }
    found
}

fn backends(source: &Source, code: &str) -> Vec<String> {
    let named = words(code).filter(|(_, word)| BACKENDS.contains(&word.as_str()));
    named.map(|(line, word)| backend_violation(&source.path, line, &word)).collect()
}

/// Violations of the form `feature = "wgpu"`. Strings are blanked out in `code`, so the name is read from the source.
fn backend_features(source: &Source, code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, (code, line)) in code.lines().zip(source.text.lines()).enumerate() {
        if !code.contains("feature =") {
            continue;
        }
        for backend in BACKENDS {
            if line.contains(&format!("feature = \"{backend}")) {
                found.push(backend_violation(&source.path, number + 1, backend));
            }
        }
    }
    found
}

fn backend_violation(path: &str, line: usize, backend: &str) -> String {
    format!("{path}:{line}: names the backend {backend}; only {} and the kernels of t2-linalg may", BACKEND_FILES[0])
}

fn default_devices(source: &Source, code: &str) -> Vec<String> {
    let calls = |line: &str| DEFAULT_DEVICE.iter().any(|call| line.contains(call));
    let numbered = code.lines().enumerate().filter(|(_, line)| calls(line));
    let message = "a library takes its device from the caller, not from Device::default()";
    numbered.map(|(number, _)| format!("{}:{}: {message}", source.path, number + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, text: &str, expected: &[usize]) {
        assert!(is_crate_code(path), "{path}");
        let source = Source { path: path.to_owned(), text: text.to_owned() };
        let found = violations(&source);
        let prefixes: Vec<_> = expected.iter().map(|line| format!("{path}:{line}: ")).collect();
        assert_eq!(found.len(), prefixes.len(), "{found:?}");
        assert!(found.iter().zip(&prefixes).all(|(found, prefix)| found.starts_with(prefix)), "{found:?}");
    }

    #[test]
    fn a_backend_is_named_in_two_places_only() {
        let code = "//! Devices.\nuse burn::backend::Wgpu;\nfn f(x: CudaDevice) {}\n";
        check("crates/t2-cli/src/device.rs", code, &[]);
        check("crates/t2-linalg/src/kernel.rs", code, &[]);
        check("crates/t2-linalg/src/kernel/rotate.rs", code, &[]);
        check("crates/t2-linalg/src/cpu/memory.rs", code, &[]);
        check("crates/t2-linalg/src/gpu.rs", code, &[]);
        check("crates/t2-linalg/src/jacobi.rs", code, &[2, 3]);
        check("crates/t2-model/src/jacobi/kernel.rs", code, &[2, 3]);
        check("crates/t2-cli/src/main.rs", code, &[2, 3]);
    }

    #[test]
    fn a_feature_of_a_backend_names_it() {
        check("crates/t2-model/src/svf.rs", "//! x\n#[cfg(feature = \"wgpu\")]\nfn f() {}\n", &[2]);
        check("crates/t2-model/src/svf.rs", "//! x\n// #[cfg(feature = \"wgpu\")]\nfn f() {}\n", &[]);
        check("crates/t2-model/src/svf.rs", "//! x\n#[cfg(feature = \"server\")]\nfn f() {}\n", &[]);
    }

    #[test]
    fn comments_strings_and_tests_are_free() {
        check("crates/t2-model/src/svf.rs", "//! flex\nfn f() { g(\"cuda\") } // wgpu\n", &[]);
        check("crates/t2-model/src/svf.rs", "//! x\nfn flexible() {}\n#[cfg(test)]\nmod tests { use Flex; }\n", &[]);
        assert!(!is_crate_code("crates/t2-model/tests/svf.rs"));
        assert!(!is_crate_code("crates/t2-model/src/svf/tests.rs"));
        assert!(!is_crate_code("xtask/src/main.rs"));
    }

    #[test]
    fn a_library_takes_its_device_from_the_caller() {
        let code = "//! x\nfn f() { Device::default(); }\n";
        check("crates/t2-model/src/svf.rs", code, &[2]);
        check("crates/t2-cli/src/main.rs", code, &[]);
        check("crates/t2-rl/src/train.rs", "//! x\nfn f(o: ModuleOptimizer) {}\n", &[2]);
    }
}
