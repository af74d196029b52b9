// The colour operations of `kernels/fastload_kernels/stepwise.py`, one after another: one block an
// image, which it passes over once an operation, in place. `view.cu` crops and resamples, before or
// after.
//
// Defines: SOURCE and OUTPUT, the pixels' types; CHANNELS_LAST, 0 or 1; COUNT, 0 or 1, whether bad
// pixels are counted.

#include "convert.cuh"
#include "levels.cuh"
#include "sums.cuh"
#include "taps.cuh"

enum Operation { BRIGHTNESS, CONTRAST, SATURATION, HUE, OPERATIONS };

// Which operation comes at a place of an order; orders are numbered as words in a dictionary.
__device__ int operation(int order, int place) {
  int left[OPERATIONS] = {BRIGHTNESS, CONTRAST, SATURATION, HUE};
  const int digits[OPERATIONS] = {order / 6, order % 6 / 2, order % 2, 0};
  int found = 0;
  for (int i = 0; i <= place; ++i) {
    found = left[digits[i]];
    for (int j = digits[i]; j + 1 < OPERATIONS; ++j) left[j] = left[j + 1];
  }
  return found;
}

struct Image {
  float* y;      // levels [C, h, w]
  double* line;  // one band, blurred down
  double* sums;  // in shared memory, one a thread
  int C, h, w;
  int red, green, blue;  // which bands; -1 where colours are of any bands
  Levels levels;

  __device__ bool rgb() const { return red >= 0; }
  __device__ int pixels() const { return h * w; }
  __device__ float& at(int c, int i) const { return y[(i64)c * pixels() + i]; }

  __device__ double luma(int i) const {
    const double v = 0.299 * at(red, i) + 0.587 * at(green, i) + 0.114 * at(blue, i);
    return levels.whole ? floor(v + 0.5) : v;
  }

  // Of a band, or of the luma for -1, over what is not NaN.
  __device__ double mean(int c) const {
    double total = 0, count = 0;
    for (int i = threadIdx.x; i < pixels(); i += blockDim.x) {
      const double v = c < 0 ? luma(i) : (double)at(c, i);
      if (v != v) continue;
      total += v;
      count += 1;
    }
    __syncthreads();
    total = block_sum(sums, total);
    __syncthreads();
    count = block_sum(sums, count);
    __syncthreads();
    return total / max(count, 1.0);
  }

  __device__ void blend(int c, int i, double about, double factor) const {
    at(c, i) = (float)levels.kept(((double)at(c, i) - about) * factor + about);
  }

  __device__ void blend_bands(int kind, double factor) const {
    for (int c = 0; c < C; ++c) {
      const double about = kind == CONTRAST ? mean(c) : 0;
      for (int i = threadIdx.x; i < pixels(); i += blockDim.x) blend(c, i, about, factor);
    }
  }

  __device__ void blend_rgb(int kind, double factor) const {
    double about = kind == CONTRAST ? mean(-1) : 0;
    if (levels.whole) about = floor(about + 0.5);
    for (int i = threadIdx.x; i < pixels(); i += blockDim.x) {
      if (kind == SATURATION) about = luma(i);
      for (int c = 0; c < C; ++c) blend(c, i, about, factor);
    }
  }

  __device__ double part(double shift, double angle, double share, double value) const {
    double k = shift + 6 * angle;
    k = k >= 6 ? k - 6 : k;
    const double part = min(k, 4 - k);
    return levels.settled(value - value * share * min(max(part, 0.0), 1.0));
  }

  __device__ void turn_hue(double turns) const {
    for (int i = threadIdx.x; i < pixels(); i += blockDim.x) {
      const double r = at(red, i), g = at(green, i), b = at(blue, i);
      double value = max(r, max(g, b)), spread = value - min(r, min(g, b));
      if (r != r || g != g || b != b) value = spread = NAN_FLOAT;
      double angle = 0, share = 0;
      if (spread != 0) {
        share = spread / value;
        angle = r == value ? (g - b) / spread
                           : g == value ? 2 + (b - r) / spread : 4 + (r - g) / spread;
      }
      angle /= 6;
      angle -= floor(angle);
      if (levels.whole) {
        angle = trunc(angle * 255) + trunc(turns * 255);
        angle = (angle - 256 * floor(angle / 256)) / 255;
        share = trunc(share * 255) / 255;
      } else {
        angle += turns;
        angle -= floor(angle);
      }
      at(red, i) = (float)part(5, angle, share, value);
      at(green, i) = (float)part(3, angle, share, value);
      at(blue, i) = (float)part(1, angle, share, value);
    }
  }

  __device__ void jitter(const Params& p) const {
    const double factors[OPERATIONS] = {p.brightness, p.contrast, p.saturation, p.hue};
    for (int place = 0; place < OPERATIONS; ++place) {
      const int kind = rgb() ? operation(p.order, place) : place;
      const double factor = factors[kind];
      if (kind == HUE) {
        if (rgb() && factor != 0) turn_hue(factor);
      } else if (factor != 1) {
        if (rgb()) blend_rgb(kind, factor);
        if (!rgb() && kind != SATURATION) blend_bands(kind, factor);
      }
    }
  }

  __device__ void make_gray() const {
    for (int i = threadIdx.x; i < pixels(); i += blockDim.x) {
      double v = 0;
      for (int c = 0; c < C; ++c) v += at(c, i);
      v = rgb() ? luma(i) : levels.kept(v / C);
      for (int c = 0; c < C; ++c) at(c, i) = (float)v;
    }
  }

  // `bell` holds the blur's weights from the centre outwards.
  __device__ void blur(const double* bell, int radius) const {
    for (int c = 0; c < C; ++c) {
      __syncthreads();
      for (int i = threadIdx.x; i < pixels(); i += blockDim.x) {
        const int row = i / w, x = i - row * w;
        double total = 0;
        for (int d = -radius; d <= radius; ++d) {
          total += bell[abs(d)] * (double)at(c, fold(row + d, h) * w + x);
        }
        line[i] = total;
      }
      __syncthreads();
      for (int i = threadIdx.x; i < pixels(); i += blockDim.x) {
        const int row = i / w, x = i - row * w;
        double total = 0;
        for (int d = -radius; d <= radius; ++d) {
          total += bell[abs(d)] * line[row * w + fold(x + d, w)];
        }
        at(c, i) = (float)levels.settled(total);
      }
    }
  }

  __device__ void solarize(double threshold, bool dark) const {
    for (int i = threadIdx.x; i < C * pixels(); i += blockDim.x) {
      const double v = y[i];
      if (dark ? v < threshold : v >= threshold) y[i] = (float)(levels.top - v);
    }
  }

  __device__ void start(const SOURCE* __restrict__ plane, const Band* bands) const {
    for (int c = 0; c < C; ++c) {
      const Band band = bands[c];
      for (int i = threadIdx.x; i < pixels(); i += blockDim.x) {
        at(c, i) = (float)levels.started(load(plane[(i64)c * pixels() + i]), band);
      }
    }
  }

  // To the output's image; zeros for bands that `keep`, which may be null, does not have.
  __device__ void store(OUTPUT* out, const u8* keep) const {
    __syncthreads();
    for (int i = threadIdx.x; i < C * pixels(); i += blockDim.x) {
      const int c = i / pixels(), pixel = i - c * pixels();
      const float v = keep && !keep[c] ? 0 : (float)(y[i] / levels.top);
      convert(v, out[CHANNELS_LAST ? (i64)pixel * C + c : i]);
    }
  }
};

// Adds how many output pixels, of bands that are kept or make a gray view, are nearest to one that
// is NaN, infinite or no-data.
__device__ void count_bad(const Job& job, const Params& p, bool gray, const SOURCE* crop,
                          const Source& source, const Band* bands, const u8* keep, u32* counts) {
  const Axis down(p.height, job.height, job.most_taps, false);
  const Axis across(p.width, job.width, job.most_taps, false);
  for (int i = threadIdx.x; i < job.height * job.width; i += blockDim.x) {
    const int y = i / job.width, x = i - y * job.width;
    const i64 at = (i64)down.index(y, down.nearest(y)) * source.W +
                   across.index(x, across.nearest(x));
    for (int c = 0; c < source.C; ++c) {
      if (keep && !keep[c] && !gray) continue;
      const float raw = load(crop[c * source.H * source.W + at]);
      if (FLOATING<SOURCE> && raw != raw) atomicAdd(counts, 1u);
      if (FLOATING<SOURCE> && fabsf(raw) > LARGEST) atomicAdd(counts + 1, 1u);
      if (raw == bands[c].nodata) atomicAdd(counts + 2, 1u);
    }
  }
}

// A sample has `images`, of all jobs together. With `last`, images are those of the source, and
// what comes out stays where it is; else it goes to the job's output. lines[n, image, pixels of the
// largest] is scratch. keep may be null, and counts without COUNT; see view.cu.
extern "C" __global__ void __launch_bounds__(256)
    colour(const Job* jobs, i64 job_count, i64 images, i64 last, double* lines, i64 most,
           const u64* planes, const Params* params, const u8* keep, const Band* bands, u32* counts,
           const Source* sources, u64 absent) {
  DYNAMIC_SHARED(memory);
  const Source source = *sources;
  const i64 n = blockIdx.x / (u32)images;
  const int place = (int)(blockIdx.x % (u32)images);
  int j = 0;
  while (j + 1 < job_count && jobs[j + 1].first_timestamp <= place) ++j;
  const Job& job = jobs[j];
  const int timestamp = place - job.first_timestamp, C = (int)source.C;
  const i64 image = n * job.timestamps + timestamp, record = n * source.V + job.column;
  const Params drawn = params[record], p = obeyed(params + record, job, source);
  const int h = last ? (int)source.H : job.height, w = last ? (int)source.W : job.width;
  double* const sums = (double*)memory;
  double* const bell = sums + blockDim.x;
  const Image shown = {in_global((float*)job.work) + image * C * h * w,
                       in_global(lines) + blockIdx.x * most,
                       sums, C, h, w, job.red, job.green, job.blue, Levels(job.steps)};
  const u8* const kept = keep ? keep + record * C : nullptr;
  const u64 plane = plane_of(planes, p, source, n, timestamp);
  if (last) shown.start(in_global((const SOURCE*)plane), bands);
  shown.jitter(drawn);
  if (drawn.gray) shown.make_gray();
  if (drawn.sigma > 0) {
    const int radius = blur_radius(drawn.sigma);
    for (int d = threadIdx.x; d <= radius; d += blockDim.x) {
      bell[d] = gaussian(d, radius, drawn.sigma);
    }
    shown.blur(bell, radius);
  }
  __syncthreads();
  shown.solarize((double)drawn.solarize * shown.levels.top, drawn.solarize_dark);
  if (!last) shown.store(in_global((OUTPUT*)job.out) + image * C * h * w, kept);
  if (COUNT && plane != absent) {
    const SOURCE* const crop = crop_of<SOURCE>(planes, p, source, n, timestamp);
    count_bad(job, p, drawn.gray, crop, source, bands, kept, counts + 3 * record);
  }
}
