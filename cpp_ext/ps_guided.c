/* ps_guided.c - detail of a photo for an alpha that was made from a small copy of it.
 *
 * At the small size, over each pixel's 3 x 3 window (edges repeated), the plane that explains alpha
 * by colour best, a ridge regression with the small photo I (RGB in [0, 1]) and alpha p:
 *
 *     s = (cov(I, I) + epsilon * 1)^-1 cov(I, p),   0 where p differs by at most 1/512 in the window
 *     slopes[y, x] = (s / 255, s . I[y, x])
 *
 * At the photo's size, with the slopes resampled to it and a photo of 0 to 255:
 *
 *     out = clamp(alpha + slopes.rgb . photo - slopes.w)
 *
 * which adds s . (photo - small photo, resampled): what the photo shows and its small copy does not.
 *
 * Nearly all pixels lie where alpha is flat and are left out, PS_GUIDED_BLOCK of them at a time.
 * Differences are taken from the window's centre, so that nothing cancels and a flat alpha has
 * slopes of exactly 0. The slopes' AVX2 variant is the scalar's C, compiled for that.
 */
#include "ps_guided.h"

#define PS_BLOCK PS_GUIDED_BLOCK

static const float ps_flat = 1.0f / 512.0f; /* half a level of 8 bits */

/* Moments of a window's differences from its centre: sums, then sums of products. */
enum { PS_R, PS_G, PS_B, PS_P, PS_RR, PS_RG, PS_RB, PS_GG, PS_GB, PS_BB, PS_RP, PS_GP, PS_BP };

/* The slopes of n pixels, at most PS_BLOCK; the first window begins at x in each of the framed rows.
 * Loops over pixels are the inner ones, for the compiler to turn into vectors. */
PS_INLINE void
ps_slopes_some(const float *const *rows, size_t x, float ridge, float s[4][PS_BLOCK], size_t n)
{
    const float *r = rows[1] + x + 1, *g = rows[4] + x + 1, *b = rows[7] + x + 1;
    const float *p = rows[10] + x + 1;
    float m[PS_BP + 1][PS_BLOCK];

    memset(m, 0, sizeof m);
    for (size_t i = 0; i < 3; i++) {
        for (size_t j = 0; j < 3; j++) {
            const float *at_r = rows[i] + x + j, *at_g = rows[3 + i] + x + j;
            const float *at_b = rows[6 + i] + x + j, *at_p = rows[9 + i] + x + j;
            for (size_t k = 0; k < n; k++) {
                const float dr = at_r[k] - r[k], dg = at_g[k] - g[k];
                const float db = at_b[k] - b[k], dp = at_p[k] - p[k];
                m[PS_R][k] += dr;
                m[PS_G][k] += dg;
                m[PS_B][k] += db;
                m[PS_P][k] += dp;
                m[PS_RR][k] += dr * dr;
                m[PS_RG][k] += dr * dg;
                m[PS_RB][k] += dr * db;
                m[PS_GG][k] += dg * dg;
                m[PS_GB][k] += dg * db;
                m[PS_BB][k] += db * db;
                m[PS_RP][k] += dr * dp;
                m[PS_GP][k] += dg * dp;
                m[PS_BP][k] += db * dp;
            }
        }
    }
    for (size_t k = 0; k < n; k++) {
        const float sum_r = m[PS_R][k], sum_g = m[PS_G][k], sum_b = m[PS_B][k], sum_p = m[PS_P][k];
        /* 81 times the covariances; epsilon comes times 81, too. */
        const float rr = (9.0f * m[PS_RR][k] - sum_r * sum_r) + ridge;
        const float rg = 9.0f * m[PS_RG][k] - sum_r * sum_g;
        const float rb = 9.0f * m[PS_RB][k] - sum_r * sum_b;
        const float gg = (9.0f * m[PS_GG][k] - sum_g * sum_g) + ridge;
        const float gb = 9.0f * m[PS_GB][k] - sum_g * sum_b;
        const float bb = (9.0f * m[PS_BB][k] - sum_b * sum_b) + ridge;
        const float rp = 9.0f * m[PS_RP][k] - sum_r * sum_p;
        const float gp = 9.0f * m[PS_GP][k] - sum_g * sum_p;
        const float bp = 9.0f * m[PS_BP][k] - sum_b * sum_p;
        /* Elimination of a symmetric system: its pivots are at least the ridge. */
        const float l_g = rg / rr, l_b = rb / rr;
        const float d_g = gg - l_g * rg;
        const float m_b = gb - l_g * rb;
        const float l_gb = m_b / d_g;
        const float d_b = (bb - l_b * rb) - l_gb * m_b;
        const float y_g = gp - l_g * rp;
        const float y_b = (bp - l_b * rp) - l_gb * y_g;
        const float a_b = y_b / d_b;
        const float a_g = y_g / d_g - l_gb * a_b;
        const float a_r = (rp / rr - l_g * a_g) - l_b * a_b;
        s[0][k] = a_r * (1.0f / 255.0f);
        s[1][k] = a_g * (1.0f / 255.0f);
        s[2][k] = a_b * (1.0f / 255.0f);
        s[3][k] = (a_r * r[k] + a_g * g[k]) + a_b * b[k];
    }
}

/* Whether alpha differs from the window's centre by more than ps_flat; 0 or 1. */
PS_INLINE int
ps_slopes_active(const float *const *rows, size_t x)
{
    const float p = rows[10][x + 1];
    int active = 0;

    for (size_t i = 0; i < 3; i++) {
        for (size_t j = 0; j < 3; j++) {
            active |= fabsf(rows[9 + i][x + j] - p) > ps_flat;
        }
    }
    return active;
}

PS_INLINE void
ps_slopes_row(const float *const *rows, float epsilon, float *restrict out, size_t n)
{
    const float ridge = 81.0f * epsilon;
    size_t x = 0;

    for (; x + PS_BLOCK <= n; x += PS_BLOCK) {
        int active[PS_BLOCK], any = 0;
        float s[4][PS_BLOCK];
        for (size_t i = 0; i < PS_BLOCK; i++) {
            active[i] = ps_slopes_active(rows, x + i);
        }
        for (size_t i = 0; i < PS_BLOCK; i++) {
            any |= active[i];
        }
        if (!any) {
            memset(out + 4 * x, 0, 4 * PS_BLOCK * sizeof *out);
            continue;
        }
        ps_slopes_some(rows, x, ridge, s, PS_BLOCK);
        for (size_t i = 0; i < PS_BLOCK; i++) {
            for (size_t c = 0; c < 4; c++) {
                out[4 * (x + i) + c] = active[i] ? s[c][i] : 0.0f;
            }
        }
    }
    for (; x < n; x++) {
        float s[4][PS_BLOCK];
        const int active = ps_slopes_active(rows, x);
        ps_slopes_some(rows, x, ridge, s, 1);
        for (size_t c = 0; c < 4; c++) {
            out[4 * x + c] = active ? s[c][0] : 0.0f;
        }
    }
}

static void
ps_slopes_scalar(const float *const *rows, float epsilon, float *restrict out, size_t n)
{
    ps_slopes_row(rows, epsilon, out, n);
}

static void
ps_detail_tail(const float *small, const ps_taps *x, size_t from, const uint8_t *rgb, float *alpha,
               size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const float *weights = x->weights + (from + i) * x->k;
        const float *at = small + 4 * (size_t)x->start[from + i];
        float s[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        for (size_t j = 0; j < x->k; j++) {
            for (size_t c = 0; c < 4; c++) {
                s[c] += weights[j] * at[4 * j + c];
            }
        }
        const float colour = (s[0] * (float)rgb[3 * i] + s[1] * (float)rgb[3 * i + 1])
                             + s[2] * (float)rgb[3 * i + 2];
        alpha[i] = ps_clamp01(alpha[i] + (colour - s[3]));
    }
}

static void
ps_detail_scalar(const float *small, const ps_taps *x, size_t from, const uint8_t *rgb,
                 float *alpha)
{
    ps_detail_tail(small, x, from, rgb, alpha, PS_BLOCK);
}

/* AVX2 --------------------------------------------------------------------------------------- */

#if PS_X86
PS_AVX2 static void
ps_slopes_avx2(const float *const *rows, float epsilon, float *restrict out, size_t n)
{
    ps_slopes_row(rows, epsilon, out, n);
}

/* Four pixels, each in the lanes R, G, B and offset, turned into four planes. */
PS_AVX2 static void
ps_detail_avx2(const float *small, const ps_taps *x, size_t from, const uint8_t *rgb, float *alpha)
{
    const __m128i red = _mm_setr_epi8(0, -1, -1, -1, 3, -1, -1, -1, 6, -1, -1, -1, 9, -1, -1, -1);
    const __m128i green =
        _mm_setr_epi8(1, -1, -1, -1, 4, -1, -1, -1, 7, -1, -1, -1, 10, -1, -1, -1);
    const __m128i blue = _mm_setr_epi8(2, -1, -1, -1, 5, -1, -1, -1, 8, -1, -1, -1, 11, -1, -1, -1);
    const size_t k = x->k;

    for (size_t i = 0; i < PS_BLOCK; i += 4) {
        const int32_t *start = x->start + from + i;
        const float *w0 = x->weights + (from + i) * k, *w1 = w0 + k, *w2 = w1 + k, *w3 = w2 + k;
        const float *at0 = small + 4 * (size_t)start[0], *at1 = small + 4 * (size_t)start[1];
        const float *at2 = small + 4 * (size_t)start[2], *at3 = small + 4 * (size_t)start[3];
        __m128 s0 = _mm_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
        for (size_t j = 0; j < k; j++) {
            s0 = _mm_add_ps(s0, _mm_mul_ps(_mm_broadcast_ss(w0 + j), _mm_loadu_ps(at0 + 4 * j)));
            s1 = _mm_add_ps(s1, _mm_mul_ps(_mm_broadcast_ss(w1 + j), _mm_loadu_ps(at1 + 4 * j)));
            s2 = _mm_add_ps(s2, _mm_mul_ps(_mm_broadcast_ss(w2 + j), _mm_loadu_ps(at2 + 4 * j)));
            s3 = _mm_add_ps(s3, _mm_mul_ps(_mm_broadcast_ss(w3 + j), _mm_loadu_ps(at3 + 4 * j)));
        }
        __m128i bytes; /* the last 12 of the block's 48 are read with 4 before them */
        if (i + 4 < PS_BLOCK) {
            bytes = _mm_loadu_si128((const __m128i *)(const void *)(rgb + 3 * i));
        } else {
            bytes = _mm_loadu_si128((const __m128i *)(const void *)(rgb + 3 * i - 4));
            bytes = _mm_srli_si128(bytes, 4);
        }
        _MM_TRANSPOSE4_PS(s0, s1, s2, s3);
        s0 = _mm_mul_ps(s0, _mm_cvtepi32_ps(_mm_shuffle_epi8(bytes, red)));
        s1 = _mm_mul_ps(s1, _mm_cvtepi32_ps(_mm_shuffle_epi8(bytes, green)));
        s2 = _mm_mul_ps(s2, _mm_cvtepi32_ps(_mm_shuffle_epi8(bytes, blue)));
        const __m128 colour = _mm_add_ps(_mm_add_ps(s0, s1), s2);
        __m128 a = _mm_add_ps(_mm_loadu_ps(alpha + i), _mm_sub_ps(colour, s3));
        a = _mm_max_ps(a, _mm_setzero_ps()); /* zero for NaN */
        _mm_storeu_ps(alpha + i, _mm_min_ps(a, _mm_set1_ps(1.0f)));
    }
}
#endif

const ps_guided_impl ps_guided_impls[] = {
/* best first, scalar last; AArch64's baseline has NEON, which the compiler uses for the scalar */
#if PS_X86
    {{"avx2", PS_CPU_AVX2}, ps_slopes_avx2, ps_detail_avx2},
#endif
    {{"scalar", 0}, ps_slopes_scalar, ps_detail_scalar},
};

/* A row with its first and last sample repeated at its ends. */
static void
ps_framed(const float *row, float *restrict framed, size_t n)
{
    framed[0] = row[0];
    memcpy(framed + 1, row, n * sizeof *row);
    framed[n + 1] = row[n - 1];
}

int
ps_guided_slopes(const ps_guided_impl *impl, const ps_in *guide, ps_in alpha, size_t height,
                 size_t width, size_t first, size_t rows, float epsilon, ps_out out)
{
    const ps_in channels[4] = {guide[0], guide[1], guide[2], alpha};
    const size_t length = width + 2;
    float *ring = ps_alloc(length, 12 * sizeof *ring); /* row y of channel c: slot 3 c + y % 3 */

    if (ring == NULL) {
        return -1;
    }
    for (size_t y = first; y < first + rows; y++) {
        const size_t near[3] = {y > 0 ? y - 1 : 0, y, y + 1 < height ? y + 1 : y};
        const float *framed[12];
        for (size_t c = 0; c < 4; c++) {
            for (size_t i = 0; i < 3; i++) {
                float *slot = ring + (3 * c + near[i] % 3) * length;
                if (y == first || i == 2) { /* the others are there from the row before */
                    ps_framed(ps_in_f32(channels[c], near[i]), slot, width);
                }
                framed[3 * c + i] = slot;
            }
        }
        impl->slopes(framed, epsilon, ps_out_f32(out, y - first), width);
    }
    free(ring);
    return 0;
}

/* Which columns have slopes in the small rows from start on, any bit of them set; counts[i]: how many
 * of those before i. Returns how many there are. */
static size_t
ps_guided_active(ps_in slopes, size_t start, size_t k, size_t columns, size_t *restrict counts)
{
    memset(counts, 0, (columns + 1) * sizeof *counts);
    for (size_t j = 0; j < k; j++) {
        const float *row = ps_in_f32(slopes, start + j);
        for (size_t i = 0; i < columns; i++) {
            uint64_t bits[2];
            memcpy(bits, row + 4 * i, sizeof bits);
            counts[i + 1] |= (bits[0] | bits[1]) != 0;
        }
    }
    for (size_t i = 0; i < columns; i++) {
        counts[i + 1] += counts[i];
    }
    return counts[columns];
}

/* One row of the slopes at the photo's height, where there are any; mixed stays 0 elsewhere. */
static void
ps_guided_mix(ps_in slopes, const ps_taps *y, size_t row, size_t columns, float *restrict mixed,
              const size_t *restrict counts)
{
    const float *weights = y->weights + row * y->k;

    for (size_t first = 0; first < columns; first += PS_BLOCK) {
        const size_t last = first + PS_BLOCK < columns ? first + PS_BLOCK : columns;
        if (counts[last] == counts[first]) {
            continue;
        }
        memset(mixed + 4 * first, 0, 4 * (last - first) * sizeof *mixed);
        for (size_t j = 0; j < y->k; j++) {
            const float *at = ps_in_f32(slopes, (size_t)y->start[row] + j);
            for (size_t i = 4 * first; i < 4 * last; i++) {
                mixed[i] += weights[j] * at[i];
            }
        }
    }
}

int
ps_guided_detail(const ps_guided_impl *impl, ps_in image, ps_in slopes, size_t columns, ps_in alpha,
                 const ps_taps *y, const ps_taps *x, ps_out out)
{
    const size_t blocks = (x->n + PS_BLOCK - 1) / PS_BLOCK;
    size_t any = 0;
    int status = -1;
    float *mixed = ps_alloc(columns, 4 * sizeof *mixed);
    size_t *counts = ps_alloc(columns + 1, sizeof *counts);
    size_t *range = ps_alloc(blocks, 2 * sizeof *range); /* of columns that a block's taps touch */

    if (mixed == NULL || counts == NULL || range == NULL) {
        goto done;
    }
    for (size_t b = 0; b < blocks; b++) {
        size_t low = columns, high = 0;
        for (size_t i = b * PS_BLOCK; i < x->n && i < (b + 1) * PS_BLOCK; i++) {
            const size_t start = (size_t)x->start[i];
            low = start < low ? start : low;
            high = start + x->k > high ? start + x->k : high;
        }
        range[2 * b] = low;
        range[2 * b + 1] = high;
    }
    for (size_t i = 0; i < y->n; i++) {
        const uint8_t *rgb = ps_in_u8(image, i);
        const float *a = ps_in_f32(alpha, i);
        float *to = ps_out_f32(out, i);
        if (i == 0 || y->start[i] != y->start[i - 1]) { /* else the same small rows as before */
            any = ps_guided_active(slopes, (size_t)y->start[i], y->k, columns, counts);
            memset(mixed, 0, 4 * columns * sizeof *mixed);
        }
        if (to != a) {
            memcpy(to, a, x->n * sizeof *to);
        }
        if (any == 0) {
            continue;
        }
        ps_guided_mix(slopes, y, i, columns, mixed, counts);
        for (size_t b = 0; b < blocks; b++) {
            const size_t from = b * PS_BLOCK;
            if (counts[range[2 * b + 1]] == counts[range[2 * b]]) {
                continue;
            }
            if (from + PS_BLOCK <= x->n) {
                impl->detail(mixed, x, from, rgb + 3 * from, to + from);
            } else {
                ps_detail_tail(mixed, x, from, rgb + 3 * from, to + from, x->n - from);
            }
        }
    }
    status = 0;
done:
    free(range);
    free(counts);
    free(mixed);
    return status;
}
