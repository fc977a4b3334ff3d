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

/* A distance to compare with lanes: exact where it is near, and far where it is far. */
static inline float
ps_wave_near(ptrdiff_t distance)
{
    return (float)(distance < -1000 ? -1000 : distance < 1000 ? distance : 1000);
}

/* Vectors ------------------------------------------------------------------------------------ */

#if PS_X86
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
    {{"avx512", PS_CPU_AVX512 | PS_CPU_AVX2}, 16, ps_sweep_avx512},
    {{"avx2", PS_CPU_AVX2}, 8, ps_sweep_avx2},
#endif
#if PS_ARM64
    {{"neon", PS_CPU_NEON}, 4, ps_sweep_neon},
#endif
    {{"scalar", 0}, 8, ps_sweep_scalar},
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

/* Slots first .. last - 1 from memory. */
static void
ps_wave_enter(const ps_chunk *chunk, const ps_window *window, ptrdiff_t first, ptrdiff_t last)
{
    const ptrdiff_t plane = chunk->stride, step = PS_PLANES * plane;
    const ptrdiff_t outer = chunk->row == 0 ? -1 : 0; /* first lane whose old colours are wanted */

    for (ptrdiff_t lane = -2; lane <= chunk->lanes; lane++) {
        const size_t row = window->top + (size_t)ps_clamp_index(chunk->row + lane, chunk->height);
        const size_t image_row = row * window->image_height / window->level_height;
        const unsigned char *image =
            window->image.data + (ptrdiff_t)image_row * window->image.stride;
        const float *alpha = ps_in_f32(window->alpha, image_row);
        const float *start = window->start
                             + PS_COLOURS * window->start_width
                                   * (row * window->start_height / window->level_height);
        const ptrdiff_t column = PS_WAVE_AHEAD + chunk->time - lane;
        const uint32_t *image_column = window->image_columns + column;
        const uint32_t *start_column = window->start_columns + column;
        float *to = chunk->slots + PS_WAVE_MARGIN + lane;

        if (window->image_u8) {
            for (ptrdiff_t k = first; k < last; k++) {
                const size_t x = image_column[k];
                const unsigned char *rgb = image + 3 * x;
                to[k * step] = alpha[x];
                to[k * step + plane] = (float)rgb[0] * (1.0f / 255.0f);
                to[k * step + 2 * plane] = (float)rgb[1] * (1.0f / 255.0f);
                to[k * step + 3 * plane] = (float)rgb[2] * (1.0f / 255.0f);
            }
        } else {
            for (ptrdiff_t k = first; k < last; k++) {
                const size_t x = image_column[k];
                const float *rgb = (const float *)(const void *)image + 3 * x;
                to[k * step] = alpha[x];
                to[k * step + plane] = rgb[0];
                to[k * step + 2 * plane] = rgb[1];
                to[k * step + 3 * plane] = rgb[2];
            }
        }
        if (lane < outer) {
            continue;
        }
        to += PS_PLANE_START * plane;
        for (ptrdiff_t k = first; k < last; k++) {
            const float *colours = start + PS_COLOURS * (size_t)start_column[k];
            for (ptrdiff_t c = 0; c < PS_COLOURS; c++) {
                to[k * step + c * plane] = colours[c];
            }
        }
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

/* Swept colours to memory: those of slots first .. first + PS_WAVE_STEPS - 1 in planes `from`. */
static void
ps_wave_leave(const ps_chunk *chunk, const ps_window *window, int from, ptrdiff_t first)
{
    const ptrdiff_t plane = chunk->stride, step = PS_PLANES * plane;
    const ptrdiff_t base = ps_wave_base(window->sweeps);
    const ptrdiff_t left = (ptrdiff_t)window->keep_left;
    const ptrdiff_t right = left + (ptrdiff_t)window->keep_width;

    for (ptrdiff_t lane = base; lane < base + chunk->lanes; lane++) {
        const ptrdiff_t row = chunk->row + lane - (ptrdiff_t)window->keep_top;
        const ptrdiff_t time = chunk->time - lane; /* slot k is at column time + k */
        const ptrdiff_t k0 = left - time > first ? left - time : first;
        const ptrdiff_t k1 =
            right - time < first + PS_WAVE_STEPS ? right - time : first + PS_WAVE_STEPS;
        if (row < 0 || row >= (ptrdiff_t)window->keep_height || k0 >= k1) {
            continue;
        }
        const float *slot = chunk->slots + from * plane + k0 * step + PS_WAVE_MARGIN + lane;
        const size_t to_row = window->to_row + (size_t)row;
        size_t at = window->to_column + (size_t)(time + k0 - left);

        if (window->colours != NULL) {
            float *to = window->colours + PS_COLOURS * (to_row * window->to_width + at);
            for (ptrdiff_t k = k0; k < k1; k++, slot += step, to += PS_COLOURS) {
                for (ptrdiff_t c = 0; c < PS_COLOURS; c++) {
                    to[c] = slot[c * plane];
                }
            }
        } else if (window->image_u8) {
            uint8_t *front = ps_out_u8(window->foreground, to_row) + 3 * at;
            for (ptrdiff_t k = k0; k < k1; k++, slot += step, front += 3) {
                for (ptrdiff_t c = 0; c < 3; c++) {
                    front[c] = ps_round_u8(255.0f * ps_clamp01(slot[c * plane]));
                }
            }
        } else {
            float *front = ps_out_f32(window->foreground, to_row) + 3 * at;
            float *back = window->background.data == NULL
                              ? NULL
                              : ps_out_f32(window->background, to_row) + 3 * at;
            for (ptrdiff_t k = k0; k < k1; k++, slot += step, front += 3) {
                for (ptrdiff_t c = 0; c < 3; c++) {
                    front[c] = slot[c * plane];
                }
                if (back != NULL) {
                    for (ptrdiff_t c = 0; c < 3; c++) {
                        back[c] = slot[(3 + c) * plane];
                    }
                    back += 3;
                }
            }
        }
    }
}

void
ps_wave_run(const ps_wave_impl *impl, const ps_window *window, size_t band, float *scratch)
{
    const ptrdiff_t lanes = impl->lanes, width = (ptrdiff_t)window->width;
    const ptrdiff_t stride = lanes + 2 * PS_WAVE_MARGIN, step = PS_PLANES * stride;
    const int from = window->sweeps == 0   ? PS_PLANE_START
                     : window->sweeps == 1 ? PS_PLANE_ONCE
                                           : PS_PLANE_TWICE;
    ptrdiff_t kept = 0; /* slots still there from the chunk before */
    ps_chunk chunk;

    chunk.slots = scratch;
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
        ps_wave_enter(&chunk, window, kept, PS_WAVE_SLOTS);
        ps_wave_take(&chunk, window, kept, PS_WAVE_SLOTS);
        if (window->sweeps >= 1) {
            impl->sweep(&chunk, 0, PS_PLANE_START, PS_PLANE_ONCE, 2, PS_WAVE_STEPS + 2);
        }
        if (window->sweeps == 2) {
            impl->sweep(&chunk, -1, PS_PLANE_ONCE, PS_PLANE_TWICE, 1, PS_WAVE_STEPS + 1);
        }
        ps_wave_leave(&chunk, window, from, window->sweeps == 2 ? 1 : 2);
        ps_wave_hand(&chunk, window);
        if (window->progress != NULL) {
            const ptrdiff_t handed = chunk.time + PS_WAVE_STEPS + 3 - lanes;
            ps_counter_write(window->progress + band, (uint32_t)(handed < 0       ? 0
                                                                 : handed < width ? handed
                                                                                  : width));
        }
        kept = PS_WAVE_SLOTS - PS_WAVE_STEPS;
        memcpy(scratch, scratch + PS_WAVE_STEPS * step, (size_t)(kept * step) * sizeof *scratch);
    }
}
