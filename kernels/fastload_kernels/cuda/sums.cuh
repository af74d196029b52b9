// Sums over a block.

#include "portable.cuh"

// Adds up over the block; `sums` has one place a thread. All threads get the sum.
__device__ inline double block_sum(double* sums, double own) {
  sums[threadIdx.x] = own;
  for (u32 n = blockDim.x; n > 1; n = (n + 1) / 2) {
    __syncthreads();
    if (threadIdx.x < n / 2) sums[threadIdx.x] += sums[threadIdx.x + (n + 1) / 2];
  }
  __syncthreads();
  return sums[0];
}
