// Philox4x32-10; `kernels/fastload_kernels/philox.py` has the source and how counters are used.

#include "portable.cuh"

struct Words {
  u32 v[4];
};

__device__ inline Words philox(u32 c0, u32 c1, u32 c2, u32 c3, u32 k0, u32 k1) {
  for (int round = 0; round < 10; ++round) {
    const u64 p0 = (u64)0xD2511F53u * c0, p1 = (u64)0xCD9E8D57u * c2;
    c0 = (u32)(p1 >> 32) ^ c1 ^ k0;
    c1 = (u32)p1;
    c2 = (u32)(p0 >> 32) ^ c3 ^ k1;
    c3 = (u32)p0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// The random words of one view of one sample, numbered through the blocks of four.
struct Draws {
  u64 seed;
  u32 epoch, sample, view;

  __device__ u32 word(u32 i) const {
    return philox(i / 4, view, sample, epoch, (u32)seed, (u32)(seed >> 32)).v[i % 4];
  }

  // In the open interval (0, 1).
  __device__ double uniform(u32 i) const { return (word(i) + 0.5) * 0x1p-32; }

  // In [0, n).
  __device__ i64 choice(u32 i, i64 n) const { return (i64)(((u64)word(i) * (u64)n) >> 32); }

  // Place of word `first + i` in the stable order of `count` words from `first` on.
  __device__ i64 rank(u32 first, i64 count, i64 i) const {
    const u32 own = word(first + i);
    i64 before = 0;
    for (i64 j = 0; j < count; ++j) {
      const u32 other = word(first + j);
      before += other < own || (other == own && j < i);
    }
    return before;
  }
};
