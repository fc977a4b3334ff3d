/* ps_resize.h - separable resampling with precomputed taps. */
#ifndef PS_RESIZE_H
#define PS_RESIZE_H

#include "ps_common.h"

/* One axis: out[i] = sum(weights[i * k + j] * source[start[i] + j], j = 0 .. k - 1). The caller has
 * checked that start[i] >= 0 and start[i] + k <= the source's extent. */
typedef struct ps_taps {
    const int32_t *start;
    const float *weights;
    size_t n;
    size_t k;
} ps_taps;

typedef struct ps_resize_impl {
    ps_isa isa;
    /* out[i] = sum(weights[j] * rows[j][i]) over k rows `stride` bytes apart. */
    void (*vertical_u8)(const uint8_t *rows, ptrdiff_t stride, const float *weights, size_t k,
                        float *restrict out, size_t n);
    /* One row of RGB, 1 float past its end readable, to three planes of x->n values each: channel c
     * times scale[c] plus offset[c] to planes[c]. */
    void (*horizontal_rgb)(const float *row, const ps_taps *x, const float *scale,
                           const float *offset, float *const *planes);
    /* out[i] = clamp(sum(weights[j] * rows[j][i])), and the same rounded to 8 bits. */
    void (*vertical_f32)(const float *const *rows, const float *weights, size_t k,
                         float *restrict out, size_t n);
    void (*vertical_to_u8)(const float *const *rows, const float *weights, size_t k,
                           uint8_t *restrict out, size_t n);
} ps_resize_impl;

extern const ps_resize_impl ps_resize_impls[];

/* A float32 (3, y.n, x.n) array with any strides, in bytes. */
typedef struct ps_planes {
    unsigned char *data;
    ptrdiff_t plane;
    ptrdiff_t row;
    ptrdiff_t value;
} ps_planes;

/* image: uint8 (.., width, 3). Returns -1 where memory ran out, else 0. */
int ps_resize_to_planes(const ps_resize_impl *impl, ps_in image, size_t width, const ps_taps *y,
                        const ps_taps *x, const float *scale, const float *offset, int reverse,
                        const ps_planes *out);

/* alpha: float32 rows; out: float32, or uint8 with `to_u8`, (y.n, x.n). Returns -1 where memory ran
 * out, else 0. */
int ps_resize_alpha(const ps_resize_impl *impl, ps_in alpha, const ps_taps *y, const ps_taps *x,
                    int to_u8, ps_out out);

#endif
