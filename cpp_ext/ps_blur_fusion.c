/* ps_blur_fusion.c - one pass of blur fusion foreground estimation.
 *
 * With m(v) the mean over a size x size box (anchor size / 2, edges mirrored without repeating the
 * edge pixel, again and again where the box is larger than the image):
 *
 *     F' = m(a F) / (m(a) + e),   B' = m((1 - a) B) / ((1 - m(a)) + e),   e = 1e-5
 *     F_out = clip(F' + a (I - a F' - (1 - a) B')),   B_out = B'
 *
 * One running sum per column and channel follows the box downwards, one per channel follows it
 * along the row: the cost of a pixel does not depend on the size. Sums are doubles, so that what
 * has been added and subtracted again leaves no trace in a float32.
 *
 * Source: Forte, "Approximate Fast Foreground Colour Estimation", ICIP 2021.
 */
#include "ps_blur_fusion.h"

static const float ps_epsilon = 1e-5f; /* keeps an empty box's mean finite */

/* Scalar ------------------------------------------------------------------------------------- */

static inline void
ps_pixel_values(const float *foreground, const float *background, float a, float *values)
{
    for (size_t c = 0; c < 3; c++) {
        values[c] = foreground[c] * a;
        values[4 + c] = background[c] * (1.0f - a);
    }
    values[3] = a;
    values[7] = 0.0f;
}

static void
ps_add_scalar(const float *foreground, const float *background, const float *alpha, double times,
              double *sums, size_t width)
{
    for (size_t x = 0; x < width; x++) {
        float values[8];
        ps_pixel_values(foreground + 3 * x, background + 3 * x, alpha[x], values);
        for (size_t c = 0; c < 8; c++) {
            sums[8 * x + c] += times * (double)values[c];
        }
    }
}

static void
ps_move_scalar(const float *const *entering, const float *const *leaving, double *sums,
               size_t width)
{
    for (size_t x = 0; x < width; x++) {
        float in[8], out[8];
        ps_pixel_values(entering[0] + 3 * x, entering[1] + 3 * x, entering[2][x], in);
        ps_pixel_values(leaving[0] + 3 * x, leaving[1] + 3 * x, leaving[2][x], out);
        for (size_t c = 0; c < 8; c++) {
            sums[8 * x + c] = (sums[8 * x + c] + (double)in[c]) - (double)out[c];
        }
    }
}

/* Slide the box to pixel x, which it has reached from pixel x - 1. */
static inline void
ps_slide(const double *sums, const size_t *enter, const size_t *leave, size_t x, double *box)
{
    for (size_t c = 0; c < 8 && x > 0; c++) {
        box[c] = (box[c] + sums[8 * enter[x] + c]) - sums[8 * leave[x] + c];
    }
}

static inline void
ps_fuse_pixel(const double *box, double share, const float *image, float a, float *front_out,
              float *back_out)
{
    const float weight = (float)(box[3] * share);
    for (size_t c = 0; c < 3; c++) {
        const float front = (float)(box[c] * share) / (weight + ps_epsilon);
        const float back = (float)(box[4 + c] * share) / ((1.0f - weight) + ps_epsilon);
        const float residual = (image[c] - a * front) - (1.0f - a) * back;
        front_out[c] = ps_clip01(front + a * residual);
        back_out[c] = back;
    }
}

static void
ps_fuse_scalar(const double *sums, const double *start, const size_t *enter, const size_t *leave,
               double share, const float *image, const float *alpha, float *foreground_out,
               float *background_out, size_t width)
{
    double box[8];

    memcpy(box, start, sizeof box);
    for (size_t x = 0; x < width; x++) {
        ps_slide(sums, enter, leave, x, box);
        ps_fuse_pixel(box, share, image + 3 * x, alpha[x], foreground_out + 3 * x,
                      background_out + 3 * x);
    }
}

/* AVX2 --------------------------------------------------------------------------------------- */

#if PS_X86
typedef struct ps_values_avx2 {
    __m256d front;
    __m256d back;
} ps_values_avx2;

/* A pixel read as 4 floats; the row's last one has only 3. */
PS_AVX2 static inline __m128
ps_rgb_avx2(const float *pixel, int last)
{
    if (last) {
        return _mm_setr_ps(pixel[0], pixel[1], pixel[2], 0.0f);
    }
    return _mm_loadu_ps(pixel);
}

PS_AVX2 static inline ps_values_avx2
ps_pixel_values_avx2(const float *foreground, const float *background, float a, int last)
{
    ps_values_avx2 values;
    __m128 front = _mm_blend_ps(ps_rgb_avx2(foreground, last), _mm_set1_ps(1.0f), 8);
    __m128 back = _mm_blend_ps(ps_rgb_avx2(background, last), _mm_setzero_ps(), 8);
    values.front = _mm256_cvtps_pd(_mm_mul_ps(front, _mm_set1_ps(a)));
    values.back = _mm256_cvtps_pd(_mm_mul_ps(back, _mm_set1_ps(1.0f - a)));
    return values;
}

PS_AVX2 static void
ps_add_avx2(const float *foreground, const float *background, const float *alpha, double times,
            double *sums, size_t width)
{
    const __m256d t = _mm256_set1_pd(times);

    for (size_t x = 0; x < width; x++) {
        const ps_values_avx2 v =
            ps_pixel_values_avx2(foreground + 3 * x, background + 3 * x, alpha[x], x + 1 == width);
        double *at = sums + 8 * x;
        _mm256_storeu_pd(at, _mm256_add_pd(_mm256_loadu_pd(at), _mm256_mul_pd(t, v.front)));
        _mm256_storeu_pd(at + 4, _mm256_add_pd(_mm256_loadu_pd(at + 4), _mm256_mul_pd(t, v.back)));
    }
}

PS_AVX2 static void
ps_move_avx2(const float *const *entering, const float *const *leaving, double *sums, size_t width)
{
    for (size_t x = 0; x < width; x++) {
        const int last = x + 1 == width;
        const ps_values_avx2 in =
            ps_pixel_values_avx2(entering[0] + 3 * x, entering[1] + 3 * x, entering[2][x], last);
        const ps_values_avx2 out =
            ps_pixel_values_avx2(leaving[0] + 3 * x, leaving[1] + 3 * x, leaving[2][x], last);
        double *at = sums + 8 * x;
        __m256d front = _mm256_add_pd(_mm256_loadu_pd(at), in.front);
        __m256d back = _mm256_add_pd(_mm256_loadu_pd(at + 4), in.back);
        _mm256_storeu_pd(at, _mm256_sub_pd(front, out.front));
        _mm256_storeu_pd(at + 4, _mm256_sub_pd(back, out.back));
    }
}

/* 3 floats, or 4 where the next pixel's store repairs the last of them. */
PS_AVX2 static inline void
ps_store_rgb_avx2(float *pixel, __m128 v, int last)
{
    if (last) {
        _mm_storel_pi((__m64 *)(void *)pixel, v);
        _mm_store_ss(pixel + 2, _mm_movehl_ps(v, v));
    } else {
        _mm_storeu_ps(pixel, v);
    }
}

PS_AVX2 static void
ps_fuse_avx2(const double *sums, const double *start, const size_t *enter, const size_t *leave,
             double share, const float *image, const float *alpha, float *foreground_out,
             float *background_out, size_t width)
{
    const __m256d share4 = _mm256_set1_pd(share);
    const __m128 epsilon = _mm_set1_ps(ps_epsilon);
    const __m128 one = _mm_set1_ps(1.0f);
    __m256d front_box = _mm256_loadu_pd(start);
    __m256d back_box = _mm256_loadu_pd(start + 4);

    for (size_t x = 0; x < width; x++) {
        const int last = x + 1 == width;
        if (x > 0) {
            const double *in = sums + 8 * enter[x];
            const double *out = sums + 8 * leave[x];
            front_box = _mm256_add_pd(front_box, _mm256_loadu_pd(in));
            back_box = _mm256_add_pd(back_box, _mm256_loadu_pd(in + 4));
            front_box = _mm256_sub_pd(front_box, _mm256_loadu_pd(out));
            back_box = _mm256_sub_pd(back_box, _mm256_loadu_pd(out + 4));
        }
        __m128 front = _mm256_cvtpd_ps(_mm256_mul_pd(front_box, share4));
        __m128 back = _mm256_cvtpd_ps(_mm256_mul_pd(back_box, share4));
        const __m128 weight = _mm_permute_ps(front, 0xFF);
        const __m128 a = _mm_set1_ps(alpha[x]);
        front = _mm_div_ps(front, _mm_add_ps(weight, epsilon));
        back = _mm_div_ps(back, _mm_add_ps(_mm_sub_ps(one, weight), epsilon));
        __m128 residual = _mm_sub_ps(ps_rgb_avx2(image + 3 * x, last), _mm_mul_ps(a, front));
        residual = _mm_sub_ps(residual, _mm_mul_ps(_mm_sub_ps(one, a), back));
        front = _mm_add_ps(front, _mm_mul_ps(a, residual));
        front = _mm_max_ps(_mm_setzero_ps(), front); /* the second operand: NaN stays */
        front = _mm_min_ps(one, front);
        ps_store_rgb_avx2(foreground_out + 3 * x, front, last);
        ps_store_rgb_avx2(background_out + 3 * x, back, last);
    }
}
#endif

const ps_blur_fusion_impl ps_blur_fusion_impls[] = {
/* best first, scalar last */
#if PS_X86
    {{"avx2", PS_CPU_AVX2}, ps_add_avx2, ps_move_avx2, ps_fuse_avx2},
#endif
    {{"scalar", 0}, ps_add_scalar, ps_move_scalar, ps_fuse_scalar},
};

/* Borders ------------------------------------------------------------------------------------ */

/* Where index i (any sign) falls in 0 .. n - 1 when the ends are mirrors; for 3: 2 1 0 1 2 1 0. */
static size_t
ps_mirror(ptrdiff_t i, size_t n)
{
    const ptrdiff_t period = n > 1 ? 2 * ((ptrdiff_t)n - 1) : 1;
    ptrdiff_t at = i % period;
    at = at < 0 ? at + period : at;
    return (size_t)(at < (ptrdiff_t)n ? at : period - at);
}

/* How often each of n samples lies in the box around sample 0. */
static void
ps_box_counts(size_t size, size_t n, double *counts)
{
    const size_t period = n > 1 ? 2 * (n - 1) : 1;
    const double rounds = (double)(size / period);

    for (size_t i = 0; i < n; i++) { /* whole periods hold the ends once, the others twice */
        counts[i] = i == 0 || i + 1 == n ? rounds : 2.0 * rounds;
    }
    for (size_t i = 0; i < size % period; i++) {
        counts[ps_mirror((ptrdiff_t)i - (ptrdiff_t)(size / 2), n)] += 1.0;
    }
}

int
ps_blur_fusion(const ps_blur_fusion_impl *impl, ps_in image, ps_in alpha, ps_in foreground,
               ps_in background, ps_out foreground_out, ps_out background_out, size_t height,
               size_t width, size_t size)
{
    const ptrdiff_t before = (ptrdiff_t)(size / 2);
    const ptrdiff_t after = (ptrdiff_t)size - 1 - before;
    const double share = 1.0 / ((double)size * (double)size);
    int status = -1;
    double *sums = ps_alloc(width, 8 * sizeof *sums);
    double *rows = ps_alloc(height, sizeof *rows);
    double *columns = ps_alloc(width, sizeof *columns);
    size_t *enter = ps_alloc(width, sizeof *enter);
    size_t *leave = ps_alloc(width, sizeof *leave);

    if (sums == NULL || rows == NULL || columns == NULL || enter == NULL || leave == NULL) {
        goto done;
    }
    ps_box_counts(size, height, rows);
    ps_box_counts(size, width, columns);
    for (size_t x = 0; x < width; x++) {
        enter[x] = ps_mirror((ptrdiff_t)x + after, width);
        leave[x] = ps_mirror((ptrdiff_t)x - before - 1, width);
    }
    memset(sums, 0, width * 8 * sizeof *sums);
    for (size_t y = 0; y < height; y++) {
        if (rows[y] > 0.0) {
            impl->add(ps_in_f32(foreground, y), ps_in_f32(background, y), ps_in_f32(alpha, y),
                      rows[y], sums, width);
        }
    }

    for (size_t y = 0; y < height; y++) {
        double start[8] = {0.0};
        if (y > 0) {
            const size_t in = ps_mirror((ptrdiff_t)y + after, height);
            const size_t out = ps_mirror((ptrdiff_t)y - before - 1, height);
            const float *entering[3] = {ps_in_f32(foreground, in), ps_in_f32(background, in),
                                        ps_in_f32(alpha, in)};
            const float *leaving[3] = {ps_in_f32(foreground, out), ps_in_f32(background, out),
                                       ps_in_f32(alpha, out)};
            impl->move(entering, leaving, sums, width);
        }
        for (size_t x = 0; x < width; x++) {
            for (size_t c = 0; c < 8 && columns[x] > 0.0; c++) {
                start[c] += columns[x] * sums[8 * x + c];
            }
        }
        impl->fuse(sums, start, enter, leave, share, ps_in_f32(image, y), ps_in_f32(alpha, y),
                   ps_out_f32(foreground_out, y), ps_out_f32(background_out, y), width);
    }
    status = 0;
done:
    free(leave);
    free(enter);
    free(columns);
    free(rows);
    free(sums);
    return status;
}
