// Where views show what was seen: `kernels/fastload_kernels/reference.py` says by `valid` what it
// means. One thread an output pixel. Define: SOURCE, the pixels' type.

#include "job.cuh"
#include "taps.cuh"

// Whether a source pixel is finite and not no-data in every band.
__device__ bool seen(const SOURCE* __restrict__ at, const Source& source, const Band* bands) {
  for (int c = 0; c < source.C; ++c, at += source.H * source.W) {
    const float raw = load(*at);
    if (FLOATING<SOURCE> && !(fabsf(raw) <= LARGEST)) return false;
    if (raw == bands[c].nodata) return false;
  }
  return true;
}

// A job's `out` is [N, h, w] or [N, T, h, w], its tiles are runs of as many pixels as a block has
// threads; `blocks` of each sample. Nothing was seen in the plane at `absent`.
extern "C" __global__ void __launch_bounds__(256)
    mask(const Job* jobs, i64 job_count, i64 blocks, const u64* planes, const Params* params,
         const Band* bands, u64 absent, i64 V, i64 T, i64 C, i64 H, i64 W) {
  const Source source = {V, T, C, H, W};
  const i64 n = blockIdx.x / (u32)blocks;
  const Place place = placed(jobs, (int)job_count, (int)(blockIdx.x % (u32)blocks));
  const Job& job = *place.job;
  const Params p = obeyed(params + n * V + job.column, job, source);
  const int i = place.tile * blockDim.x + threadIdx.x;
  if (i >= job.height * job.width) return;
  const int row = i / job.width, column = i % job.width;
  const Axis down(p.height, job.height, job.most_taps, p.transpose ? p.flip_x : p.flip_y);
  const Axis across(p.width, job.width, job.most_taps, p.transpose ? p.flip_y : p.flip_x);
  const int y = p.transpose ? column : row, x = p.transpose ? row : column;
  const i64 at = (i64)down.index(y, down.nearest(y)) * W + across.index(x, across.nearest(x));
  u8* const out = in_global((u8*)job.out);
  const i64 image = n * job.timestamps + place.timestamp;
  out[image * job.height * job.width + i] =
      plane_of(planes, p, source, n, place.timestamp) != absent &&
      seen(crop_of<SOURCE>(planes, p, source, n, place.timestamp) + at, source, bands);
}
