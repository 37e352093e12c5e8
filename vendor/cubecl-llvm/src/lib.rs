//! Stands in for CubeCL's LLVM compiler, so that the CUDA backend builds from crates.io alone.
//!
//! `cubecl-cuda` turns a kernel into something the driver loads in one of two ways, and always compiles
//! both: CUDA C++ through NVRTC, or PTX through LLVM. The second lives in the published `cubecl-llvm`, whose
//! build script downloads an LLVM bundle. This crate declares the names `cubecl-cuda` 0.11.3 uses from it
//! and generates no code.
//!
//! **Unreachable with `cubecl-cuda/cpp`.** That feature makes `CudaBackend::default()` the C++ one. The
//! runtime and the default compiler take their backend from there, so neither calls into this crate for code.
//! Without the feature, the first kernel fails with the error of [`PlironCompiler::compile`].
//!
//! A second lock: [`NvptxModule`] and [`PtxVersion`](nvptx::ptx_version::PtxVersion) hold an [`Infallible`],
//! so no value of them exists and no path that handles generated PTX can run.

use core::convert::Infallible;
use core::ffi::c_char;

use cubecl_core::environment::backtrace::BackTrace;
use cubecl_core::ir::nvidia::SmArch;
use cubecl_core::prelude::KernelDefinition;
use cubecl_server::compiler::CompilationError;
use cubecl_server::kernel::BufferIOAttr;

/// What is wrong with the build, and the way out of it.
const NOT_IN_THIS_BUILD: &str = "this build has no LLVM code generator: enable the feature `cpp` of \
     cubecl-cuda, or remove the [patch.crates-io] entry of cubecl-llvm";

/// Refuses every kernel.
#[derive(Clone, Debug, Default)]
pub struct PlironCompiler {
    /// The hardware family that kernels would be compiled for.
    pub target: LlvmTarget,
}

impl PlironCompiler {
    /// Compiles nothing.
    ///
    /// # Errors
    ///
    /// Always: [`CompilationError::Generic`], which says what to enable.
    pub fn compile(&mut self, _: KernelDefinition, _: &PlironOptions) -> Result<PlironArtifact, CompilationError> {
        Err(CompilationError::Generic { reason: NOT_IN_THIS_BUILD.to_owned(), backtrace: BackTrace::capture() })
    }

    /// The name of the language that would be produced.
    pub fn lang_tag(&self) -> &'static str {
        "ll"
    }
}

/// The hardware family a compiler is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LlvmTarget {
    /// NVIDIA GPUs.
    #[default]
    Nvptx,
}

/// What a caller would ask of the code; read by nobody.
#[derive(Clone, Debug, Default)]
pub struct PlironOptions {
    /// The AMD architecture; always `None` on CUDA.
    pub arch: Option<Infallible>,
    /// The NVIDIA architecture.
    pub sm_arch: Option<SmArch>,
    /// The newest PTX the driver loads.
    pub ptx_version: Option<nvptx::ptx_version::PtxVersion>,
    /// Whether launch parameters are grid constants.
    pub grid_constants: bool,
}

/// What a compilation would produce.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PlironArtifact {
    /// PTX for an NVIDIA GPU.
    NvptxCode(NvptxModule),
}

/// A compiled kernel, of which there are none.
#[derive(Clone, Debug)]
pub struct NvptxModule {
    /// PTX text, ending in a zero.
    pub ptx: Vec<c_char>,
    /// The symbol to launch.
    pub entrypoint: String,
    /// The LLVM text it came from.
    pub ir: String,
    /// Dynamic shared memory in bytes.
    pub shared_memory_size: usize,
    /// What the kernel does with each buffer.
    pub io: Vec<BufferIOAttr>,
    /// Why no value of this type exists.
    pub never: Infallible,
}

/// Names of the NVIDIA target.
pub mod nvptx {
    /// The PTX versions.
    pub mod ptx_version {
        /// A PTX version, of which this build knows none.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct PtxVersion(core::convert::Infallible);

        impl PtxVersion {
            /// Knows no version for any driver.
            pub fn for_driver(_driver_version: i32) -> Option<Self> {
                None
            }
        }

        impl core::fmt::Display for PtxVersion {
            fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.0 {}
            }
        }
    }
}

/// Names shared by every target.
pub mod shared {
    /// What a GPU target can lower.
    pub mod lowered_features {
        /// The GPU targets.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum GpuTarget {
            /// NVIDIA GPUs.
            Nvptx,
        }

        /// Leaves `properties` alone: no kernel is lowered here, so there is nothing to narrow them to.
        pub fn restrict_features<P>(_properties: &mut P, _target: GpuTarget) {}
    }
}

#[cfg(test)]
mod tests {
    use cubecl_core::prelude::{AddressType, CubeDim, ExecutionMode, KernelBuilder, KernelSettings};

    use super::*;

    #[test]
    fn compiling_is_an_error_that_names_the_way_out() {
        let settings = KernelSettings::new(CubeDim::new_single().into(), ExecutionMode::Checked, AddressType::U32);
        let kernel = KernelBuilder::new(settings).build();

        let error = PlironCompiler::default().compile(kernel, &PlironOptions::default()).unwrap_err();

        assert!(error.to_string().contains("enable the feature `cpp` of cubecl-cuda"), "{error}");
    }

    #[test]
    fn no_driver_has_a_ptx_version() {
        assert_eq!(nvptx::ptx_version::PtxVersion::for_driver(13_000), None);
    }
}
