/* isa_agreement.c - every variant of every kernel against its scalar, without Python.
 *
 * For processors at hand only through an emulator, where the Python tests cannot run:
 *
 *     aarch64-linux-gnu-gcc -std=c11 -O3 -ffp-contract=off -static -I cpp_ext \
 *         tests/kernels/isa_agreement.c cpp_ext/ps_*.c -lm -o isa_agreement
 *     qemu-aarch64 ./isa_agreement
 *
 * scripts/check-c does so, and natively. Prints one line per variant and exits with 1 where any bit
 * differs. This is a test: unlike the kernels it prints, and it takes memory from the stack.
 */
#include <math.h>
#include <stdio.h>

#include "ps_blur_fusion.h"
#include "ps_composite.h"
#include "ps_connectivity.h"
#include "ps_deflate.h"
#include "ps_guided.h"
#include "ps_multilevel.h"
#include "ps_png_filter.h"
#include "ps_quantize.h"
#include "ps_resize.h"

#define SIDE 150
#define ROUNDS 60

static uint32_t random_state = 1;
static int failures = 0;

static uint32_t
next(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

static void
fill_u8(uint8_t *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        values[i] = (uint8_t)(next() & 0xFF);
    }
}

static void
fill_f32(float *values, size_t n, int odd)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t kind = next() % 16;
        values[i] = (float)(next() & 0xFFFF) / 65535.0f;
        if (kind == 0) {
            values[i] = 0.0f;
        } else if (kind == 1) {
            values[i] = 1.0f;
        } else if (kind == 2) {
            values[i] = ((float)(next() % 255) + 0.5f) / 255.0f;
        } else if (kind == 3 && odd) {
            values[i] = next() % 2 ? NAN : next() % 2 ? -3.0f : INFINITY;
        }
    }
}

static ps_in
in(const void *data, size_t row_bytes)
{
    ps_in rows;
    rows.data = data;
    rows.stride = (ptrdiff_t)row_bytes;
    return rows;
}

static ps_out
out(void *data, size_t row_bytes)
{
    ps_out rows;
    rows.data = data;
    rows.stride = (ptrdiff_t)row_bytes;
    return rows;
}

static uint8_t photo[SIDE * SIDE * 4], other[SIDE * SIDE * 4];
static float alpha[SIDE * SIDE], colours[SIDE * SIDE * 3], odd_alpha[SIDE * SIDE];
static float got[2][SIDE * SIDE * 3], want[2][SIDE * SIDE * 3];
static int32_t y_start[SIDE], x_start[SIDE];
static float y_weights[SIDE * 8], x_weights[SIDE * 8];

/* Runs one kernel's variant, or the scalar, over the arrays above; writes to result[0] and [1]. */
typedef void (*ps_case)(const void *impl, float result[2][SIDE * SIDE * 3], size_t h, size_t w);

static void
run_quantize(const void *impl, float result[2][SIDE * SIDE * 3], size_t h, size_t w)
{
    ps_quantize(impl, in(odd_alpha, 4 * w), out(result[0], w), h, w);
}

static void
run_cutout(const void *impl, float result[2][SIDE * SIDE * 3], size_t h, size_t w)
{
    ps_cutout(impl, in(photo, 3 * w), in(odd_alpha, 4 * w), out(result[0], 4 * w), h, w);
}

static void
run_composite(const void *impl, float result[2][SIDE * SIDE * 3], size_t h, size_t w)
{
    ps_composite(impl, in(photo, 3 * w), in(odd_alpha, 4 * w), in(other, 3 * w), h % 2 == 0,
                 out(result[0], 3 * w), h, w);
}

static void
run_rgba(const void *impl, float result[2][SIDE * SIDE * 3], size_t h, size_t w)
{
    ps_rgba(impl, in(photo, 4 * w), out(result[0], 4 * w), h, w);
}

static void
run_resize(const void *impl, float result[2][SIDE * SIDE * 3], size_t h, size_t w)
{
    const size_t k = 1 + next() % (h < w ? h < 8 ? h : 8 : w < 8 ? w : 8);
    const ps_taps y = {y_start, y_weights, h / 2 + 1, k}, x = {x_start, x_weights, w / 2 + 1, k};
    const float scale[3] = {0.017f, 0.018f, 0.019f}, offset[3] = {-2.1f, -2.0f, -1.8f};
    const ptrdiff_t row = (ptrdiff_t)(4 * x.n);
    const ps_planes planes = {(unsigned char *)(void *)result[0], row * (ptrdiff_t)y.n, row, 4};

    for (size_t i = 0; i < SIDE; i++) {
        y_start[i] = (int32_t)(next() % (h - k + 1));
        x_start[i] = (int32_t)(next() % (w - k + 1));
    }
    ps_resize_to_planes(impl, in(photo, 3 * w), w, &y, &x, scale, offset, h % 2 == 0, &planes);
    ps_resize_alpha(impl, in(odd_alpha, 4 * w), &y, &x, 0, out(result[1], 4 * x.n));
    ps_resize_alpha(impl, in(odd_alpha, 4 * w), &y, &x, 1, out(result[1] + y.n * x.n, x.n));
}

static void
run_blur_fusion(const void *impl, float result[2][SIDE * SIDE * 3], size_t h, size_t w)
{
    ps_blur_task task;
    memset(&task, 0, sizeof task);
    task.image.rows = in(colours, 12 * w);
    task.foreground = task.image;
    task.background = task.image;
    task.alpha = in(alpha, 4 * w);
    task.foreground_out = out(result[0], 12 * w);
    task.background_out = out(result[1], 12 * w);
    task.height = h;
    task.width = w;
    task.size = 7;
    task.first = h / 3;
    task.last = h;
    ps_blur_fusion(impl, &task);
}

static void
run_multilevel_as(const ps_multilevel_impl *impl, const ps_multilevel_task *task)
{
    ps_multilevel_job *job = ps_multilevel_new(impl, task);
    if (job == NULL || ps_multilevel_join(job) < 0) {
        failures++;
    }
    ps_multilevel_free(job);
}

static void
run_multilevel(const void *impl, float result[2][SIDE * SIDE * 3], size_t h, size_t w)
{
    ps_multilevel_task task;
    memset(&task, 0, sizeof task);
    task.options.regularization = 1e-5f;
    task.options.gradient_weight = 1.0f;
    task.options.small_size = 32;
    task.options.small_iterations = 10;
    task.options.big_iterations = 1 + w % 3;
    task.alpha = in(alpha, 4 * w);
    task.height = h;
    task.width = w;
    if (h % 2 == 0) {
        task.options.tiled_levels = 2;
        task.image = in(photo, 3 * w);
        task.image_u8 = 1;
        task.foreground = out(result[0], 3 * w);
    } else {
        task.image = in(colours, 12 * w);
        task.foreground = out(result[0], 12 * w);
        task.background = out(result[1], 12 * w);
    }
    run_multilevel_as(impl, &task);
}

static void
run_png_filter(const void *impl, float result[2][SIDE * SIDE * 3], size_t h, size_t w)
{
    const size_t pixel = 1 + next() % 4, first = h / 3;
    unsigned char *filtered = (unsigned char *)(void *)result[0];

    ps_png_filter(impl, in(photo, pixel * w), first, out(filtered, pixel * w + 1), h - first,
                  pixel * w, pixel);
    ps_png_filter(impl, in(odd_alpha, w), first, out(result[1], w + 1), h - first, w, 1);
}

static void
run_deflate(const void *impl, float result[2][SIDE * SIDE * 3], size_t h, size_t w)
{
    uint8_t runs[SIDE * SIDE];
    size_t used, n = 0;

    while (n < h * w) { /* of up to 31 values, now and then much more */
        size_t length = next() % 32 * (next() % 16 == 0 ? 20 : 1);
        const uint8_t value = photo[n];
        for (; length > 0 && n < h * w; length--) {
            runs[n++] = value;
        }
    }
    ps_deflate(impl, runs, n, h % 2 == 0, (uint8_t *)(void *)result[0], &used);
    ps_deflate(impl, photo, n, 1, (uint8_t *)(void *)result[1], &used);
}

static void
run_guided(const void *impl, float result[2][SIDE * SIDE * 3], size_t h, size_t w)
{
    const size_t small_h = h / 2 + 1 < 100 ? h / 2 + 1 : 100, small_w = w / 2 + 1;
    const size_t k = 1
                     + next()
                           % (small_h < small_w ? small_h < 4 ? small_h : 4
                              : small_w < 4     ? small_w
                                                : 4);
    const ps_taps y = {y_start, y_weights, h, k}, x = {x_start, x_weights, w, k};
    const ps_in guide[3] = {in(colours, 4 * small_w), in(colours + SIDE, 4 * small_w),
                            in(colours + 2 * SIDE, 4 * small_w)};
    const ps_out slopes = out(result[0], 16 * small_w);

    for (size_t i = 0; i < SIDE; i++) {
        y_start[i] = (int32_t)(next() % (small_h - k + 1));
        x_start[i] = (int32_t)(next() % (small_w - k + 1));
    }
    ps_guided_slopes(impl, guide, in(alpha, 4 * small_w), small_h, small_w, 0, small_h, 1e-3f,
                     slopes);
    ps_guided_detail(impl, in(photo, 3 * w), in(result[0], 16 * small_w), small_w, in(alpha, 4 * w),
                     &y, &x, out(result[1], 4 * w));
}

static void
run_connectivity(const void *impl, float result[2][SIDE * SIDE * 3], size_t h, size_t w)
{
    const float thresholds[] = {0.25f, 0.5f, 0.75f, 1.0f};

    ps_connectivity(impl, in(alpha, 4 * w), in(odd_alpha, 4 * w), h, w, thresholds, 4, h % 2 == 0,
                    out(result[0], w));
}

static void
compare(const char *kernel, ps_case run, const void *impls, size_t size)
{
    const void *scalar = ps_cpu_pick(impls, size, 0);
    const unsigned char *impl = impls;

    for (;; impl += size) {
        const ps_isa *isa = (const ps_isa *)(const void *)impl;
        int different = 0;
        if ((isa->needs & ~ps_cpu_features()) == 0) {
            for (size_t round = 0; round < ROUNDS; round++) {
                const size_t h = round < 4 ? 1 + round % 2 : 1 + next() % SIDE;
                const size_t w = round < 4 ? 1 + round / 2 : 1 + next() % SIDE;
                const uint32_t state = random_state;
                memset(want, 0x55, sizeof want);
                memset(got, 0x55, sizeof got);
                run(scalar, want, h, w);
                random_state = state; /* the same random taps */
                run(impl, got, h, w);
                different += memcmp(got, want, sizeof got) != 0;
            }
            printf("%-16s %-8s %s\n", kernel, isa->name, different ? "DIFFERENT" : "same bits");
            failures += different;
        }
        if ((const void *)impl == scalar) {
            return;
        }
    }
}

int
main(void)
{
    fill_u8(photo, sizeof photo);
    fill_u8(other, sizeof other);
    fill_f32(alpha, SIDE * SIDE, 0);
    fill_f32(odd_alpha, SIDE * SIDE, 1);
    fill_f32(colours, SIDE * SIDE * 3, 0);
    fill_f32(y_weights, SIDE * 8, 0);
    fill_f32(x_weights, SIDE * 8, 0);
    compare("quantize", run_quantize, ps_quantize_impls, sizeof *ps_quantize_impls);
    compare("cutout", run_cutout, ps_cutout_impls, sizeof *ps_cutout_impls);
    compare("composite", run_composite, ps_composite_impls, sizeof *ps_composite_impls);
    compare("premultiply", run_rgba, ps_premultiply_impls, sizeof *ps_premultiply_impls);
    compare("unpremultiply", run_rgba, ps_unpremultiply_impls, sizeof *ps_unpremultiply_impls);
    compare("resize", run_resize, ps_resize_impls, sizeof *ps_resize_impls);
    compare("blur_fusion", run_blur_fusion, ps_blur_fusion_impls, sizeof *ps_blur_fusion_impls);
    compare("multilevel", run_multilevel, ps_multilevel_impls, sizeof *ps_multilevel_impls);
    compare("deflate", run_deflate, ps_deflate_impls, sizeof *ps_deflate_impls);
    compare("png_filter", run_png_filter, ps_png_filter_impls, sizeof *ps_png_filter_impls);
    compare("guided", run_guided, ps_guided_impls, sizeof *ps_guided_impls);
    compare("connectivity", run_connectivity, ps_connectivity_impls, sizeof *ps_connectivity_impls);
    return failures > 0;
}
