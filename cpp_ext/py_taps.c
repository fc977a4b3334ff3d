/* py_taps.c - resampling taps from Python, checked.
 *
 * Their starts are copied before they are checked, so that what has been checked is what runs,
 * whoever else writes to the array meanwhile.
 */
#include "py_taps.h"

int
ps_py_taps_get(ps_py_taps *axis, PyObject *start, const char *start_name, PyObject *weights,
               const char *weights_name, Py_ssize_t source, Py_ssize_t target)
{
    const Py_ssize_t start_shape[] = {target};
    const Py_ssize_t weights_shape[] = {target, PS_ANY};

    if (ps_array_get(&axis->start, start, start_name, 'i', 1, start_shape, PS_READ) < 0
        || ps_array_get(&axis->weights, weights, weights_name, 'f', 2, weights_shape, PS_READ)
               < 0) {
        return -1;
    }
    const Py_ssize_t k = axis->weights.shape[1];
    if (target > 1 && axis->weights.strides[0] != k * axis->weights.view.itemsize) {
        PyErr_Format(PyExc_ValueError, "%s: expected a contiguous array", weights_name);
        return -1;
    }
    if (k > source) {
        PyErr_Format(PyExc_ValueError, "%s: expected at most %zd weights for %zd samples, got %zd",
                     weights_name, source, source, k);
        return -1;
    }
    axis->checked = ps_alloc((size_t)target, sizeof *axis->checked);
    if (axis->checked == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    ps_array_copy_i32(&axis->start, axis->checked);
    for (Py_ssize_t i = 0; i < target; i++) {
        if (axis->checked[i] < 0 || axis->checked[i] > source - k) {
            PyErr_Format(PyExc_ValueError, "%s: expected values in [0, %zd], got %d at %zd",
                         start_name, source - k, (int)axis->checked[i], i);
            return -1;
        }
    }
    axis->taps.start = axis->checked;
    axis->taps.weights = axis->weights.view.buf;
    axis->taps.n = (size_t)target;
    axis->taps.k = (size_t)k;
    return 0;
}

void
ps_py_taps_release(ps_py_taps *axis)
{
    free(axis->checked);
    ps_array_release(&axis->weights);
    ps_array_release(&axis->start);
}

int
ps_py_taps_apart(const ps_array *out, const ps_py_taps *axis)
{
    return ps_array_apart(out, &axis->weights, 0); /* start is a copy */
}
