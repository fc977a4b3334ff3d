/* ps_multilevel.c - multi-level estimation of foreground and background colours.
 *
 * At each pixel, with weights d_n = regularization + gradient_weight |a - a_n| for its four
 * neighbours n (the edge pixel is its own neighbour):
 *
 *     [a a + sum d_n      a (1 - a)            ] [F]   [b0]    b0 = a I       + sum d_n F_n
 *     [a (1 - a)          (1 - a)(1 - a) + sum ] [B] = [b1],   b1 = (1 - a) I + sum d_n B_n
 *
 * solved pixel by pixel in raster order, in place (Gauss-Seidel), clipped to [0, 1], from one pixel
 * up to the full size, each level starting from the last one's nearest neighbours.
 *
 * A level goes by once, from top to bottom: a row enters (sampled from image, alpha and the last
 * level), is swept once per iteration, and leaves. Sweep s runs on row y at step t = y + 1 + 2 s.
 * By then sweep s has done row y - 1, and sweep s - 1 rows y and y + 1, which is the order of whole
 * sweeps one after another, while only 2 * sweeps + 1 rows are held, near the processor. The sweeps
 * of one step do not depend on each other, so that two at a time hide each other's latency.
 *
 * All arithmetic is float32 in the order of _kernels_numpy.multilevel; all variants write the same
 * bits.
 *
 * Source: Germer, Uelwer, Conrad & Harmeling, "Fast Multi-Level Foreground Estimation", ICPR 2020.
 */
#include "ps_multilevel.h"

#include <math.h>

/* Sampling ----------------------------------------------------------------------------------- */

PS_INLINE void
ps_sample_one(const float *restrict pixel, float a, float *restrict own)
{
    for (size_t c = 0; c < 3; c++) {
        own[c] = a * pixel[c];
        own[4 + c] = (1.0f - a) * pixel[c];
    }
    own[3] = 0.0f;
    own[7] = 0.0f;
}

static void
ps_sample_scalar(const float *restrict image, const float *restrict alpha, size_t image_width,
                 const size_t *restrict at, float *restrict own, float *restrict solid,
                 size_t width)
{
    (void)image_width;
    for (size_t x = 0; x < width; x++) {
        solid[x] = alpha[at[x]];
        ps_sample_one(image + 3 * at[x], solid[x], own + 8 * x);
    }
}

/* Inverse systems ---------------------------------------------------------------------------- */

PS_INLINE void
ps_invert_all(const float *restrict solid, const float *restrict across,
              const float *restrict above, const float *restrict below, float *restrict f_b0,
              float *restrict b_b1, float *restrict cross, size_t width)
{
    for (size_t x = 0; x < width; x++) {
        const float a0 = solid[x];
        const float a1 = 1.0f - a0;
        const float a01 = a0 * a1;
        const float a00 = (((a0 * a0 + across[x]) + across[x + 1]) + above[x]) + below[x];
        const float a11 = (((a1 * a1 + across[x]) + across[x + 1]) + above[x]) + below[x];
        const float inverse = 1.0f / (a00 * a11 - a01 * a01);
        f_b0[x] = inverse * a11;
        b_b1[x] = inverse * a00;
        cross[x] = inverse * a01;
    }
}

static void
ps_invert_scalar(const float *restrict solid, const float *restrict across,
                 const float *restrict above, const float *restrict below, float *restrict f_b0,
                 float *restrict b_b1, float *restrict cross, size_t width)
{
    ps_invert_all(solid, across, above, below, f_b0, b_b1, cross, width);
}

/* Sweeps ------------------------------------------------------------------------------------- */

static inline void
ps_solve_pixel(const ps_sweep *row, size_t x, size_t width)
{
    float *here = row->here + 8 * x;
    const float *left = x > 0 ? here - 8 : here;
    const float *right = x + 1 < width ? here + 8 : here;
    const float *up = row->up + 8 * x;
    const float *down = row->down + 8 * x;
    const float *own = row->own + 8 * x;
    float b[8];

    for (size_t c = 0; c < 8; c++) {
        b[c] = own[c] + row->across[x] * left[c];
        b[c] += row->across[x + 1] * right[c];
        b[c] += row->above[x] * up[c];
        b[c] += row->below[x] * down[c];
    }
    for (size_t c = 0; c < 4; c++) {
        here[c] = ps_clip01(row->f_b0[x] * b[c] - row->cross[x] * b[4 + c]);
        here[4 + c] = ps_clip01(row->b_b1[x] * b[4 + c] - row->cross[x] * b[c]);
    }
}

static void
ps_solve_scalar(const ps_sweep *row, size_t width)
{
    for (size_t x = 0; x < width; x++) {
        ps_solve_pixel(row, x, width);
    }
}

static void
ps_solve_two_scalar(const ps_sweep *one, const ps_sweep *two, size_t width)
{
    for (size_t x = 0; x < width; x++) {
        ps_solve_pixel(one, x, width);
        ps_solve_pixel(two, x, width);
    }
}

#if PS_X86
PS_AVX2 static void
ps_sample_avx2(const float *restrict image, const float *restrict alpha, size_t image_width,
               const size_t *restrict at, float *restrict own, float *restrict solid, size_t width)
{
    size_t x = 0;

    /* A pixel is read as 4 floats, which the row's last one has not got. */
    for (; x < width && at[x] + 1 < image_width; x++) {
        const float a = alpha[at[x]];
        __m128 rgb = _mm_loadu_ps(image + 3 * at[x]);
        rgb = _mm_blend_ps(rgb, _mm_setzero_ps(), 8);
        const __m256 weights = _mm256_set_m128(_mm_set1_ps(1.0f - a), _mm_set1_ps(a));
        _mm256_storeu_ps(own + 8 * x, _mm256_mul_ps(weights, _mm256_set_m128(rgb, rgb)));
        solid[x] = a;
    }
    ps_sample_scalar(image, alpha, image_width, at + x, own + 8 * x, solid + x, width - x);
}

PS_AVX2 static void
ps_invert_avx2(const float *restrict solid, const float *restrict across,
               const float *restrict above, const float *restrict below, float *restrict f_b0,
               float *restrict b_b1, float *restrict cross, size_t width)
{
    ps_invert_all(solid, across, above, below, f_b0, b_b1, cross, width); /* 8 at a time here */
}

/* One pixel: both colours in 8 lanes. `left` is the pixel just solved. */
PS_AVX2 static inline __m256
ps_solve_avx2_pixel(const ps_sweep *row, size_t x, __m256 left, __m256 right)
{
    const __m256 up = _mm256_loadu_ps(row->up + 8 * x);
    const __m256 down = _mm256_loadu_ps(row->down + 8 * x);
    __m256 b = _mm256_loadu_ps(row->own + 8 * x);
    b = _mm256_add_ps(b, _mm256_mul_ps(_mm256_broadcast_ss(row->across + x), left));
    b = _mm256_add_ps(b, _mm256_mul_ps(_mm256_broadcast_ss(row->across + x + 1), right));
    b = _mm256_add_ps(b, _mm256_mul_ps(_mm256_broadcast_ss(row->above + x), up));
    b = _mm256_add_ps(b, _mm256_mul_ps(_mm256_broadcast_ss(row->below + x), down));
    const __m256 straight = _mm256_blend_ps(_mm256_broadcast_ss(row->f_b0 + x),
                                            _mm256_broadcast_ss(row->b_b1 + x), 0xF0);
    const __m256 swapped = _mm256_permute2f128_ps(b, b, 1);
    __m256 v = _mm256_sub_ps(_mm256_mul_ps(straight, b),
                             _mm256_mul_ps(_mm256_broadcast_ss(row->cross + x), swapped));
    v = _mm256_max_ps(_mm256_setzero_ps(), v); /* the second operand: NaN stays */
    v = _mm256_min_ps(_mm256_set1_ps(1.0f), v);
    _mm256_storeu_ps(row->here + 8 * x, v);
    return v;
}

PS_AVX2 static void
ps_solve_avx2(const ps_sweep *row, size_t width)
{
    __m256 left = _mm256_loadu_ps(row->here);

    for (size_t x = 0; x + 1 < width; x++) {
        left = ps_solve_avx2_pixel(row, x, left, _mm256_loadu_ps(row->here + 8 * x + 8));
    }
    ps_solve_avx2_pixel(row, width - 1, left, _mm256_loadu_ps(row->here + 8 * (width - 1)));
}

PS_AVX2 static void
ps_solve_two_avx2(const ps_sweep *one, const ps_sweep *two, size_t width)
{
    const ps_sweep first = *one, second = *two; /* in registers, whatever the stores may alias */
    __m256 left1 = _mm256_loadu_ps(first.here);
    __m256 left2 = _mm256_loadu_ps(second.here);
    size_t x = 0;

    for (; x + 1 < width; x++) {
        left1 = ps_solve_avx2_pixel(&first, x, left1, _mm256_loadu_ps(first.here + 8 * x + 8));
        left2 = ps_solve_avx2_pixel(&second, x, left2, _mm256_loadu_ps(second.here + 8 * x + 8));
    }
    ps_solve_avx2_pixel(&first, x, left1, _mm256_loadu_ps(first.here + 8 * x));
    ps_solve_avx2_pixel(&second, x, left2, _mm256_loadu_ps(second.here + 8 * x));
}
#endif

const ps_multilevel_impl ps_multilevel_impls[] = {
/* best first, scalar last */
#if PS_X86
    {{"avx2", PS_CPU_AVX2}, ps_sample_avx2, ps_invert_avx2, ps_solve_avx2, ps_solve_two_avx2},
#endif
    {{"scalar", 0}, ps_sample_scalar, ps_invert_scalar, ps_solve_scalar, ps_solve_two_scalar},
};

/* One level ---------------------------------------------------------------------------------- */

/* Packed colours, 8 floats a pixel. */
typedef struct ps_colours {
    float *data;
    size_t height;
    size_t width;
} ps_colours;

typedef struct ps_level {
    size_t height;
    size_t width;
    size_t sweeps;
    size_t rows;      /* slots in the ring */
    size_t slot;      /* floats of one slot */
    float *ring;      /* per slot: colours, own, across, solid, above, f_b0, b_b1, cross */
    float *edge;      /* width weights of a neighbour that is the pixel itself */
    size_t *columns;  /* image column of each pixel */
    size_t *previous; /* the last level's column of each pixel */
} ps_level;

typedef struct ps_row {
    float *colours;
    float *own;
    float *across;
    float *solid;
    float *above;
    float *f_b0;
    float *b_b1;
    float *cross;
} ps_row;

static ps_row
ps_level_row(const ps_level *level, size_t y)
{
    const size_t w = level->width;
    ps_row row;
    row.colours = level->ring + (y % level->rows) * level->slot;
    row.own = row.colours + 8 * w;
    row.across = row.own + 8 * w;
    row.solid = row.across + w + 1;
    row.above = row.solid + w;
    row.f_b0 = row.above + w;
    row.b_b1 = row.f_b0 + w;
    row.cross = row.b_b1 + w;
    return row;
}

#define PS_SLOT_FLOATS(w) (22 * (w) + 1)

/* A row's colours, image, alpha, and weights but those below. */
static void
ps_level_enter(const ps_multilevel_impl *impl, const ps_level *level, ps_in image, ps_in alpha,
               size_t height, size_t width, const ps_colours *last,
               const ps_multilevel_options *options, size_t y)
{
    const ps_row row = ps_level_row(level, y);
    const size_t w = level->width;
    const size_t source = y * height / level->height;
    const float *from = last->data + 8 * last->width * (y * last->height / level->height);
    const float reg = options->regularization, grad = options->gradient_weight;

    for (size_t x = 0; x < w; x++) {
        memcpy(row.colours + 8 * x, from + 8 * level->previous[x], 8 * sizeof(float));
    }
    impl->sample(ps_in_f32(image, source), ps_in_f32(alpha, source), width, level->columns, row.own,
                 row.solid, w);
    row.across[0] = reg;
    row.across[w] = reg;
    for (size_t x = 1; x < w; x++) {
        row.across[x] = reg + grad * fabsf(row.solid[x] - row.solid[x - 1]);
    }
    if (y == 0) {
        memcpy(row.above, level->edge, w * sizeof(float));
    } else {
        const float *upper = ps_level_row(level, y - 1).solid;
        for (size_t x = 0; x < w; x++) {
            row.above[x] = reg + grad * fabsf(row.solid[x] - upper[x]);
        }
    }
}

static const float *
ps_level_below(const ps_level *level, size_t y)
{
    return y + 1 < level->height ? ps_level_row(level, y + 1).above : level->edge;
}

static void
ps_level_sweep(const ps_level *level, size_t y, ps_sweep *sweep)
{
    const ps_row row = ps_level_row(level, y);
    sweep->here = row.colours;
    sweep->up = y > 0 ? ps_level_row(level, y - 1).colours : row.colours;
    sweep->down = y + 1 < level->height ? ps_level_row(level, y + 1).colours : row.colours;
    sweep->own = row.own;
    sweep->across = row.across;
    sweep->above = row.above;
    sweep->below = ps_level_below(level, y);
    sweep->f_b0 = row.f_b0;
    sweep->b_b1 = row.b_b1;
    sweep->cross = row.cross;
}

/* The solved row, to the next level's start or, where that is NULL, to the caller's arrays. */
static void
ps_level_leave(const ps_level *level, size_t y, const ps_colours *next, ps_out foreground,
               ps_out background)
{
    const float *colours = ps_level_row(level, y).colours;

    if (next != NULL) {
        const size_t n = 8 * level->width;
        memcpy(next->data + n * y, colours, n * sizeof(float));
        return;
    }
    float *front = ps_out_f32(foreground, y);
    float *back = ps_out_f32(background, y);
    for (size_t x = 0; x < level->width; x++) {
        for (size_t c = 0; c < 3; c++) {
            front[3 * x + c] = colours[8 * x + c];
            back[3 * x + c] = colours[8 * x + 4 + c];
        }
    }
}

static void
ps_level_run(const ps_multilevel_impl *impl, ps_level *level, ps_in image, ps_in alpha,
             size_t height, size_t width, const ps_colours *last, const ps_colours *next,
             ps_out foreground, ps_out background, const ps_multilevel_options *options)
{
    const size_t h = level->height, w = level->width, sweeps = level->sweeps;
    const size_t steps = sweeps > 0 ? h + 2 * sweeps - 1 : h;

    for (size_t x = 0; x < w; x++) {
        level->columns[x] = x * width / w;
        level->previous[x] = x * last->width / w;
        level->edge[x] = options->regularization;
    }
    for (size_t t = 0; t < steps; t++) {
        ps_sweep waiting;
        int waits = 0;

        if (t < h) {
            ps_level_enter(impl, level, image, alpha, height, width, last, options, t);
        }
        if (t >= 1 && t <= h) {
            const ps_row row = ps_level_row(level, t - 1);
            impl->invert(row.solid, row.across, row.above, ps_level_below(level, t - 1), row.f_b0,
                         row.b_b1, row.cross, w);
        }
        for (size_t s = t > h ? (t - h + 1) / 2 : 0; s < sweeps && 2 * s + 1 <= t; s++) {
            ps_sweep sweep;
            ps_level_sweep(level, t - 1 - 2 * s, &sweep);
            if (waits) {
                impl->solve_two(&waiting, &sweep, w);
            } else {
                waiting = sweep;
            }
            waits = !waits;
        }
        if (waits) {
            impl->solve(&waiting, w);
        }
        if (sweeps == 0) {
            ps_level_leave(level, t, next, foreground, background);
        } else if (t + 1 >= 2 * sweeps && t + 1 - 2 * sweeps < h) {
            ps_level_leave(level, t + 1 - 2 * sweeps, next, foreground, background);
        }
    }
}

/* All levels --------------------------------------------------------------------------------- */

/* Mean colour of alpha > 0.9, and of alpha < 0.1; 0 where there is no such pixel. */
static void
ps_start_colours(ps_in image, ps_in alpha, size_t height, size_t width, float *colours)
{
    double front[3] = {0.0, 0.0, 0.0}, back[3] = {0.0, 0.0, 0.0};
    size_t fronts = 0, backs = 0;

    for (size_t y = 0; y < height; y++) {
        const float *pixel = ps_in_f32(image, y);
        const float *solid = ps_in_f32(alpha, y);
        for (size_t x = 0; x < width; x++, pixel += 3) {
            if (solid[x] > 0.9f) {
                for (size_t c = 0; c < 3; c++) {
                    front[c] += (double)pixel[c];
                }
                fronts++;
            } else if (solid[x] < 0.1f) {
                for (size_t c = 0; c < 3; c++) {
                    back[c] += (double)pixel[c];
                }
                backs++;
            }
        }
    }
    for (size_t c = 0; c < 3; c++) {
        colours[c] = (float)(front[c] / (double)(fronts > 0 ? fronts : 1));
        colours[4 + c] = (float)(back[c] / (double)(backs > 0 ? backs : 1));
    }
    colours[3] = 0.0f;
    colours[7] = 0.0f;
}

/* round(extent ** (level / levels)), halves to even, as in Python. */
static size_t
ps_level_size(size_t extent, size_t level, size_t levels)
{
    return (size_t)rint(pow((double)extent, (double)level / (double)levels));
}

/* ceil(log2(extent)), at least 1. */
static size_t
ps_level_count(size_t extent)
{
    size_t levels = 0;
    while (((extent - 1) >> levels) != 0) {
        levels++;
    }
    return levels > 0 ? levels : 1;
}

static size_t
ps_level_sweeps(const ps_multilevel_options *options, size_t height, size_t width)
{
    const int small = height <= options->small_size && width <= options->small_size;
    return small ? options->small_iterations : options->big_iterations;
}

/* Rows a level holds at once: the one entering, one above the last sweep's, and those between. */
static size_t
ps_level_rows(size_t height, size_t sweeps)
{
    return sweeps < height / 2 ? 2 * sweeps + 1 : height;
}

int
ps_multilevel(const ps_multilevel_impl *impl, ps_in image, ps_in alpha, ps_out foreground,
              ps_out background, size_t height, size_t width, const ps_multilevel_options *options)
{
    const size_t levels = ps_level_count(height > width ? height : width);
    ps_colours held[2] = {{NULL, 0, 0}, {NULL, 0, 0}}; /* levels take turns */
    ps_level level = {0};
    size_t ring_floats = 0;
    int status = -1;

    for (size_t i = 0; i <= levels; i++) { /* the most that any level needs */
        const size_t h = ps_level_size(height, i, levels);
        const size_t w = ps_level_size(width, i, levels);
        size_t slot, floats;
        if (!ps_size_mul_add(22, w, 1, &slot)
            || !ps_size_mul_add(slot, ps_level_rows(h, ps_level_sweeps(options, h, w)), 0,
                                &floats)) {
            return -1;
        }
        ring_floats = floats > ring_floats ? floats : ring_floats;
    }
    for (size_t turn = 0; turn < 2; turn++) { /* the last level writes to the caller's arrays */
        const size_t i = levels >= 1 + turn ? levels - 1 - turn : 0;
        const size_t h = ps_level_size(height, i, levels);
        const size_t w = ps_level_size(width, i, levels);
        size_t pixels;
        if (!ps_size_mul_add(h, w, 0, &pixels)) {
            goto done;
        }
        held[i % 2].data =
            held[i % 2].data == NULL ? ps_alloc(pixels, 8 * sizeof(float)) : held[i % 2].data;
    }
    for (size_t turn = 0; turn < 2; turn++) {
        if (held[turn].data == NULL) { /* a single level below the last: its twin holds the start */
            held[turn].data = ps_alloc(1, 8 * sizeof(float));
        }
    }
    level.ring = ps_alloc(ring_floats, sizeof(float));
    level.edge = ps_alloc(width, sizeof(float));
    level.columns = ps_alloc(width, sizeof(size_t));
    level.previous = ps_alloc(width, sizeof(size_t));
    if (held[0].data == NULL || held[1].data == NULL || level.ring == NULL || level.edge == NULL
        || level.columns == NULL || level.previous == NULL) {
        goto done;
    }

    ps_start_colours(image, alpha, height, width, held[1].data);
    held[1].height = 1;
    held[1].width = 1;
    for (size_t i = 0; i <= levels; i++) {
        const ps_colours *last = &held[(i + 1) % 2];
        ps_colours *next = i < levels ? &held[i % 2] : NULL;
        level.height = ps_level_size(height, i, levels);
        level.width = ps_level_size(width, i, levels);
        level.sweeps = ps_level_sweeps(options, level.height, level.width);
        level.rows = ps_level_rows(level.height, level.sweeps);
        level.slot = PS_SLOT_FLOATS(level.width);
        if (next != NULL) {
            next->height = level.height;
            next->width = level.width;
        }
        ps_level_run(impl, &level, image, alpha, height, width, last, next, foreground, background,
                     options);
    }
    status = 0;
done:
    free(level.previous);
    free(level.columns);
    free(level.edge);
    free(level.ring);
    free(held[1].data);
    free(held[0].data);
    return status;
}
