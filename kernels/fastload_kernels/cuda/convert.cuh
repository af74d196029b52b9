// A finished number as a pixel of the output.

#include "portable.cuh"

__device__ inline void convert(float value, float& out) { out = value; }
__device__ inline void convert(float value, Half& out) { out.bits = float_to_half(value); }
__device__ inline void convert(float value, Bfloat& out) { out.bits = float_to_bfloat(value); }
