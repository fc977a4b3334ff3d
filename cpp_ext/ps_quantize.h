/* ps_quantize.h - float32 alpha to 8-bit alpha. */
#ifndef PS_QUANTIZE_H
#define PS_QUANTIZE_H

#include "ps_common.h"

typedef struct ps_quantize_impl {
    ps_isa isa;
    void (*run)(const float *restrict alpha, uint8_t *restrict out, size_t n);
} ps_quantize_impl;

extern const ps_quantize_impl ps_quantize_impls[];

/* alpha: float32 (height, width); out: uint8 (height, width). */
void ps_quantize(const ps_quantize_impl *impl, ps_in alpha, ps_out out, size_t height,
                 size_t width);

#endif
