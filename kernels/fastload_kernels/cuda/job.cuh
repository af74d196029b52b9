// One launch over many samples, views and timestamps: its tables, and who does what.

#include "params.cuh"
#include "portable.cuh"

// One view of the launch: the record `JOB` of `kernels/fastload_kernels/cuda/planning.py`.
struct Job {
  u64 out;                          // [N, C, h, w] or [N, T, C, h, w]; bands last if so compiled
  u64 work;                         // floats between `view.cu` and `colour.cu`, where both are used
  i64 up_y, down_y, up_x, down_x;   // of the grid: `GridAxis` of fastload_kernels/grid.py
  int column;                       // in params [N, V]
  int height, width, most_taps;     // of the output; along an axis, 1 for nearest
  int timestamps, first_timestamp;  // of a sample; how many the views before it have
  int rows, columns;                // of a tile, before a transpose
  int strips, tiles, first_block;   // tiles of a plane: down, across; blocks of the views before
  int span;                         // most source rows that four output rows need
  int labels;                       // whether only the geometry of the parameters is obeyed
  int drawn_height, drawn_width;    // of the image that boxes are drawn on; 0 where it is this one
  int steps;                        // `Steps` in levels.cuh
  int red, green, blue;             // which bands; -1 for colours of any bands
};

// Radiometry of one band: the record `BAND` of `kernels/fastload_kernels/cuda/view.py`.
struct Band {
  float offset, scale, low, high, nodata;
  float nan, plus, minus;  // what NaN, +infinity and -infinity become
};

// What all samples share.
struct Source {
  i64 V, T, C, H, W;
};

__device__ inline float load(float x) { return x; }
__device__ inline float load(short x) { return x; }
__device__ inline float load(u16 x) { return x; }
__device__ inline float load(u8 x) { return x; }
__device__ inline float load(Half x) { return half_to_float(x.bits); }

constexpr float LARGEST = 3.402823466e38f;

// Whether pixels of a type can be NaN or infinite.
template <typename T>
constexpr bool FLOATING = false;
template <>
constexpr bool FLOATING<float> = true;
template <>
constexpr bool FLOATING<Half> = true;

// Weight of what is no tap. Zero would do, but for NaN and infinity: they must not spread to what
// they are no tap of.
#define ABSENT (FLOATING<SOURCE> ? NAN_FLOAT : 0.0f)

__device__ inline bool present(float weight) { return !FLOATING<SOURCE> || weight == weight; }

// Clipped radiometry, and what stands for NaN and infinity.
__device__ inline float scaled(float raw, const Band& band) {
  if (FLOATING<SOURCE> && !(fabsf(raw) <= LARGEST)) {
    return raw != raw ? band.nan : raw > 0 ? band.plus : band.minus;
  }
  return clip((raw - band.offset) * band.scale, band.low, band.high);
}

// Rounded down; the divisor is above 0.
__device__ inline i64 divided(i64 a, i64 b) {
  const i64 q = a / b;
  return a % b < 0 ? q - 1 : q;
}

// A box along an axis as `GridAxis.mapped` of fastload_kernels/grid.py has it.
__device__ inline void map_axis(int& start, int& size, i64 drawn, i64 own, i64 up, i64 down) {
  const i64 low_edge = 2 * (i64)start - drawn, high_edge = low_edge + 2 * (i64)size;
  const i64 base = own * down;
  i64 low = divided(low_edge * up + base + down, 2 * down);
  i64 high = divided(high_edge * up + base + down, 2 * down);
  if (high <= low) {
    low = divided((low_edge + size) * up + base, 2 * down);
    high = low + 1;
  }
  low = min(max(low, (i64)0), own - 1);
  high = min(max(high, low + 1), own);
  start = (int)low;
  size = (int)(high - low);
}

// The parameters of a view, as far as the pixels obey them, with the box on their grid.
__device__ inline Params obeyed(const Params* params, const Job& job, const Source& source) {
  Params p = *params;
  if (job.drawn_height) {
    map_axis(p.top, p.height, job.drawn_height, source.H, job.up_y, job.down_y);
    map_axis(p.left, p.width, job.drawn_width, source.W, job.up_x, job.down_x);
  }
  if (job.labels) {
    p.brightness = p.contrast = p.saturation = 1;
    p.hue = 0;
    p.sigma = 0;
    p.solarize = NAN_FLOAT;
    p.gray = 0;
  }
  return p;
}

// The address of a view's pixels; at the given timestamp for a view of all.
__device__ inline u64 plane_of(const u64* planes, const Params& p, const Source& source, i64 n,
                               int timestamp) {
  return planes[n * source.T + (p.timestamp < 0 ? timestamp : p.timestamp)];
}

// The crop's first pixel in the first band.
template <typename T>
__device__ const T* crop_of(const u64* planes, const Params& p, const Source& source, i64 n,
                            int timestamp) {
  const u64 plane = plane_of(planes, p, source, n, timestamp);
  return in_global((const T*)plane) + (i64)p.top * source.W + p.left;
}

// Which tile of which view a block of a sample makes.
struct Place {
  const Job* job;
  int timestamp, strip, tile;
};

__device__ inline Place placed(const Job* jobs, int count, int block) {
  int i = 0;
  while (i + 1 < count && jobs[i + 1].first_block <= block) ++i;
  const Job& job = jobs[i];
  const int rest = block - job.first_block, strip = rest / job.tiles;
  return {&job, strip / job.strips, strip % job.strips, rest % job.tiles};
}

// Quotients by a divisor that many threads share; for i * divisor below 2^32.
struct Divider {
  u32 divisor, inverse;
  __device__ explicit Divider(u32 divisor)
      : divisor(divisor), inverse(0xFFFFFFFFu / divisor + 1) {}
  __device__ int quotient(u32 i) const { return divisor == 1 ? i : __umulhi(i, inverse); }
};
