// One drawn view: the record `VIEW_PARAMS` of `kernels/fastload_kernels/view.py`.

#include "portable.cuh"

struct Params {
  int timestamp, top, left, height, width;
  float brightness, contrast, sigma, solarize, saturation, hue;
  u8 order, solarize_dark, gray, transpose, flip_y, flip_x;
};
static_assert(sizeof(Params) == 52, "VIEW_PARAMS");
