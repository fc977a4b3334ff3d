/* ps_wave.c - Gauss-Seidel sweeps in raster order, `lanes` rows at a time.
 *
 * A pixel of alpha a and colour I with neighbours n (the edge pixel is its own neighbour) has
 *
 *     d_n = regularization + gradient_weight |a - a_n|,   S = sum d_n,   w_n = d_n / S
 *     F' = sum w_n F_n,   B' = sum w_n B_n,   r = I - a F' - (1 - a) B'
 *     F = clip(F' + a r / (a a + (1 - a)(1 - a) + S)),   B = clip(B' + (1 - a) r / (...))
 *
 * which is the 2 x 2 system of the source below, solved by the Sherman-Morrison formula; nothing
 * cancels where it is all but singular.
 *
 * In raster order, in place, a pixel wants its left and upper neighbours new and the other two old.
 * So a band of rows can go together, each row one pixel behind the one above: at step t lane j is
 * at column t - j of row j. Left is its own lane one step ago, up the lane before it one step ago,
 * right its own lane of the old colours one step on, down the lane after that one. All lanes of a
 * step are independent of each other.
 *
 * A second sweep follows one step and one row behind: its lanes are -1 .. lanes - 2, and what is old
 * for it is what the first has written. So both go by in one turn.
 *
 * Beyond the window lanes run idle, and carry on such values that those inside find their own old
 * colour as a neighbour there: above the first row that of the pixel below, under the last row that
 * of the pixel above, and so on.
 *
 * The last rows of a band are handed to the next, which may run at the same time on another thread,
 * behind by as many columns as it needs.
 *
 * Source: Germer, Uelwer, Conrad & Harmeling, "Fast Multi-Level Foreground Estimation", ICPR 2020.
 */
#include "ps_wave.h"

#include "ps_team.h"

/* Scalar ------------------------------------------------------------------------------------- */

/* One pixel: `plane` floats from one plane of it to the next, `step` floats from slot to slot. */
static inline void
ps_wave_pixel(const float *pixel, ptrdiff_t plane, ptrdiff_t step, const float *old, float *new,
              float reg, float grad)
{
    const float a = pixel[0], a1 = 1.0f - a;
    float right = reg + grad * fabsf(a - pixel[step]);
    float down = reg + grad * fabsf(a - pixel[step + 1]);
    float left = reg + grad * fabsf(a - pixel[-step]);
    float up = reg + grad * fabsf(a - pixel[-step - 1]);
    const float sum = ((right + down) + left) + up;
    const float inverse = 1.0f / sum;
    const float gain = 1.0f / ((a * a + a1 * a1) + sum);

    right *= inverse;
    down *= inverse;
    left *= inverse;
    up *= inverse;
    for (ptrdiff_t c = 0; c < 3; c++) {
        const float *f = old + c * plane, *b = f + 3 * plane;
        float *f_new = new + c *plane, *b_new = f_new + 3 * plane;
        const float front =
            ((right * f[step] + down * f[step + 1]) + left * f_new[-step]) + up * f_new[-step - 1];
        const float back =
            ((right * b[step] + down * b[step + 1]) + left * b_new[-step]) + up * b_new[-step - 1];
        const float rest = (pixel[(1 + c) * plane] - a * front) - a1 * back;
        *f_new = ps_clip01(front + (a * gain) * rest);
        *b_new = ps_clip01(back + (a1 * gain) * rest);
    }
}

static void
ps_sweep_scalar(const ps_chunk *chunk, ptrdiff_t base, int from, int to, ptrdiff_t first,
                ptrdiff_t last)
{
    const ptrdiff_t plane = chunk->stride, step = PS_PLANES * plane;

    for (ptrdiff_t k = first; k < last; k++) {
        for (ptrdiff_t lane = base; lane < base + chunk->lanes; lane++) {
            const ptrdiff_t row = chunk->row + lane, column = chunk->time + k - lane;
            float *pixel = chunk->slots + k * step + PS_WAVE_MARGIN + lane;
            const float *old = pixel + from * plane;
            float *new = pixel + to *plane;
            const float *neighbour = NULL; /* whose colours an idle lane carries on */

            if (row < 0) {
                neighbour = old + step + 1; /* down */
            } else if (row >= chunk->height) {
                neighbour = new - step - 1; /* up */
            } else if (column < 0) {
                neighbour = old + step; /* right */
            } else if (column >= chunk->width) {
                neighbour = new - step; /* left */
            } else {
                ps_wave_pixel(pixel, plane, step, old, new, chunk->regularization,
                              chunk->gradient_weight);
                continue;
            }
            for (ptrdiff_t c = 0; c < PS_COLOURS; c++) {
                new[c * plane] = neighbour[c * plane];
            }
        }
    }
}

/* Conversions, which the compiler puts into each variant's vectors. */

PS_INLINE void
ps_unpack_rgb(const uint32_t *words, float *planes, ptrdiff_t stride)
{
    for (ptrdiff_t i = 0; i < stride; i++) {
        planes[i] = (float)(int32_t)(words[i] & 0xFF) * (1.0f / 255.0f);
        planes[stride + i] = (float)(int32_t)(words[i] >> 8 & 0xFF) * (1.0f / 255.0f);
        planes[2 * stride + i] = (float)(int32_t)(words[i] >> 16 & 0xFF) * (1.0f / 255.0f);
    }
}

PS_INLINE void
ps_pack_rgb(const float *planes, uint32_t *words, ptrdiff_t stride)
{
    for (ptrdiff_t i = 0; i < stride; i++) {
        const uint32_t r = ps_round_colour(planes[i], 255.0f);
        const uint32_t g = ps_round_colour(planes[stride + i], 255.0f);
        const uint32_t b = ps_round_colour(planes[2 * stride + i], 255.0f);
        words[i] = r | g << 8 | b << 16;
    }
}

PS_INLINE void
ps_unpack_colours(const uint32_t *words, float *planes, ptrdiff_t stride)
{
    for (ptrdiff_t word = 0; word < PS_WORDS; word++) {
        const uint32_t *from = words + word * stride;
        float *to = planes + 2 * word * stride;
        for (ptrdiff_t i = 0; i < stride; i++) {
            to[i] = (float)(int32_t)(from[i] & 0xFFFF) * (1.0f / 65535.0f);
            to[stride + i] = (float)(int32_t)(from[i] >> 16) * (1.0f / 65535.0f);
        }
    }
}

PS_INLINE void
ps_pack_colours(const float *planes, uint32_t *words, ptrdiff_t stride)
{
    for (ptrdiff_t word = 0; word < PS_WORDS; word++) {
        const float *from = planes + 2 * word * stride;
        for (ptrdiff_t i = 0; i < stride; i++) {
            words[word * stride + i] = ps_round_colour(from[i], 65535.0f)
                                       | ps_round_colour(from[stride + i], 65535.0f) << 16;
        }
    }
}

#define PS_CONVERSIONS(name, target, lanes)                                                        \
    target static void ps_unpack_rgb_##name(const uint32_t *words, float *planes)                  \
    {                                                                                              \
        ps_unpack_rgb(words, planes, (lanes) + 2 * PS_WAVE_MARGIN);                                \
    }                                                                                              \
    target static void ps_pack_rgb_##name(const float *planes, uint32_t *words)                    \
    {                                                                                              \
        ps_pack_rgb(planes, words, (lanes) + 2 * PS_WAVE_MARGIN);                                  \
    }                                                                                              \
    target static void ps_unpack_colours_##name(const uint32_t *words, float *planes)              \
    {                                                                                              \
        ps_unpack_colours(words, planes, (lanes) + 2 * PS_WAVE_MARGIN);                            \
    }                                                                                              \
    target static void ps_pack_colours_##name(const float *planes, uint32_t *words)                \
    {                                                                                              \
        ps_pack_colours(planes, words, (lanes) + 2 * PS_WAVE_MARGIN);                              \
    }
#define PS_VARIANT(name, lanes)                                                                    \
    lanes, ps_sweep_##name, ps_unpack_rgb_##name, ps_pack_rgb_##name, ps_unpack_colours_##name,    \
        ps_pack_colours_##name

PS_CONVERSIONS(scalar, , 8)

/* A distance to compare with lanes: exact where it is near, and far where it is far. */
static inline float
ps_wave_near(ptrdiff_t distance)
{
    return (float)(distance < -1000 ? -1000 : distance < 1000 ? distance : 1000);
}

/* Vectors ------------------------------------------------------------------------------------ */

#if PS_X86
PS_CONVERSIONS(avx2, PS_AVX2, 8)
#define PS_V(name) name##_avx2
#define PS_V_TARGET PS_AVX2
#define PS_V_LANES 8
typedef __m256 ps_vector_avx2;
typedef __m256 ps_choice_avx2;
#define PS_V_SET(x) _mm256_set1_ps(x)
#define PS_V_LOAD(p) _mm256_loadu_ps(p)
#define PS_V_STORE(p, v) _mm256_storeu_ps(p, v)
#define PS_V_ADD(a, b) _mm256_add_ps(a, b)
#define PS_V_SUB(a, b) _mm256_sub_ps(a, b)
#define PS_V_MUL(a, b) _mm256_mul_ps(a, b)
#define PS_V_DIV(a, b) _mm256_div_ps(a, b)
#define PS_V_ABS(a) _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a)
/* The second operand: NaN stays. */
#define PS_V_CLIP(a) _mm256_min_ps(_mm256_set1_ps(1.0f), _mm256_max_ps(_mm256_setzero_ps(), a))
#define PS_V_LATER(v, first)                                                                       \
    _mm256_blend_ps(_mm256_permutevar8x32_ps(v, _mm256_setr_epi32(0, 0, 1, 2, 3, 4, 5, 6)),        \
                    _mm256_broadcast_ss(first), 1)
#define PS_V_LESS(a, b) _mm256_cmp_ps(a, b, _CMP_LT_OQ)
#define PS_V_CHOOSE(choice, yes, no) _mm256_blendv_ps(no, yes, choice)
#include "ps_wave_vector.h"

PS_CONVERSIONS(avx512, PS_AVX512, 16)
#define PS_V(name) name##_avx512
#define PS_V_TARGET PS_AVX512
#define PS_V_LANES 16
typedef __m512 ps_vector_avx512;
typedef __mmask16 ps_choice_avx512;
#define PS_V_SET(x) _mm512_set1_ps(x)
#define PS_V_LOAD(p) _mm512_loadu_ps(p)
#define PS_V_STORE(p, v) _mm512_storeu_ps(p, v)
#define PS_V_ADD(a, b) _mm512_add_ps(a, b)
#define PS_V_SUB(a, b) _mm512_sub_ps(a, b)
#define PS_V_MUL(a, b) _mm512_mul_ps(a, b)
#define PS_V_DIV(a, b) _mm512_div_ps(a, b)
#define PS_V_ABS(a) _mm512_abs_ps(a)
#define PS_V_CLIP(a) _mm512_min_ps(_mm512_set1_ps(1.0f), _mm512_max_ps(_mm512_setzero_ps(), a))
#define PS_V_LATER(v, first)                                                                       \
    _mm512_castsi512_ps(_mm512_alignr_epi32(_mm512_castps_si512(v),                                \
                                            _mm512_castps_si512(_mm512_set1_ps(*(first))), 15))
#define PS_V_LESS(a, b) _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ)
#define PS_V_CHOOSE(choice, yes, no) _mm512_mask_blend_ps(choice, no, yes)
#include "ps_wave_vector.h"
#endif

#if PS_ARM64
/* As ps_clip01: vmaxq would make +0 of -0. */
static inline float32x4_t
ps_clip_neon(float32x4_t a)
{
    const float32x4_t zero = vdupq_n_f32(0.0f), one = vdupq_n_f32(1.0f);
    a = vbslq_f32(vcgtq_f32(zero, a), zero, a);
    return vbslq_f32(vcltq_f32(one, a), one, a);
}

PS_CONVERSIONS(neon, , 4)
#define PS_V(name) name##_neon
#define PS_V_TARGET
#define PS_V_LANES 4
typedef float32x4_t ps_vector_neon;
typedef uint32x4_t ps_choice_neon;
#define PS_V_SET(x) vdupq_n_f32(x)
#define PS_V_LOAD(p) vld1q_f32(p)
#define PS_V_STORE(p, v) vst1q_f32(p, v)
#define PS_V_ADD(a, b) vaddq_f32(a, b)
#define PS_V_SUB(a, b) vsubq_f32(a, b)
#define PS_V_MUL(a, b) vmulq_f32(a, b)
#define PS_V_DIV(a, b) vdivq_f32(a, b)
#define PS_V_ABS(a) vabsq_f32(a)
#define PS_V_CLIP(a) ps_clip_neon(a)
#define PS_V_LATER(v, first) vextq_f32(vld1q_dup_f32(first), v, 3)
#define PS_V_LESS(a, b) vcltq_f32(a, b)
#define PS_V_CHOOSE(choice, yes, no) vbslq_f32(choice, yes, no)
#include "ps_wave_vector.h"
#endif

const ps_wave_impl ps_wave_impls[] = {
/* best first, scalar last */
#if PS_X86
    {{"avx512", PS_CPU_AVX512 | PS_CPU_AVX2}, PS_VARIANT(avx512, 16)},
    {{"avx2", PS_CPU_AVX2}, PS_VARIANT(avx2, 8)},
#endif
#if PS_ARM64
    {{"neon", PS_CPU_NEON}, PS_VARIANT(neon, 4)},
#endif
    {{"scalar", 0}, PS_VARIANT(scalar, 8)},
};

/* Bands -------------------------------------------------------------------------------------- */

/* First and last lane of the last sweep's rows. */
static ptrdiff_t
ps_wave_base(size_t sweeps)
{
    return sweeps == 2 ? -1 : 0;
}

size_t
ps_wave_bands(const ps_wave_impl *impl, size_t height, size_t sweeps)
{
    const size_t lanes = (size_t)impl->lanes;
    return (height + (sweeps == 2) + lanes - 1) / lanes;
}

static ptrdiff_t
ps_clamp_index(ptrdiff_t i, ptrdiff_t n)
{
    return i < 0 ? 0 : i < n ? i : n - 1;
}

/* Four times three 32-bit values, from memory to three planes, or back: lanes to .. to + 3. A fourth
 * value beside the three is read, never written. */
#if PS_X86
static inline void
ps_split4(const void *from0, const void *from1, const void *from2, const void *from3, void *to,
          ptrdiff_t plane)
{
    float *planes = to;
    __m128 a = _mm_loadu_ps(from0), b = _mm_loadu_ps(from1);
    __m128 c = _mm_loadu_ps(from2), d = _mm_loadu_ps(from3);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps(planes, a);
    _mm_storeu_ps(planes + plane, b);
    _mm_storeu_ps(planes + 2 * plane, c);
}

static inline void
ps_put3(void *to, __m128 v)
{
    _mm_storel_pi(to, v);
    _mm_store_ss((float *)to + 2, _mm_movehl_ps(v, v));
}

static inline void
ps_join4(const void *from, ptrdiff_t plane, void *to0, void *to1, void *to2, void *to3)
{
    const float *planes = from;
    __m128 a = _mm_loadu_ps(planes), b = _mm_loadu_ps(planes + plane);
    __m128 c = _mm_loadu_ps(planes + 2 * plane), d = _mm_setzero_ps();
    _MM_TRANSPOSE4_PS(a, b, c, d);
    ps_put3(to0, a);
    ps_put3(to1, b);
    ps_put3(to2, c);
    ps_put3(to3, d);
}
#else
static inline void
ps_split4(const void *from0, const void *from1, const void *from2, const void *from3, void *to,
          ptrdiff_t plane)
{
    const void *from[4] = {from0, from1, from2, from3};
    uint32_t three[3];
    for (ptrdiff_t lane = 0; lane < 4; lane++) {
        memcpy(three, from[lane], sizeof three);
        for (ptrdiff_t c = 0; c < 3; c++) {
            memcpy((uint32_t *)to + c * plane + lane, three + c, sizeof *three);
        }
    }
}

static inline void
ps_join4(const void *from, ptrdiff_t plane, void *to0, void *to1, void *to2, void *to3)
{
    void *to[4] = {to0, to1, to2, to3};
    uint32_t three[3];
    for (ptrdiff_t lane = 0; lane < 4; lane++) {
        for (ptrdiff_t c = 0; c < 3; c++) {
            memcpy(three + c, (const uint32_t *)from + c * plane + lane, sizeof *three);
        }
        memcpy(to[lane], three, sizeof three);
    }
}
#endif

/* Where a lane's pixels come from. */
typedef struct ps_lane {
    const float *alpha;
    const void *image;
    const uint32_t *start;
    const uint32_t *image_columns; /* slot k's is [k] */
    const uint32_t *start_columns;
} ps_lane;

static ps_lane
ps_wave_lane(const ps_chunk *chunk, const ps_window *window, ptrdiff_t lane)
{
    const size_t row = window->top + (size_t)ps_clamp_index(chunk->row + lane, chunk->height);
    const size_t image_row = row * window->image_height / window->level_height;
    const size_t start_row = row * window->start_height / window->level_height;
    const ptrdiff_t column = PS_WAVE_AHEAD + chunk->time - lane;
    ps_lane from;
    from.alpha = ps_in_f32(window->alpha, image_row);
    from.image = ps_in_u8(window->image, image_row);
    from.start = window->start + PS_WORDS * window->start_width * start_row;
    from.image_columns = window->image_columns + column;
    from.start_columns = window->start_columns + column;
    return from;
}

/* Slots first .. last - 1 of one lane from memory; `slots` and `words` are the lane's. */
static void
ps_enter_lane(const ps_lane *from, int image_u8, size_t row_end, float *restrict slots,
              uint32_t *restrict words, ptrdiff_t plane, ptrdiff_t first, ptrdiff_t last)
{
    for (ptrdiff_t k = first; k < last; k++) {
        const size_t x = from->image_columns[k];
        const uint32_t *colours = from->start + PS_WORDS * (size_t)from->start_columns[k];
        float *slot = slots + k * PS_PLANES * plane;
        uint32_t *word = words + k * (1 + PS_WORDS) * plane;

        slot[0] = from->alpha[x];
        if (image_u8) {
            word[0] = ps_rgb_word((const uint8_t *)from->image + 3 * x, x == row_end);
        } else {
            for (ptrdiff_t c = 0; c < 3; c++) {
                slot[(1 + c) * plane] = ((const float *)from->image)[3 * x + (size_t)c];
            }
        }
        for (ptrdiff_t c = 0; c < PS_WORDS; c++) {
            word[(1 + c) * plane] = colours[c];
        }
    }
}

/* The same of four lanes at once, none of which comes to its image's last column. */
static void
ps_enter_four(const ps_lane *from, int image_u8, float *restrict slots, uint32_t *restrict words,
              ptrdiff_t plane, ptrdiff_t first, ptrdiff_t last)
{
    const ps_lane a = from[0], b = from[1], c = from[2], d = from[3];

    for (ptrdiff_t k = first; k < last; k++) {
        const size_t xa = a.image_columns[k], xb = b.image_columns[k];
        const size_t xc = c.image_columns[k], xd = d.image_columns[k];
        float *slot = slots + k * PS_PLANES * plane;
        uint32_t *word = words + k * (1 + PS_WORDS) * plane;

        slot[0] = a.alpha[xa];
        slot[1] = b.alpha[xb];
        slot[2] = c.alpha[xc];
        slot[3] = d.alpha[xd];
        if (image_u8) {
            word[0] = ps_rgb_word((const uint8_t *)a.image + 3 * xa, 0);
            word[1] = ps_rgb_word((const uint8_t *)b.image + 3 * xb, 0);
            word[2] = ps_rgb_word((const uint8_t *)c.image + 3 * xc, 0);
            word[3] = ps_rgb_word((const uint8_t *)d.image + 3 * xd, 0);
        } else {
            ps_split4((const float *)a.image + 3 * xa, (const float *)b.image + 3 * xb,
                      (const float *)c.image + 3 * xc, (const float *)d.image + 3 * xd,
                      slot + PS_PLANE_IMAGE * plane, plane);
        }
        ps_split4(a.start + PS_WORDS * (size_t)a.start_columns[k],
                  b.start + PS_WORDS * (size_t)b.start_columns[k],
                  c.start + PS_WORDS * (size_t)c.start_columns[k],
                  d.start + PS_WORDS * (size_t)d.start_columns[k], word + plane, plane);
    }
}

/* Slots first .. last - 1 from memory. */
static void
ps_wave_enter(const ps_wave_impl *impl, const ps_chunk *chunk, const ps_window *window,
              uint32_t *words, ptrdiff_t first, ptrdiff_t last)
{
    const ptrdiff_t plane = chunk->stride, step = PS_PLANES * plane;
    const ptrdiff_t word_step = (1 + PS_WORDS) * plane;
    const size_t row_end = window->image_width - 1;
    ptrdiff_t lane = -2;

    while (lane <= chunk->lanes) {
        float *slots = chunk->slots + PS_WAVE_MARGIN + lane;
        uint32_t *lane_words = words + PS_WAVE_MARGIN + lane;
        ps_lane from[4];
        from[0] = ps_wave_lane(chunk, window, lane);
        if (lane + 3 <= chunk->lanes && from[0].image_columns[last - 1] < row_end) {
            for (ptrdiff_t i = 1; i < 4; i++) {
                from[i] = ps_wave_lane(chunk, window, lane + i);
            }
            ps_enter_four(from, window->image_u8, slots, lane_words, plane, first, last);
            lane += 4;
        } else {
            ps_enter_lane(from, window->image_u8, row_end, slots, lane_words, plane, first, last);
            lane++;
        }
    }
    for (ptrdiff_t k = first; k < last; k++) {
        float *slot = chunk->slots + k * step;
        if (window->image_u8) {
            impl->unpack_rgb(words + k * word_step, slot + PS_PLANE_IMAGE * plane);
        }
        impl->unpack_colours(words + k * word_step + plane, slot + PS_PLANE_START * plane);
    }
}

/* The rows just above the band, as the last one has left them: after one sweep in lane -1, after
 * two in lane -2. Above the window, after one sweep, there is the first row's own old colour. */
static void
ps_wave_take(const ps_chunk *chunk, const ps_window *window, ptrdiff_t first, ptrdiff_t last)
{
    const ptrdiff_t plane = chunk->stride, step = PS_PLANES * plane;

    for (ptrdiff_t k = first; k < last; k++) {
        float *slot = chunk->slots + k * step + PS_WAVE_MARGIN;
        const ptrdiff_t time = chunk->time + k;
        const ptrdiff_t once = ps_clamp_index(time + 1, chunk->width);
        const ptrdiff_t twice = ps_clamp_index(time + 2, chunk->width);
        for (ptrdiff_t c = 0; c < PS_COLOURS; c++) {
            if (chunk->row == 0) {
                slot[(PS_PLANE_ONCE + c) * plane - 1] = slot[(PS_PLANE_START + c) * plane - 1];
            } else {
                slot[(PS_PLANE_ONCE + c) * plane - 1] = window->handed[c * chunk->width + once];
                slot[(PS_PLANE_TWICE + c) * plane - 2] =
                    window->handed[(PS_COLOURS + c) * chunk->width + twice];
            }
        }
    }
}

/* The band's last rows to the next. */
static void
ps_wave_hand(const ps_chunk *chunk, const ps_window *window)
{
    const ptrdiff_t plane = chunk->stride, step = PS_PLANES * plane;

    for (ptrdiff_t k = 2; k < PS_WAVE_STEPS + 2; k++) {
        const float *slot = chunk->slots + k * step + PS_WAVE_MARGIN + chunk->lanes - 1;
        const ptrdiff_t column = chunk->time + k - (chunk->lanes - 1);
        if (column < 0 || column >= chunk->width) {
            continue;
        }
        for (ptrdiff_t c = 0; c < PS_COLOURS; c++) { /* the second sweep: a slot, a lane behind */
            window->handed[c * chunk->width + column] = slot[(PS_PLANE_ONCE + c) * plane];
            window->handed[(PS_COLOURS + c) * chunk->width + column] =
                slot[(PS_PLANE_TWICE + c) * plane - step - 1];
        }
    }
}

/* Where a lane's pixels go. */
typedef struct ps_target {
    unsigned char *front; /* or, where there are any, the level's colours */
    unsigned char *back;
    ptrdiff_t first; /* slots of the lane that are kept */
    ptrdiff_t last;
} ps_target;

/* `last` - `first` is 0 where the lane's row is not kept. front and back are slot 0's. */
static ps_target
ps_wave_target(const ps_chunk *chunk, const ps_window *window, ptrdiff_t lane, ptrdiff_t first,
               ptrdiff_t last)
{
    const ptrdiff_t row = chunk->row + lane - (ptrdiff_t)window->keep_top;
    const ptrdiff_t left = (ptrdiff_t)window->keep_left;
    const ptrdiff_t right = left + (ptrdiff_t)window->keep_width;
    const ptrdiff_t time = chunk->time - lane; /* slot k is at column time + k */
    ps_target to = {NULL, NULL, first, first};

    if (row < 0 || row >= (ptrdiff_t)window->keep_height) {
        return to;
    }
    to.first = left - time > first ? left - time : first;
    to.last = right - time < last ? right - time : last;
    if (to.first >= to.last) {
        to.last = to.first = first;
        return to;
    }
    const size_t to_row = window->to_row + (size_t)row;
    const ptrdiff_t at = (ptrdiff_t)window->to_column + time - left; /* slot 0's column */
    if (window->colours != NULL) {
        to.front = (unsigned char *)(window->colours + PS_WORDS * window->to_width * to_row);
        to.front += at * (ptrdiff_t)(PS_WORDS * sizeof(uint32_t));
        return to;
    }
    const ptrdiff_t pixel = window->image_u8 ? 3 : 3 * (ptrdiff_t)sizeof(float);
    to.front = ps_out_u8(window->foreground, to_row) + at * pixel;
    if (window->background.data != NULL) {
        to.back = ps_out_u8(window->background, to_row) + at * pixel;
    }
    return to;
}

/* Slots first .. last - 1 of `lanes` lanes, 1 or 4, of one kind: three values, `plane` apart. */
static void
ps_leave_threes(const ps_target *to, int lanes, int back, const void *slots, ptrdiff_t plane,
                ptrdiff_t step, ptrdiff_t first, ptrdiff_t last)
{
    for (ptrdiff_t k = first; k < last; k++) {
        const uint32_t *from = (const uint32_t *)slots + k * step;
        unsigned char *at[4];
        for (int lane = 0; lane < lanes; lane++) {
            at[lane] = (back ? to[lane].back : to[lane].front) + 12 * k;
        }
        if (lanes == 4) {
            ps_join4(from, plane, at[0], at[1], at[2], at[3]);
        } else {
            memcpy(at[0], from, sizeof *from);
            memcpy(at[0] + 4, from + plane, sizeof *from);
            memcpy(at[0] + 8, from + 2 * plane, sizeof *from);
        }
    }
}

static void
ps_leave_bytes(const ps_target *to, const uint32_t *words, ptrdiff_t step)
{
    for (ptrdiff_t k = to->first; k < to->last; k++) {
        const uint32_t word = words[k * step];
        unsigned char *at = to->front + 3 * k;
        at[0] = (unsigned char)(word & 0xFF);
        at[1] = (unsigned char)(word >> 8 & 0xFF);
        at[2] = (unsigned char)(word >> 16 & 0xFF);
    }
}

/* Swept colours to memory: those of slots first .. first + PS_WAVE_STEPS - 1 in planes `from`. */
static void
ps_wave_leave(const ps_wave_impl *impl, const ps_chunk *chunk, const ps_window *window,
              uint32_t *words, int from, ptrdiff_t first)
{
    const ptrdiff_t plane = chunk->stride, step = PS_PLANES * plane;
    const ptrdiff_t word_step = (1 + PS_WORDS) * plane;
    const ptrdiff_t base = ps_wave_base(window->sweeps), last = first + PS_WAVE_STEPS;
    const int bytes = window->colours == NULL && window->image_u8;

    for (ptrdiff_t k = first; k < last; k++) {
        const float *planes = chunk->slots + k * step + from * plane;
        if (window->colours != NULL) {
            impl->pack_colours(planes, words + k * word_step + plane);
        } else if (bytes) {
            impl->pack_rgb(planes, words + k * word_step);
        }
    }
    for (ptrdiff_t group = base; group < base + chunk->lanes; group += 4) {
        ps_target to[4];
        int whole = 1;
        for (ptrdiff_t i = 0; i < 4; i++) {
            to[i] = ps_wave_target(chunk, window, group + i, first, last);
            whole = whole && to[i].first == first && to[i].last == last;
        }
        const ptrdiff_t lane = PS_WAVE_MARGIN + group;
        const ptrdiff_t turns = whole ? 1 : 4;
        for (ptrdiff_t i = 0; i < 4 && bytes; i++) {
            ps_leave_bytes(&to[i], words + lane + i, word_step);
        }
        for (ptrdiff_t i = 0; i < turns && !bytes; i++) {
            const float *planes = chunk->slots + from * plane + lane + i;
            const int lanes = whole ? 4 : 1;
            if (window->colours != NULL) {
                ps_leave_threes(to + i, lanes, 0, words + plane + lane + i, plane, word_step,
                                to[i].first, to[i].last);
                continue;
            }
            ps_leave_threes(to + i, lanes, 0, planes, plane, step, to[i].first, to[i].last);
            if (window->background.data != NULL) {
                ps_leave_threes(to + i, lanes, 1, planes + 3 * plane, plane, step, to[i].first,
                                to[i].last);
            }
        }
    }
}

void
ps_wave_run(const ps_wave_impl *impl, const ps_window *window, size_t band, ps_scratch *scratch)
{
    const ptrdiff_t lanes = impl->lanes, width = (ptrdiff_t)window->width;
    const ptrdiff_t stride = lanes + 2 * PS_WAVE_MARGIN, step = PS_PLANES * stride;
    const int from = window->sweeps == 0   ? PS_PLANE_START
                     : window->sweeps == 1 ? PS_PLANE_ONCE
                                           : PS_PLANE_TWICE;
    ptrdiff_t kept = 0; /* slots still there from the chunk before */
    ps_chunk chunk;

    chunk.slots = scratch->slots;
    chunk.stride = stride;
    chunk.lanes = lanes;
    chunk.row = (ptrdiff_t)band * lanes;
    chunk.height = (ptrdiff_t)window->height;
    chunk.width = width;
    chunk.regularization = window->regularization;
    chunk.gradient_weight = window->gradient_weight;
    /* The first sweep begins at column -1 of lane 0, one step on from slot 1. */
    for (chunk.time = -3; chunk.time + 2 <= width + lanes - 2; chunk.time += PS_WAVE_STEPS) {
        if (window->progress != NULL && band > 0) {
            const ptrdiff_t wanted = chunk.time + PS_WAVE_SLOTS + 2;
            ps_counter_wait(window->progress + band - 1,
                            (uint32_t)(wanted < width ? wanted : width));
        }
        ps_wave_enter(impl, &chunk, window, scratch->words, kept, PS_WAVE_SLOTS);
        ps_wave_take(&chunk, window, kept, PS_WAVE_SLOTS);
        if (window->sweeps >= 1) {
            impl->sweep(&chunk, 0, PS_PLANE_START, PS_PLANE_ONCE, 2, PS_WAVE_STEPS + 2);
        }
        if (window->sweeps == 2) {
            impl->sweep(&chunk, -1, PS_PLANE_ONCE, PS_PLANE_TWICE, 1, PS_WAVE_STEPS + 1);
        }
        ps_wave_leave(impl, &chunk, window, scratch->words, from, window->sweeps == 2 ? 1 : 2);
        ps_wave_hand(&chunk, window);
        if (window->progress != NULL) {
            const ptrdiff_t handed = chunk.time + PS_WAVE_STEPS + 3 - lanes;
            ps_counter_write(window->progress + band, (uint32_t)(handed < 0       ? 0
                                                                 : handed < width ? handed
                                                                                  : width));
        }
        kept = PS_WAVE_SLOTS - PS_WAVE_STEPS;
        memcpy(chunk.slots, chunk.slots + PS_WAVE_STEPS * step,
               (size_t)(kept * step) * sizeof *chunk.slots);
    }
}
