/* ps_composite.h - alpha beside colours, colours over colours, and pre-multiplication. */
#ifndef PS_COMPOSITE_H
#define PS_COMPOSITE_H

#include "ps_common.h"

typedef struct ps_cutout_impl {
    ps_isa isa;
    void (*run)(const uint8_t *restrict foreground, const float *restrict alpha,
                uint8_t *restrict out, size_t n);
} ps_cutout_impl;

typedef struct ps_composite_impl {
    ps_isa isa;
    void (*run)(const uint8_t *restrict foreground, const float *restrict alpha,
                const uint8_t *restrict background, uint8_t *restrict out, size_t n);
} ps_composite_impl;

typedef struct ps_rgba_impl {
    ps_isa isa;
    void (*run)(const uint8_t *rgba, uint8_t *out, size_t n); /* out may be rgba itself */
} ps_rgba_impl;

extern const ps_cutout_impl ps_cutout_impls[];
extern const ps_composite_impl ps_composite_impls[];
extern const ps_rgba_impl ps_premultiply_impls[];
extern const ps_rgba_impl ps_unpremultiply_impls[];

/* foreground: uint8 (height, width, 3); alpha: float32 (height, width);
 * out: uint8 (height, width, 4). */
void ps_cutout(const ps_cutout_impl *impl, ps_in foreground, ps_in alpha, ps_out out, size_t height,
               size_t width);

/* foreground, background, out: uint8 (height, width, 3); alpha: float32 (height, width). With
 * `one_colour`, background is a single pixel. Returns -1 where memory ran out, else 0. */
int ps_composite(const ps_composite_impl *impl, ps_in foreground, ps_in alpha, ps_in background,
                 int one_colour, ps_out out, size_t height, size_t width);

/* rgba, out: uint8 (height, width, 4), the same array or apart. */
void ps_rgba(const ps_rgba_impl *impl, ps_in rgba, ps_out out, size_t height, size_t width);

#endif
