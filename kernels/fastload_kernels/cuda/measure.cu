// The band means that contrast turns about: of the view after resampling, before the blur, over what
// is not NaN.
//
// Resampling is linear, so the mean is a weighted sum over the crop, and the weights are a product
// of one for the row and one for the column. Where that comes out as NaN, the view is resampled
// pixel by pixel instead. Define: SOURCE, the pixels' type.

#include "job.cuh"
#include "sums.cuh"
#include "taps.cuh"

// What source pixel i adds to the sum over all outputs.
__device__ float total_weight(const Axis& axis, int i) {
  if (axis.n_in == axis.n_out) return 1;
  // Outputs lie at (o + 0.5) * scale - 0.5; those with i among their taps are in this range. The
  // outermost pixels stand for what lies beyond them.
  const double reach = axis.taps == 1 ? 1 : axis.taps / 2 + 0.5, unit = 1 / axis.scale;
  const int low = i == 0 ? 0 : max(0, (int)floor((i + 1 - reach) * unit - 0.5) - 1);
  const int last = axis.n_out - 1;
  const int high =
      i == axis.n_in - 1 ? last : min(last, (int)ceil((i + reach) * unit - 0.5) + 1);
  double total = 0;
  bool found = false;
  for (int o = low; o <= high; ++o) {
    for (int k = 0; k < axis.taps; ++k) {
      if (axis.index(o, k) != i) continue;
      total += axis.weight(o, k);
      found = true;
    }
  }
  return found ? (float)total : ABSENT;
}

// A thread's share of the weighted sum over one band of the crop: four rows of a column at a time.
__device__ double weighted_sum(const SOURCE* __restrict__ at, const Params& p, int W,
                               const float* row, const float* column, const Band band) {
  const Divider columns(p.width);
  double total = 0;
  for (int i = threadIdx.x; i < (p.height + 3) / 4 * p.width; i += blockDim.x) {
    const int q = columns.quotient(i), x = i - q * p.width;
    if (!present(column[x])) continue;
    float sum = 0;
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const u32 place = min(4 * q + r, p.height - 1) * W + x;
      const float value = scaled(load(at[place]), band);
      if (present(row[4 * q + r])) sum = fmaf(row[4 * q + r], value, sum);
    }
    total += (double)column[x] * sum;
  }
  return total;
}

// A thread's share of the view's pixels in one band that are not NaN: their sum, and how many.
__device__ double finite_sum(const SOURCE* __restrict__ at, const Axis& down, const Axis& across,
                             int W, const Band band, double& count) {
  double total = 0;
  for (int i = threadIdx.x; i < down.n_out * across.n_out; i += blockDim.x) {
    const int y = i / across.n_out, x = i % across.n_out;
    double value = 0;
    for (int k = 0; k < down.taps * across.taps; ++k) {
      const int r = k / across.taps, c = k % across.taps;
      const float pixel = scaled(load(at[down.index(y, r) * W + across.index(x, c)]), band);
      value += down.weight(y, r) * across.weight(x, c) * pixel;
    }
    if (value != value) continue;
    total += value;
    count += 1;
  }
  return total;
}

// means[n, timestamp, c]; `parts` blocks share the bands of a view. keep may be null.
extern "C" __global__ void __launch_bounds__(256)
    measure(const Job* jobs, i64 job_count, i64 timestamps, i64 parts, const u64* planes,
            const Params* params, const u8* keep, const Band* bands, float* means, i64 V, i64 T,
            i64 C, i64 H, i64 W) {
  DYNAMIC_SHARED(memory);
  const Source source = {V, T, C, H, W};
  const i64 n = blockIdx.x / (timestamps * parts), part = blockIdx.x % parts;
  const int place = (int)(blockIdx.x / parts % timestamps);
  int j = 0;
  while (j + 1 < job_count && jobs[j + 1].first_timestamp <= place) ++j;
  const Job& job = jobs[j];
  const i64 record = n * V + job.column;
  const Params p = obeyed(params + record, job, source);
  if (p.contrast == 1) return;
  double* const sums = (double*)memory;
  float* const row = (float*)(sums + blockDim.x);
  const int rows = (p.height + 3) / 4 * 4;
  float* const column = row + rows;
  const Axis down(p.height, job.height, job.most_taps, false);
  const Axis across(p.width, job.width, job.most_taps, false);
  for (int i = threadIdx.x; i < rows; i += blockDim.x) {
    row[i] = i < p.height ? total_weight(down, i) : ABSENT;
  }
  for (int i = threadIdx.x; i < p.width; i += blockDim.x) column[i] = total_weight(across, i);
  __syncthreads();
  const SOURCE* const crop = crop_of<SOURCE>(planes, p, source, n, place - job.first_timestamp);
  for (i64 c = part; c < C; c += parts) {
    if (keep && !keep[record * C + c] && !p.gray) continue;
    const SOURCE* const at = crop + c * H * W;
    const double own = weighted_sum(at, p, (int)W, row, column, bands[c]);
    double total = block_sum(sums, own), count = (double)job.height * job.width;
    if (FLOATING<SOURCE> && total != total) {
      double mine = 0;
      __syncthreads();
      total = block_sum(sums, finite_sum(at, down, across, (int)W, bands[c], mine));
      __syncthreads();
      count = block_sum(sums, mine);
    }
    if (threadIdx.x == 0) {
      means[(n * timestamps + place) * C + c] = (float)(total / max(count, 1.0));
    }
    __syncthreads();
  }
}
