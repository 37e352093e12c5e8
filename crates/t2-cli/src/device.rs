//! Where tensors live. The one file of t2 that names a backend.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::bail;
#[cfg(feature = "wgpu")]
use burn::tensor::DeviceKind;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
use burn::tensor::DeviceType;
use burn::tensor::{DType, Device};
#[cfg(any(feature = "wgpu", feature = "cuda"))]
use cubecl::config::cache::CacheConfig;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
use cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};
use serde::Serialize;

use crate::cli::Global;

/// What `--device` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// CUDA, then a hardware wgpu adapter, then the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// One device of a GPU backend; the best one without an index.
    Gpu(Backend, Option<usize>),
}

/// A GPU backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// Vulkan, Metal or DX12.
    Wgpu,
    /// NVIDIA.
    Cuda,
}

/// A device of this machine.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Found {
    /// What `--device` calls it.
    pub(crate) name: String,
    /// What the maker calls it, for people.
    pub(crate) about: String,
    /// A GPU made of software; only used when asked for by name.
    pub(crate) software: bool,
    /// Bytes of memory that are free. Of GPUs no driver is asked: `None`.
    pub(crate) free_memory: Option<u64>,
    #[serde(skip)]
    device: Device,
}

impl Found {
    /// Whether the device has products of its own in `dtype`; see [`computes_in`].
    pub(crate) fn computes_in(&self, dtype: DType) -> bool {
        computes_in(&self.device, dtype)
    }
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("`{text}` is no device; expected auto, cpu, wgpu, wgpu:0, cuda or cuda:0");
        let (name, index) = match text.split_once(':') {
            None => (text, None),
            Some((name, index)) => (name, Some(index.parse().map_err(|_| expected())?)),
        };
        match (name, index) {
            ("auto", None) => Ok(Self::Auto),
            ("cpu", None) => Ok(Self::Cpu),
            ("wgpu", index) => Ok(Self::Gpu(Backend::Wgpu, index)),
            ("cuda", index) => Ok(Self::Gpu(Backend::Cuda, index)),
            _ => Err(expected()),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wgpu => "wgpu",
            Self::Cuda => "cuda",
        })
    }
}

impl Backend {
    /// Whether this build of t2 includes the backend.
    fn is_compiled(self) -> bool {
        match self {
            Self::Wgpu => cfg!(feature = "wgpu"),
            Self::Cuda => cfg!(feature = "cuda"),
        }
    }

    /// The devices of this backend on this machine.
    fn devices(self) -> Vec<Found> {
        let devices: Vec<Device> = match self {
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Device::enumerate(DeviceType::Wgpu).into_iter().collect(),
            #[cfg(feature = "cuda")]
            Self::Cuda => Device::enumerate(DeviceType::Cuda).into_iter().collect(),
            #[cfg(not(all(feature = "wgpu", feature = "cuda")))]
            _ => vec![],
        };
        let found = |(i, device): (usize, Device)| Found {
            name: format!("{self}:{i}"),
            about: product(&device),
            software: is_software(&device),
            free_memory: None,
            device,
        };
        devices.into_iter().enumerate().map(found).collect()
    }
}

/// Keep what is compiled for GPUs, and which of several kernels is fastest there, in `folder` for the next start. To be
/// called before anything asks for a device; a `cubecl.toml` that is found has a say in all else.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(crate) fn keep_kernels(folder: Option<PathBuf>) {
    let Some(folder) = folder else { return };
    let mut config = CubeClRuntimeConfig::from_current_dir().override_from_env();
    config.compilation.cache = true;
    config.environment.path = CacheConfig::Directory(folder);
    CubeClRuntimeConfig::try_set(config);
}

/// Nothing is compiled for GPUs in this build.
#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
pub(crate) fn keep_kernels(_: Option<PathBuf>) {}

/// The device that `choice` names.
pub(crate) fn open(choice: Choice) -> anyhow::Result<Device> {
    let found = match choice {
        Choice::Cpu => cpu(),
        Choice::Auto => auto(),
        Choice::Gpu(backend, index) => gpu(backend, index)?,
    };
    tracing::info!(device = found.name, "{}", found.about);
    Ok(found.device)
}

/// The device and the type of the weights that the global options name.
pub(crate) fn of(global: &Global) -> anyhow::Result<(Device, Option<DType>)> {
    let device = open(global.device)?;
    let dtype = global.dtype.map(DType::from);
    if let Some(dtype) = dtype {
        check_dtype(&device, dtype)?;
    }
    Ok((device, dtype))
}

/// Refuse a type of weights that `device` cannot compute with.
fn check_dtype(device: &Device, dtype: DType) -> anyhow::Result<()> {
    if device.supports_dtype(dtype) {
        return Ok(());
    }
    bail!("{} does not compute in {}; use --dtype f32", product(device), dtype.name())
}

/// Whether `device` has products of its own in `dtype`. The CPU turns every weight from bf16 into f32 at every product,
/// which takes ten times as long as that product in f32 (docs/models.md).
pub(crate) fn computes_in(device: &Device, dtype: DType) -> bool {
    *device != Device::flex() || dtype != DType::BF16
}

/// Every device of this machine that this build can use, the CPU first.
pub(crate) fn list() -> Vec<Found> {
    let gpus = [Backend::Cuda, Backend::Wgpu].into_iter().flat_map(Backend::devices);
    std::iter::once(cpu()).chain(gpus).collect()
}

/// The device that `auto` means.
pub(crate) fn auto() -> Found {
    let mut gpus = [Backend::Cuda, Backend::Wgpu].into_iter().flat_map(Backend::devices);
    gpus.find(|found| !found.software).unwrap_or_else(cpu)
}

fn cpu() -> Found {
    let device = Device::flex();
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    // A container may be allowed less than the machine has.
    let limit = system.cgroup_limits().map(|limits| limits.free_memory);
    let free_memory = Some(system.available_memory()).filter(|&bytes| bytes > 0).into_iter().chain(limit).min();
    Found { name: "cpu".to_owned(), about: product(&device), software: false, free_memory, device }
}

/// Bytes that keys and values of answers may take on `device`: half of what is free in main memory. Of GPUs no driver is
/// asked: `None`.
pub(crate) fn memory_for_answers(device: &Device) -> Option<u64> {
    let cpu = cpu();
    cpu.free_memory.filter(|_| *device == cpu.device).map(|free| free / 2)
}

fn gpu(backend: Backend, index: Option<usize>) -> anyhow::Result<Found> {
    if !backend.is_compiled() {
        bail!(
            "this t2 was built without {backend}, it can use {}; build it with `cargo install --path crates/t2-cli \
             --features {backend}`",
            names(&list())
        );
    }
    let found = backend.devices();
    let wanted = match index {
        Some(index) => found.get(index),
        None => found.iter().find(|found| !found.software).or(found.first()),
    };
    match (wanted, index) {
        (Some(wanted), _) => Ok(wanted.clone()),
        (None, Some(index)) => bail!("there is no {backend}:{index} on this machine, t2 found {}", names(&list())),
        (None, None) => bail!("there is no {backend} device on this machine, t2 found {}", names(&list())),
    }
}

fn names(found: &[Found]) -> String {
    found.iter().map(|found| found.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// What the maker calls `device`.
fn product(device: &Device) -> String {
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    if let Some(identity) = device.identity() {
        return identity.name;
    }
    let _ = device;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    format!("CPU, {threads} threads")
}

#[cfg(feature = "wgpu")]
fn is_software(device: &Device) -> bool {
    *device == Device::wgpu(DeviceKind::Cpu)
}

#[cfg(not(feature = "wgpu"))]
fn is_software(_: &Device) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_devices() {
        let parse = |text: &str| text.parse::<Choice>();
        assert_eq!(parse("auto"), Ok(Choice::Auto));
        assert_eq!(parse("cpu"), Ok(Choice::Cpu));
        assert_eq!(parse("cuda"), Ok(Choice::Gpu(Backend::Cuda, None)));
        assert_eq!(parse("wgpu:3"), Ok(Choice::Gpu(Backend::Wgpu, Some(3))));
        for bad in ["", "gpu", "wgpu:", "wgpu:x", "cpu:0", "auto:1", "cuda:-1"] {
            assert!(parse(bad).unwrap_err().contains("expected auto"), "{bad}");
        }
    }

    #[test]
    fn auto_is_never_a_software_rasterizer() {
        assert!(!auto().software);
    }

    #[test]
    fn the_cpu_has_no_products_in_bf16() {
        let computes = [DType::F32, DType::F16, DType::BF16].map(|dtype| computes_in(&Device::flex(), dtype));
        assert_eq!(computes, [true, true, false]);
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_backend_that_is_not_built_in_says_how_to_get_it() {
        let error = open(Choice::Gpu(Backend::Cuda, None)).unwrap_err().to_string();
        assert!(
            error.contains("without cuda") && error.contains("cpu") && error.contains("--features cuda"),
            "{error}"
        );
    }
}
