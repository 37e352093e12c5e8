//! Times one solver on one shape, and measures what it returned: a JSON line for scripts that compare.
//!
//! `svd_times DEVICE SOLVER SHAPE RUNS`, for example `svd_times cpu auto 32x576x1536 5`. Devices are `cpu`, `wgpu` and
//! `cuda`, as far as the build has them; solvers `auto`, `host`, `kernels`, `cusolver`, and `faer`, which is faer's own thin
//! SVD without this crate. The matrices are Gaussian and on the
//! device before the clock starts, and so are the factors when it stops. Before the timed runs there is one that
//! compiles the kernels.
//!
//! A solver's name may say how it is tuned, as in `kernels:block=16,coarse=0.05,fine=1`, the fields of
//! `t2_linalg::Tuning`, or `cusolver:1024`, its `alone_from`.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement takes arguments and prints a line")]

use std::error::Error;
use std::time::Instant;

use burn::prelude::*;
use burn::tensor::{DType, TensorData};
use faer::MatRef;
use t2_linalg::cases::{Case, FINITE};
use t2_linalg::quality::Quality;
use t2_linalg::{Attempt, AutoSvd, Demand, HostSvd, Svd, SvdError, SvdSolver};

/// Matrices of a batch whose factors are measured; f64 on the host takes longer than the decomposition.
const MEASURED: usize = 1;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [device_name, solver_name, shape, runs] = &args[..] else {
        return Err("usage: svd_times DEVICE SOLVER SHAPE RUNS, for example: svd_times cpu auto 32x576x1536 5".into());
    };
    let device = device(device_name)?;
    let solver = solver(solver_name)?;
    let dims: Vec<usize> = shape.split('x').map(str::parse).collect::<Result<_, _>>()?;
    let &[batch, m, n] = &dims[..] else { return Err(format!("{shape} is no shape BATCHxMxN").into()) };
    let a = Case { name: "gaussian", batch, m, n, ..FINITE[0] }.tensor(2501, &device);

    let mut svd = solver.svd(a.clone())?;
    let mut seconds = Vec::new();
    for _ in 0..runs.parse()? {
        device.sync()?;
        let start = Instant::now();
        svd = solver.svd(a.clone())?;
        device.sync()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    let first = |factor: Tensor<3>| factor.narrow(0, 0, MEASURED);
    svd = Svd { u: first(svd.u), s: svd.s.narrow(0, 0, MEASURED), vt: first(svd.vt) };
    let quality = Quality::of(&first(a), &svd)?[0];
    println!(
        r#"{{"device":"{device_name}","solver":"{solver_name}","shape":"{shape}","seconds":{seconds:?},"residual":{:e},"skew":{:e}}}"#,
        quality.relative_error, quality.skew
    );
    Ok(())
}

fn device(name: &str) -> Result<Device, Box<dyn Error>> {
    match name {
        "cpu" => Ok(Device::flex()),
        #[cfg(feature = "wgpu")]
        "wgpu" => Device::enumerate(burn::tensor::DeviceType::Wgpu).into_iter().next().ok_or("no wgpu device".into()),
        #[cfg(feature = "cuda")]
        "cuda" => Device::enumerate(burn::tensor::DeviceType::Cuda).into_iter().next().ok_or("no cuda device".into()),
        other => Err(format!("`{other}` is no device of this build").into()),
    }
}

fn solver(name: &str) -> Result<Box<dyn SvdSolver>, Box<dyn Error>> {
    let (name, tuning) = name.split_once(':').unwrap_or((name, ""));
    match name {
        "auto" => Ok(Box::new(AutoSvd::default())),
        "host" => Ok(Box::new(HostSvd::default())),
        #[cfg(feature = "gpu")]
        "kernels" => Ok(Box::new(t2_linalg::BlockJacobiSvd { tuning: tuned(tuning)?, ..Default::default() })),
        #[cfg(feature = "cuda")]
        "cusolver" if tuning.is_empty() => Ok(Box::new(t2_linalg::CusolverSvd::default())),
        #[cfg(feature = "cuda")]
        "cusolver" => Ok(Box::new(t2_linalg::CusolverSvd { alone_from: tuning.parse()? })),
        "faer" => Ok(Box::new(Faer)),
        other => Err(format!("`{other}` is no solver of this build, with `{tuning}`").into()),
    }
}

#[cfg(feature = "gpu")]
fn tuned(choices: &str) -> Result<t2_linalg::Tuning, Box<dyn Error>> {
    let mut tuning = t2_linalg::BlockJacobiSvd::DEFAULT.tuning;
    for choice in choices.split_terminator(',') {
        match choice.split_once('=') {
            Some(("block", rows)) => tuning.block = Some(rows.parse()?),
            Some(("coarse", cosine)) => tuning.coarse_enough = Some(cosine.parse()?),
            Some(("fine", times)) => tuning.fine_enough = times.parse()?,
            _ => return Err(format!("`{choice}` is none of block=ROWS, coarse=COSINE, fine=TIMES").into()),
        }
    }
    Ok(tuning)
}

/// What faer does by itself: `thin_svd` in f32, one matrix after another, each by all cores.
struct Faer;

impl SvdSolver for Faer {
    fn svd_each(&self, a: Tensor<3>) -> Result<Attempt, SvdError> {
        let ([batch, m, n], device) = (a.dims(), a.device());
        let k = m.min(n);
        let (mut u, mut s, mut vt) = (Vec::new(), Vec::new(), Vec::new());
        for values in a.try_into_vec_as::<f32>()?.chunks(m * n) {
            let svd = MatRef::from_row_major_slice(values, m, n).thin_svd();
            let svd = svd.map_err(|error| SvdError::Other(format!("{error:?}").into()))?;
            u.extend((0..m).flat_map(|i| svd.U().row(i).iter().copied()));
            s.extend(svd.S().column_vector().iter().copied());
            vt.extend(svd.V().col_iter().flat_map(|v| v.iter().copied()));
        }
        let options = (&device, DType::F32);
        let svd = Svd {
            u: Tensor::from_data(TensorData::new(u, [batch, m, k]), options),
            s: Tensor::from_data(TensorData::new(s, [batch, k]), options),
            vt: Tensor::from_data(TensorData::new(vt, [batch, k, n]), options),
        };
        Ok(Attempt { svd, failed: Vec::new(), solver: "faer" })
    }

    fn demand(&self, dims: [usize; 2], device: &Device) -> Demand {
        HostSvd::default().demand(dims, device)
    }
}
