// The tables of a block, in shared memory. Define: COUNT, 0 or 1, whether bad pixels are counted.
//
// Down: groups of four output rows. A group is a weighted sum of the source rows that it touches,
// taps and vertical blur in one. Across: the taps of each output column, and of those that the
// blur reaches beyond the tile; the source columns that they touch have places in `mid`.

#include "job.cuh"
#include "taps.cuh"

constexpr int LINE_GROUPS = 4;  // groups of rows that are blurred across at a time

__device__ inline int up4(int n) { return (n + 3) & ~3; }

// Hands out shared memory; `kernels/fastload_kernels/cuda/tiles.py` adds up the same pieces.
struct Arena {
  u8* at;
  template <typename T>
  __device__ T* take(int count) {
    T* const taken = (T*)at;
    at += (count * sizeof(T) + 15) & ~15;
    return taken;
  }
};

// The outputs of a tile along one axis, with those that the blur wants around them. Their number
// is filled up to a multiple of four by repeating the last.
struct Side {
  Axis axis;
  int start, size, radius;

  __device__ int reach() const { return up4(size) + 2 * radius; }

  // The output at place i of the reach.
  __device__ int output(int i) const {
    return fold(start - radius + min(i, size + 2 * radius - 1), axis.n_out);
  }

  // Source pixels from the first to the last that `n` outputs from place i of the tile on touch.
  __device__ void range(int i, int n, int& first, int& length) const {
    const int low = max(0, start + i - radius), last = axis.taps - 1;
    const int high = min(axis.n_out, start + min(i + n, size) + radius) - 1;
    first = min(axis.index(low, 0), axis.index(high, 0));
    length = max(axis.index(low, last), axis.index(high, last)) - first + 1;
  }
};

struct Tile {
  Side down, across;              // before a transpose
  int radius, groups, span;       // of the blur; of four rows each; most source rows of a group
  int first_column, places;       // of the source columns in `mid`
  bool own_places;                // whether each tap has its own, as where a view shrinks a lot
  int pitch, line_pitch;          // floats from row to row, odd to spread them over the banks

  float *mid, *line;              // summed down: [rows][pitch]; also taken across: [][line_pitch]
  int *tap_row, *tap_place;       // source row of a tap, place of its source column: [reach][taps]
  float *down_tap, *across_tap;   // its weight
  int *column_at, *column_near;   // of a place: its source column; to COUNT, outputs nearest to it
  int *first_row, *count;         // of a group: its first source row, or -1 for own ones; how many
  u32* row_at;                    // where they start in the crop, in bytes
  int* row_near;                  // to COUNT, how many outputs are nearest
  Four* row_weight;               // their weights in the four rows; all three [groups][span]
  float* bell;                    // the blur: [2 radius + 1]
  Four* bell4;                    // the blur of four neighbouring columns: [4 + 2 radius]

  __device__ Tile(const Job& job, const Params& p, int strip, int tile, Arena& arena)
      : down{{p.height, job.height, job.most_taps, p.transpose ? p.flip_x : p.flip_y}},
        across{{p.width, job.width, job.most_taps, p.transpose ? p.flip_y : p.flip_x}},
        radius(blur_radius(p.sigma)),
        span(job.span) {
    down.start = strip * job.rows;
    down.size = min(job.rows, job.height - down.start);
    across.start = tile * job.columns;
    across.size = min(job.columns, job.width - across.start);
    down.radius = across.radius = radius;
    groups = up4(down.size) / 4;
    const int down_taps = down.reach() * down.axis.taps;
    const int across_taps = across.reach() * across.axis.taps;
    across.range(0, across.size, first_column, places);
    own_places = across_taps < places;
    places = min(places, across_taps);
    pitch = places | 1;
    line_pitch = across.reach() | 1;
    mid = arena.take<float>(4 * groups * pitch);
    line = arena.take<float>(radius ? 4 * min(LINE_GROUPS, groups) * line_pitch : 0);
    tap_row = arena.take<int>(down_taps);
    down_tap = arena.take<float>(down_taps);
    tap_place = arena.take<int>(across_taps);
    across_tap = arena.take<float>(across_taps);
    column_at = arena.take<int>(places);
    column_near = arena.take<int>(COUNT ? places : 0);
    first_row = arena.take<int>(groups);
    count = arena.take<int>(groups);
    row_at = arena.take<u32>(groups * span);
    row_near = arena.take<int>(COUNT ? groups * span : 0);
    row_weight = arena.take<Four>(groups * span);
    bell = arena.take<float>(2 * radius + 1);
    bell4 = arena.take<Four>(4 + 2 * radius);
  }

  // Fills the tables; a source row has `row_bytes`, and `share` scales all weights.
  __device__ void build(u32 row_bytes, float sigma, float share) {
    list_rows();
    list_columns(share);
    for (int d = threadIdx.x; d < 2 * radius + 1; d += blockDim.x) {
      bell[d] = (float)gaussian(d - radius, radius, sigma);
    }
    __syncthreads();
    list_sources();
    __syncthreads();
    weigh(row_bytes);
    if (COUNT) count_nearest();
    __syncthreads();
  }

  __device__ void list_rows() {
    const Axis& axis = down.axis;
    for (int i = threadIdx.x; i < down.reach() * axis.taps; i += blockDim.x) {
      const int o = down.output(i / axis.taps), k = i % axis.taps;
      tap_row[i] = axis.index(o, k);
      down_tap[i] = (float)axis.weight(o, k);
    }
  }

  __device__ void list_columns(float share) {
    const Axis& axis = across.axis;
    for (int i = threadIdx.x; i < across.reach() * axis.taps; i += blockDim.x) {
      const int o = across.output(i / axis.taps), k = i % axis.taps, column = axis.index(o, k);
      tap_place[i] = own_places ? i : column - first_column;
      across_tap[i] = (float)(share * axis.weight(o, k));
      if (own_places) column_at[i] = column;
    }
    for (int i = threadIdx.x; i < places; i += blockDim.x) {
      if (!own_places) column_at[i] = first_column + i;
      if (COUNT) column_near[i] = 0;
    }
  }

  __device__ void list_sources() {
    const int own = (4 + 2 * radius) * down.axis.taps;
    for (int g = threadIdx.x; g < groups; g += blockDim.x) {
      down.range(4 * g, 4, first_row[g], count[g]);
      if (own < count[g]) {
        first_row[g] = -1;
        count[g] = own;
      }
    }
    if (COUNT) {
      for (int i = threadIdx.x; i < groups * span; i += blockDim.x) row_near[i] = 0;
    }
    for (int i = threadIdx.x; i < 4 * (4 + 2 * radius); i += blockDim.x) {
      const int d = i / 4 - i % 4;
      bell4[i / 4].v[i % 4] = d >= 0 && d <= 2 * radius ? bell[d] : ABSENT;
    }
  }

  __device__ void weigh(u32 row_bytes) {
    for (int i = threadIdx.x; i < groups * span * 4; i += blockDim.x) {
      const int g = i / 4 / span, k = i / 4 % span;
      if (k >= count[g]) continue;
      row_weight[i / 4].v[i % 4] = composed(g, i % 4, k);
      const int own = tap_row[4 * g * down.axis.taps + (first_row[g] < 0 ? k : 0)];
      row_at[i / 4] = (first_row[g] < 0 ? own : first_row[g] + k) * row_bytes;
    }
  }

  __device__ void count_nearest() {
    for (int y = threadIdx.x; y < down.size; y += blockDim.x) {
      const int nearest = down.axis.nearest(down.output(y + radius));
      const int row = source_row(y / 4, (y + radius) * down.axis.taps + nearest);
      atomicAdd(row_near + y / 4 * span + row, 1);
    }
    for (int x = threadIdx.x; x < across.size; x += blockDim.x) {
      const int nearest = across.axis.nearest(across.output(x + radius));
      atomicAdd(column_near + tap_place[(x + radius) * across.axis.taps + nearest], 1);
    }
  }

  // Which of a group's source rows the tap of a row takes.
  __device__ int source_row(int g, int tap) const {
    return first_row[g] < 0 ? tap - 4 * g * down.axis.taps : tap_row[tap] - first_row[g];
  }

  // What source row k of a group weighs in its row j.
  __device__ float composed(int g, int j, int k) const {
    const int taps = down.axis.taps;
    double total = 0;
    bool found = false;
    for (int d = 0; d < 2 * radius + 1; ++d) {
      for (int i = (4 * g + j + d) * taps; i < (4 * g + j + d + 1) * taps; ++i) {
        if (source_row(g, i) != k) continue;
        total += (double)bell[d] * down_tap[i];
        found = true;
      }
    }
    return found ? (float)total : ABSENT;
  }
};
