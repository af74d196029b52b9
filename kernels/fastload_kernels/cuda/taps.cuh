// Taps: which source pixels an output pixel is made of, and with which weights, in double. The
// formulas and the order of operations are those of `kernels/fastload_kernels/resample.py`.

#include "portable.cuh"

// Keys' cubic convolution at distance d below 2, with -0.75 for its free parameter.
__device__ inline double cubic_weight(double d) {
  const double a = -0.75;
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
}

// Resampling along one axis; `flip` reverses the outputs.
struct Axis {
  int n_in, n_out, taps, flip;
  double scale;

  __device__ Axis(int n_in, int n_out, int most_taps, int flip)
      : n_in(n_in),
        n_out(n_out),
        taps(n_in == n_out ? 1 : most_taps),
        flip(flip),
        scale((double)n_in / n_out) {}

  // Where output o lies in the source.
  __device__ double at(int o) const { return ((flip ? n_out - 1 - o : o) + 0.5) * scale - 0.5; }

  __device__ int index(int o, int k) const {
    if (taps == 1) return min((int)(((flip ? n_out - 1 - o : o) + 0.5) * scale), n_in - 1);
    return min(max((int)floor(at(o)) + k - (taps == 4), 0), n_in - 1);
  }

  __device__ double weight(int o, int k) const {
    if (taps == 1) return 1;
    const double x = at(o), f = x - floor(x);
    if (taps == 2) return k ? f : 1 - f;
    return cubic_weight(fabs(f - (k - 1)));
  }

  // The tap with the largest weight, the first of equals.
  __device__ int nearest(int o) const {
    int best = 0;
    for (int k = 1; k < taps; ++k) {
      if (weight(o, k) > weight(o, best)) best = k;
    }
    return best;
  }
};

// Reflects an index into [0, n) without repeating the edge.
__device__ inline int fold(int i, int n) {
  if (n == 1) return 0;
  const int period = 2 * (n - 1);
  i = abs(i) % period;
  return min(i, period - i);
}

// Radius of the blur; 0 for none.
__device__ inline int blur_radius(float sigma) {
  return sigma > 0 ? ((int)rint(6 * (double)sigma + 1) | 1) / 2 : 0;
}

// Weight of the blur at distance d.
__device__ inline double gaussian(int d, int radius, float sigma) {
  if (radius == 0) return 1;
  double own = 0, total = 0;
  for (int i = -radius; i <= radius; ++i) {
    const double x = i / (double)sigma, g = exp(-0.5 * (x * x));
    total += g;
    if (i == d) own = g;
  }
  return own / total;
}
