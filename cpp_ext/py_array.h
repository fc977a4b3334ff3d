/* py_array.h - arrays from Python through the buffer protocol, checked. */
#ifndef PY_ARRAY_H
#define PY_ARRAY_H

#include "py_module.h"

#define PS_ANY (-1) /* in a shape: any extent of at least 1 */
#define PS_MAX_RANK 3

/* Flags of ps_array_get. */
#define PS_READ 0
#define PS_WRITE 1
#define PS_ANY_STRIDES 2 /* else all axes but the first are packed, the first's stride is free */

typedef struct ps_array {
    Py_buffer view;
    int held;
    const char *name;
    Py_ssize_t shape[PS_MAX_RANK];
    Py_ssize_t strides[PS_MAX_RANK]; /* bytes */
} ps_array;

/* Take `object`'s buffer: `type` 'f' float32, 'B' uint8, 'i' int32, or 'a' float32 or uint8
 * (then view.itemsize tells). Returns 0, or -1 with a TypeError (no array, or another dtype) or a
 * ValueError (shape, strides, alignment, read-only) that names the argument. The array must be
 * zeroed before. */
int ps_array_get(ps_array *array, PyObject *object, const char *name, char type, int rank,
                 const Py_ssize_t *shape, int flags);

/* Release what ps_array_get took, if it did. */
void ps_array_release(ps_array *array);

/* 0, or -1 with a ValueError, where the two share memory. Exactly the same elements in the same
 * places are allowed with `same_is_fine`. */
int ps_array_apart(const ps_array *out, const ps_array *in, int same_is_fine);

/* Copy int32 values of a rank-1 array, of any stride, to `values`. */
void ps_array_copy_i32(const ps_array *array, int32_t *values);

static inline ps_in
ps_array_in(const ps_array *array)
{
    ps_in in;
    in.data = array->view.buf;
    in.stride = array->strides[0];
    return in;
}

static inline ps_out
ps_array_out(const ps_array *array)
{
    ps_out out;
    out.data = array->view.buf;
    out.stride = array->strides[0];
    return out;
}

#endif
