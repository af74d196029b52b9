// The last step: finished pixels into the output's memory.

#include "convert.cuh"
#include "levels.cuh"
#include "tile.cuh"

// Where the pixels of a tile go: the output itself or, bands last, the tile in shared memory as it
// will lie in the output. A pixel's place is the sum of its steps.
struct Canvas {
  OUTPUT* at;
  int band_step;
  int row_step, column_step;  // of the tile, before a transpose

  __device__ static Canvas whole(OUTPUT* out, const Tile& tile, bool transpose, i64 h, i64 w) {
    const int row = transpose ? 1 : (int)w, column = transpose ? (int)w : 1;
    OUTPUT* const first = out + tile.down.start * (i64)row + tile.across.start * (i64)column;
    return {first, (int)(h * w), row, column};
  }

  __device__ static Canvas staged(OUTPUT* memory, const Tile& tile, bool transpose, int C) {
    return {memory, 1, transpose ? C : tile.across.size * C, transpose ? tile.down.size * C : C};
  }

  // The first `count` of four pixels of one band, from tile row y and column x on; `below` each
  // other, or side by side.
  __device__ void put(const Quad<OUTPUT>& pixels, int y, int x, i64 band, bool below,
                      int count) const {
    OUTPUT* const first = at + band * (i64)band_step + (y * row_step + x * column_step);
    const int step = below ? row_step : column_step;
    if (step == 1 && count >= 4 && (u64)first % sizeof(pixels) == 0) {
      *(Quad<OUTPUT>*)first = pixels;
    } else {
      for (int j = 0; j < 4; ++j) {
        if (j < count) first[j * step] = pixels.v[j];
      }
    }
  }
};

// Brightness and contrast, solarize, store: what is written to the bands from `band` to before
// `last` that are kept.
struct Finish {
  const Canvas& canvas;
  const Tile& tile;
  const u8* keep;  // [C] or null
  bool transpose, dark;
  float threshold, gain, bias;
  int band, last;
  Levels levels;  // with STEPPED

  // Whether the one band is dropped. A gray view's bands are all needed for their mean.
  __device__ bool dropped() const { return last == band + 1 && keep && !keep[band]; }

  __device__ int count(int y, int x, bool below) const {
    return below ? tile.down.size - y : tile.across.size - x;
  }

  __device__ void put(const Four& values, int y, int x, bool below) const {
    Quad<OUTPUT> pixels;
    for (int j = 0; j < 4; ++j) {
      float v = fmaf(values.v[j], gain, bias);
      if (STEPPED) v = (float)levels.settled(v);
      if (STEPPED == 2) v = (float)(v / levels.top);
      if (threshold == threshold && (dark ? v < threshold : v >= threshold)) v = 1 - v;
      convert(v, pixels.v[j]);
    }
    if (last == band + 1) {
      canvas.put(pixels, y, x, band, below, count(y, x, below));
      return;
    }
#pragma unroll 1
    for (int c = band; c < last; ++c) {
      const Quad<OUTPUT> shown = !keep || keep[c] ? pixels : Quad<OUTPUT>{};
      canvas.put(shown, y, x, c, below, count(y, x, below));
    }
  }

  __device__ void put_zero(int y, int x) const {
    canvas.put(Quad<OUTPUT>{}, y, x, band, true, count(y, x, true));
  }
};

template <typename T>
__device__ void copy_runs(T* to, const T* from, int runs, int length, int stride) {
  for (int i = threadIdx.x; i < runs * length; i += blockDim.x) {
    const int run = i / length;
    to[(i64)run * stride + i - run * length] = from[i];
  }
}

// Bands last: a tile from shared memory to its place. Its rows are runs in the output.
__device__ inline void flush(OUTPUT* out, const OUTPUT* memory, const Tile& tile, bool transpose,
                             int w, int C) {
  const Side& rows = transpose ? tile.across : tile.down;
  const Side& columns = transpose ? tile.down : tile.across;
  const int runs = rows.size, length = columns.size * C, stride = w * C;
  out += ((i64)rows.start * w + columns.start) * C;
  constexpr int MANY = sizeof(Four) / sizeof(OUTPUT);
  if ((u64)out % sizeof(Four) == 0 && length % MANY == 0 && stride % MANY == 0) {
    copy_runs((Four*)out, (const Four*)memory, runs, length / MANY, stride / MANY);
  } else {
    copy_runs(out, memory, runs, length, stride);
  }
}
