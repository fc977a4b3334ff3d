/* ps_resize.c - separable resampling with precomputed taps.
 *
 *     out[y, x] = sum_j wx[x, j] * sum_i wy[y, i] * in[sy[y] + i, sx[x] + j]
 *
 * A photo shrinks to a network's input: columns first, since that reads each byte about once and
 * vectorises along the row; then the few values of the short row; then scale and offset. An alpha
 * grows to the photo's size: rows first, into a ring of the k wide rows that an output row needs,
 * then columns, clamp (NaN -> 0) and rounding. Sums start at 0 and run in the order of the taps in
 * every variant, each operation rounding to float, so that all write the same bits.
 */
#include "ps_resize.h"

static void
ps_vertical_u8_tail(const uint8_t *rows, ptrdiff_t stride, const float *weights, size_t k,
                    float *restrict out, size_t from, size_t n)
{
    for (size_t i = from; i < n; i++) {
        out[i] = 0.0f;
    }
    for (size_t j = 0; j < k; j++) {
        const uint8_t *row = rows + (ptrdiff_t)j * stride;
        for (size_t i = from; i < n; i++) {
            out[i] += weights[j] * (float)row[i];
        }
    }
}

static void
ps_vertical_u8_scalar(const uint8_t *rows, ptrdiff_t stride, const float *weights, size_t k,
                      float *restrict out, size_t n)
{
    ps_vertical_u8_tail(rows, stride, weights, k, out, 0, n);
}

static void
ps_horizontal_rgb_tail(const float *row, const ps_taps *x, const float *scale, const float *offset,
                       float *const *planes, size_t from)
{
    for (size_t i = from; i < x->n; i++) {
        const float *at = row + 3 * (size_t)x->start[i];
        float rgb[3] = {0.0f, 0.0f, 0.0f};
        for (size_t j = 0; j < x->k; j++) {
            const float weight = x->weights[i * x->k + j];
            rgb[0] += weight * at[3 * j];
            rgb[1] += weight * at[3 * j + 1];
            rgb[2] += weight * at[3 * j + 2];
        }
        for (size_t c = 0; c < 3; c++) {
            planes[c][i] = rgb[c] * scale[c] + offset[c];
        }
    }
}

static void
ps_horizontal_rgb_scalar(const float *row, const ps_taps *x, const float *scale,
                         const float *offset, float *const *planes)
{
    ps_horizontal_rgb_tail(row, x, scale, offset, planes, 0);
}

/* One row of alpha. (AVX2's gather was measured slower than this.) */
static void
ps_horizontal(const float *restrict row, const ps_taps *x, float *restrict out)
{
    for (size_t i = 0; i < x->n; i++) {
        const float *at = row + x->start[i];
        float sum = 0.0f;
        for (size_t j = 0; j < x->k; j++) {
            sum += x->weights[i * x->k + j] * at[j];
        }
        out[i] = sum;
    }
}

static inline float
ps_mixed(const float *const *rows, const float *weights, size_t k, size_t i)
{
    float sum = 0.0f;
    for (size_t j = 0; j < k; j++) {
        sum += weights[j] * rows[j][i];
    }
    return ps_clamp01(sum);
}

/* Sixteen sums at a time stay in registers; the compiler vectorises the loops over them. */
PS_INLINE void
ps_mixed_16(const float *const *rows, const float *weights, size_t k, size_t i, float *sums)
{
    for (size_t c = 0; c < 16; c++) {
        sums[c] = 0.0f;
    }
    for (size_t j = 0; j < k; j++) {
        const float *at = rows[j] + i;
        for (size_t c = 0; c < 16; c++) {
            sums[c] += weights[j] * at[c];
        }
    }
}

static void
ps_vertical_f32_scalar(const float *const *rows, const float *weights, size_t k,
                       float *restrict out, size_t n)
{
    size_t i = 0;

    for (; i + 16 <= n; i += 16) {
        float sums[16];
        ps_mixed_16(rows, weights, k, i, sums);
        for (size_t c = 0; c < 16; c++) {
            out[i + c] = ps_clamp01(sums[c]);
        }
    }
    for (; i < n; i++) {
        out[i] = ps_mixed(rows, weights, k, i);
    }
}

static void
ps_vertical_to_u8_scalar(const float *const *rows, const float *weights, size_t k,
                         uint8_t *restrict out, size_t n)
{
    size_t i = 0;

    for (; i + 16 <= n; i += 16) {
        float sums[16];
        ps_mixed_16(rows, weights, k, i, sums);
        for (size_t c = 0; c < 16; c++) {
            out[i + c] = ps_round_u8(255.0f * ps_clamp01(sums[c]));
        }
    }
    for (; i < n; i++) {
        out[i] = ps_round_u8(255.0f * ps_mixed(rows, weights, k, i));
    }
}

/* AVX2 --------------------------------------------------------------------------------------- */

#if PS_X86
/* The processor's own prefetcher does not follow k rows at once; asking ahead doubles the speed. */
PS_INLINE void
ps_prefetch(const uint8_t *at)
{
    _mm_prefetch((const char *)((uintptr_t)at + 512), _MM_HINT_T0); /* may lie past the end */
}

PS_AVX2 static void
ps_vertical_u8_avx2(const uint8_t *rows, ptrdiff_t stride, const float *weights, size_t k,
                    float *restrict out, size_t n)
{
    size_t i = 0;

    for (; i + 64 <= n; i += 64) {
        __m256 sum[8];
        for (int c = 0; c < 8; c++) {
            sum[c] = _mm256_setzero_ps();
        }
        for (size_t j = 0; j < k; j++) {
            const uint8_t *at = rows + (ptrdiff_t)j * stride + i;
            const __m256 weight = _mm256_broadcast_ss(weights + j);
            ps_prefetch(at);
            for (int c = 0; c < 8; c++) {
                __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)(at + 8 * c));
                __m256 v = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
                sum[c] = _mm256_add_ps(sum[c], _mm256_mul_ps(weight, v));
            }
        }
        for (int c = 0; c < 8; c++) {
            _mm256_storeu_ps(out + i + 8 * c, sum[c]);
        }
    }
    ps_vertical_u8_tail(rows, stride, weights, k, out, i, n);
}

/* Four pixels, each in the lanes R, G, B and one to ignore, turned into three planes. */
PS_AVX2 static void
ps_horizontal_rgb_avx2(const float *row, const ps_taps *x, const float *scale, const float *offset,
                       float *const *planes)
{
    const size_t k = x->k;
    size_t i = 0;

    for (; i + 4 <= x->n; i += 4) {
        const float *w0 = x->weights + i * k, *w1 = w0 + k, *w2 = w1 + k, *w3 = w2 + k;
        const float *at0 = row + 3 * (size_t)x->start[i];
        const float *at1 = row + 3 * (size_t)x->start[i + 1];
        const float *at2 = row + 3 * (size_t)x->start[i + 2];
        const float *at3 = row + 3 * (size_t)x->start[i + 3];
        __m128 p0 = _mm_setzero_ps(), p1 = p0, p2 = p0, p3 = p0;
        for (size_t j = 0; j < k; j++) {
            p0 = _mm_add_ps(p0, _mm_mul_ps(_mm_broadcast_ss(w0 + j), _mm_loadu_ps(at0 + 3 * j)));
            p1 = _mm_add_ps(p1, _mm_mul_ps(_mm_broadcast_ss(w1 + j), _mm_loadu_ps(at1 + 3 * j)));
            p2 = _mm_add_ps(p2, _mm_mul_ps(_mm_broadcast_ss(w2 + j), _mm_loadu_ps(at2 + 3 * j)));
            p3 = _mm_add_ps(p3, _mm_mul_ps(_mm_broadcast_ss(w3 + j), _mm_loadu_ps(at3 + 3 * j)));
        }
        _MM_TRANSPOSE4_PS(p0, p1, p2, p3);
        p0 = _mm_mul_ps(p0, _mm_broadcast_ss(scale));
        p1 = _mm_mul_ps(p1, _mm_broadcast_ss(scale + 1));
        p2 = _mm_mul_ps(p2, _mm_broadcast_ss(scale + 2));
        _mm_storeu_ps(planes[0] + i, _mm_add_ps(p0, _mm_broadcast_ss(offset)));
        _mm_storeu_ps(planes[1] + i, _mm_add_ps(p1, _mm_broadcast_ss(offset + 1)));
        _mm_storeu_ps(planes[2] + i, _mm_add_ps(p2, _mm_broadcast_ss(offset + 2)));
    }
    ps_horizontal_rgb_tail(row, x, scale, offset, planes, i);
}

/* 32 clamped sums. */
PS_AVX2 static inline void
ps_mixed_avx2(const float *const *rows, const float *weights, size_t k, size_t i, __m256 *sum)
{
    for (int c = 0; c < 4; c++) {
        sum[c] = _mm256_setzero_ps();
    }
    for (size_t j = 0; j < k; j++) {
        const __m256 weight = _mm256_broadcast_ss(weights + j);
        for (int c = 0; c < 4; c++) {
            __m256 v = _mm256_loadu_ps(rows[j] + i + 8 * c);
            sum[c] = _mm256_add_ps(sum[c], _mm256_mul_ps(weight, v));
        }
    }
    for (int c = 0; c < 4; c++) {
        sum[c] = _mm256_max_ps(sum[c], _mm256_setzero_ps()); /* NaN -> 0 */
        sum[c] = _mm256_min_ps(sum[c], _mm256_set1_ps(1.0f));
    }
}

PS_AVX2 static void
ps_vertical_f32_avx2(const float *const *rows, const float *weights, size_t k, float *restrict out,
                     size_t n)
{
    size_t i = 0;

    for (; i + 32 <= n; i += 32) {
        __m256 sum[4];
        ps_mixed_avx2(rows, weights, k, i, sum);
        for (int c = 0; c < 4; c++) {
            _mm256_storeu_ps(out + i + 8 * c, sum[c]);
        }
    }
    for (; i < n; i++) {
        out[i] = ps_mixed(rows, weights, k, i);
    }
}

PS_AVX2 static void
ps_vertical_to_u8_avx2(const float *const *rows, const float *weights, size_t k,
                       uint8_t *restrict out, size_t n)
{
    const __m256 scale = _mm256_set1_ps(255.0f);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    size_t i = 0;

    for (; i + 32 <= n; i += 32) {
        __m256 sum[4];
        __m256i v[4];
        ps_mixed_avx2(rows, weights, k, i, sum);
        for (int c = 0; c < 4; c++) {
            v[c] = _mm256_cvtps_epi32(_mm256_mul_ps(sum[c], scale));
        }
        __m256i low = _mm256_packus_epi32(v[0], v[1]);
        __m256i high = _mm256_packus_epi32(v[2], v[3]);
        __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), order);
        _mm256_storeu_si256((__m256i *)(void *)(out + i), bytes);
    }
    for (; i < n; i++) {
        out[i] = ps_round_u8(255.0f * ps_mixed(rows, weights, k, i));
    }
}

/* AVX-512 ------------------------------------------------------------------------------------ */

PS_AVX512 static void
ps_vertical_u8_avx512(const uint8_t *rows, ptrdiff_t stride, const float *weights, size_t k,
                      float *restrict out, size_t n)
{
    size_t i = 0;

    for (; i + 64 <= n; i += 64) {
        __m512 sum[4];
        for (int c = 0; c < 4; c++) {
            sum[c] = _mm512_setzero_ps();
        }
        for (size_t j = 0; j < k; j++) {
            const uint8_t *at = rows + (ptrdiff_t)j * stride + i;
            const __m512 weight = _mm512_set1_ps(weights[j]);
            ps_prefetch(at);
            for (int c = 0; c < 4; c++) {
                __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(at + 16 * c));
                __m512 v = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
                sum[c] = _mm512_add_ps(sum[c], _mm512_mul_ps(weight, v));
            }
        }
        for (int c = 0; c < 4; c++) {
            _mm512_storeu_ps(out + i + 16 * c, sum[c]);
        }
    }
    ps_vertical_u8_tail(rows, stride, weights, k, out, i, n);
}
#endif

/* NEON --------------------------------------------------------------------------------------- */

#if PS_ARM64
static void
ps_vertical_u8_neon(const uint8_t *rows, ptrdiff_t stride, const float *weights, size_t k,
                    float *restrict out, size_t n)
{
    size_t i = 0;

    for (; i + 16 <= n; i += 16) {
        const uint8_t *at = rows + i;
        float32x4_t sum[4] = {vdupq_n_f32(0.0f), vdupq_n_f32(0.0f), vdupq_n_f32(0.0f),
                              vdupq_n_f32(0.0f)};
        for (size_t j = 0; j < k; j++, at += stride) {
            const uint8x16_t bytes = vld1q_u8(at);
            const uint16x8_t low = vmovl_u8(vget_low_u8(bytes));
            const uint16x8_t high = vmovl_u8(vget_high_u8(bytes));
            const uint32x4_t v[4] = {vmovl_u16(vget_low_u16(low)), vmovl_u16(vget_high_u16(low)),
                                     vmovl_u16(vget_low_u16(high)), vmovl_u16(vget_high_u16(high))};
            for (int c = 0; c < 4; c++) {
                sum[c] = vaddq_f32(sum[c], vmulq_n_f32(vcvtq_f32_u32(v[c]), weights[j]));
            }
        }
        for (int c = 0; c < 4; c++) {
            vst1q_f32(out + i + 4 * c, sum[c]);
        }
    }
    ps_vertical_u8_tail(rows, stride, weights, k, out, i, n);
}

static inline void
ps_mixed_neon(const float *const *rows, const float *weights, size_t k, size_t i, float32x4_t *sum)
{
    for (int c = 0; c < 4; c++) {
        sum[c] = vdupq_n_f32(0.0f);
    }
    for (size_t j = 0; j < k; j++) {
        for (int c = 0; c < 4; c++) {
            float32x4_t v = vld1q_f32(rows[j] + i + 4 * c);
            sum[c] = vaddq_f32(sum[c], vmulq_n_f32(v, weights[j]));
        }
    }
    for (int c = 0; c < 4; c++) {
        sum[c] = vmaxnmq_f32(sum[c], vdupq_n_f32(0.0f)); /* NaN -> 0 */
        sum[c] = vminq_f32(sum[c], vdupq_n_f32(1.0f));
    }
}

static void
ps_vertical_f32_neon(const float *const *rows, const float *weights, size_t k, float *restrict out,
                     size_t n)
{
    size_t i = 0;

    for (; i + 16 <= n; i += 16) {
        float32x4_t sum[4];
        ps_mixed_neon(rows, weights, k, i, sum);
        for (int c = 0; c < 4; c++) {
            vst1q_f32(out + i + 4 * c, sum[c]);
        }
    }
    for (; i < n; i++) {
        out[i] = ps_mixed(rows, weights, k, i);
    }
}

static void
ps_vertical_to_u8_neon(const float *const *rows, const float *weights, size_t k,
                       uint8_t *restrict out, size_t n)
{
    size_t i = 0;

    for (; i + 16 <= n; i += 16) {
        float32x4_t sum[4];
        uint16x4_t v[4];
        ps_mixed_neon(rows, weights, k, i, sum);
        for (int c = 0; c < 4; c++) {
            v[c] = vmovn_u32(vcvtnq_u32_f32(vmulq_n_f32(sum[c], 255.0f)));
        }
        vst1q_u8(out + i, vcombine_u8(vmovn_u16(vcombine_u16(v[0], v[1])),
                                      vmovn_u16(vcombine_u16(v[2], v[3]))));
    }
    for (; i < n; i++) {
        out[i] = ps_round_u8(255.0f * ps_mixed(rows, weights, k, i));
    }
}
#endif

const ps_resize_impl ps_resize_impls[] = {
/* best first, scalar last */
#if PS_X86
    {{"avx512", PS_CPU_AVX512 | PS_CPU_AVX2},
     ps_vertical_u8_avx512,
     ps_horizontal_rgb_avx2,
     ps_vertical_f32_avx2, /* bound by memory; wider vectors gain nothing */
     ps_vertical_to_u8_avx2},
    {{"avx2", PS_CPU_AVX2},
     ps_vertical_u8_avx2,
     ps_horizontal_rgb_avx2,
     ps_vertical_f32_avx2,
     ps_vertical_to_u8_avx2},
#endif
#if PS_ARM64
    {{"neon", PS_CPU_NEON},
     ps_vertical_u8_neon,
     ps_horizontal_rgb_scalar,
     ps_vertical_f32_neon,
     ps_vertical_to_u8_neon},
#endif
    {{"scalar", 0},
     ps_vertical_u8_scalar,
     ps_horizontal_rgb_scalar,
     ps_vertical_f32_scalar,
     ps_vertical_to_u8_scalar},
};

int
ps_resize_to_planes(const ps_resize_impl *impl, ps_in image, size_t width, const ps_taps *y,
                    const ps_taps *x, const float *scale, const float *offset, int reverse,
                    const ps_planes *out)
{
    /* By channel: plane c takes channel c, or 2 - c. */
    const size_t plane[3] = {reverse ? 2 : 0, 1, reverse ? 0 : 2};
    const float scales[3] = {scale[plane[0]], scale[1], scale[plane[2]]};
    const float offsets[3] = {offset[plane[0]], offset[1], offset[plane[2]]};
    const int packed = x->n == 1 || out->value == (ptrdiff_t)sizeof(float);
    int status = -1;
    size_t length;
    float *row = NULL, *small = NULL;

    if (!ps_size_mul_add(width, 3, 1, &length)) { /* 1: the last pixel is read as 4 floats */
        return -1;
    }
    row = ps_alloc(length, sizeof *row);
    small = packed ? NULL : ps_alloc(x->n, 3 * sizeof *small);
    if (row == NULL || (!packed && small == NULL)) {
        goto done;
    }
    row[length - 1] = 0.0f;

    for (size_t i = 0; i < y->n; i++) {
        const float *weights = y->weights + i * y->k;
        const int again = i > 0 && y->start[i] == y->start[i - 1]
                          && memcmp(weights, weights - y->k, y->k * sizeof *weights) == 0;
        if (!again) { /* a growing nearest or area repeats its rows */
            size_t first = 0, last = y->k;
            while (last > first + 1 && weights[last - 1] == 0.0f) {
                last--;
            }
            while (first + 1 < last && weights[first] == 0.0f) {
                first++;
            }
            impl->vertical_u8(ps_in_u8(image, (size_t)y->start[i] + first), image.stride,
                              weights + first, last - first, row, 3 * width);
        }
        unsigned char *at = out->data + (ptrdiff_t)i * out->row;
        float *planes[3];
        for (size_t c = 0; c < 3; c++) {
            planes[c] = packed ? (float *)(void *)(at + (ptrdiff_t)plane[c] * out->plane)
                               : small + c * x->n;
        }
        impl->horizontal_rgb(row, x, scales, offsets, planes);
        for (size_t c = 0; c < 3 && !packed; c++) {
            unsigned char *value = at + (ptrdiff_t)plane[c] * out->plane;
            for (size_t j = 0; j < x->n; j++, value += out->value) {
                *(float *)(void *)value = planes[c][j];
            }
        }
    }
    status = 0;
done:
    free(small);
    free(row);
    return status;
}

int
ps_resize_alpha(const ps_resize_impl *impl, ps_in alpha, const ps_taps *y, const ps_taps *x,
                int to_u8, ps_out out)
{
    int status = -1;
    size_t ring_size;
    float *ring = NULL;
    const float **rows = NULL;
    size_t *held = NULL; /* the source row each slot of the ring holds */

    if (!ps_size_mul_add(y->k, x->n, 0, &ring_size)) {
        return -1;
    }
    ring = ps_alloc(ring_size, sizeof *ring);
    rows = ps_alloc(y->k, sizeof *rows);
    held = ps_alloc(y->k, sizeof *held);
    if (ring == NULL || rows == NULL || held == NULL) {
        goto done;
    }
    for (size_t j = 0; j < y->k; j++) {
        held[j] = SIZE_MAX;
    }

    for (size_t i = 0; i < y->n; i++) {
        const float *weights = y->weights + i * y->k;
        for (size_t j = 0; j < y->k; j++) {
            const size_t source = (size_t)y->start[i] + j;
            const size_t slot = source % y->k;
            float *wide = ring + slot * x->n;
            if (held[slot] != source) {
                ps_horizontal(ps_in_f32(alpha, source), x, wide);
                held[slot] = source;
            }
            rows[j] = wide;
        }
        if (to_u8) {
            impl->vertical_to_u8(rows, weights, y->k, ps_out_u8(out, i), x->n);
        } else {
            impl->vertical_f32(rows, weights, y->k, ps_out_f32(out, i), x->n);
        }
    }
    status = 0;
done:
    free(held);
    free((void *)rows);
    free(ring);
    return status;
}
