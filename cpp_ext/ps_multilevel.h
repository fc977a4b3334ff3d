/* ps_multilevel.h - multi-level estimation of foreground and background colours. */
#ifndef PS_MULTILEVEL_H
#define PS_MULTILEVEL_H

#include "ps_wave.h"

/* What the sweeps are is ps_wave.c's. */
typedef ps_wave_impl ps_multilevel_impl;
#define ps_multilevel_impls ps_wave_impls

typedef struct ps_multilevel_options {
    float regularization;
    float gradient_weight;
    size_t small_size;
    size_t small_iterations;
    size_t big_iterations;
    size_t tiled_levels; /* so many of the last levels are solved only where alpha is unknown */
} ps_multilevel_options;

/* image: float32 in [0, 1], or uint8, (height, width, 3); alpha: float32 (height, width);
 * foreground, and background unless its data is NULL: as image, written. Sides to 2^30. */
typedef struct ps_multilevel_task {
    ps_in image;
    int image_u8;
    ps_in alpha;
    ps_out foreground;
    ps_out background;
    size_t height;
    size_t width;
    ps_multilevel_options options;
} ps_multilevel_task;

typedef struct ps_multilevel_job ps_multilevel_job;

/* A job, or NULL where memory ran out. */
ps_multilevel_job *ps_multilevel_new(const ps_multilevel_impl *impl,
                                     const ps_multilevel_task *task);

/* Take part in a job until nothing of it is left to begin. Any number of threads may, at any time;
 * the job is done when all that came have returned, and at least one has returned 0. Returns -1
 * where memory ran out, before it took anything. */
int ps_multilevel_join(ps_multilevel_job *job);

void ps_multilevel_free(ps_multilevel_job *job);

#endif
