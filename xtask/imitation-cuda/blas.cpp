// The part of cuBLAS that t2-linalg calls, for a CPU: "device" pointers are the host's, and a call has ended when it
// returns.
//
// As strict as cuBLAS where it is strict, and in one thing stricter: matrices of a batch that overlap in C, which a GPU
// would spoil without a word, are refused. IMITATION_CUSOLVER_FAILS names a function that shall fail.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

enum Status { SUCCESS = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, INTERNAL_ERROR = 14 };
enum Operation { AS_IT_IS = 0, TRANSPOSED = 1, ADJOINT = 2 };

struct Handle {
    void *stream;
};

static bool told_to_fail(const char *name) {
    const char *told = getenv("IMITATION_CUSOLVER_FAILS");
    return told && strcmp(told, name) == 0;
}

static Status refused(const char *what) {
    fprintf(stderr, "imitation of cuBLAS: %s\n", what);
    return INVALID_VALUE;
}

// `op(from)`, `rows` x `columns`, without gaps.
static std::vector<double> packed(Operation op, const double *from, size_t lead, size_t rows, size_t columns) {
    std::vector<double> to(rows * columns);
    for (size_t j = 0; j < columns; j++)
        for (size_t i = 0; i < rows; i++) to[i + j * rows] = op == AS_IT_IS ? from[i + j * lead] : from[j + i * lead];
    return to;
}

// c += a b, with `a` m x k and `b` k x n; a strip of `a` stays in the cache while it meets every column of `b`.
static void add_product(size_t m, size_t n, size_t k, const double *a, const double *b, double *c, size_t lead) {
    const size_t strip = 256, deep = 64;
    for (size_t top = 0; top < m; top += strip)
        for (size_t first = 0; first < k; first += deep)
            for (size_t j = 0; j < n; j++) {
                double *__restrict to = c + top + j * lead;
                const size_t rows = std::min(strip, m - top);
                for (size_t l = first; l < std::min(k, first + deep); l++) {
                    const double *__restrict column = a + top + l * m, factor = b[l + j * k];
                    for (size_t i = 0; i < rows; i++) to[i] += factor * column[i];
                }
            }
}

extern "C" {

Status cublasCreate_v2(Handle **handle) {
    if (told_to_fail(__func__)) return INTERNAL_ERROR;
    return handle ? (*handle = new Handle{}, SUCCESS) : refused("no place for the handle");
}

Status cublasDestroy_v2(Handle *handle) { return handle ? (delete handle, SUCCESS) : NOT_INITIALIZED; }

Status cublasSetStream_v2(Handle *handle, void *stream) {
    if (told_to_fail(__func__)) return INTERNAL_ERROR;
    return handle ? (handle->stream = stream, SUCCESS) : NOT_INITIALIZED;
}

Status cublasDgemmStridedBatched(Handle *handle, Operation op_a, Operation op_b, int m, int n, int k, const double *alpha,
                                 const double *a, int lead_a, long long stride_a, const double *b, int lead_b,
                                 long long stride_b, const double *beta, double *c, int lead_c, long long stride_c,
                                 int batch) {
    if (told_to_fail(__func__)) return INTERNAL_ERROR;
    if (!handle) return NOT_INITIALIZED;
    if (m < 0 || n < 0 || k < 0 || batch < 0) return refused("a negative size");
    if (unsigned(op_a) > ADJOINT || unsigned(op_b) > ADJOINT) return refused("an unknown operation");
    if (lead_a < std::max(1, op_a == AS_IT_IS ? m : k)) return refused("lda is shorter than a column");
    if (lead_b < std::max(1, op_b == AS_IT_IS ? k : n)) return refused("ldb is shorter than a column");
    if (lead_c < std::max(1, m)) return refused("ldc is shorter than a column");
    if (!alpha || !beta) return refused("alpha or beta is null");
    if (m == 0 || n == 0 || batch == 0) return SUCCESS;
    if (!c || (k > 0 && *alpha != 0 && (!a || !b))) return refused("a matrix is null");
    if (batch > 1 && std::abs(stride_c) < (n - 1ll) * lead_c + m) return refused("matrices of the batch overlap in C");

    for (long long at = 0; at < batch; at++) {
        double *to = c + at * stride_c;
        for (int j = 0; j < n; j++)
            for (int i = 0; i < m; i++) {
                double &entry = to[i + size_t(j) * lead_c];
                entry = *beta == 0 ? 0 : *beta * entry;
            }
        if (k == 0 || *alpha == 0) continue;
        std::vector<double> left = packed(op_a, a + at * stride_a, lead_a, m, k);
        const std::vector<double> right = packed(op_b, b + at * stride_b, lead_b, k, n);
        for (double &entry : left) entry *= *alpha;
        add_product(m, n, k, left.data(), right.data(), to, lead_c);
    }
    return SUCCESS;
}
}
