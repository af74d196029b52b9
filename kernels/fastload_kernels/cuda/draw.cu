// `fastload_kernels.draw` and `fastload_kernels.draw_bands`, one thread a record, with the same
// bits: doubles, the same operations in the same order, nothing fused.

#include "params.cuh"
#include "philox.cuh"

// A `View` as numbers: the record `RULE` of `kernels/fastload_kernels/cuda/draw.py`.
struct Rule {
  double scale_low, scale_span, ratio_low, ratio_span;  // of LOG, the ratio's logarithm
  double hflip, vflip, d4, jitter, brightness, contrast;
  double gray, blur, sigma_low, sigma_span, solarize, solarize_threshold, drop;
  double saturation, hue;
  i64 policy, timestamp, crop;
  i64 height, width;  // of the box; LOG and UNIFORM fall back to it
  i64 solarize_dark, fewest, most, rgb;
};

enum Policy { INDEPENDENT, SAME, DISTINCT, AS_FIRST, FIXED };
enum Crop { PLAIN, CENTER, LOG, UNIFORM };

// Which random word decides what, as in `kernels/fastload_kernels/view.py`.
enum Slot {
  TIMESTAMP, HFLIP, VFLIP, D4, D4_ELEMENT, JITTER, BRIGHTNESS, CONTRAST,
  GRAY, BLUR, SIGMA, SOLARIZE, DROP, DROP_COUNT, SATURATION, HUE,
  ORDER = 21, CROP = 16, ATTEMPTS = 10, WORDS_PER_ATTEMPT = 8, BANDS = CROP + ATTEMPTS * WORDS_PER_ATTEMPT
};
constexpr u32 SHARED_VIEW = 0xFFFFFFFF;

// The exponential as `kernels/fastload_kernels/view.py` sums it.
__device__ double series_exp(double x) {
  double y = 1;
  for (int n = 24; n > 0; --n) y = 1 + y * x / n;
  return y;
}

__device__ int timestamp_of(const Rule& rule, const Draws& own, i64 T) {
  if (rule.policy == FIXED) return (int)rule.timestamp;
  if (rule.policy == INDEPENDENT) return (int)own.choice(TIMESTAMP, T);
  Draws shared = own;
  shared.view = SHARED_VIEW;
  if (rule.policy == SAME) return (int)shared.choice(0, T);
  i64 t = 0;  // the rule's `timestamp` is the view's number among the distinct ones
  while (shared.rank(4, T, t) != rule.timestamp) ++t;
  return (int)t;
}

__device__ void place(Params& p, i64 top, i64 left, i64 height, i64 width) {
  p.top = (int)top;
  p.left = (int)left;
  p.height = (int)height;
  p.width = (int)width;
}

// The first of ten attempts that fits, else a central box.
__device__ void crop_resized(Params& p, const Rule& rule, const Draws& own, i64 H, i64 W) {
  for (u32 at = CROP; at < BANDS; at += WORDS_PER_ATTEMPT) {
    const double area = (double)(H * W) * (rule.scale_low + rule.scale_span * own.uniform(at));
    double ratio = rule.ratio_low + rule.ratio_span * own.uniform(at + 1);
    if (rule.crop == LOG) ratio = series_exp(ratio);
    i64 width = (i64)floor(sqrt(area * ratio) + 0.5);
    i64 height = (i64)floor(sqrt(area / ratio) + 0.5);
    if (rule.crop == UNIFORM && own.uniform(at + 2) < 0.5) {
      const i64 swapped = width;
      width = height;
      height = swapped;
    }
    if (width < 1 || height < 1 || width > W || height > H) continue;
    place(p, own.choice(at + 3, H - height + 1), own.choice(at + 4, W - width + 1), height, width);
    return;
  }
  place(p, (H - rule.height) / 2, (W - rule.width) / 2, rule.height, rule.width);
}

__device__ void crop(Params& p, const Rule& rule, const Draws& own, i64 H, i64 W) {
  const i64 h = rule.height, w = rule.width;
  if (rule.crop == LOG || rule.crop == UNIFORM) {
    crop_resized(p, rule, own, H, W);
  } else if (rule.crop == CENTER) {
    place(p, (H - h) / 2, (W - w) / 2, h, w);
  } else {
    place(p, own.choice(CROP + 3, H - h + 1), own.choice(CROP + 4, W - w + 1), h, w);
  }
}

__device__ float jittered(const Draws& own, u32 slot, double spread) {
  return (float)(1 + spread * (2 * own.uniform(slot) - 1));
}

// params[n, v] of N x V = `records`; ids[n]. dates[n] are the sample's first timestamps that it has
// of all T; null where each has all.
extern "C" __global__ void draw(const Rule* rules, const i64* ids, const int* dates, Params* params,
                                i64 records, i64 V, u64 seed, i64 epoch, i64 T, i64 H, i64 W) {
  const i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= records) return;
  const i64 n = i / V, v = i % V;
  const Rule rule = rules[v];
  const Draws own = {seed, (u32)epoch, (u32)ids[n], (u32)v};
  Params p;
  const Draws first = {seed, (u32)epoch, (u32)ids[n], 0};
  const bool as_first = rule.policy == AS_FIRST;
  p.timestamp = timestamp_of(as_first ? rules[0] : rule, as_first ? first : own,
                             dates ? dates[n] : T);
  crop(p, rule, own, H, W);
  const i64 element = own.uniform(D4) < rule.d4 ? own.choice(D4_ELEMENT, 8) : 0;
  p.transpose = element & 1;
  p.flip_y = ((element >> 1) & 1) ^ (own.uniform(VFLIP) < rule.vflip);
  p.flip_x = ((element >> 2) & 1) ^ (own.uniform(HFLIP) < rule.hflip);
  const bool jitter = own.uniform(JITTER) < rule.jitter;
  p.brightness = jitter ? jittered(own, BRIGHTNESS, rule.brightness) : 1;
  p.contrast = jitter ? jittered(own, CONTRAST, rule.contrast) : 1;
  p.saturation = jitter ? jittered(own, SATURATION, rule.saturation) : 1;
  p.hue = jitter ? (float)(rule.hue * (2 * own.uniform(HUE) - 1)) : 0;
  p.order = rule.rgb ? (u8)own.choice(ORDER, 24) : 0;
  p.gray = own.uniform(GRAY) < rule.gray;
  const double sigma = rule.sigma_low + rule.sigma_span * own.uniform(SIGMA);
  p.sigma = own.uniform(BLUR) < rule.blur ? (float)sigma : 0;
  const bool solarize = own.uniform(SOLARIZE) < rule.solarize;
  p.solarize = solarize ? (float)rule.solarize_threshold : NAN_FLOAT;
  p.solarize_dark = (u8)rule.solarize_dark;
  params[i] = p;
}

// keep[n, v, c] of N x V x C = `flags`: 1 is keep, 0 is drop.
extern "C" __global__ void draw_bands(const Rule* rules, const i64* ids, u8* keep, i64 flags, i64 V,
                                      u64 seed, i64 epoch, i64 C) {
  const i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= flags) return;
  const i64 c = i % C, v = i / C % V, n = i / C / V;
  const Rule& rule = rules[v];
  const Draws own = {seed, (u32)epoch, (u32)ids[n], (u32)v};
  const i64 most = min(rule.most, C - 1), fewest = min(rule.fewest, most);
  i64 dropped = 0;
  if (own.uniform(DROP) < rule.drop) dropped = fewest + own.choice(DROP_COUNT, most - fewest + 1);
  keep[i] = own.rank(BANDS, C, c) >= dropped;
}

// Four words at each of `count` counters and keys ([count, 6]): the bare generator, to be checked.
extern "C" __global__ void words(const u32* counters, Words* out, i64 count) {
  const i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const u32* c = counters + 6 * i;
  out[i] = philox(c[0], c[1], c[2], c[3], c[4], c[5]);
}
