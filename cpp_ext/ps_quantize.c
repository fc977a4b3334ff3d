/* ps_quantize.c - float32 alpha to 8-bit alpha.
 *
 *     out[i] = rint(255 * clamp(alpha[i], 0, 1)),   NaN -> 0, halves to even
 *
 * alpha and out hold n values and do not overlap. Every variant writes the same bytes as
 * ps_quantize_scalar.
 */
#include "ps_quantize.h"

static void
ps_quantize_scalar(const float *restrict alpha, uint8_t *restrict out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = ps_round_u8(255.0f * ps_clamp01(alpha[i]));
    }
}

#if PS_X86
PS_AVX2 static void
ps_quantize_avx2(const float *restrict alpha, uint8_t *restrict out, size_t n)
{
    const __m256 zero = _mm256_setzero_ps();
    const __m256 one = _mm256_set1_ps(1.0f);
    const __m256 scale = _mm256_set1_ps(255.0f);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    size_t i = 0;

    for (; i + 32 <= n; i += 32) {
        __m256i v[4];
        for (int j = 0; j < 4; j++) {
            __m256 a = _mm256_loadu_ps(alpha + i + 8 * j);
            a = _mm256_min_ps(_mm256_max_ps(a, zero), one); /* max gives zero for NaN */
            v[j] = _mm256_cvtps_epi32(_mm256_mul_ps(a, scale));
        }
        /* Packing works within 128-bit halves; the permutation puts the quads back in order. */
        __m256i low = _mm256_packus_epi32(v[0], v[1]);
        __m256i high = _mm256_packus_epi32(v[2], v[3]);
        __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), order);
        _mm256_storeu_si256((__m256i *)(void *)(out + i), bytes);
    }
    ps_quantize_scalar(alpha + i, out + i, n - i); /* the last 0-31 values */
}
#endif

#if PS_ARM64
static void
ps_quantize_neon(const float *restrict alpha, uint8_t *restrict out, size_t n)
{
    const float32x4_t zero = vdupq_n_f32(0.0f);
    const float32x4_t one = vdupq_n_f32(1.0f);
    size_t i = 0;

    for (; i + 16 <= n; i += 16) {
        uint16x4_t v[4];
        for (int j = 0; j < 4; j++) {
            float32x4_t a = vld1q_f32(alpha + i + 4 * j);
            a = vminq_f32(vmaxnmq_f32(a, zero), one); /* maxnm gives zero for NaN */
            v[j] = vmovn_u32(vcvtnq_u32_f32(vmulq_n_f32(a, 255.0f)));
        }
        uint8x8_t low = vmovn_u16(vcombine_u16(v[0], v[1]));
        uint8x8_t high = vmovn_u16(vcombine_u16(v[2], v[3]));
        vst1q_u8(out + i, vcombine_u8(low, high));
    }
    ps_quantize_scalar(alpha + i, out + i, n - i);
}
#endif

const ps_quantize_impl ps_quantize_impls[] = {
/* best first, scalar last */
#if PS_X86
    {{"avx2", PS_CPU_AVX2}, ps_quantize_avx2},
#endif
#if PS_ARM64
    {{"neon", PS_CPU_NEON}, ps_quantize_neon},
#endif
    {{"scalar", 0}, ps_quantize_scalar},
};

void
ps_quantize(const ps_quantize_impl *impl, ps_in alpha, ps_out out, size_t height, size_t width)
{
    for (size_t y = 0; y < height; y++) {
        impl->run(ps_in_f32(alpha, y), ps_out_u8(out, y), width);
    }
}
