//! The devices that a build of the benches can time.

use burn::prelude::*;
#[cfg(feature = "wgpu")]
use burn::tensor::DeviceKind;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
use burn::tensor::DeviceType;

/// A device by the name it has in the names of the benches.
pub struct Named {
    /// `cpu`, `wgpu` or `cuda`.
    pub name: &'static str,
    /// The first of its kind.
    pub device: Device,
    /// Whether it is the CPU, or a GPU made of software that runs on it.
    pub is_cpu: bool,
}

/// The CPU, and the first device of every GPU backend that the benches were built with and this machine has.
pub fn devices() -> Vec<Named> {
    #[cfg_attr(not(any(feature = "wgpu", feature = "cuda")), expect(unused_mut, reason = "backends push to it"))]
    let mut all = vec![Named { name: "cpu", device: Device::flex(), is_cpu: true }];
    #[cfg(feature = "wgpu")]
    all.extend(first("wgpu", DeviceType::Wgpu));
    #[cfg(feature = "cuda")]
    all.extend(first("cuda", DeviceType::Cuda));
    all
}

#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn first(name: &'static str, kind: DeviceType) -> Option<Named> {
    let device = Device::enumerate(kind).into_iter().next()?;
    #[cfg(feature = "wgpu")]
    let is_cpu = device == Device::wgpu(DeviceKind::Cpu);
    #[cfg(not(feature = "wgpu"))]
    let is_cpu = false;
    Some(Named { name, device, is_cpu })
}
