/* ps_connectivity.h - how long a pixel stays in the largest component as a threshold rises. */
#ifndef PS_CONNECTIVITY_H
#define PS_CONNECTIVITY_H

#include "ps_common.h"

#define PS_CONNECTIVITY_MOST 255 /* thresholds */

typedef struct ps_connectivity_impl {
    ps_isa isa;
    /* How many of n ascending thresholds both of each pixel's alphas reach. NaN reaches none. */
    void (*levels)(const float *restrict alpha, const float *restrict truth,
                   const float *thresholds, size_t n, uint8_t *restrict out, size_t width);
} ps_connectivity_impl;

extern const ps_connectivity_impl ps_connectivity_impls[];

/* alpha, truth: float32 (height, width), at most UINT32_MAX pixels; held: uint8 (height, width);
 * thresholds: n of them, ascending, 1 to PS_CONNECTIVITY_MOST. Returns -1 where memory ran out. */
int ps_connectivity(const ps_connectivity_impl *impl, ps_in alpha, ps_in truth, size_t height,
                    size_t width, const float *thresholds, size_t n, int background, ps_out held);

#endif
