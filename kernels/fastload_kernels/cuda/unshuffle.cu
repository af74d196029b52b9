// Undoing the shuffle of Blosc's blocks, and copying what was stored as it is: a copy is a shuffled
// block of one-byte elements. One launch serves all rows of a table, however their sizes differ.

#include "portable.cuh"

// An address with this bit set is an offset in the scratch memory.
constexpr u64 IN_SCRATCH = 1ull << 63;
// Bytes that a block of threads moves. A row has one piece or more.
constexpr i64 PIECE = 32768;

// The record `MOVE` of `kernels/fastload_kernels/cuda/shuffle.py`.
struct Move {
  u64 src, dst;
  i64 size;      // bytes
  i64 typesize;  // bytes of an element: 1, 2, 4, 8
  i64 bits;      // 0: byte b of all elements lies together; 1: so does bit b
  i64 first;     // number of the row's first piece
};

__device__ inline u64 placed(u64 address, u64 scratch) {
  return address & IN_SCRATCH ? (address ^ IN_SCRATCH) + scratch : address;
}

// Eight bytes from anywhere. What is read beside them shares an aligned word with one of them.
__device__ inline u64 load8(const u8* from) {
  const u64 skip = (u64)from & 7;
  const u64* const words = (const u64*)(from - skip);
  return skip ? words[0] >> 8 * skip | words[1] << (64 - 8 * skip) : words[0];
}

__device__ inline void store8(u8* to, u64 word) {
  if (((u64)to & 7) == 0) {
    *(u64*)to = word;
  } else {
    for (int i = 0; i < 8; ++i) to[i] = (u8)(word >> 8 * i);
  }
}

__device__ inline void store16(u8* to, u64 low, u64 high) {
  if (((u64)to & 15) == 0) {
    store_aligned16(to, low, high);
  } else {
    store8(to, low);
    store8(to + 8, high);
  }
}

// Byte i of the result has in bit k what byte k has in bit i. Source: Warren, Hacker's Delight,
// 7-3.
__device__ inline u64 transposed(u64 x) {
  u64 t = (x ^ (x >> 7)) & 0x00AA00AA00AA00AA;
  x ^= t ^ (t << 7);
  t = (x ^ (x >> 14)) & 0x0000CCCC0000CCCC;
  x ^= t ^ (t << 14);
  t = (x ^ (x >> 28)) & 0x00000000F0F0F0F0;
  return x ^ t ^ (t << 28);
}

// Eight elements beginning with number 8 * g of n, byte by byte: byte e of planes[b] is byte b of
// the e-th of them.
template <int T>
__device__ void gather(const Move& row, const u8* src, i64 n, i64 g, u64 (&planes)[T]) {
  for (int b = 0; b < T; ++b) {
    if (!row.bits) {
      planes[b] = load8(src + b * n + 8 * g);
      continue;
    }
    u64 rows = 0;
    for (int k = 0; k < 8; ++k) rows |= (u64)src[(8 * b + k) * (n / 8) + g] << 8 * k;
    planes[b] = transposed(rows);
  }
}

// The same eight elements as they follow each other.
template <int T>
__device__ void interleave(const u64 (&planes)[T], u64* words) {
  for (int j = 0; j < T; ++j) {
    u64 word = 0;
    for (int i = 0; i < 8; ++i) {
      const int q = 8 * j + i;
      word |= (planes[q % T] >> 8 * (q / T) & 0xFF) << 8 * i;
    }
    words[j] = word;
  }
}

// `GROUPS` times eight elements, from number 8 * g on.
template <int T, int GROUPS>
__device__ void move_groups(const Move& row, const u8* src, u8* dst, i64 n, i64 g) {
  constexpr int WORDS = GROUPS * T;
  u64 words[WORDS];
  for (int i = 0; i < GROUPS; ++i) {
    u64 planes[T];
    gather<T>(row, src, n, g + i, planes);
    interleave<T>(planes, words + T * i);
  }
  u8* const to = dst + 8 * T * g;
  if (WORDS == 1) store8(to, words[0]);
  for (int j = 0; j + 1 < WORDS; j += 2) store16(to + 8 * j, words[j], words[j + 1]);
}

// What is left behind the last eight elements, never elements shuffled by bits. Bytes that make no
// whole element are not shuffled.
template <int T>
__device__ void rest(i64 size, const u8* src, u8* dst, i64 n, i64 g) {
  for (i64 i = 8 * T * g; i < size; ++i) dst[i] = src[i < T * n ? i % T * n + i / T : i];
}

template <int T>
__device__ void move_piece(const Move& row, i64 piece, u64 scratch) {
  constexpr int STEP = T == 1 ? 2 : 1;  // groups that fill 16 bytes at least
  const u8* const src = in_global((const u8*)placed(row.src, scratch));
  u8* const dst = in_global((u8*)placed(row.dst, scratch));
  const i64 n = row.size / T, whole = n / 8, groups = PIECE / (8 * T);
  for (i64 k = STEP * threadIdx.x; k < groups; k += STEP * blockDim.x) {
    i64 g = piece * groups + k;
    if (g + STEP <= whole) {
      move_groups<T, STEP>(row, src, dst, n, g);
      continue;
    }
    for (; g < whole; ++g) move_groups<T, 1>(row, src, dst, n, g);
    if (g == whole) rest<T>(row.size, src, dst, n, g);
  }
}

// A block of threads for each piece of the `count` rows.
extern "C" __global__ void __launch_bounds__(256, 4)
    unshuffle(const Move* rows, i64 count, u64 scratch) {
  i64 row = 0;
  for (i64 end = count; end - row > 1;) {
    const i64 middle = (row + end) / 2;
    if (rows[middle].first <= blockIdx.x) {
      row = middle;
    } else {
      end = middle;
    }
  }
  const Move move = rows[row];
  const i64 piece = blockIdx.x - move.first;
  if (move.typesize == 1) move_piece<1>(move, piece, scratch);
  if (move.typesize == 2) move_piece<2>(move, piece, scratch);
  if (move.typesize == 4) move_piece<4>(move, piece, scratch);
  if (move.typesize == 8) move_piece<8>(move, piece, scratch);
}

// Turns offsets in the scratch memory into addresses, and forgets the sizes of an earlier decoding.
extern "C" __global__ void place(u64* addresses, u64* sizes, i64 count, u64 scratch) {
  const i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  addresses[i] = placed(addresses[i], scratch);
  sizes[i] = 0;
}
