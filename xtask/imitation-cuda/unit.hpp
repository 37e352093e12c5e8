// What the CUDA source of a kernel needs to be a function of this CPU.
//
// The units of a block are fibers on one thread, block after block. A barrier hands over to the next unit; warps have one
// of their own, for shuffles. Shared memory is NaN when a block begins. Only what CubeCL's kernels have needed so far is
// here: another intrinsic is an error of the compiler.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <immintrin.h>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __launch_bounds__(...)
#define __grid_constant__
#define __restrict__ __restrict
#define __align__(bytes) __attribute__((aligned(bytes)))

using std::abs;
using std::isinf;
using std::isnan;
using std::max;
using std::min;

struct Index {
    unsigned x, y, z;
};

// Numbers of 16 bits: what is computed of them is f32, and rounded to the nearest where it is kept.
struct __half {
    uint16_t bits;
    __half() = default;
    __half(float value) : bits(_cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT)) {}
    operator float() const { return _cvtsh_ss(bits); }
};

struct __nv_bfloat16 {
    uint16_t bits;
    __nv_bfloat16() = default;
    __nv_bfloat16(float value) {
        uint32_t whole;
        memcpy(&whole, &value, sizeof value);
        bits = std::isnan(value) ? 0x7FFF : (whole + 0x7FFF + (whole >> 16 & 1)) >> 16;
    }
    operator float() const {
        const uint32_t whole = uint32_t(bits) << 16;
        float value;
        memcpy(&value, &whole, sizeof value);
        return value;
    }
};

namespace imitation {

const unsigned WARP = 32;
const size_t STACK = 256 << 10;

// A group of units that wait for each other.
struct Barrier {
    unsigned members, arrived, passed;

    void reset(unsigned units) { members = units, arrived = 0; }
    void open_if_complete() {
        if (arrived && arrived == members) arrived = 0, passed++;
    }
    // A unit that has returned is not waited for.
    void leave() { members--, open_if_complete(); }
    void wait();
};

struct Unit {
    void *stack_pointer;
    Index index;
    std::unique_ptr<char[]> stack;
    bool returned;
};

static std::vector<Unit> units;
static Unit *current;
static void *scheduler;
static Barrier block_barrier, warp_barriers[32];
static uint64_t exchanged[32][WARP];
static char *shared;
static Index block_index, block_size, grid_size;
static void (*kernel)(void **);
static void **arguments;

// Saves what a function must leave as it was, and goes on where `to` was left.
extern "C" void imitation_switch(void **from, void *to);
asm(R"(
    .local imitation_switch
imitation_switch:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
)");

inline void others() { imitation_switch(&current->stack_pointer, scheduler); }

inline void Barrier::wait() {
    const unsigned before = passed;
    arrived++;
    open_if_complete();
    while (passed == before) others();
}

inline unsigned number() { return current - units.data(); }

inline void start() {
    kernel(arguments);
    current->returned = true;
    others();
}

inline void prepare(Unit &unit, unsigned number) {
    unit.returned = false;
    unit.index = {number % block_size.x, number / block_size.x % block_size.y, number / block_size.x / block_size.y};
    // As if `start` had been called and had switched at once: six registers below the address to return to.
    void **top = reinterpret_cast<void **>(reinterpret_cast<uintptr_t>(unit.stack.get() + STACK) & ~uintptr_t(63));
    *--top = nullptr;
    *--top = reinterpret_cast<void *>(start);
    for (int registers = 0; registers < 6; registers++) *--top = nullptr;
    unit.stack_pointer = top;
}

inline void run_block() {
    const unsigned count = units.size();
    block_barrier.reset(count);
    for (unsigned first = 0; first < count; first += WARP) warp_barriers[first / WARP].reset(min(WARP, count - first));
    for (unsigned i = 0; i < count; i++) prepare(units[i], i);
    for (unsigned left = count; left > 0;) {
        for (Unit &unit : units) {
            if (unit.returned) continue;
            current = &unit;
            imitation_switch(&scheduler, unit.stack_pointer);
            if (!unit.returned) continue;
            left--;
            warp_barriers[number() / WARP].leave();
            block_barrier.leave();
        }
    }
}

inline void run(const unsigned grid[3], const unsigned block[3], size_t shared_bytes) {
    grid_size = {grid[0], grid[1], grid[2]};
    block_size = {block[0], block[1], block[2]};
    units.resize(block[0] * block[1] * block[2]);
    for (Unit &unit : units)
        if (!unit.stack) unit.stack.reset(new char[STACK]);
    const size_t line = 256;
    std::vector<char> memory(shared_bytes + line);
    shared = reinterpret_cast<char *>((reinterpret_cast<uintptr_t>(memory.data()) + line - 1) & ~uintptr_t(line - 1));
    for (unsigned z = 0; z < grid[2]; z++)
        for (unsigned y = 0; y < grid[1]; y++)
            for (unsigned x = 0; x < grid[0]; x++) {
                block_index = {x, y, z};
                memset(shared, 0xFF, shared_bytes);
                run_block();
            }
}

template <typename... A, size_t... I>
void call(void (*function)(A...), void **values, std::index_sequence<I...>) {
    function(*static_cast<std::remove_cv_t<A> *>(values[I])...);
}

template <typename... A> void call(void (*function)(A...), void **values) {
    call(function, values, std::index_sequence_for<A...>{});
}

// What `lane` of this unit's warp gave as `value`.
template <typename T> T exchange(T value, unsigned lane) {
    const unsigned warp = number() / WARP, own = number() % WARP;
    memcpy(&exchanged[warp][own], &value, sizeof(T));
    warp_barriers[warp].wait();
    memcpy(&value, &exchanged[warp][lane < WARP ? lane : own], sizeof(T));
    warp_barriers[warp].wait();
    return value;
}

// Units take turns, so nothing comes between the two halves of an atomic operation.
template <typename T, typename V> auto atomic_add(T *at, V value) {
    auto &cell = *const_cast<std::remove_cv_t<T> *>(at);
    const auto before = cell;
    cell += value;
    return before;
}

} // namespace imitation

#define threadIdx (imitation::current->index)
#define blockIdx imitation::block_index
#define blockDim imitation::block_size
#define gridDim imitation::grid_size
#define warpSize imitation::WARP

inline void __syncthreads() { imitation::block_barrier.wait(); }
inline unsigned __activemask() { return ~0u; }
template <typename T> T __shfl_xor_sync(unsigned, T value, int mask) {
    return imitation::exchange(value, (imitation::number() % imitation::WARP) ^ mask);
}
template <typename T> T __shfl_sync(unsigned, T value, int lane) { return imitation::exchange(value, lane); }
inline int __clz(int bits) { return bits ? __builtin_clz(bits) : 32; }
inline unsigned __umulhi(unsigned a, unsigned b) { return uint64_t(a) * b >> 32; }
inline float rsqrtf(float x) { return 1 / sqrtf(x); }

// Makes `name` the kernel of this library.
#define IMITATION_KERNEL(name)                                                                                             \
    extern "C" void imitation_run(const unsigned grid[3], const unsigned block[3], size_t shared, void **values) {         \
        imitation::kernel = [](void **values) { imitation::call(name, values); };                                          \
        imitation::arguments = values;                                                                                     \
        imitation::run(grid, block, shared);                                                                               \
    }
