/* ps_connectivity.h - how long a pixel stays in the largest component as a threshold rises. */
#ifndef PS_CONNECTIVITY_H
#define PS_CONNECTIVITY_H

#include "ps_common.h"

#define PS_CONNECTIVITY_MOST 255 /* thresholds */

/* alpha, truth: float32 (height, width), at most UINT32_MAX pixels; held: uint8 (height, width);
 * thresholds: n of them, ascending, 1 to PS_CONNECTIVITY_MOST. Returns -1 where memory ran out. */
int ps_connectivity(ps_in alpha, ps_in truth, size_t height, size_t width, const float *thresholds,
                    size_t n, int background, ps_out held);

#endif
