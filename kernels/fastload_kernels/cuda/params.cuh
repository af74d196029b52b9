// One drawn view: the record `VIEW_PARAMS` of `kernels/fastload_kernels/view.py`.

#include "portable.cuh"

struct Params {
  int timestamp, top, left, height, width;
  float brightness, contrast, sigma, solarize;
  u8 solarize_dark, gray, transpose, flip_y, flip_x;
};
static_assert(sizeof(Params) == 44, "VIEW_PARAMS");
