//! Fewer singular values: how much of a matrix the first ones keep, and the factors that go with them.
//!
//! No matrix of rank `r` is closer to `A`, in the Frobenius norm, than the one made of the `r` largest singular values
//! and their vectors (Eckart and Young 1936). What it leaves out is `‖A − A_r‖² = s_{r+1}² + … + s_k²`, so the energy
//! `‖A‖² = s_1² + … + s_k²` says beforehand how good a rank is.

use crate::{Svd, SvdError};

impl Svd {
    /// The `rank` largest singular values of each matrix and their vectors: the best approximation of that rank.
    ///
    /// The factors become `u` `[batch, m, rank]`, `s` `[batch, rank]` and `vt` `[batch, rank, n]`, on the device they
    /// were on. [`quality::loss`](crate::quality::loss) measures what was lost: a relative error of `√(1 − energy)`,
    /// with the [`energy`](Self::energy) of the same rank.
    ///
    /// # Errors
    ///
    /// [`SvdError::Rank`] if `rank` is zero or more than there are singular values, [`SvdError::Shapes`] if the three
    /// factors do not belong together.
    pub fn truncate(&self, rank: usize) -> Result<Self, SvdError> {
        self.check_rank(rank)?;
        if rank == self.s.dims()[1] {
            return Ok(self.clone());
        }
        Ok(Self {
            u: self.u.clone().narrow(2, 0, rank),
            s: self.s.clone().narrow(1, 0, rank),
            vt: self.vt.clone().narrow(1, 0, rank),
        })
    }

    /// The share of each matrix's energy that its `rank` largest singular values keep, from 0 to 1: one number for each
    /// matrix of the batch.
    ///
    /// The energy is the squared Frobenius norm, the sum of the squares of all singular values that are here; it is
    /// added up in f64. A matrix of zeros has nothing to lose, so any rank keeps all of it.
    ///
    /// # Errors
    ///
    /// [`SvdError::Rank`] if `rank` is zero or more than there are singular values, [`SvdError::NoFactors`] for a
    /// matrix whose decomposition failed, [`SvdError::Shapes`] if the three factors do not belong together, and
    /// [`SvdError::Read`] if the device does not hand over the singular values.
    pub fn energy(&self, rank: usize) -> Result<Vec<f64>, SvdError> {
        self.check_rank(rank)?;
        let kept = |curve: &Vec<f64>| rank.checked_sub(1).map_or(1.0, |last| curve[last]);
        Ok(self.energy_curves()?.iter().map(kept).collect())
    }

    /// The smallest rank at which every matrix of the batch keeps `share` of its [`energy`](Self::energy) or more.
    ///
    /// A share is a number from 0 to 1: 0.99 for 99 %. The rank is at least 1, and 0 only for matrices without a row or
    /// column, which have no singular values.
    ///
    /// # Errors
    ///
    /// [`SvdError::Share`] if `share` is not from 0 to 1, [`SvdError::NoFactors`] for a matrix whose decomposition
    /// failed, [`SvdError::Shapes`] if the three factors do not belong together, and [`SvdError::Read`] if the device
    /// does not hand over the singular values.
    pub fn rank_for_energy(&self, share: f64) -> Result<usize, SvdError> {
        let most = self.rank_in(self.matrix_dims())?;
        if !(0.0..=1.0).contains(&share) {
            return Err(SvdError::Share { share });
        }
        let rank = |curve: &Vec<f64>| curve.iter().take_while(|kept| **kept < share).count() + 1;
        Ok(self.energy_curves()?.iter().map(rank).fold(1, usize::max).min(most))
    }

    fn check_rank(&self, rank: usize) -> Result<(), SvdError> {
        let most = self.rank_in(self.matrix_dims())?;
        if (most.min(1)..=most).contains(&rank) { Ok(()) } else { Err(SvdError::Rank { rank, most }) }
    }

    /// For each matrix the share of the energy that its first singular value keeps, its first two, and so on up to one.
    fn energy_curves(&self) -> Result<Vec<Vec<f64>>, SvdError> {
        let [batch, k] = self.s.dims();
        if batch * k == 0 {
            return Ok(vec![Vec::new(); batch]);
        }
        let s: Vec<f64> = self.s.clone().try_into_vec_as()?;
        let curve = |(index, s): (usize, &[f64])| {
            if s.iter().any(|sigma| !sigma.is_finite()) {
                return Err(SvdError::NoFactors { index });
            }
            let squares = s.iter().map(|sigma| sigma * sigma);
            let total: f64 = squares.clone().sum();
            let shares = squares.scan(0.0, |kept, square| {
                *kept += square;
                Some(if total == 0.0 { 1.0 } else { *kept / total })
            });
            Ok(shares.collect())
        };
        s.chunks(k).enumerate().map(curve).collect()
    }
}
