/* ps_composite.c - alpha beside colours, colours over colours, and pre-multiplication.
 *
 *     cutout:         out = F, rint(255 * clamp(a))
 *     composite:      out = rint(B + clamp(a) * (F - B))                      halves to even
 *     premultiply:    out = floor((c * a + 127) / 255), a                     bytes
 *     unpremultiply:  out = min(255, floor((255 * c + a / 2) / a)), a         0 where a is 0
 *
 * clamp is to [0, 1] and makes NaN 0. Each run() takes n pixels side by side. Every variant writes
 * the same bytes as the scalar one.
 *
 * Source: Porter & Duff, "Compositing Digital Images", SIGGRAPH 1984.
 */
#include "ps_composite.h"

/* cutout ------------------------------------------------------------------------------------- */

static void
ps_cutout_scalar(const uint8_t *restrict foreground, const float *restrict alpha,
                 uint8_t *restrict out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        out[4 * i] = foreground[3 * i];
        out[4 * i + 1] = foreground[3 * i + 1];
        out[4 * i + 2] = foreground[3 * i + 2];
        out[4 * i + 3] = ps_round_u8(255.0f * ps_clamp01(alpha[i]));
    }
}

/* composite ---------------------------------------------------------------------------------- */

static void
ps_composite_scalar(const uint8_t *restrict foreground, const float *restrict alpha,
                    const uint8_t *restrict background, uint8_t *restrict out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const float a = ps_clamp01(alpha[i]);
        for (size_t c = 3 * i; c < 3 * i + 3; c++) {
            const float back = (float)background[c];
            out[c] = ps_round_u8(back + a * ((float)foreground[c] - back));
        }
    }
}

/* premultiply -------------------------------------------------------------------------------- */

static void
ps_premultiply_scalar(const uint8_t *rgba, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < 4 * n; i += 4) {
        const unsigned a = rgba[i + 3];
        out[i] = (uint8_t)((rgba[i] * a + 127) / 255);
        out[i + 1] = (uint8_t)((rgba[i + 1] * a + 127) / 255);
        out[i + 2] = (uint8_t)((rgba[i + 2] * a + 127) / 255);
        out[i + 3] = (uint8_t)a;
    }
}

/* unpremultiply ------------------------------------------------------------------------------ */

static inline uint8_t
ps_divide(unsigned colour, unsigned a)
{
    const unsigned straight = (255 * colour + a / 2) / a;
    return (uint8_t)(straight < 255 ? straight : 255);
}

static void
ps_unpremultiply_scalar(const uint8_t *rgba, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < 4 * n; i += 4) {
        const unsigned a = rgba[i + 3];
        out[i] = a > 0 ? ps_divide(rgba[i], a) : 0;
        out[i + 1] = a > 0 ? ps_divide(rgba[i + 1], a) : 0;
        out[i + 2] = a > 0 ? ps_divide(rgba[i + 2], a) : 0;
        out[i + 3] = (uint8_t)a;
    }
}

/* AVX2 --------------------------------------------------------------------------------------- */

#if PS_X86
PS_AVX2 static inline __m256
ps_clamped_avx2(const float *alpha)
{
    const __m256 a = _mm256_max_ps(_mm256_loadu_ps(alpha), _mm256_setzero_ps()); /* NaN -> 0 */
    return _mm256_min_ps(a, _mm256_set1_ps(1.0f));
}

PS_AVX2 static void
ps_cutout_avx2(const uint8_t *restrict foreground, const float *restrict alpha,
               uint8_t *restrict out, size_t n)
{
    const __m256 scale = _mm256_set1_ps(255.0f);
    const __m256i spread = _mm256_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1, 0,
                                            1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1);
    size_t i = 0;

    for (; i + 10 <= n; i += 8) { /* the second load reads 4 bytes past pixel 8 */
        const uint8_t *at = foreground + 3 * i;
        __m128i low = _mm_loadu_si128((const __m128i *)(const void *)at);
        __m128i high = _mm_loadu_si128((const __m128i *)(const void *)(at + 12));
        __m256i rgb = _mm256_shuffle_epi8(_mm256_set_m128i(high, low), spread);
        __m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(ps_clamped_avx2(alpha + i), scale));
        rgb = _mm256_or_si256(rgb, _mm256_slli_epi32(a, 24));
        _mm256_storeu_si256((__m256i *)(void *)(out + 4 * i), rgb);
    }
    ps_cutout_scalar(foreground + 3 * i, alpha + i, out + 4 * i, n - i);
}

PS_AVX2 static inline __m256
ps_bytes_avx2(const uint8_t *at)
{
    const __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)at);
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
}

PS_AVX2 static void
ps_composite_avx2(const uint8_t *restrict foreground, const float *restrict alpha,
                  const uint8_t *restrict background, uint8_t *restrict out, size_t n)
{
    const __m256i pixel[3] = {/* which of 8 alphas goes with which of 24 values */
                              _mm256_setr_epi32(0, 0, 0, 1, 1, 1, 2, 2),
                              _mm256_setr_epi32(2, 3, 3, 3, 4, 4, 4, 5),
                              _mm256_setr_epi32(5, 5, 6, 6, 6, 7, 7, 7)};
    size_t i = 0;

    for (; i + 8 <= n; i += 8) {
        const __m256 alphas = ps_clamped_avx2(alpha + i);
        for (size_t j = 0; j < 3; j++) {
            const size_t at = 3 * i + 8 * j;
            const __m256 a = _mm256_permutevar8x32_ps(alphas, pixel[j]);
            const __m256 back = ps_bytes_avx2(background + at);
            const __m256 difference = _mm256_sub_ps(ps_bytes_avx2(foreground + at), back);
            const __m256 mixed = _mm256_add_ps(back, _mm256_mul_ps(a, difference));
            const __m256i v = _mm256_cvtps_epi32(mixed);
            const __m128i w =
                _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
            _mm_storel_epi64((__m128i *)(void *)(out + at), _mm_packus_epi16(w, w));
        }
    }
    ps_composite_scalar(foreground + 3 * i, alpha + i, background + 3 * i, out + 3 * i, n - i);
}

/* Two pixels in each 128-bit half, as 16-bit values: round(v * a / 255) without a division,
 * x = v * a + 128, (x + (x >> 8)) >> 8, exact for bytes. */
PS_AVX2 static inline __m256i
ps_premultiply_words(__m256i words)
{
    const __m256i spread =
        _mm256_setr_epi8(6, 7, 6, 7, 6, 7, -1, -1, 14, 15, 14, 15, 14, 15, -1, -1, 6, 7, 6, 7, 6, 7,
                         -1, -1, 14, 15, 14, 15, 14, 15, -1, -1);
    const __m256i keep = _mm256_set1_epi64x(0x00FF000000000000); /* alpha times 255 / 255 */
    const __m256i a = _mm256_or_si256(_mm256_shuffle_epi8(words, spread), keep);
    __m256i x = _mm256_add_epi16(_mm256_mullo_epi16(words, a), _mm256_set1_epi16(128));
    x = _mm256_add_epi16(x, _mm256_srli_epi16(x, 8));
    return _mm256_srli_epi16(x, 8);
}

PS_AVX2 static void
ps_premultiply_avx2(const uint8_t *rgba, uint8_t *out, size_t n)
{
    const __m256i zero = _mm256_setzero_si256();
    size_t i = 0;

    for (; i + 8 <= n; i += 8) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(rgba + 4 * i));
        __m256i low = ps_premultiply_words(_mm256_unpacklo_epi8(v, zero));
        __m256i high = ps_premultiply_words(_mm256_unpackhi_epi8(v, zero));
        _mm256_storeu_si256((__m256i *)(void *)(out + 4 * i), _mm256_packus_epi16(low, high));
    }
    ps_premultiply_scalar(rgba + 4 * i, out + 4 * i, n - i);
}

/* One channel of 8 pixels, at bits `shift`, divided in floats. Numerators stay below 2^17 and
 * quotients miss the next integer by 1/a or more, so that truncation gives the exact quotient. */
PS_AVX2 static inline __m256i
ps_divide_avx2(__m256i pixels, int shift, __m256i half, __m256 a)
{
    __m256i c = _mm256_and_si256(_mm256_srli_epi32(pixels, shift), _mm256_set1_epi32(255));
    c = _mm256_add_epi32(_mm256_sub_epi32(_mm256_slli_epi32(c, 8), c), half); /* 255 c + a / 2 */
    c = _mm256_cvttps_epi32(_mm256_div_ps(_mm256_cvtepi32_ps(c), a));
    return _mm256_slli_epi32(_mm256_min_epi32(c, _mm256_set1_epi32(255)), shift);
}

PS_AVX2 static void
ps_unpremultiply_avx2(const uint8_t *rgba, uint8_t *out, size_t n)
{
    const __m256i top = _mm256_set1_epi32((int)0xFF000000u);
    size_t i = 0;

    for (; i + 8 <= n; i += 8) {
        const __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(rgba + 4 * i));
        const __m256i alpha = _mm256_srli_epi32(v, 24);
        const __m256i none = _mm256_cmpeq_epi32(alpha, _mm256_setzero_si256());
        const __m256i half = _mm256_srli_epi32(alpha, 1);
        const __m256 a = _mm256_cvtepi32_ps(_mm256_max_epi32(alpha, _mm256_set1_epi32(1)));
        __m256i rgb = ps_divide_avx2(v, 0, half, a);
        rgb = _mm256_or_si256(rgb, ps_divide_avx2(v, 8, half, a));
        rgb = _mm256_or_si256(rgb, ps_divide_avx2(v, 16, half, a));
        rgb = _mm256_or_si256(_mm256_andnot_si256(none, rgb), _mm256_and_si256(v, top));
        _mm256_storeu_si256((__m256i *)(void *)(out + 4 * i), rgb);
    }
    ps_unpremultiply_scalar(rgba + 4 * i, out + 4 * i, n - i);
}

/* AVX-512 ------------------------------------------------------------------------------------ */

PS_AVX512 static inline __m512
ps_bytes_avx512(const uint8_t *at)
{
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
}

PS_AVX512 static void
ps_composite_avx512(const uint8_t *restrict foreground, const float *restrict alpha,
                    const uint8_t *restrict background, uint8_t *restrict out, size_t n)
{
    const __m512i pixel[3] = {
        _mm512_setr_epi32(0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5),
        _mm512_setr_epi32(5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8, 9, 9, 9, 10, 10),
        _mm512_setr_epi32(10, 11, 11, 11, 12, 12, 12, 13, 13, 13, 14, 14, 14, 15, 15, 15)};
    size_t i = 0;

    for (; i + 16 <= n; i += 16) {
        __m512 alphas = _mm512_max_ps(_mm512_loadu_ps(alpha + i), _mm512_setzero_ps());
        alphas = _mm512_min_ps(alphas, _mm512_set1_ps(1.0f));
        for (size_t j = 0; j < 3; j++) {
            const size_t at = 3 * i + 16 * j;
            const __m512 a = _mm512_permutexvar_ps(pixel[j], alphas);
            const __m512 back = ps_bytes_avx512(background + at);
            const __m512 difference = _mm512_sub_ps(ps_bytes_avx512(foreground + at), back);
            const __m512 mixed = _mm512_add_ps(back, _mm512_mul_ps(a, difference));
            const __m128i bytes = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(mixed));
            _mm_storeu_si128((__m128i *)(void *)(out + at), bytes);
        }
    }
    ps_composite_scalar(foreground + 3 * i, alpha + i, background + 3 * i, out + 3 * i, n - i);
}
#endif

/* NEON --------------------------------------------------------------------------------------- */

#if PS_ARM64
/* rint of 8 floats in [0, 255], to bytes. */
static inline uint8x8_t
ps_to_bytes_neon(float32x4_t low, float32x4_t high)
{
    const uint16x4_t l = vmovn_u32(vcvtnq_u32_f32(low));
    const uint16x4_t h = vmovn_u32(vcvtnq_u32_f32(high));
    return vmovn_u16(vcombine_u16(l, h));
}

static inline float32x4_t
ps_clamped_neon(const float *alpha)
{
    const float32x4_t a = vmaxnmq_f32(vld1q_f32(alpha), vdupq_n_f32(0.0f)); /* NaN -> 0 */
    return vminq_f32(a, vdupq_n_f32(1.0f));
}

static void
ps_cutout_neon(const uint8_t *restrict foreground, const float *restrict alpha,
               uint8_t *restrict out, size_t n)
{
    size_t i = 0;

    for (; i + 8 <= n; i += 8) {
        const uint8x8x3_t rgb = vld3_u8(foreground + 3 * i);
        uint8x8x4_t rgba;
        rgba.val[0] = rgb.val[0];
        rgba.val[1] = rgb.val[1];
        rgba.val[2] = rgb.val[2];
        rgba.val[3] = ps_to_bytes_neon(vmulq_n_f32(ps_clamped_neon(alpha + i), 255.0f),
                                       vmulq_n_f32(ps_clamped_neon(alpha + i + 4), 255.0f));
        vst4_u8(out + 4 * i, rgba);
    }
    ps_cutout_scalar(foreground + 3 * i, alpha + i, out + 4 * i, n - i);
}

static inline float32x4_t
ps_mix_neon(uint16x4_t front16, uint16x4_t back16, float32x4_t a)
{
    const float32x4_t front = vcvtq_f32_u32(vmovl_u16(front16));
    const float32x4_t back = vcvtq_f32_u32(vmovl_u16(back16));
    return vaddq_f32(back, vmulq_f32(a, vsubq_f32(front, back)));
}

static void
ps_composite_neon(const uint8_t *restrict foreground, const float *restrict alpha,
                  const uint8_t *restrict background, uint8_t *restrict out, size_t n)
{
    size_t i = 0;

    for (; i + 8 <= n; i += 8) {
        const uint8x8x3_t front = vld3_u8(foreground + 3 * i);
        const uint8x8x3_t back = vld3_u8(background + 3 * i);
        const float32x4_t low = ps_clamped_neon(alpha + i);
        const float32x4_t high = ps_clamped_neon(alpha + i + 4);
        uint8x8x3_t mixed;
        for (int c = 0; c < 3; c++) {
            const uint16x8_t f = vmovl_u8(front.val[c]);
            const uint16x8_t b = vmovl_u8(back.val[c]);
            mixed.val[c] = ps_to_bytes_neon(ps_mix_neon(vget_low_u16(f), vget_low_u16(b), low),
                                            ps_mix_neon(vget_high_u16(f), vget_high_u16(b), high));
        }
        vst3_u8(out + 3 * i, mixed);
    }
    ps_composite_scalar(foreground + 3 * i, alpha + i, background + 3 * i, out + 3 * i, n - i);
}

static void
ps_premultiply_neon(const uint8_t *rgba, uint8_t *out, size_t n)
{
    size_t i = 0;

    for (; i + 8 <= n; i += 8) {
        uint8x8x4_t v = vld4_u8(rgba + 4 * i);
        for (int c = 0; c < 3; c++) {
            uint16x8_t x = vaddq_u16(vmull_u8(v.val[c], v.val[3]), vdupq_n_u16(128));
            v.val[c] = vshrn_n_u16(vaddq_u16(x, vshrq_n_u16(x, 8)), 8);
        }
        vst4_u8(out + 4 * i, v);
    }
    ps_premultiply_scalar(rgba + 4 * i, out + 4 * i, n - i);
}
#endif

/* Tables, best first, scalar last ------------------------------------------------------------ */

const ps_cutout_impl ps_cutout_impls[] = {
#if PS_X86
    {{"avx2", PS_CPU_AVX2}, ps_cutout_avx2},
#endif
#if PS_ARM64
    {{"neon", PS_CPU_NEON}, ps_cutout_neon},
#endif
    {{"scalar", 0}, ps_cutout_scalar},
};

const ps_composite_impl ps_composite_impls[] = {
#if PS_X86
    {{"avx512", PS_CPU_AVX512}, ps_composite_avx512},
    {{"avx2", PS_CPU_AVX2}, ps_composite_avx2},
#endif
#if PS_ARM64
    {{"neon", PS_CPU_NEON}, ps_composite_neon},
#endif
    {{"scalar", 0}, ps_composite_scalar},
};

const ps_rgba_impl ps_premultiply_impls[] = {
#if PS_X86
    {{"avx2", PS_CPU_AVX2}, ps_premultiply_avx2},
#endif
#if PS_ARM64
    {{"neon", PS_CPU_NEON}, ps_premultiply_neon},
#endif
    {{"scalar", 0}, ps_premultiply_scalar},
};

const ps_rgba_impl ps_unpremultiply_impls[] = {
#if PS_X86
    {{"avx2", PS_CPU_AVX2}, ps_unpremultiply_avx2},
#endif
    {{"scalar", 0}, ps_unpremultiply_scalar},
};

void
ps_cutout(const ps_cutout_impl *impl, ps_in foreground, ps_in alpha, ps_out out, size_t height,
          size_t width)
{
    for (size_t y = 0; y < height; y++) {
        impl->run(ps_in_u8(foreground, y), ps_in_f32(alpha, y), ps_out_u8(out, y), width);
    }
}

int
ps_composite(const ps_composite_impl *impl, ps_in foreground, ps_in alpha, ps_in background,
             int one_colour, ps_out out, size_t height, size_t width)
{
    uint8_t *plain = NULL;

    if (one_colour) { /* one row of the colour serves for all */
        plain = ps_alloc(width, 3);
        if (plain == NULL) {
            return -1;
        }
        for (size_t i = 0; i < width; i++) {
            memcpy(plain + 3 * i, background.data, 3);
        }
        background.data = plain;
        background.stride = 0;
    }
    for (size_t y = 0; y < height; y++) {
        impl->run(ps_in_u8(foreground, y), ps_in_f32(alpha, y), ps_in_u8(background, y),
                  ps_out_u8(out, y), width);
    }
    free(plain);
    return 0;
}

void
ps_rgba(const ps_rgba_impl *impl, ps_in rgba, ps_out out, size_t height, size_t width)
{
    for (size_t y = 0; y < height; y++) {
        impl->run(ps_in_u8(rgba, y), ps_out_u8(out, y), width);
    }
}
