/* ps_wave.h - one or two Gauss-Seidel sweeps over a window of one level, many rows at a time. */
#ifndef PS_WAVE_H
#define PS_WAVE_H

#include "ps_common.h"

#define PS_WAVE_LANES 16 /* at most */
#define PS_WAVE_STEPS 16 /* columns that a wave goes on by between two exchanges with memory */
#define PS_WAVE_SLOTS (PS_WAVE_STEPS + 3)
#define PS_WAVE_MARGIN 4 /* floats before lane 0 and after the last, for the rows around a band */
#define PS_WAVE_AHEAD 24 /* entries of a column table before column 0 */
#define PS_WAVE_TABLE(width) ((width) + 72)
#define PS_COLOURS 6 /* floats of a pixel's colours: foreground R, G, B, background R, G, B */

/* What a lane of one step holds: a plane each. */
enum {
    PS_PLANE_ALPHA = 0,
    PS_PLANE_IMAGE = 1,  /* 3 planes */
    PS_PLANE_START = 4,  /* 6 planes: colours before the sweeps */
    PS_PLANE_ONCE = 10,  /* 6 planes: after the first sweep */
    PS_PLANE_TWICE = 16, /* 6 planes: after the second */
    PS_PLANES = 22
};

/* One chunk of a band. Slot k holds step t = time + k: in lane j (-2 .. lanes) what belongs to row
 * `row` + j and column t - j. */
typedef struct ps_chunk {
    float *slots;
    ptrdiff_t stride; /* floats of a plane */
    ptrdiff_t lanes;
    ptrdiff_t row;
    ptrdiff_t time;
    ptrdiff_t height; /* of the window */
    ptrdiff_t width;
    float regularization;
    float gradient_weight;
} ps_chunk;

/* Sweep slots first .. last - 1 in lanes base .. base + lanes - 1: from the colours in planes
 * `from` to those in planes `to`. */
typedef void (*ps_wave_sweep)(const ps_chunk *chunk, ptrdiff_t base, int from, int to,
                              ptrdiff_t first, ptrdiff_t last);

typedef struct ps_wave_impl {
    ps_isa isa;
    ptrdiff_t lanes;
    ps_wave_sweep sweep;
} ps_wave_impl;

extern const ps_wave_impl ps_wave_impls[];

/* Where a window's pixels come from and go to. Rows and columns count from the window's corner. */
typedef struct ps_window {
    size_t height;
    size_t width;
    size_t sweeps; /* 0, 1 or 2 */
    float regularization;
    float gradient_weight;

    ps_in image;
    int image_u8; /* uint8 of 0 .. 255, else float32 */
    ps_in alpha;
    size_t image_height; /* rows of image, alpha */
    size_t image_width;
    const float *start; /* (start_height, start_width, 6) */
    size_t start_height;
    size_t start_width;
    size_t level_height; /* rows that image and start are spread over, */
    size_t top;          /* and that of the window's first */
    /* Columns of image and of start, from PS_WAVE_AHEAD before the window; clamped to it. */
    const uint32_t *image_columns;
    const uint32_t *start_columns;

    /* What is written: rows and columns of the window, to those of the output from (to_row, to_column)
     * on. Either `colours`, (.., to_width, 6), or foreground and, where its data is not NULL,
     * background; they are what the image is. */
    size_t keep_top;
    size_t keep_left;
    size_t keep_height;
    size_t keep_width;
    size_t to_row;
    size_t to_column;
    float *colours;
    size_t to_width;
    ps_out foreground;
    ps_out background;

    float *handed; /* 12 rows of the window's width, from one band to the next */
    /* What each band has handed over, in columns; NULL: bands run one after another. */
    uint32_t *progress;
} ps_window;

/* Floats of `scratch`. */
#define PS_WAVE_SCRATCH ((size_t)PS_WAVE_SLOTS * PS_PLANES * (PS_WAVE_LANES + 2 * PS_WAVE_MARGIN))

size_t ps_wave_bands(const ps_wave_impl *impl, size_t height, size_t sweeps);

/* Sweep one band. Band b follows band b - 1, or, with `progress`, runs beside it on another thread,
 * as long as the bands are begun in their order. */
void ps_wave_run(const ps_wave_impl *impl, const ps_window *window, size_t band, float *scratch);

/* An image's value of 0 .. 255, or of float32, as float32 in [0, 1]. */
static inline float
ps_wave_value(const unsigned char *row, int u8, size_t at)
{
    return u8 ? (float)row[at] * (1.0f / 255.0f) : ((const float *)(const void *)row)[at];
}

#endif
