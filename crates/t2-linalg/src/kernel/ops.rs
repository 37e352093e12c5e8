//! What the kernels add to the operations of Burn's backends.

use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::launch::{self, Call, Operand};
use super::product::Form;
use super::{Four, Options, Outcome, Run, STATUS};

/// Decomposes `a`, `[matrices, m, n]`, f32 and not empty, on a device with kernels.
pub(crate) fn block_jacobi(a: Tensor<3>, options: Options) -> Outcome {
    let (long, sigma, short, status) = <Dispatch as SvdOps>::block_jacobi(a.into_dispatch(), options);
    Outcome {
        long: Tensor::from_dispatch(long),
        sigma: Tensor::from_dispatch(sigma),
        short: Tensor::from_dispatch(short),
        status: Tensor::from_dispatch(status),
    }
}

/// The product of each pair of f32 matrices, on a device with kernels: `A B`, or with one of the two transposed, as
/// `form` says, `[matrices, m, n]`. It is computed in true f32.
pub(crate) fn true_f32_product(left: Tensor<3>, right: Tensor<3>, form: Form) -> Tensor<3> {
    Tensor::from_dispatch(<Dispatch as SvdOps>::true_f32_product(left.into_dispatch(), right.into_dispatch(), form))
}

/// The norm of each row of f32 matrices, `[matrices, rows, len]`, on a device with kernels: `[matrices, rows]`.
pub(crate) fn row_norms(x: Tensor<3>) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as SvdOps>::row_norms(x.into_dispatch()))
}

/// The operations that this crate adds to Burn's GPU backends.
#[backend_extension(Cube, Fusion)]
pub(crate) trait SvdOps: Backend {
    /// See [`block_jacobi`].
    #[fusion(meta = factor_specs)]
    fn block_jacobi(
        a: FloatTensor<Self>,
        options: Options,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// See [`true_f32_product`].
    #[fusion(meta = product_spec)]
    fn true_f32_product(left: FloatTensor<Self>, right: FloatTensor<Self>, form: Form) -> FloatTensor<Self>;

    /// See [`row_norms`].
    #[fusion(meta = norm_spec)]
    fn row_norms(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

fn norm_spec(x: &TensorSpec) -> TensorSpec {
    let [matrices, rows, _] = x.shape.dims();
    TensorSpec::new(Shape::from([matrices, rows]), DType::F32)
}

fn factor_specs(a: &TensorSpec, _: &Options) -> Four<TensorSpec> {
    let [matrices, m, n] = a.shape.dims();
    let (k, len) = (m.min(n), m.max(n));
    let spec = |shape: &[usize]| TensorSpec::new(Shape::from(shape.to_vec()), DType::F32);
    (spec(&[matrices, k, len]), spec(&[matrices, k]), spec(&[matrices, k, k]), spec(&[matrices, STATUS]))
}

fn product_spec(left: &TensorSpec, right: &TensorSpec, form: &Form) -> TensorSpec {
    let [matrices, m, n, _] = sizes(left.shape.dims(), right.shape.dims(), *form);
    TensorSpec::new(Shape::from([matrices, m, n]), DType::F32)
}

/// The sizes of a product: matrices, rows, columns and terms.
fn sizes([matrices, rows, columns]: [usize; 3], right: [usize; 3], form: Form) -> [usize; 4] {
    let [m, depth] = if form == Form::LeftTransposed { [columns, rows] } else { [rows, columns] };
    let [n, terms] = if form == Form::RightTransposed { [right[1], right[2]] } else { [right[2], right[1]] };
    assert_eq!((matrices, depth), (right[0], terms), "matrices and terms on both sides of a product");
    [matrices, m, n, depth]
}

impl SvdOps for CubeBackend {
    fn block_jacobi(a: FloatTensor<Self>, options: Options) -> Four<FloatTensor<Self>> {
        let [matrices, m, n] = a.meta.shape().dims();
        Run::new(into_contiguous(a), [matrices, m, n], options).decompose()
    }

    fn true_f32_product(left: FloatTensor<Self>, right: FloatTensor<Self>, form: Form) -> FloatTensor<Self> {
        let (left, right) = (into_contiguous(left), into_contiguous(right));
        let [matrices, m, n, depth] = sizes(left.meta.shape().dims(), right.meta.shape().dims(), form);
        let (client, shape) = (left.client.clone(), Shape::from([matrices, m, n]));
        let handle = client.empty(shape.num_elements() * DType::F32.size());
        let out = CubeTensor::new_contiguous(client, left.device.clone(), shape, handle, DType::F32);
        launch::product(matrices, [&left, &right, &out].map(whole), [m, n, depth], Call::of(form));
        out
    }

    fn row_norms(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let x = into_contiguous(x);
        let [matrices, rows, len] = x.meta.shape().dims();
        let shape = Shape::from([matrices, rows]);
        let handle = x.client.empty(shape.num_elements() * DType::F32.size());
        let out = CubeTensor::new_contiguous(x.client.clone(), x.device.clone(), shape, handle, DType::F32);
        launch::norms(&x, &out, [matrices, rows, len, len]);
        out
    }
}

/// The operand that is the whole of every matrix in a buffer.
fn whole(buffer: &CubeTensor) -> Operand<'_> {
    let [_, rows, columns] = buffer.meta.shape().dims();
    Operand { buffer, at: 0, row: columns, matrix: rows * columns }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, DeviceType, TensorData};

    use super::*;

    /// The devices with kernels that the tests are built for, which the machine must have.
    const DEVICES: &[DeviceType] = &[
        #[cfg(feature = "wgpu")]
        DeviceType::Wgpu,
        #[cfg(feature = "cuda")]
        DeviceType::Cuda,
    ];

    /// A product of the kernels is one of f32: TF32, whose mantissa has ten bits, errs by 3e-4.
    #[test]
    fn products_are_true_f32() {
        for kind in DEVICES {
            check_products(&Device::enumerate(kind.clone()).into_iter().next().unwrap());
        }
    }

    fn check_products(device: &Device) {
        let [m, n, depth] = [70, 97, 300];
        let value = |i: usize, seed: usize| ((i * 7919 + seed) % 1013) as f32 / 1013.0 - 0.5;
        let left: Vec<f32> = (0..m * depth).map(|i| value(i, 3)).collect();
        let right: Vec<f32> = (0..n * depth).map(|i| value(i, 5)).collect();
        let tensor = |data: &[f32], shape| Tensor::<3>::from_data(TensorData::new(data.to_vec(), shape), device);
        let (a, b) = (tensor(&left, [1, m, depth]), tensor(&right, [1, n, depth]));
        let dot = |i: usize, j: usize, f: fn(f64, f64) -> f64| -> f64 {
            let terms = left[i * depth..][..depth].iter().zip(&right[j * depth..][..depth]);
            terms.map(|(x, y)| f(f64::from(*x), f64::from(*y))).sum()
        };
        let (at, bt) = (a.clone().swap_dims(1, 2), b.clone().swap_dims(1, 2));
        let forms = [
            (true_f32_product(a.clone(), bt.clone(), Form::Plain), "plain"),
            (true_f32_product(a, b, Form::RightTransposed), "right transposed"),
            (true_f32_product(at, bt, Form::LeftTransposed), "left transposed"),
        ];
        for (out, form) in forms {
            for (at, found) in out.try_into_vec_as::<f32>().unwrap().iter().enumerate() {
                let (exact, size) = (dot(at / n, at % n, |x, y| x * y), dot(at / n, at % n, |x, y| (x * y).abs()));
                assert!((f64::from(*found) - exact).abs() < 1e-6 * size, "{form}: entry {at} is {found}, not {exact}");
            }
        }
    }
}
