// Values of an image between operations: the class `Levels` of
// `kernels/fastload_kernels/stepwise.py`. Doubles, so that whole levels come out alike everywhere.

#include "job.cuh"

enum Steps { FUSED, CLIP, UINT8, UINT8_WRAP };

constexpr double SLACK = 1.0 / 8192;

struct Levels {
  double top;  // what stands for 1
  bool whole, wraps;

  __device__ explicit Levels(int steps)
      : top(steps == CLIP ? 1 : 255), whole(steps != CLIP), wraps(steps == UINT8_WRAP) {}

  __device__ double clipped(double v) const {
    v = v < 0 ? 0 : v;
    return v > top ? top : v;
  }

  // What an operation that rounds leaves: resampling and blur.
  __device__ double settled(double v) const { return clipped(whole ? floor(v + (0.5 + SLACK)) : v); }

  // What the other operations leave.
  __device__ double kept(double v) const {
    if (whole) v = trunc(v);
    return wraps ? v - (top + 1) * floor(v / (top + 1)) : clipped(v);
  }

  // A pixel of the source.
  __device__ double started(float raw, const Band& band) const {
    double v = ((double)raw - band.offset) * band.scale;
    v = v < band.low ? band.low : v;
    v = v > band.high ? band.high : v;
    if (FLOATING<SOURCE> && !(fabsf(raw) <= LARGEST)) {
      v = raw != raw ? band.nan : raw > 0 ? band.plus : band.minus;
    }
    v *= top;
    return kept(whole ? v + copysign(SLACK, v) : v);
  }
};
