/* py_taps.h - resampling taps from Python, checked. */
#ifndef PY_TAPS_H
#define PY_TAPS_H

#include "ps_resize.h"
#include "py_array.h"

/* One axis of taps, as Python gives it and as the kernel takes it. */
typedef struct ps_py_taps {
    ps_array start;
    ps_array weights;
    int32_t *checked; /* a copy of start */
    ps_taps taps;
} ps_py_taps;

/* Taps that make `target` samples from `source`; the names are the arguments'. Returns 0, or -1 with
 * an error. The struct must be zeroed before. */
int ps_py_taps_get(ps_py_taps *axis, PyObject *start, const char *start_name, PyObject *weights,
                   const char *weights_name, Py_ssize_t source, Py_ssize_t target);

/* Release what ps_py_taps_get took, if it did. */
void ps_py_taps_release(ps_py_taps *axis);

/* 0, or -1 with a ValueError, where `out` shares memory with the taps. */
int ps_py_taps_apart(const ps_array *out, const ps_py_taps *axis);

#endif
