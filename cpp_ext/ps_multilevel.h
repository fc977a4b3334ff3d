/* ps_multilevel.h - multi-level estimation of foreground and background colours. */
#ifndef PS_MULTILEVEL_H
#define PS_MULTILEVEL_H

#include "ps_common.h"

/* What one sweep over one row of one level needs. A pixel's colours are 8 floats: foreground R, G,
 * B and a pad, background R, G, B and a pad. */
typedef struct ps_sweep {
    float *here;         /* the row, solved in place */
    const float *up;     /* the row above, or `here` in the first row */
    const float *down;   /* the row below, or `here` in the last row */
    const float *own;    /* per pixel a I and (1 - a) I, 8 floats */
    const float *across; /* width + 1 weights: of the left neighbour; one on: of the right one */
    const float *above;  /* weights of the neighbours above */
    const float *below;  /* weights of the neighbours below */
    const float *f_b0;   /* the inverse 2 x 2 system: F = f_b0 b0 - cross b1 */
    const float *b_b1;   /*                           B = b_b1 b1 - cross b0 */
    const float *cross;
} ps_sweep;

typedef struct ps_multilevel_impl {
    ps_isa isa;
    /* Nearest samples of one image row: `own` and `solid` of width pixels at columns at[x]. */
    void (*sample)(const float *restrict image, const float *restrict alpha, size_t image_width,
                   const size_t *restrict at, float *restrict own, float *restrict solid,
                   size_t width);
    /* The inverse systems of one row, from alpha and the weights of the four neighbours. */
    void (*invert)(const float *restrict solid, const float *restrict across,
                   const float *restrict above, const float *restrict below, float *restrict f_b0,
                   float *restrict b_b1, float *restrict cross, size_t width);
    /* Solve one row, or two that do not depend on each other. */
    void (*solve)(const ps_sweep *row, size_t width);
    void (*solve_two)(const ps_sweep *one, const ps_sweep *two, size_t width);
} ps_multilevel_impl;

extern const ps_multilevel_impl ps_multilevel_impls[];

typedef struct ps_multilevel_options {
    float regularization;
    float gradient_weight;
    size_t small_size;
    size_t small_iterations;
    size_t big_iterations;
} ps_multilevel_options;

/* image: float32 (height, width, 3); alpha: float32 (height, width); foreground, background:
 * float32 (height, width, 3), written. Returns -1 where memory ran out, else 0. */
int ps_multilevel(const ps_multilevel_impl *impl, ps_in image, ps_in alpha, ps_out foreground,
                  ps_out background, size_t height, size_t width,
                  const ps_multilevel_options *options);

#endif
