/* ps_guided.h - detail of a photo for an alpha that was made from a small copy of it. */
#ifndef PS_GUIDED_H
#define PS_GUIDED_H

#include "ps_common.h"
#include "ps_resize.h"

#define PS_GUIDED_BLOCK 16 /* pixels that are done, or left out, at once */

typedef struct ps_guided_impl {
    ps_isa isa;
    /* One row of slopes. rows[3 * c + i] is channel c (R, G, B, alpha) of the row above, the row
     * itself and the row below; each has a sample before its first and one after its last of n. */
    void (*slopes)(const float *const *rows, float epsilon, float *restrict out, size_t n);
    /* Add to PS_GUIDED_BLOCK alphas of one row; `small` has 4 values a column, and the pixels' taps
     * are x's from `from` on. */
    void (*detail)(const float *small, const ps_taps *x, size_t from, const uint8_t *rgb,
                   float *alpha);
} ps_guided_impl;

extern const ps_guided_impl ps_guided_impls[];

/* guide: three float32 planes and alpha, all (height, width); out: float32 (rows, width, 4), rows
 * `first` to `first + rows - 1`. Returns -1 where memory ran out, else 0. */
int ps_guided_slopes(const ps_guided_impl *impl, const ps_in *guide, ps_in alpha, size_t height,
                     size_t width, size_t first, size_t rows, float epsilon, ps_out out);

/* image: uint8 (y.n, x.n, 3); slopes: float32 (.., columns, 4); alpha and out: float32 (y.n, x.n),
 * which may be the same. Returns -1 where memory ran out, else 0. */
int ps_guided_detail(const ps_guided_impl *impl, ps_in image, ps_in slopes, size_t columns,
                     ps_in alpha, const ps_taps *y, const ps_taps *x, ps_out out);

#endif
