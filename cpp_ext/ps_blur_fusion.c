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

/* How often each of n samples lies in the box around sample `centre`. */
static void
ps_box_counts(size_t size, size_t centre, size_t n, double *counts)
{
    const size_t period = n > 1 ? 2 * (n - 1) : 1;
    const double rounds = (double)(size / period);
    const ptrdiff_t first = (ptrdiff_t)centre - (ptrdiff_t)(size / 2);

    for (size_t i = 0; i < n; i++) { /* whole periods hold the ends once, the others twice */
        counts[i] = i == 0 || i + 1 == n ? rounds : 2.0 * rounds;
    }
    for (size_t i = 0; i < size % period; i++) {
        counts[ps_mirror(first + (ptrdiff_t)i, n)] += 1.0;
    }
}

/* One pass ----------------------------------------------------------------------------------- */

/* Rows of floats that bytes are turned into, and what nobody wants is written to. */
enum {
    PS_ROW_IMAGE,
    PS_ROW_ENTER, /* foreground, background */
    PS_ROW_LEAVE = PS_ROW_ENTER + 2,
    PS_ROW_FRONT_OUT = PS_ROW_LEAVE + 2,
    PS_ROW_BACK_OUT,
    PS_ROWS
};

typedef struct ps_blur_work {
    double *sums;
    double *rows;    /* of the box around the first row */
    double *columns; /* of the box around column 0 */
    size_t *enter;
    size_t *leave;
    float *row[PS_ROWS];
} ps_blur_work;

static const float *
ps_colour_row(ps_colour_in colours, size_t y, size_t width, float *row)
{
    if (!colours.u8) {
        return ps_in_f32(colours.rows, y);
    }
    const uint8_t *bytes = ps_in_u8(colours.rows, y);
    for (size_t i = 0; i < 3 * width; i++) {
        row[i] = (float)bytes[i] * (1.0f / 255.0f);
    }
    return row;
}

/* Row y's foreground, background and alpha. */
static void
ps_blur_rows(const ps_blur_task *task, float *const *spare, size_t y, const float **rows)
{
    const int same = task->foreground.rows.data == task->background.rows.data
                     && task->foreground.rows.stride == task->background.rows.stride;
    rows[0] = ps_colour_row(task->foreground, y, task->width, spare[0]);
    rows[1] = same ? rows[0] : ps_colour_row(task->background, y, task->width, spare[1]);
    rows[2] = ps_in_f32(task->alpha, y);
}

static void
ps_blur_leave(const ps_blur_task *task, const float *front, size_t y)
{
    if (task->foreground_u8) {
        uint8_t *bytes = ps_out_u8(task->foreground_out, y);
        for (size_t i = 0; i < 3 * task->width; i++) {
            bytes[i] = ps_round_u8(255.0f * ps_clamp01(front[i]));
        }
    }
}

static void
ps_blur_run(const ps_blur_fusion_impl *impl, const ps_blur_task *task, const ps_blur_work *work)
{
    const size_t height = task->height, width = task->width, size = task->size;
    const ptrdiff_t before = (ptrdiff_t)(size / 2);
    const ptrdiff_t after = (ptrdiff_t)size - 1 - before;
    const double share = 1.0 / ((double)size * (double)size);
    const float *rows[3];

    ps_box_counts(size, task->first, height, work->rows);
    ps_box_counts(size, 0, width, work->columns);
    for (size_t x = 0; x < width; x++) {
        work->enter[x] = ps_mirror((ptrdiff_t)x + after, width);
        work->leave[x] = ps_mirror((ptrdiff_t)x - before - 1, width);
    }
    memset(work->sums, 0, width * 8 * sizeof *work->sums);
    for (size_t y = 0; y < height; y++) {
        if (work->rows[y] > 0.0) {
            ps_blur_rows(task, work->row + PS_ROW_ENTER, y, rows);
            impl->add(rows[0], rows[1], rows[2], work->rows[y], work->sums, width);
        }
    }
    for (size_t y = task->first; y < task->last; y++) {
        double start[8] = {0.0};
        if (y > task->first) { /* one row comes in, one goes out */
            const float *leaving[3];
            ps_blur_rows(task, work->row + PS_ROW_ENTER, ps_mirror((ptrdiff_t)y + after, height),
                         rows);
            ps_blur_rows(task, work->row + PS_ROW_LEAVE,
                         ps_mirror((ptrdiff_t)y - before - 1, height), leaving);
            impl->move(rows, leaving, work->sums, width);
        }
        for (size_t x = 0; x < width; x++) {
            for (size_t c = 0; c < 8 && work->columns[x] > 0.0; c++) {
                start[c] += work->columns[x] * work->sums[8 * x + c];
            }
        }
        float *front =
            task->foreground_u8 ? work->row[PS_ROW_FRONT_OUT] : ps_out_f32(task->foreground_out, y);
        float *back = task->background_out.data == NULL ? work->row[PS_ROW_BACK_OUT]
                                                        : ps_out_f32(task->background_out, y);
        impl->fuse(work->sums, start, work->enter, work->leave, share,
                   ps_colour_row(task->image, y, width, work->row[PS_ROW_IMAGE]),
                   ps_in_f32(task->alpha, y), front, back, width);
        ps_blur_leave(task, front, y);
    }
}

int
ps_blur_fusion(const ps_blur_fusion_impl *impl, const ps_blur_task *task)
{
    const size_t width = task->width;
    ps_blur_work work;
    int status = -1;

    memset(&work, 0, sizeof work);
    work.sums = ps_alloc(width, 8 * sizeof *work.sums);
    work.rows = ps_alloc(task->height, sizeof *work.rows);
    work.columns = ps_alloc(width, sizeof *work.columns);
    work.enter = ps_alloc(width, sizeof *work.enter);
    work.leave = ps_alloc(width, sizeof *work.leave);
    int missing = work.sums == NULL || work.rows == NULL || work.columns == NULL
                  || work.enter == NULL || work.leave == NULL;
    for (size_t i = 0; i < PS_ROWS; i++) {
        work.row[i] = ps_alloc(width, 3 * sizeof *work.row[i]);
        missing = missing || work.row[i] == NULL;
    }
    if (!missing) {
        ps_blur_run(impl, task, &work);
        status = 0;
    }
    for (size_t i = 0; i < PS_ROWS; i++) {
        free(work.row[i]);
    }
    free(work.leave);
    free(work.enter);
    free(work.columns);
    free(work.rows);
    free(work.sums);
    return status;
}
