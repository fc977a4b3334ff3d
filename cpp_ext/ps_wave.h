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
#define PS_COLOURS 6 /* of a pixel: foreground R, G, B, background R, G, B */
#define PS_WORDS 3   /* that hold them in memory, two in each: rint(65535 c), the first below */

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

/* Conversions are of whole planes, margins included. */
typedef struct ps_wave_impl {
    ps_isa isa;
    ptrdiff_t lanes;
    ps_wave_sweep sweep;
    /* A word of bytes R, G, B (the first lowest) to 3 floats, 0 .. 255 to [0, 1], and back. */
    void (*unpack_rgb)(const uint32_t *words, float *planes);
    void (*pack_rgb)(const float *planes, uint32_t *words);
    /* PS_WORDS words to PS_COLOURS floats, and back. */
    void (*unpack_colours)(const uint32_t *words, float *planes);
    void (*pack_colours)(const float *planes, uint32_t *words);
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
    const uint32_t *start; /* (start_height, start_width, PS_WORDS) */
    size_t start_height;
    size_t start_width;
    size_t level_height; /* rows that image and start are spread over, */
    size_t top;          /* and that of the window's first */
    /* Columns of image and of start, from PS_WAVE_AHEAD before the window; clamped to it. */
    const uint32_t *image_columns;
    const uint32_t *start_columns;

    /* What is written: rows and columns of the window, to those of the output from (to_row, to_column)
     * on. Either `colours`, (.., to_width, PS_WORDS), or foreground and, where its data is not NULL,
     * background; they are what the image is. */
    size_t keep_top;
    size_t keep_left;
    size_t keep_height;
    size_t keep_width;
    size_t to_row;
    size_t to_column;
    uint32_t *colours;
    size_t to_width;
    ps_out foreground;
    ps_out background;

    float *handed; /* 12 rows of the window's width, from one band to the next */
    /* What each band has handed over, in columns; NULL: bands run one after another. */
    uint32_t *progress;
} ps_window;

/* What a thread works with: floats of slots, then as many words of each slot. */
#define PS_WAVE_STRIDE (PS_WAVE_LANES + 2 * PS_WAVE_MARGIN)

typedef struct ps_scratch {
    float slots[PS_WAVE_SLOTS * PS_PLANES * PS_WAVE_STRIDE];
    uint32_t words[PS_WAVE_SLOTS * (1 + PS_WORDS) * PS_WAVE_STRIDE]; /* RGB, then colours */
} ps_scratch;

size_t ps_wave_bands(const ps_wave_impl *impl, size_t height, size_t sweeps);

/* Sweep one band. Band b follows band b - 1, or, with `progress`, runs beside it on another thread,
 * as long as the bands are begun in their order. */
void ps_wave_run(const ps_wave_impl *impl, const ps_window *window, size_t band,
                 ps_scratch *scratch);

/* 3 bytes as a word, the first lowest; reads a fourth unless it is the `last` of its row. */
static inline uint32_t
ps_rgb_word(const uint8_t *rgb, int last)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    if (!last) {
        uint32_t word;
        memcpy(&word, rgb, sizeof word);
        return word;
    }
#endif
    (void)last;
    return (uint32_t)rgb[0] | (uint32_t)rgb[1] << 8 | (uint32_t)rgb[2] << 16;
}

/* A colour, in [0, 1] or NaN, as 0 .. most; NaN as 0. The choice is a mask, so that compilers make no
 * branch of it and vectorise. */
static inline uint32_t
ps_round_colour(float x, float most)
{
    const float shifted = most * x + 12582912.0f; /* as ps_round_u8 */
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    return bits & 0xFFFF & (0u - (uint32_t)(x > 0.0f));
}

#endif
