// A CUDA driver without a GPU: memory is the host's, and a launch runs the kernel that compiler.cpp made for this CPU.
//
// Exports what CubeCL and a context of cudarc's call of libcuda, with the numbers of an H100, and refuses launches that
// hardware would refuse. A stream does everything at once, so whatever has been asked for is done. Fresh memory is NaN: a
// kernel that reads what nothing wrote shows. With IMITATION_CUDA_COUNTS set it says at the end how many kernels were
// launched and how often the program waited for the device, which take time on hardware and none here.

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <string>

using Handle = void *;
using Address = unsigned long long;

enum Result {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    NOT_FOUND = 500,
};

static const Handle SOMETHING = reinterpret_cast<Handle>(1);
static const size_t MEMORY = size_t(16) << 30;
static const unsigned SHARED = 48 << 10, SHARED_OPT_IN = 227 << 10, GRID = 65535, UNITS = 1024;

// The context that a thread has bound; null, as on hardware, until it binds one.
static thread_local Handle current = nullptr;

struct Function {
    void (*run)(const unsigned grid[3], const unsigned block[3], size_t shared, void **arguments);
    std::string name;
    unsigned shared;
};

struct Copy2D {
    size_t from_x, from_y;
    unsigned from_kind;
    const char *from_host;
    Address from_device;
    Handle from_array;
    size_t from_pitch, to_x, to_y;
    unsigned to_kind;
    char *to_host;
    Address to_device;
    Handle to_array;
    size_t to_pitch, width, height;
};

static Result allocate(Address *address, size_t bytes) {
    const size_t page = 4096;
    void *memory = aligned_alloc(page, (bytes + page - 1) / page * page);
    if (memory) memset(memory, 0xFF, bytes);
    *address = reinterpret_cast<Address>(memory);
    return memory ? SUCCESS : OUT_OF_MEMORY;
}

static std::atomic<unsigned long> launches, waits;

static Result wait() { return waits++, SUCCESS; }

__attribute__((destructor)) static void say_counts() {
    if (!getenv("IMITATION_CUDA_COUNTS")) return;
    fprintf(stderr, "imitation of CUDA: %lu launches, %lu waits\n", launches.load(), waits.load());
}

// The first number of the compute capability: 9, as of an H100, or what is asked for. Below 7 no product is tried on tensor
// cores, which are not imitated.
static int generation() {
    const char *told = getenv("IMITATION_CUDA_GENERATION");
    return told ? atoi(told) : 9;
}

extern "C" {

Result cuInit(unsigned) { return SUCCESS; }
Result cuDriverGetVersion(int *version) { return *version = 13000, SUCCESS; }
Result cuGetErrorName(Result, const char **name) { return *name = "IMITATION", SUCCESS; }
Result cuGetErrorString(Result, const char **text) { return *text = "refused by the imitation of CUDA", SUCCESS; }

Result cuDeviceGetCount(int *count) { return *count = 1, SUCCESS; }
Result cuDeviceGet(int *device, int index) { return *device = index, SUCCESS; }
Result cuDeviceGetName(char *name, int length, int) { return snprintf(name, length, "H100 (imitation)"), SUCCESS; }
Result cuDeviceGetPCIBusId(char *id, int length, int) { return snprintf(id, length, "0000:01:00.0"), SUCCESS; }
Result cuDeviceTotalMem_v2(size_t *bytes, int) { return *bytes = MEMORY, SUCCESS; }

// The attributes by their number in CUdevice_attribute, from those of an H100.
Result cuDeviceGetAttribute(int *value, int attribute, int) {
    switch (attribute) {
    case 1: case 2: case 3: *value = UNITS; break;      // units in a block, and along its x and y
    case 4: *value = 64; break;                         // units along z
    case 5: *value = 2147483647; break;                 // blocks along x
    case 6: case 7: *value = GRID; break;               // blocks along y and z
    case 10: *value = 32; break;                        // units in a warp
    case 16: *value = 132; break;                       // multiprocessors
    case 75: *value = generation(); break;              // compute capability
    case 76: *value = 0; break;
    case 97: *value = SHARED_OPT_IN; break;             // shared memory of a block that asks for it
    case 87: *value = 2; break;                         // how many times as fast f32 is as f64
    case 115: *value = 1; break;                        // allocation in the order of a stream
    default: return INVALID_VALUE;
    }
    return SUCCESS;
}

Result cuDevicePrimaryCtxRetain(Handle *context, int) { return *context = SOMETHING, SUCCESS; }
Result cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
Result cuCtxSetCurrent(Handle context) { return current = context, SUCCESS; }
Result cuCtxGetCurrent(Handle *context) { return *context = current, SUCCESS; }
Result cuCtxSynchronize() { return current ? wait() : INVALID_CONTEXT; }
Result cuStreamCreate(Handle *stream, unsigned) { return *stream = SOMETHING, SUCCESS; }
Result cuStreamDestroy_v2(Handle) { return SUCCESS; }
Result cuStreamSynchronize(Handle) { return wait(); }
Result cuStreamWaitEvent(Handle, Handle, unsigned) { return SUCCESS; }
Result cuEventCreate(Handle *event, unsigned) { return *event = SOMETHING, SUCCESS; }
Result cuEventRecord(Handle, Handle) { return SUCCESS; }
Result cuEventQuery(Handle) { return SUCCESS; }
Result cuEventSynchronize(Handle) { return wait(); }
// Every kernel takes the same time here, so tuning takes whichever comes first.
Result cuEventElapsedTime_v2(float *milliseconds, Handle, Handle) { return *milliseconds = 1, SUCCESS; }
Result cuEventElapsedTime(float *milliseconds, Handle, Handle) { return *milliseconds = 1, SUCCESS; }
Result cuEventDestroy_v2(Handle) { return SUCCESS; }

Result cuMemGetInfo_v2(size_t *free, size_t *total) {
    return current ? (*free = *total = MEMORY, SUCCESS) : INVALID_CONTEXT;
}
Result cuMemAlloc_v2(Address *address, size_t bytes) {
    return !current ? INVALID_CONTEXT : bytes ? allocate(address, bytes) : INVALID_VALUE;
}
Result cuMemAllocAsync(Address *address, size_t bytes, Handle) { return allocate(address, bytes); }
Result cuMemFree_v2(Address address) { return free(reinterpret_cast<void *>(address)), SUCCESS; }
Result cuMemFreeAsync(Address address, Handle) { return cuMemFree_v2(address); }
Result cuMemAllocHost_v2(Handle *memory, size_t bytes) { return (*memory = malloc(bytes)) ? SUCCESS : OUT_OF_MEMORY; }
Result cuMemFreeHost(Handle memory) { return free(memory), SUCCESS; }
Result cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t bytes, Handle) {
    return memcpy(reinterpret_cast<void *>(to), from, bytes), SUCCESS;
}
Result cuMemcpyDtoHAsync_v2(void *to, Address from, size_t bytes, Handle) {
    return memcpy(to, reinterpret_cast<void *>(from), bytes), SUCCESS;
}
Result cuMemcpyDtoDAsync_v2(Address to, Address from, size_t bytes, Handle) {
    return memmove(reinterpret_cast<void *>(to), reinterpret_cast<void *>(from), bytes), SUCCESS;
}
Result cuMemcpyHtoD_v2(Address to, const void *from, size_t bytes) {
    return cuMemcpyHtoDAsync_v2(to, from, bytes, nullptr);
}
Result cuMemcpyDtoH_v2(void *to, Address from, size_t bytes) { return cuMemcpyDtoHAsync_v2(to, from, bytes, nullptr); }
Result cuMemcpyDtoD_v2(Address to, Address from, size_t bytes) {
    return cuMemcpyDtoDAsync_v2(to, from, bytes, nullptr);
}
Result cuMemsetD8Async(Address to, unsigned char byte, size_t bytes, Handle) {
    return memset(reinterpret_cast<void *>(to), byte, bytes), SUCCESS;
}
Result cuMemcpy2DAsync_v2(const Copy2D *copy, Handle) {
    const unsigned host = 1;
    const char *from = copy->from_kind == host ? copy->from_host : reinterpret_cast<const char *>(copy->from_device);
    char *to = copy->to_kind == host ? copy->to_host : reinterpret_cast<char *>(copy->to_device);
    for (size_t row = 0; row < copy->height; row++)
        memcpy(to + (copy->to_y + row) * copy->to_pitch + copy->to_x,
               from + (copy->from_y + row) * copy->from_pitch + copy->from_x, copy->width);
    return SUCCESS;
}

// The image is the path of a library, from compiler.cpp.
Result cuModuleLoadData(Handle *module, const char *image) {
    *module = dlopen(image, RTLD_NOW | RTLD_LOCAL);
    if (!*module) fprintf(stderr, "imitation of CUDA: %s\n", dlerror());
    return *module ? SUCCESS : INVALID_IMAGE;
}

Result cuModuleGetFunction(Function **function, Handle module, const char *name) {
    *function = new Function{nullptr, name, SHARED};
    (*function)->run = reinterpret_cast<decltype(Function::run)>(dlsym(module, "imitation_run"));
    return (*function)->run ? SUCCESS : NOT_FOUND;
}

Result cuFuncSetAttribute(Function *function, int attribute, int value) {
    const int max_dynamic_shared_size = 8;
    if (attribute != max_dynamic_shared_size) return SUCCESS;
    if (value < 0 || unsigned(value) > SHARED_OPT_IN) return INVALID_VALUE;
    return function->shared = value, SUCCESS;
}

Result cuLaunchKernel(Function *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                      unsigned shared, Handle, void **arguments, void **) {
    const unsigned grid[] = {gx, gy, gz}, block[] = {bx, by, bz};
    bool fits = bz <= 64 && gy <= GRID && gz <= GRID && gx <= 2147483647u && gx && gy && gz;
    fits = fits && bx * by * bz >= 1 && bx * by * bz <= UNITS && (shared <= SHARED || shared <= function->shared);
    if (!fits) {
        fprintf(stderr, "imitation of CUDA: no GPU launches %s with %u x %u x %u blocks of %u x %u x %u, %u bytes shared\n",
                function->name.c_str(), gx, gy, gz, bx, by, bz, shared);
        return INVALID_VALUE;
    }
    launches++;
    return function->run(grid, block, shared, arguments), SUCCESS;
}
}
