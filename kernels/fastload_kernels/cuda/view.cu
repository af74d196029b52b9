// The view operation, one block a tile of a view, all its bands one after the other.
// `kernels/fastload_kernels/reference.py` says what it means, `kernels/fastload_kernels/cpu.py` why
// its parts may change places.
//
// 1. Down: weighted sums of source rows, four output rows at a time; the weights hold the taps and
//    the vertical blur. Radiometry on the way. A gray view adds up its bands here.
// 2. Across: the taps of each output column.
// 3. With blur, step 2 leaves its rows in shared memory, and four output columns at a time are
//    weighted sums of them.
// 4. Brightness and contrast as one multiply-add, solarize, store.
//
// Defines: SOURCE and OUTPUT, the pixels' types; CHANNELS_LAST, 0 or 1; COUNT, 0 or 1, whether bad
// pixels are counted, which changes no view; STEPPED, 0, or where colours are done by `colour.cu`, and
// here only geometry: 1 from the source to a job's `work`, as levels, 2 from there to the output.

#include "store.cuh"

// Finds the pixels of step 1 that are NaN, infinite or no-data, to COUNT.
struct Tally {
  u32 nan, infinite, nodata;

  __device__ void see(float raw, float none, u32 times) {
    if (FLOATING<SOURCE>) {
      nan += raw == raw ? 0 : times;
      infinite += fabsf(raw) > LARGEST ? times : 0;
    }
    nodata += raw == none ? times : 0;
  }
};

// What is resampled.
__device__ inline float pixel(float raw, const Band& band, const Levels& levels) {
  if (STEPPED == 0) return scaled(raw, band);
  return STEPPED == 1 ? (float)levels.started(raw, band) : raw;
}

// Adds to four sums what a value weighs in each.
__device__ inline void accumulate(Four& total, const Four& weight, float value) {
  for (int j = 0; j < 4; ++j) {
    if (present(weight.v[j])) total.v[j] = fmaf(weight.v[j], value, total.v[j]);
  }
}

// Step 1 for one band, added to what is in `mid` or replacing it. The rows' offsets are 32-bit and
// in bytes, so that each tap's address is one sum.
__device__ void sum_rows(const Tile& tile, const SOURCE* __restrict__ band_at, const Band band,
                         bool add, const Levels& levels, Tally& tally) {
  const int pitch = tile.pitch;
  const Divider columns(tile.places);
  for (int i = threadIdx.x; i < tile.groups * tile.places; i += blockDim.x) {
    const int g = columns.quotient(i), x = i - g * tile.places;
    const u8* const column = (const u8*)(band_at + tile.column_at[x]);
    const u32* const rows = tile.row_at + g * tile.span;
    const int* const near = tile.row_near + g * tile.span;
    const Four* const weights = tile.row_weight + g * tile.span;
    float* const mid = tile.mid + 4 * g * pitch + x;
    Four total = {};
    if (add) {
      for (int j = 0; j < 4; ++j) total.v[j] = mid[j * pitch];
    }
    const int count = tile.count[g];
#pragma unroll 4
    for (int k = 0; k < count; ++k) {
      const float raw = load(*(const SOURCE*)(column + rows[k]));
      accumulate(total, weights[k], pixel(raw, band, levels));
      if (COUNT) tally.see(raw, band.nodata, near[k] * tile.column_near[x]);
    }
    for (int j = 0; j < 4; ++j) mid[j * pitch] = total.v[j];
  }
}

// Step 2: rows 4 g to 4 g + 3 of the tile, at place x of the columns' reach.
template <int TAPS>
__device__ Four taken(const Tile& tile, int g, int x) {
  const float* const mid = tile.mid + 4 * g * tile.pitch;
  Four total = {};
  for (int k = x * TAPS; k < (x + 1) * TAPS; ++k) {
    const float weight = tile.across_tap[k];
    const float* const at = mid + tile.tap_place[k];
    for (int j = 0; j < 4; ++j) total.v[j] = fmaf(weight, at[j * tile.pitch], total.v[j]);
  }
  return total;
}

__device__ Four resampled(const Tile& tile, int g, int x) {
  const int taps = tile.across.axis.taps;
  return taps == 1 ? taken<1>(tile, g, x) : taps == 2 ? taken<2>(tile, g, x) : taken<4>(tile, g, x);
}

// Step 3: columns x to x + 3 of the tile, at a row of `line`.
__device__ Four blurred(const Tile& tile, int y, int x) {
  const float* const at = tile.line + y * tile.line_pitch + x;
  Four total = {};
#pragma unroll 4
  for (int d = 0; d < 4 + 2 * tile.radius; ++d) accumulate(total, tile.bell4[d], at[d]);
  return total;
}

// Steps 2 and 4 for all of the tile, or zeros for a dropped band. Neighbouring threads write
// neighbouring pixels.
template <bool DROPPED>
__device__ void finish_plain(const Tile& tile, const Finish& finish) {
  const int columns = tile.across.size;
  const Divider line(finish.transpose ? tile.groups : columns);
  for (int i = threadIdx.x; i < tile.groups * columns; i += blockDim.x) {
    const int major = line.quotient(i), minor = i - major * line.divisor;
    const int g = finish.transpose ? minor : major, x = finish.transpose ? major : minor;
    if (DROPPED) {
      finish.put_zero(4 * g, x);
    } else {
      finish.put(resampled(tile, g, x), 4 * g, x, true);
    }
  }
}

// Steps 2, 3 and 4 for all of the tile, a few groups of rows at a time.
__device__ void finish_blurred(const Tile& tile, const Finish& finish) {
  const int reach = tile.across.reach(), pitch = tile.line_pitch;
  const int quads = up4(tile.across.size) / 4;
  const Divider columns(reach);
  for (int start = 0; start < tile.groups; start += LINE_GROUPS) {
    const int groups = min(LINE_GROUPS, tile.groups - start), rows = 4 * groups;
    for (int i = threadIdx.x; i < groups * reach; i += blockDim.x) {
      const int g = columns.quotient(i), x = i - g * reach;
      const Four values = resampled(tile, start + g, x);
      for (int j = 0; j < 4; ++j) tile.line[(4 * g + j) * pitch + x] = values.v[j];
    }
    __syncthreads();
    // Rows next to each other where a row is a column of the output; else eight quads of a row.
    const int side = finish.transpose ? 0 : 3;  // as a power of two
    const int sides = ((quads - 1) >> side) + 1;
    const Divider line(rows);
    for (int i = threadIdx.x; i < (sides * rows) << side; i += blockDim.x) {
      const int across = line.quotient(i >> side), y = (i >> side) - across * rows;
      const int q = (across << side) + (i & ((1 << side) - 1));
      if (q >= quads || 4 * start + y >= tile.down.size) continue;
      finish.put(blurred(tile, y, 4 * q), 4 * start + y, 4 * q, false);
    }
    __syncthreads();
  }
}

// Steps 1 to 4 for the bands from finish.band to before finish.last, which become one.
__device__ void render(const Tile& tile, const SOURCE* crop, const Source& source,
                       const Band* bands, const Finish& finish, Tally& tally) {
  if (finish.dropped()) {
    finish_plain<true>(tile, finish);
    return;
  }
  for (int c = finish.band; c < finish.last; ++c) {
    const SOURCE* const at = crop + c * source.H * source.W;
    sum_rows(tile, at, bands[c], c > finish.band, finish.levels, tally);
  }
  __syncthreads();
  if (tile.radius) {
    finish_blurred(tile, finish);
  } else {
    finish_plain<false>(tile, finish);
    __syncthreads();
  }
}

// Brightness and contrast as gain and bias; means are of the bands that become one.
__device__ void set_affine(Finish& finish, const Params& p, const float* means) {
  finish.gain = p.brightness;
  finish.bias = 0;
  if (p.contrast == 1) return;
  float mean = 0;
  for (int c = finish.band; c < finish.last; ++c) mean += means[c];
  mean *= p.brightness / (finish.last - finish.band);
  finish.gain = p.brightness * p.contrast;
  finish.bias = mean * (1 - p.contrast);
}

__device__ void add_counts(const Tally& tally, u32* counts) {
  __shared__ u32 sums[3];
  if (threadIdx.x < 3) sums[threadIdx.x] = 0;
  __syncthreads();
  if (tally.nan) atomicAdd(sums, tally.nan);
  if (tally.infinite) atomicAdd(sums + 1, tally.infinite);
  if (tally.nodata) atomicAdd(sums + 2, tally.nodata);
  __syncthreads();
  if (threadIdx.x < 3 && sums[threadIdx.x]) atomicAdd(counts + threadIdx.x, sums[threadIdx.x]);
}

// params[n, v], keep[n, v, c], means[n, timestamp, c], counts[n, v, 3]; `blocks` of each sample.
// keep and means may be null, and so are counts without COUNT. The plane at `absent` stands for dates
// that a sample does not have, which count nothing.
extern "C" __global__ void __launch_bounds__(256, 4)
    view(const Job* jobs, i64 job_count, i64 blocks, i64 timestamps, const u64* planes,
         const Params* params, const u8* keep, const Band* bands, const float* means, u32* counts,
         u64 absent, i64 V, i64 T, i64 C, i64 H, i64 W) {
  DYNAMIC_SHARED(memory);
  const Source source = {V, T, C, H, W};
  const i64 n = blockIdx.x / (u32)blocks;
  const Place place = placed(jobs, (int)job_count, (int)(blockIdx.x % (u32)blocks));
  const Job& job = *place.job;
  const i64 record = n * V + job.column;
  const Params p = obeyed(params + record, job, source);
  Arena arena = {memory};
  Tile tile(job, p, place.strip, place.tile, arena);
  tile.build((u32)W * sizeof(SOURCE), p.sigma, p.gray ? 1.0f / C : 1.0f);
  const int h = job.height, w = job.width, pixels = tile.down.size * tile.across.size;
  const i64 image = n * job.timestamps + place.timestamp;
  OUTPUT* const out = in_global((OUTPUT*)(STEPPED == 1 ? job.work : job.out)) + image * C * h * w;
  OUTPUT* const staged = arena.take<OUTPUT>(CHANNELS_LAST ? pixels * (int)C : 0);
  const Canvas canvas = CHANNELS_LAST ? Canvas::staged(staged, tile, p.transpose, (int)C)
                                      : Canvas::whole(out, tile, p.transpose, h, w);
  const bool drops = keep && (STEPPED == 2 || !job.labels);
  Finish finish = {canvas, tile, drops ? keep + record * C : nullptr,
                   p.transpose != 0, p.solarize_dark != 0, p.solarize, 1, 0, 0, 0,
                   Levels(job.steps)};
  Tally tally = {};
  const SOURCE* const crop =
      STEPPED == 2 ? in_global((const SOURCE*)job.work) + image * C * H * W + p.top * W + p.left
                   : crop_of<SOURCE>(planes, p, source, n, place.timestamp);
  const float* const own = means + (n * timestamps + job.first_timestamp + place.timestamp) * C;
  for (int c = 0; c < C; c = finish.last) {
    finish.band = c;
    finish.last = p.gray ? C : c + 1;
    set_affine(finish, p, own);
    render(tile, crop, source, bands, finish, tally);
  }
  if (CHANNELS_LAST) {
    __syncthreads();
    flush(out, staged, tile, p.transpose, w, (int)C);
  }
  const bool counted = COUNT && plane_of(planes, p, source, n, place.timestamp) != absent;
  if (counted) add_counts(tally, counts + 3 * record);
}
