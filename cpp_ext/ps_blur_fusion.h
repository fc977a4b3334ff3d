/* ps_blur_fusion.h - one pass of blur fusion foreground estimation. */
#ifndef PS_BLUR_FUSION_H
#define PS_BLUR_FUSION_H

#include "ps_common.h"

/* One pixel's sums, 8 doubles: a F in R, G, B, then a; (1 - a) B in R, G, B, then nothing. */
typedef struct ps_blur_fusion_impl {
    ps_isa isa;
    /* sums += times * values of one row. */
    void (*add)(const float *foreground, const float *background, const float *alpha, double times,
                double *sums, size_t width);
    /* sums += values of the entering row, then -= values of the leaving one. */
    void (*move)(const float *const *entering, const float *const *leaving, double *sums,
                 size_t width);
    /* Slide `box` (8 doubles, its sums at pixel 0) along the columns' sums and write one row:
     * enter[x] and leave[x] are the columns that come in and go out on the way to x. */
    void (*fuse)(const double *sums, const double *start, const size_t *enter, const size_t *leave,
                 double share, const float *image, const float *alpha, float *foreground_out,
                 float *background_out, size_t width);
} ps_blur_fusion_impl;

extern const ps_blur_fusion_impl ps_blur_fusion_impls[];

/* Colours as float32 in [0, 1], or as bytes. */
typedef struct ps_colour_in {
    ps_in rows;
    int u8;
} ps_colour_in;

/* Arrays of (height, width) pixels; alpha has one float32 a pixel, the others three values. */
typedef struct ps_blur_task {
    ps_colour_in image;
    ps_in alpha;
    ps_colour_in foreground;
    ps_colour_in background;
    ps_out foreground_out;
    int foreground_u8;
    ps_out background_out; /* float32; not wanted where its data is NULL */
    size_t height;
    size_t width;
    size_t size;  /* of the box, 1 .. 2^30 */
    size_t first; /* rows first .. last - 1 are written */
    size_t last;
} ps_blur_task;

/* Returns -1 where memory ran out, else 0. */
int ps_blur_fusion(const ps_blur_fusion_impl *impl, const ps_blur_task *task);

#endif
