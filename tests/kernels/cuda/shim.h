// Gives CUDA's words a meaning on the host, so that a kernel's own source runs without a GPU.
//
// Blocks run one after the other. The threads of a block are fibers of the calling thread that take
// turns at __syncthreads(), in an order of choice. Not here: warp primitives, 2-D and 3-D launches,
// textures.

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static thread_local

using std::max;
using std::min;

struct ShimIndex {
  unsigned x = 0, y = 0, z = 0;
};
static thread_local ShimIndex threadIdx, blockIdx, blockDim, gridDim;

struct ShimFiber {
  static constexpr size_t STACK = 64 * 1024;
  std::unique_ptr<char[]> stack{new char[STACK]};
  ucontext_t start;
  jmp_buf at;
  bool begun, ended;
};

typedef void (*ShimKernel)(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t,
                           int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t);

struct ShimLaunch {
  ShimKernel kernel;
  bool misaligned;
  const int64_t* args;
  jmp_buf scheduler;
  ShimFiber* running;
  uint8_t* dynamic_shared;
};
static thread_local ShimLaunch shim;
static thread_local std::vector<ShimFiber> shim_fibers;

// Called by what -fsanitize=alignment compiles in, before an access: a GPU refuses what this
// processor forgives. The fiber ends.
extern "C" __attribute__((visibility("hidden"))) void __ubsan_handle_type_mismatch_v1(void*,
                                                                                      uintptr_t) {
  shim.misaligned = true;
  _longjmp(shim.scheduler, 1);
}

inline uint8_t* shim_dynamic_shared() { return shim.dynamic_shared; }

// The fiber stops here until the scheduler comes back to it.
__attribute__((noinline)) inline void __syncthreads() {
  if (!_setjmp(shim.running->at)) _longjmp(shim.scheduler, 1);
}

inline unsigned __umulhi(unsigned a, unsigned b) { return (uint64_t(a) * b) >> 32; }

template <typename T>
T atomicAdd(T* total, T amount) {
  const T before = *total;
  *total += amount;
  return before;
}

static void shim_thread() {
  const int64_t* a = shim.args;
  shim.kernel(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12],
              a[13], a[14], a[15]);
  shim.running->ended = true;
  _longjmp(shim.scheduler, 1);
}

__attribute__((noinline)) static void shim_resume(ShimFiber& fiber) {
  shim.running = &fiber;
  if (_setjmp(shim.scheduler)) return;
  if (fiber.begun) _longjmp(fiber.at, 1);
  fiber.begun = true;
  setcontext(&fiber.start);
}

enum ShimOrder { SHIM_FORWARD = 0, SHIM_REVERSE = 1, SHIM_RANDOM = 2 };

// In which order blocks run, and threads between two barriers. Random is new each time, but the
// same in each launch.
struct ShimTurns {
  int64_t order;
  std::mt19937 random;

  void fill(std::vector<unsigned>& turns) {
    std::iota(turns.begin(), turns.end(), 0u);
    if (order == SHIM_REVERSE) std::reverse(turns.begin(), turns.end());
    if (order == SHIM_RANDOM) std::shuffle(turns.begin(), turns.end(), random);
  }
};

// Runs one block; false where some threads ended while others wait at a barrier.
static bool shim_block(unsigned threads, ShimTurns& order) {
  for (unsigned i = 0; i < threads; ++i) {
    ShimFiber& fiber = shim_fibers[i];
    fiber.begun = fiber.ended = false;
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = fiber.stack.get();
    fiber.start.uc_stack.ss_size = ShimFiber::STACK;
    fiber.start.uc_link = nullptr;
    makecontext(&fiber.start, shim_thread, 0);
  }
  std::vector<unsigned> turns(threads);
  for (;;) {
    unsigned ended = 0;
    order.fill(turns);
    for (const unsigned i : turns) {
      threadIdx.x = i;
      shim_resume(shim_fibers[i]);
      ended += shim_fibers[i].ended;
    }
    if (ended || shim.misaligned) return ended == threads;
  }
}

enum ShimResult { SHIM_DONE = 0, SHIM_DIVERGED = 1, SHIM_OVERRUN = 2, SHIM_MISALIGNED = 3 };

// Shared memory begins as NaN, and behind its end lies a guard that no thread may change.
extern "C" int shim_launch(void* kernel, int64_t grid, int64_t block, int64_t shared,
                           int64_t order, const int64_t* args) {
  constexpr size_t GUARD = 4096;
  constexpr uint8_t UNSET = 0xFF, GUARDED = 0xA5;
  std::unique_ptr<uint8_t[]> memory(new uint8_t[shared + GUARD + 16]);
  shim.dynamic_shared = memory.get() + (16 - uintptr_t(memory.get()) % 16) % 16;
  shim.kernel = (ShimKernel)kernel;
  shim.args = args;
  shim.misaligned = false;
  if (shim_fibers.size() < size_t(block)) shim_fibers.resize(block);
  blockDim.x = block;
  gridDim.x = grid;
  uint8_t* const end = shim.dynamic_shared + shared;
  std::fill(end, end + GUARD, GUARDED);
  ShimTurns turns = {order, std::mt19937()};
  std::vector<unsigned> blocks(grid);
  turns.fill(blocks);
  for (const unsigned b : blocks) {
    blockIdx.x = b;
    std::fill(shim.dynamic_shared, end, UNSET);
    const bool together = shim_block(block, turns);
    if (shim.misaligned) return SHIM_MISALIGNED;
    if (!together) return SHIM_DIVERGED;
    if (std::count(end, end + GUARD, GUARDED) != GUARD) return SHIM_OVERRUN;
  }
  return SHIM_DONE;
}
