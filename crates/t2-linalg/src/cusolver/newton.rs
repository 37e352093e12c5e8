//! Newton steps that make the vectors of small singular values orthogonal.

use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::CusolverError;
use super::library::{Columns, Taken};
use super::run::{Rows, Run};
use crate::kernel::{UNITS, double};

/// The largest scalar product of two columns of `U` that Newton steps may leave.
const ORTHOGONAL: f64 = 1e-9;

/// Newton steps double the digits; what so many do not mend is past mending.
const MOST_STEPS: usize = 5;

impl Run<'_> {
    /// Makes the first `some` rows of the `chosen` matrices, the shortest, orthogonal by Newton steps: each row is
    /// corrected by the longer ones, whose errors are smaller. Returns the matrices where that failed, whose rows are left
    /// as they were.
    pub(super) fn newton(&self, rows: &Rows, chosen: &[u32], some: usize) -> Result<Vec<u32>, CusolverError> {
        let &Self { k, len, .. } = self;
        let matrices = chosen.len();
        let unit = self.doubles(&[matrices, some, len]);
        let places = self.upload(chosen);
        self.elementwise(matrices * some * len, |cubes, units| {
            let (w, norm) = (rows.w.clone().into_buffer_arg(), rows.norm.clone().into_buffer_arg());
            let (places, out) = (places.clone().into_buffer_arg(), unit.clone().into_buffer_arg());
            double::unit_rows::launch(self.client(), cubes, units, w, norm, places, out, k, some, len);
        });
        let (unit, excess) = self.newton_steps(unit, [matrices, some])?;
        // A NaN is not good.
        let is_good: Vec<u32> = excess.iter().map(|excess| u32::from(*excess <= ORTHOGONAL)).collect();
        let good = self.upload(&is_good);
        self.elementwise(matrices * some * len, |cubes, units| {
            double::put_back::launch(
                self.client(),
                cubes,
                units,
                unit.clone().into_buffer_arg(),
                places.clone().into_buffer_arg(),
                good.clone().into_buffer_arg(),
                rows.w.clone().into_buffer_arg(),
                rows.divisor.clone().into_buffer_arg(),
                k,
                some,
                len,
            );
        });
        Ok(chosen.iter().zip(is_good).filter(|(_, is_good)| *is_good == 0).map(|(matrix, _)| *matrix).collect())
    }

    /// Takes Newton steps with rows of length one, `[matrices, some, len]`, until they are orthogonal. Returns what they
    /// have become and the largest scalar product that is left in each matrix, measured or bounded.
    fn newton_steps(
        &self,
        unit: CubeTensor,
        [matrices, some]: [usize; 2],
    ) -> Result<(CubeTensor, Vec<f64>), CusolverError> {
        let &Self { library, len, .. } = self;
        let mut unit = unit;
        let mut next = self.doubles(&[matrices, some, len]);
        let (gram, correction) = (self.doubles(&[matrices, some, some]), self.doubles(&[matrices, some, some]));
        let square = |at| Columns { at, column: some, matrix: some * some };
        let of_rows = |at| Columns { at, column: len, matrix: some * len };
        let (to_gram, to_correction) = (square(self.address(&gram)?), square(self.address(&correction)?));
        let (mut now, mut then) = (of_rows(self.address(&unit)?), of_rows(self.address(&next)?));
        let multiply_rows = |rows| {
            let factors = [(rows, Taken::Transposed), (rows, Taken::AsItIs)];
            library.product(matrices, [some, some, len], factors, to_gram)
        };
        self.finish()?;
        library.run(|| multiply_rows(now))?;
        for _ in 0..MOST_STEPS {
            let excess = self.correct(&gram, &correction, [matrices, some])?;
            if within(&excess) {
                return Ok((unit, excess));
            }
            let left = after_a_step(&excess, some);
            let is_last = within(&left);
            library.run(|| {
                let factors = [(now, Taken::AsItIs), (to_correction, Taken::AsItIs)];
                library.product(matrices, [len, some, some], factors, then)?;
                if is_last { Ok(()) } else { multiply_rows(then) }
            })?;
            std::mem::swap(&mut unit, &mut next);
            std::mem::swap(&mut now, &mut then);
            if is_last {
                return Ok((unit, left));
            }
        }
        let excess = self.correct(&gram, &correction, [matrices, some])?;
        Ok((unit, excess))
    }

    /// Makes corrections of the scalar products in `gram`, both `[matrices, some, some]`. Returns how far each matrix of
    /// them is from the identity in its largest entry, and waits for both.
    fn correct(
        &self,
        gram: &CubeTensor,
        correction: &CubeTensor,
        [matrices, some]: [usize; 2],
    ) -> Result<Vec<f64>, CusolverError> {
        self.elementwise(matrices * some * some, |cubes, units| {
            let (gram, out) = (gram.clone().into_buffer_arg(), correction.clone().into_buffer_arg());
            double::correction::launch(self.client(), cubes, units, gram, out, some);
        });
        let largest = self.doubles(&[matrices]);
        double::largest_excess::launch(
            self.client(),
            CubeCount::new_1d(matrices as u32),
            CubeDim::new_1d(UNITS as u32),
            gram.clone().into_buffer_arg(),
            largest.clone().into_buffer_arg(),
            some,
        );
        let [largest] = self.read([&largest])?;
        Ok(f64::from_bytes(&largest).to_vec())
    }
}

/// Whether rows whose scalar products are at most `excess` count as orthogonal. A NaN does not.
fn within(excess: &[f64]) -> bool {
    excess.iter().all(|excess| *excess <= ORTHOGONAL)
}

/// What a Newton step leaves at most of scalar products of at most `excess` among `some` rows: with `UᵀU = I + E` it is
/// `(I − L)ᵀ (I + E) (I − L) − I = LᵀL − E L − LᵀE + LᵀE L`, where `L` has no entry above those of `E`.
fn after_a_step(excess: &[f64], some: usize) -> Vec<f64> {
    let some = some as f64;
    excess.iter().map(|e| some * e * e * (3.0 + some * e)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_end_when_little_is_left_and_never_at_a_nan() {
        let cases = [(1e-9, true), (1e-6, true), (1e-4, false), (0.5, false), (f64::NAN, false)];
        for (excess, is_last) in cases {
            assert_eq!(within(&after_a_step(&[0.0, excess], 20)), is_last, "{excess}");
        }
    }
}
