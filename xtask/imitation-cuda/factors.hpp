// Factors of matrices in f64, for solver.cpp: thin QR by reflectors, and the eigenvectors of symmetric matrices by a
// tridiagonal one and QL steps. Accurate to rounding beside the largest eigenvalue, and 1024 x 1024 in seconds.

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>
#include <numeric>

// A matrix `[.., columns]` whose columns begin `lead` apart.
struct Matrix {
    double *entries;
    size_t lead;
    double *operator[](size_t column) const { return entries + column * lead; }
    Matrix from(size_t row, size_t column) const { return {entries + row + column * lead, lead}; }
};

static double dot(size_t length, const double *x, const double *y) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < length; i++) sum += x[i] * y[i];
    return sum;
}

static void add(size_t length, double factor, const double *__restrict x, double *__restrict y) {
    for (size_t i = 0; i < length; i++) y[i] += factor * x[i];
}

// Makes `x` a reflector: I - tau v v^T takes x to (beta, 0, ..). Leaves beta in x[0], and in the others v, whose first is
// 1; returns tau (LAPACK's dlarfg).
static double reflector(size_t length, double *x) {
    double largest = 0, squares = 0;
    for (size_t i = 1; i < length; i++) largest = std::max(largest, std::abs(x[i]));
    if (largest == 0) return 0;
    // Near 1, by a power of two: a vector of subnormal numbers makes a reflector as good as another.
    const int exponent = std::ilogb(std::max(largest, std::abs(x[0])));
    for (size_t i = 0; i < length; i++) x[i] = std::scalbn(x[i], -exponent);
    for (size_t i = 0; i < length; i++) squares += x[i] * x[i];
    const double alpha = x[0], beta = -std::copysign(std::sqrt(squares), alpha);
    for (size_t i = 1; i < length; i++) x[i] /= alpha - beta;
    x[0] = std::scalbn(beta, exponent);
    return (beta - alpha) / beta;
}

// Applies I - tau v v^T to `columns` columns of `a`; v[0] counts as 1.
static void reflect(size_t length, size_t columns, const double *v, double tau, Matrix a) {
    for (size_t j = 0; j < columns; j++) {
        const double along = tau * (a[j][0] + dot(length - 1, v + 1, a[j] + 1));
        a[j][0] -= along;
        add(length - 1, -along, v + 1, a[j] + 1);
    }
}

static void qr(size_t m, size_t n, Matrix a, double *tau) {
    for (size_t k = 0; k < std::min(m, n); k++) {
        tau[k] = reflector(m - k, a[k] + k);
        reflect(m - k, n - k - 1, a[k] + k, tau[k], a.from(k, k + 1));
    }
}

// The first n columns of the product of k reflectors, in place of the reflectors.
static void orthonormal(size_t m, size_t n, size_t k, Matrix a, const double *tau) {
    for (size_t j = k; j < n; j++) std::fill(a[j], a[j] + m, 0), a[j][j] = 1;
    for (size_t j = k; j-- > 0;) {
        reflect(m - j, n - j - 1, a[j] + j, tau[j], a.from(j, j + 1));
        for (size_t i = j + 1; i < m; i++) a[j][i] *= -tau[j];
        a[j][j] = 1 - tau[j];
        std::fill(a[j], a[j] + j, 0);
    }
}

// Makes the symmetric `a` tridiagonal: `d` gets the diagonal, `e` what is beside it, `a` the orthogonal matrix that takes
// it there. Column j's reflector is kept below the diagonal until all are known (LAPACK's dsytd2 and dorgtr).
static void tridiagonal(size_t n, Matrix a, double *d, double *e, double *tau) {
    for (size_t j = 0; j + 1 < n; j++) {
        const size_t rest = n - j - 1;
        double *v = a[j] + j + 1, *w = d + j + 1;
        tau[j] = reflector(rest, v);
        e[j] = v[0];
        v[0] = 1;
        const Matrix trailing = a.from(j + 1, j + 1);
        std::fill(w, w + rest, 0);
        for (size_t i = 0; i < rest; i++) add(rest, tau[j] * v[i], trailing[i], w);
        add(rest, -tau[j] / 2 * dot(rest, v, w), v, w);
        for (size_t i = 0; i < rest; i++) add(rest, -w[i], v, trailing[i]), add(rest, -v[i], w, trailing[i]);
    }
    for (size_t j = 0; j < n; j++) d[j] = a[j][j];
    for (size_t j = n; j-- > 1;) {
        std::copy(a[j - 1] + j, a[j - 1] + n, a[j] + j);
        a[j][0] = 0;
    }
    std::fill(a[0], a[0] + n, 0);
    a[0][0] = 1;
    if (n > 1) orthonormal(n - 1, n - 1, n - 1, a.from(1, 1), tau);
}

static void rotate(size_t n, double c, double s, double *__restrict left, double *__restrict right) {
    for (size_t i = 0; i < n; i++) {
        const double kept = right[i];
        right[i] = s * left[i] + c * kept;
        left[i] = c * left[i] - s * kept;
    }
}

// One implicit QL step on rows `top` to `bottom`, with Wilkinson's shift (EISPACK's imtql2); `z` turns along.
static void step(size_t n, size_t top, size_t bottom, double *d, double *e, Matrix z) {
    const double ahead = (d[top + 1] - d[top]) / (2 * e[top]);
    double g = d[bottom] - d[top] + e[top] / (ahead + std::copysign(std::hypot(ahead, 1), ahead));
    double s = 1, c = 1, shift = 0;
    for (size_t i = bottom; i-- > top;) {
        const double f = s * e[i], b = c * e[i], r = std::hypot(f, g);
        e[i + 1] = r;
        if (r == 0) {
            d[i + 1] -= shift;
            e[bottom] = 0;
            return;
        }
        s = f / r, c = g / r;
        g = d[i + 1] - shift;
        const double q = (d[i] - g) * s + 2 * c * b;
        shift = s * q;
        d[i + 1] = g + shift;
        g = c * q - b;
        rotate(n, c, s, z[i], z[i + 1]);
    }
    d[top] -= shift;
    e[top] = g;
    e[bottom] = 0;
}

// Diagonalises; how many entries of `e` were left when it gave up, 0 if none. What is rounding beside the largest row
// counts as nothing.
static int diagonal(size_t n, double *d, double *e, Matrix z) {
    double largest = 0;
    e[n - 1] = 0;
    for (size_t i = 0; i < n; i++) largest = std::max(largest, std::abs(d[i]) + std::abs(e[i]));
    for (size_t top = 0; top < n; top++)
        for (int steps = 0;; steps++) {
            size_t bottom = top;
            while (bottom + 1 < n && std::abs(e[bottom]) > DBL_EPSILON / 2 * largest) bottom++;
            if (bottom == top) break;
            if (steps == 60) return int(n - top);
            step(n, top, bottom, d, e, z);
        }
    return 0;
}

// Doubles of "device" memory and indices of the host's that one matrix takes.
static size_t device_length(size_t n) { return n * n + 3 * n; }
static size_t host_length(size_t n) { return n + 1; }

// Eigenvalues ascending in `w`, eigenvectors in place of `a`, of which the lower triangle is read; returns info.
static int eigen(size_t n, Matrix a, double *w, double *work, size_t *order) {
    const Matrix z{work, n};
    double *d = work + n * n, *e = d + n, *tau = e + n, largest = 0;
    for (size_t j = 0; j < n; j++)
        for (size_t i = j; i < n; i++) {
            z[j][i] = z[i][j] = a[j][i];
            largest = std::isfinite(a[j][i]) ? std::max(largest, std::abs(a[j][i])) : std::numeric_limits<double>::infinity();
            if (std::isinf(largest)) {
                for (size_t k = 0; k < n; k++) std::fill(a[k], a[k] + n, NAN), w[k] = NAN;
                return int(n);
            }
        }
    // Near 1, by a power of two, so that no square over- or underflows.
    const int exponent = largest > 0 ? std::ilogb(largest) : 0;
    for (size_t i = 0; i < n * n; i++) work[i] = std::scalbn(work[i], -exponent);
    tridiagonal(n, z, d, e, tau);
    const int left = diagonal(n, d, e, z);
    std::iota(order, order + n, size_t(0));
    std::sort(order, order + n, [d](size_t i, size_t j) { return d[i] < d[j]; });
    for (size_t j = 0; j < n; j++) {
        w[j] = std::scalbn(d[order[j]], exponent);
        std::copy(z[order[j]], z[order[j]] + n, a[j]);
    }
    return left;
}
