/* ps_png_filter.h - an image's rows as differences from their neighbours. */
#ifndef PS_PNG_FILTER_H
#define PS_PNG_FILTER_H

#include "ps_common.h"

#define PS_PNG_KINDS 5

typedef struct ps_png_filter_impl {
    ps_isa isa;
    /* Each kind's cost on a row of n bytes. */
    void (*costs)(const uint8_t *row, const uint8_t *above, size_t n, size_t pixel,
                  uint64_t costs[PS_PNG_KINDS]);
    void (*run)(unsigned kind, const uint8_t *restrict row, const uint8_t *restrict above,
                uint8_t *restrict out, size_t n, size_t pixel);
} ps_png_filter_impl;

extern const ps_png_filter_impl ps_png_filter_impls[];

/* image: uint8 (any, n), pixels of `pixel` bytes; out: uint8 (height, 1 + n), of the rows from
 * `first` on: the kind, then the filtered row. Returns -1 where memory ran out, else 0. */
int ps_png_filter(const ps_png_filter_impl *impl, ps_in image, size_t first, ps_out out,
                  size_t height, size_t n, size_t pixel);

#endif
