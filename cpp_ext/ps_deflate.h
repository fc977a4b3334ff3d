/* ps_deflate.h - bytes to raw deflate: Huffman codes and runs. */
#ifndef PS_DEFLATE_H
#define PS_DEFLATE_H

#include "ps_common.h"

typedef struct ps_deflate_impl {
    ps_isa isa;
    size_t (*find_run)(const uint8_t *data, size_t from, size_t n); /* from: 1 or more */
} ps_deflate_impl;

extern const ps_deflate_impl ps_deflate_impls[];

/* Bytes that ps_deflate may write for n bytes of data; 0 where that overflows. */
size_t ps_deflate_bound(size_t n);

/* Compress n bytes into `out`, which holds ps_deflate_bound(n); *used becomes what was written.
 * The blocks end at a whole byte. With `last`, they end the stream; without, an empty block follows
 * them, and the next call's output may be appended. Returns -1 where memory ran out, else 0. */
int ps_deflate(const ps_deflate_impl *impl, const uint8_t *data, size_t n, int last, uint8_t *out,
               size_t *used);

#endif
