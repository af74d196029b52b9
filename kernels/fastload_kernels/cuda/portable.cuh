// What differs between NVRTC and the C++ compiler that runs the kernels on the host in the tests.
// No CUDA header is needed. Kernels use no warp primitive, so blocks of any size are right.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

// Four values that move in one instruction.
template <typename T>
struct alignas(4 * sizeof(T)) Quad {
  T v[4];
};
typedef Quad<float> Four;

// 16-bit floats, by their bits.
struct Half {
  u16 bits;
};
struct Bfloat {
  u16 bits;
};

#ifdef __CUDACC_RTC__

#define NAN_FLOAT __int_as_float(0x7FC00000)
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) u8 name[]

// Tells the compiler where an address that came as a number points.
template <typename T>
__device__ inline T* in_global(T* address) {
  __builtin_assume(__isGlobal(address));
  return address;
}

// Two words to a multiple of 16 in global memory. From a plain assignment this compiler makes two
// stores.
__device__ inline void store_aligned16(u8* to, u64 low, u64 high) {
  asm volatile("st.global.v2.u64 [%0], {%1, %2};" ::"l"(to), "l"(low), "l"(high) : "memory");
}

__device__ inline float half_to_float(u16 bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}

__device__ inline u16 float_to_half(float value) {
  u16 bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}

__device__ inline u16 float_to_bfloat(float value) {
  u16 bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return value == value ? bits : (u16)0x7FC0;
}

// Into [low, high]; NaN passes.
__device__ inline float clip(float value, float low, float high) {
  float raised, clipped;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(raised) : "f"(value), "f"(low));
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(clipped) : "f"(raised), "f"(high));
  return clipped;
}

#else

#define NAN_FLOAT NAN
#define DYNAMIC_SHARED(name) u8* const name = shim_dynamic_shared()

template <typename T>
T* in_global(T* address) {
  return address;
}

struct alignas(16) Pair {
  u64 low, high;
};

inline void store_aligned16(u8* to, u64 low, u64 high) { *(Pair*)to = {low, high}; }

inline float half_to_float(u16 bits) {
  _Float16 half;
  memcpy(&half, &bits, sizeof half);
  return half;
}

inline u16 float_to_half(float value) {
  const _Float16 half = (_Float16)value;
  u16 bits;
  memcpy(&bits, &half, sizeof bits);
  return bits;
}

inline u16 float_to_bfloat(float value) {
  u32 bits;
  memcpy(&bits, &value, sizeof bits);
  const u32 rounded = bits + 0x7FFF + ((bits >> 16) & 1);
  return value == value ? rounded >> 16 : 0x7FC0;
}

inline float clip(float value, float low, float high) {
  const float raised = value < low ? low : value;
  return raised > high ? high : raised;
}

#endif
