//! Decomposes a batch of matrices, keeps 99 % of their energy, and prints what is lost before and after.

#![expect(clippy::print_stdout, reason = "an example prints what it found")]

use t2_linalg::burn::prelude::*;
use t2_linalg::burn::tensor::Distribution;
use t2_linalg::{AutoSvd, Svd, SvdError, SvdSolver, quality};

fn main() -> Result<(), SvdError> {
    let device = Device::flex();
    let random = |shape: [usize; 3]| Tensor::<3>::random(shape, Distribution::Normal(0.0, 1.0), &device);
    // Eight matrices of rank 10, and a little noise.
    let a = random([8, 256, 10]).matmul(random([8, 10, 192])) + random([8, 256, 192]) * 0.1;

    let svd = AutoSvd::default().svd(a.clone())?;
    print(&a, &svd)?;
    print(&a, &svd.truncate(svd.rank_for_energy(0.99)?)?)
}

fn print(a: &Tensor<3>, svd: &Svd) -> Result<(), SvdError> {
    let [_, rank] = svd.s.dims();
    let worst = quality::loss(a, svd)?.iter().map(|loss| loss.relative_error).fold(0.0, f64::max);
    println!("rank {rank:>3}: relative error of the worst matrix {worst:.1e}");
    Ok(())
}
