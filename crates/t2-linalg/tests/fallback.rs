//! What `AutoSvd` does where cuSOLVER is missing or fails, on the imitation of CUDA (`xtask/imitation-cuda`), which can be
//! told to fail.

#![cfg(feature = "cuda")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "helpers of tests fail by panicking, say what was skipped, and ask whether the GPU is an imitation"
)]

use std::process::Command;

use burn::tensor::{Device, DeviceType};
use t2_linalg::cases::Case;
use t2_linalg::{AutoSvd, SvdSolver, cases, quality};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// What is run again in a process of its own, with libraries that fail.
const DECOMPOSES: &str = "a_batch_is_decomposed";

/// Prints what is logged as a warning.
struct Warnings;

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.is_event()
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Printed);
    }
}

struct Printed;

impl Visit for Printed {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        println!("{field}: {value:?}");
    }
}

#[test]
fn a_batch_is_decomposed() {
    let _ = tracing::subscriber::set_global_default(Warnings);
    let device = Device::enumerate(DeviceType::Cuda).into_iter().next().unwrap();
    let a = Case { name: "square", batch: 2, m: 72, n: 80, ..cases::FINITE[0] }.tensor(2501, &device);
    let attempt = AutoSvd::default().svd_each(a.clone()).unwrap();
    assert!(attempt.failed.is_empty());
    for loss in quality::loss(&a, &attempt.svd).unwrap() {
        assert!(loss.relative_error < 2e-6 && loss.skew < 1e-5, "{loss:?}");
    }
    println!("decomposed by {}", attempt.solver);
}

#[track_caller]
fn check(wanted: &[(&str, &str)], solver: &str, said: &str) {
    if std::env::var_os("IMITATION_CUDA").is_none() {
        println!("skipped: only the imitation of CUDA fails when it is told to");
        return;
    }
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(program);
    command.args(["--exact", DECOMPOSES, "--nocapture"]).envs(wanted.iter().copied());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{wanted:?}: {text}");
    assert!(text.contains(&format!("decomposed by {solver}")), "{wanted:?}: {text}");
    assert!(text.contains(said), "`{said}` is not said of {wanted:?}: {text}");
}

#[test]
fn a_failing_library_is_replaced_by_the_kernels_and_a_warning_names_the_call() {
    check(&[], "CusolverSvd", "");
    for call in
        ["cublasDgemmStridedBatched", "cusolverDnXsyevBatched", "cusolverDnXsyevBatched_bufferSize", "cusolverDnCreate"]
    {
        check(&[("IMITATION_CUSOLVER_FAILS", call)], "BlockJacobiSvd", &format!("{call} returned status"));
    }
}

#[test]
fn a_missing_library_is_replaced_by_the_kernels_and_a_warning_says_so() {
    check(&[("LD_LIBRARY_PATH", &without_solver())], "BlockJacobiSvd", "libcusolver or libcublas was not found");
}

/// A folder of the imitation's driver and compiler alone.
fn without_solver() -> String {
    let Some(all) = std::env::var_os("IMITATION_CUDA") else { return String::new() };
    let from = std::path::PathBuf::from(all);
    let to = from.join("without-solver");
    std::fs::create_dir_all(&to).unwrap();
    for name in ["libcuda.so", "libnvrtc.so"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
    to.display().to_string()
}
