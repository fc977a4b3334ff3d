/* ps_png_filter.c - an image's rows as differences from their neighbours.
 *
 *     out[i] = x - p (mod 256),   p = 0, a, b, floor((a + b) / 2) or paeth(a, b, c)
 *
 * for x = row[i], the byte a of the pixel to the left, b of the pixel above, c of the one to the
 * left of that; 0 where there is none. paeth is whichever of a, b, c is closest to a + b - c, the
 * first of equals. Of the five kinds a row gets the first with the smallest sum of |out[i]|, read as
 * signed. Every variant writes the same bytes as the scalar.
 *
 * Source: Portable Network Graphics Specification (Third Edition), W3C 2025, section 9, and 12.7
 * for the choice.
 */
#include "ps_png_filter.h"

enum { PS_PNG_NONE, PS_PNG_SUB, PS_PNG_UP, PS_PNG_AVERAGE, PS_PNG_PAETH };

static uint8_t
ps_paeth(uint8_t a, uint8_t b, uint8_t c)
{
    const int to_a = abs(b - c), to_b = abs(a - c), to_c = abs(a + b - 2 * c);

    return to_a <= to_b && to_a <= to_c ? a : to_b <= to_c ? b : c;
}

PS_INLINE uint8_t
ps_png_difference(unsigned kind, uint8_t x, uint8_t a, uint8_t b, uint8_t c)
{
    switch (kind) {
    case PS_PNG_SUB:
        return (uint8_t)(x - a);
    case PS_PNG_UP:
        return (uint8_t)(x - b);
    case PS_PNG_AVERAGE:
        return (uint8_t)(x - (a + b) / 2);
    case PS_PNG_PAETH:
        return (uint8_t)(x - ps_paeth(a, b, c));
    default:
        return x;
    }
}

/* Adds the costs of bytes `first` to n. */
static void
ps_png_costs_from(size_t first, const uint8_t *row, const uint8_t *above, size_t n, size_t pixel,
                  uint64_t costs[PS_PNG_KINDS])
{
    for (size_t i = first; i < n; i++) {
        const uint8_t a = i < pixel ? 0 : row[i - pixel], c = i < pixel ? 0 : above[i - pixel];
        for (unsigned kind = 0; kind < PS_PNG_KINDS; kind++) {
            const uint8_t d = ps_png_difference(kind, row[i], a, above[i], c);
            costs[kind] += d < 128 ? d : 256u - d;
        }
    }
}

static void
ps_png_costs_scalar(const uint8_t *row, const uint8_t *above, size_t n, size_t pixel,
                    uint64_t costs[PS_PNG_KINDS])
{
    memset(costs, 0, PS_PNG_KINDS * sizeof *costs);
    ps_png_costs_from(0, row, above, n, pixel, costs);
}

static void
ps_png_run_from(size_t first, unsigned kind, const uint8_t *restrict row,
                const uint8_t *restrict above, uint8_t *restrict out, size_t n, size_t pixel)
{
    for (size_t i = first; i < n; i++) {
        const uint8_t a = i < pixel ? 0 : row[i - pixel], c = i < pixel ? 0 : above[i - pixel];
        out[i] = ps_png_difference(kind, row[i], a, above[i], c);
    }
}

static void
ps_png_run_scalar(unsigned kind, const uint8_t *restrict row, const uint8_t *restrict above,
                  uint8_t *restrict out, size_t n, size_t pixel)
{
    ps_png_run_from(0, kind, row, above, out, n, pixel);
}

#if PS_X86
PS_AVX2 PS_INLINE __m256i
ps_png_load_avx2(const uint8_t *at)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)at);
}

/* paeth in bytes. With u = b - c and v = a - c: |u + v| is |u| + |v| where the signs agree, so that
 * c is never closest, and else the difference of |u| and |v|. */
PS_AVX2 PS_INLINE __m256i
ps_paeth_avx2(__m256i a, __m256i b, __m256i c)
{
    const __m256i b_over = _mm256_subs_epu8(b, c), b_under = _mm256_subs_epu8(c, b);
    const __m256i a_over = _mm256_subs_epu8(a, c), a_under = _mm256_subs_epu8(c, a);
    const __m256i to_a = _mm256_or_si256(b_over, b_under); /* one of the two is 0 */
    const __m256i to_b = _mm256_or_si256(a_over, a_under);
    const __m256i apart =
        _mm256_or_si256(_mm256_subs_epu8(to_a, to_b), _mm256_subs_epu8(to_b, to_a));
    /* Not 0 where both are over or both under; then any value of at least both will do. */
    const __m256i agree =
        _mm256_or_si256(_mm256_min_epu8(b_over, a_over), _mm256_min_epu8(b_under, a_under));
    const __m256i differ = _mm256_cmpeq_epi8(agree, _mm256_setzero_si256());
    const __m256i to_c = _mm256_or_si256(apart, _mm256_xor_si256(differ, _mm256_set1_epi8(-1)));
    const __m256i least = _mm256_min_epu8(_mm256_min_epu8(to_a, to_b), to_c);
    const __m256i b_or_c = _mm256_blendv_epi8(c, b, _mm256_cmpeq_epi8(to_b, least));
    return _mm256_blendv_epi8(b_or_c, a, _mm256_cmpeq_epi8(to_a, least));
}

/* floor((a + b) / 2); the instruction rounds up. */
PS_AVX2 PS_INLINE __m256i
ps_average_avx2(__m256i a, __m256i b)
{
    const __m256i odd = _mm256_and_si256(_mm256_xor_si256(a, b), _mm256_set1_epi8(1));
    return _mm256_sub_epi8(_mm256_avg_epu8(a, b), odd);
}

PS_AVX2 PS_INLINE __m256i
ps_png_difference_avx2(unsigned kind, const uint8_t *row, const uint8_t *above, size_t i,
                       size_t pixel)
{
    const __m256i x = ps_png_load_avx2(row + i), a = ps_png_load_avx2(row + i - pixel);
    const __m256i b = ps_png_load_avx2(above + i), c = ps_png_load_avx2(above + i - pixel);

    switch (kind) {
    case PS_PNG_SUB:
        return _mm256_sub_epi8(x, a);
    case PS_PNG_UP:
        return _mm256_sub_epi8(x, b);
    case PS_PNG_AVERAGE:
        return _mm256_sub_epi8(x, ps_average_avx2(a, b));
    case PS_PNG_PAETH:
        return _mm256_sub_epi8(x, ps_paeth_avx2(a, b, c));
    default:
        return x;
    }
}

PS_AVX2 static void
ps_png_costs_avx2(const uint8_t *row, const uint8_t *above, size_t n, size_t pixel,
                  uint64_t costs[PS_PNG_KINDS])
{
    const __m256i zero = _mm256_setzero_si256();
    const size_t edge = pixel < n ? pixel : n;
    __m256i sums[PS_PNG_KINDS];
    size_t i = edge;

    for (unsigned kind = 0; kind < PS_PNG_KINDS; kind++) {
        sums[kind] = zero;
    }
    for (; i + 32 <= n; i += 32) {
        for (unsigned kind = 0; kind < PS_PNG_KINDS; kind++) {
            __m256i d = ps_png_difference_avx2(kind, row, above, i, pixel);
            d = _mm256_sad_epu8(_mm256_abs_epi8(d), zero); /* |-128| is 128 unsigned */
            sums[kind] = _mm256_add_epi64(sums[kind], d);
        }
    }
    for (unsigned kind = 0; kind < PS_PNG_KINDS; kind++) {
        uint64_t four[4];
        _mm256_storeu_si256((__m256i *)(void *)four, sums[kind]);
        costs[kind] = four[0] + four[1] + four[2] + four[3];
    }
    ps_png_costs_from(0, row, above, edge, pixel, costs);
    ps_png_costs_from(i, row, above, n, pixel, costs);
}

PS_AVX2 PS_INLINE void
ps_png_run_kind_avx2(unsigned kind, const uint8_t *restrict row, const uint8_t *restrict above,
                     uint8_t *restrict out, size_t n, size_t pixel)
{
    const size_t edge = pixel < n ? pixel : n;
    size_t i = edge;

    ps_png_run_from(0, kind, row, above, out, edge, pixel);
    for (; i + 32 <= n; i += 32) {
        const __m256i d = ps_png_difference_avx2(kind, row, above, i, pixel);
        _mm256_storeu_si256((__m256i *)(void *)(out + i), d);
    }
    ps_png_run_from(i, kind, row, above, out, n, pixel);
}

PS_AVX2 static void
ps_png_run_avx2(unsigned kind, const uint8_t *restrict row, const uint8_t *restrict above,
                uint8_t *restrict out, size_t n, size_t pixel)
{
    switch (kind) { /* a loop for each */
    case PS_PNG_SUB:
        ps_png_run_kind_avx2(PS_PNG_SUB, row, above, out, n, pixel);
        break;
    case PS_PNG_UP:
        ps_png_run_kind_avx2(PS_PNG_UP, row, above, out, n, pixel);
        break;
    case PS_PNG_AVERAGE:
        ps_png_run_kind_avx2(PS_PNG_AVERAGE, row, above, out, n, pixel);
        break;
    case PS_PNG_PAETH:
        ps_png_run_kind_avx2(PS_PNG_PAETH, row, above, out, n, pixel);
        break;
    default:
        memcpy(out, row, n);
    }
}
#endif

#if PS_ARM64
static inline uint8x16_t
ps_paeth_neon(uint8x16_t a, uint8x16_t b, uint8x16_t c)
{
    const uint8x16_t to_a = vabdq_u8(b, c), to_b = vabdq_u8(a, c);
    /* Where both b and a lie on the same side of c, c is never closest. */
    const uint8x16_t agree = vorrq_u8(vandq_u8(vcgtq_u8(b, c), vcgtq_u8(a, c)),
                                      vandq_u8(vcltq_u8(b, c), vcltq_u8(a, c)));
    const uint8x16_t to_c = vorrq_u8(vabdq_u8(to_a, to_b), agree);
    const uint8x16_t least = vminq_u8(vminq_u8(to_a, to_b), to_c);
    return vbslq_u8(vceqq_u8(to_a, least), a, vbslq_u8(vceqq_u8(to_b, least), b, c));
}

PS_INLINE uint8x16_t
ps_png_difference_neon(unsigned kind, const uint8_t *row, const uint8_t *above, size_t i,
                       size_t pixel)
{
    const uint8x16_t x = vld1q_u8(row + i), a = vld1q_u8(row + i - pixel);
    const uint8x16_t b = vld1q_u8(above + i), c = vld1q_u8(above + i - pixel);

    switch (kind) {
    case PS_PNG_SUB:
        return vsubq_u8(x, a);
    case PS_PNG_UP:
        return vsubq_u8(x, b);
    case PS_PNG_AVERAGE:
        return vsubq_u8(x, vhaddq_u8(a, b));
    case PS_PNG_PAETH:
        return vsubq_u8(x, ps_paeth_neon(a, b, c));
    default:
        return x;
    }
}

static void
ps_png_costs_neon(const uint8_t *row, const uint8_t *above, size_t n, size_t pixel,
                  uint64_t costs[PS_PNG_KINDS])
{
    const size_t edge = pixel < n ? pixel : n;
    uint64x2_t sums[PS_PNG_KINDS];
    size_t i = edge;

    for (unsigned kind = 0; kind < PS_PNG_KINDS; kind++) {
        sums[kind] = vdupq_n_u64(0);
    }
    for (; i + 16 <= n; i += 16) {
        for (unsigned kind = 0; kind < PS_PNG_KINDS; kind++) {
            const uint8x16_t d = ps_png_difference_neon(kind, row, above, i, pixel);
            const uint8x16_t size = vreinterpretq_u8_s8(vabsq_s8(vreinterpretq_s8_u8(d)));
            sums[kind] = vpadalq_u32(sums[kind], vpaddlq_u16(vpaddlq_u8(size)));
        }
    }
    for (unsigned kind = 0; kind < PS_PNG_KINDS; kind++) {
        costs[kind] = vaddvq_u64(sums[kind]);
    }
    ps_png_costs_from(0, row, above, edge, pixel, costs);
    ps_png_costs_from(i, row, above, n, pixel, costs);
}

PS_INLINE void
ps_png_run_kind_neon(unsigned kind, const uint8_t *restrict row, const uint8_t *restrict above,
                     uint8_t *restrict out, size_t n, size_t pixel)
{
    const size_t edge = pixel < n ? pixel : n;
    size_t i = edge;

    ps_png_run_from(0, kind, row, above, out, edge, pixel);
    for (; i + 16 <= n; i += 16) {
        vst1q_u8(out + i, ps_png_difference_neon(kind, row, above, i, pixel));
    }
    ps_png_run_from(i, kind, row, above, out, n, pixel);
}

static void
ps_png_run_neon(unsigned kind, const uint8_t *restrict row, const uint8_t *restrict above,
                uint8_t *restrict out, size_t n, size_t pixel)
{
    switch (kind) { /* a loop for each */
    case PS_PNG_SUB:
        ps_png_run_kind_neon(PS_PNG_SUB, row, above, out, n, pixel);
        break;
    case PS_PNG_UP:
        ps_png_run_kind_neon(PS_PNG_UP, row, above, out, n, pixel);
        break;
    case PS_PNG_AVERAGE:
        ps_png_run_kind_neon(PS_PNG_AVERAGE, row, above, out, n, pixel);
        break;
    case PS_PNG_PAETH:
        ps_png_run_kind_neon(PS_PNG_PAETH, row, above, out, n, pixel);
        break;
    default:
        memcpy(out, row, n);
    }
}
#endif

const ps_png_filter_impl ps_png_filter_impls[] = {
/* best first, scalar last */
#if PS_X86
    {{"avx2", PS_CPU_AVX2}, ps_png_costs_avx2, ps_png_run_avx2},
#endif
#if PS_ARM64
    {{"neon", PS_CPU_NEON}, ps_png_costs_neon, ps_png_run_neon},
#endif
    {{"scalar", 0}, ps_png_costs_scalar, ps_png_run_scalar},
};

int
ps_png_filter(const ps_png_filter_impl *impl, ps_in image, size_t first, ps_out out, size_t height,
              size_t n, size_t pixel)
{
    uint8_t *zeros = NULL; /* above the image */

    if (first == 0) {
        zeros = ps_alloc(n, 1);
        if (zeros == NULL) {
            return -1;
        }
        memset(zeros, 0, n);
    }
    for (size_t y = first; y < first + height; y++) {
        const uint8_t *row = ps_in_u8(image, y);
        const uint8_t *above = y == 0 ? zeros : ps_in_u8(image, y - 1);
        uint8_t *target = ps_out_u8(out, y - first);
        uint64_t costs[PS_PNG_KINDS];
        unsigned best = 0;

        impl->costs(row, above, n, pixel, costs);
        for (unsigned kind = 1; kind < PS_PNG_KINDS; kind++) {
            best = costs[kind] < costs[best] ? kind : best;
        }
        target[0] = (uint8_t)best;
        impl->run(best, row, above, target + 1, n, pixel);
    }
    free(zeros);
    return 0;
}
