// The part of cuSOLVER that t2-linalg calls, for a CPU: eigenvectors of symmetric matrices and thin QR factors, in f64.
//
// "Device" pointers are the host's, matrices are column-major, and a call has ended when it returns. Workspaces are
// really used, or spoilt with NaN, to their last byte, so one that is too short or overlaps something shows. What
// t2-linalg does not use (other types, upper triangles, eigenvalues alone) is not supported. IMITATION_CUSOLVER_FAILS
// names a function that shall fail; with OLD defined, what came with CUDA 12.6 is left out.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "factors.hpp"

enum Status { SUCCESS = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 3, INTERNAL_ERROR = 7, NOT_SUPPORTED = 9 };
enum Type { R_64F = 1 };
enum Vectors { WITH_VECTORS = 1 };
enum Triangle { LOWER = 0 };

struct Handle {
    void *stream;
};
struct Params {};

static bool told_to_fail(const char *name) {
    const char *told = getenv("IMITATION_CUSOLVER_FAILS");
    return told && strcmp(told, name) == 0;
}

static Status refused(const char *function, const char *what) {
    fprintf(stderr, "imitation of cuSOLVER: %s: %s\n", function, what);
    return INVALID_VALUE;
}

// What both eigensolvers ask of their arguments; `batch` is 1 for the one that takes a single matrix.
struct Symmetric {
    const char *function;
    Handle *handle;
    Params *params;
    int vectors, triangle;
    int64_t n;
    int type_a;
    int64_t lead;
    int type_w, type;
    int64_t batch;

    Status check() const {
        if (told_to_fail(function)) return INTERNAL_ERROR;
        if (!handle) return NOT_INITIALIZED;
        if (!params) return refused(function, "no params");
        if (n < 0 || batch < 0) return refused(function, "a negative size");
        if (lead < std::max<int64_t>(1, n)) return refused(function, "lda is shorter than a column");
        const bool doubles = type_a == R_64F && type_w == R_64F && type == R_64F;
        return doubles && vectors == WITH_VECTORS && triangle == LOWER ? SUCCESS : NOT_SUPPORTED;
    }

    Status sizes(size_t *device, size_t *host) const {
        if (const Status status = check()) return status;
        if (!device || !host) return refused(function, "no place for a size");
        *device = device_length(n) * sizeof(double);
        *host = host_length(n) * sizeof(size_t);
        return SUCCESS;
    }

    Status solve(void *a, void *w, void *device, size_t device_bytes, void *host, size_t host_bytes, int *info) const {
        if (const Status status = check()) return status;
        if (!info || (n > 0 && batch > 0 && (!a || !w))) return refused(function, "a matrix, W or info is null");
        if (!device || device_bytes < device_length(n) * sizeof(double)) return refused(function, "too little on the device");
        if (!host || host_bytes < host_length(n) * sizeof(size_t)) return refused(function, "too little on the host");
        std::fill_n(static_cast<double *>(device), device_length(n), NAN);
        for (int64_t at = 0; at < batch; at++) {
            const Matrix matrix{static_cast<double *>(a) + at * lead * n, size_t(lead)};
            double *values = static_cast<double *>(w) + at * n;
            info[at] = n > 0 ? eigen(n, matrix, values, static_cast<double *>(device), static_cast<size_t *>(host)) : 0;
        }
        return SUCCESS;
    }
};

// What both halves of a QR factorisation ask of their arguments: n columns from k reflectors, which for the first half
// is min(m, n) of them.
static Status check_qr(const char *function, const Handle *handle, int m, int n, int k, int lead, const void *place) {
    if (told_to_fail(function)) return INTERNAL_ERROR;
    if (!handle) return NOT_INITIALIZED;
    if (m < 0 || n < 0 || k < 0 || k > n || k > m) return refused(function, "sizes that do not fit together");
    if (lead < std::max(1, m)) return refused(function, "lda is shorter than a column");
    return place ? SUCCESS : refused(function, "lwork or info is null");
}

static Status check_work(const char *function, int n, const double *a, const double *tau, double *work, int length) {
    if (!a || !tau || !work) return refused(function, "a pointer is null");
    if (length < std::max(1, n)) return refused(function, "too little workspace");
    return std::fill_n(work, std::max(1, n), NAN), SUCCESS;
}

extern "C" {

Status cusolverDnCreate(Handle **handle) {
    if (told_to_fail(__func__)) return INTERNAL_ERROR;
    return handle ? (*handle = new Handle{}, SUCCESS) : refused(__func__, "no place for the handle");
}
Status cusolverDnDestroy(Handle *handle) { return handle ? (delete handle, SUCCESS) : NOT_INITIALIZED; }
Status cusolverDnSetStream(Handle *handle, void *stream) {
    if (told_to_fail(__func__)) return INTERNAL_ERROR;
    return handle ? (handle->stream = stream, SUCCESS) : NOT_INITIALIZED;
}
Status cusolverDnCreateParams(Params **params) {
    if (told_to_fail(__func__)) return INTERNAL_ERROR;
    return params ? (*params = new Params{}, SUCCESS) : refused(__func__, "no place for the params");
}
Status cusolverDnDestroyParams(Params *params) { return params ? (delete params, SUCCESS) : NOT_INITIALIZED; }

Status cusolverDnXsyevd_bufferSize(Handle *handle, Params *params, int vectors, int triangle, int64_t n, int type_a,
                                   const void *, int64_t lead, int type_w, const void *, int type, size_t *device,
                                   size_t *host) {
    const Symmetric problem{__func__, handle, params, vectors, triangle, n, type_a, lead, type_w, type, 1};
    return problem.sizes(device, host);
}
Status cusolverDnXsyevd(Handle *handle, Params *params, int vectors, int triangle, int64_t n, int type_a, void *a,
                        int64_t lead, int type_w, void *w, int type, void *device, size_t device_bytes, void *host,
                        size_t host_bytes, int *info) {
    const Symmetric problem{__func__, handle, params, vectors, triangle, n, type_a, lead, type_w, type, 1};
    return problem.solve(a, w, device, device_bytes, host, host_bytes, info);
}
#ifndef OLD
Status cusolverDnXsyevBatched_bufferSize(Handle *handle, Params *params, int vectors, int triangle, int64_t n, int type_a,
                                         const void *, int64_t lead, int type_w, const void *, int type, size_t *device,
                                         size_t *host, int64_t batch) {
    const Symmetric problem{__func__, handle, params, vectors, triangle, n, type_a, lead, type_w, type, batch};
    return problem.sizes(device, host);
}
Status cusolverDnXsyevBatched(Handle *handle, Params *params, int vectors, int triangle, int64_t n, int type_a, void *a,
                              int64_t lead, int type_w, void *w, int type, void *device, size_t device_bytes, void *host,
                              size_t host_bytes, int *info, int64_t batch) {
    const Symmetric problem{__func__, handle, params, vectors, triangle, n, type_a, lead, type_w, type, batch};
    return problem.solve(a, w, device, device_bytes, host, host_bytes, info);
}
#endif

Status cusolverDnDgeqrf_bufferSize(Handle *handle, int m, int n, double *, int lead, int *length) {
    const Status status = check_qr(__func__, handle, m, n, std::min(m, n), lead, length);
    return status ? status : (*length = std::max(1, n), SUCCESS);
}
Status cusolverDnDgeqrf(Handle *handle, int m, int n, double *a, int lead, double *tau, double *work, int length,
                        int *info) {
    Status status = check_qr(__func__, handle, m, n, std::min(m, n), lead, info);
    if (!status) status = check_work(__func__, n, a, tau, work, length);
    return status ? status : (qr(m, n, {a, size_t(lead)}, tau), *info = 0, SUCCESS);
}
Status cusolverDnDorgqr_bufferSize(Handle *handle, int m, int n, int k, const double *, int lead, const double *,
                                   int *length) {
    if (n > m) return refused(__func__, "more columns than rows");
    const Status status = check_qr(__func__, handle, m, n, k, lead, length);
    return status ? status : (*length = std::max(1, n), SUCCESS);
}
Status cusolverDnDorgqr(Handle *handle, int m, int n, int k, double *a, int lead, const double *tau, double *work,
                        int length, int *info) {
    if (n > m) return refused(__func__, "more columns than rows");
    Status status = check_qr(__func__, handle, m, n, k, lead, info);
    if (!status) status = check_work(__func__, n, a, tau, work, length);
    return status ? status : (orthonormal(m, n, k, {a, size_t(lead)}, tau), *info = 0, SUCCESS);
}
}
