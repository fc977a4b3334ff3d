/* py_guided.c - bindings of guided_slopes and guided_detail. */
#include "ps_guided.h"
#include "py_array.h"
#include "py_taps.h"

PyObject *
ps_py_guided_slopes(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"guide", "alpha", "out", "first", "epsilon", "isa", NULL};
    PyObject *guide_obj, *alpha_obj, *out_obj, *result = NULL;
    const char *isa = NULL;
    unsigned allowed;
    Py_ssize_t first;
    double epsilon;
    int status;
    ps_array guide = {0}, alpha = {0}, out = {0};

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOnd|$z:guided_slopes", names, &guide_obj,
                                     &alpha_obj, &out_obj, &first, &epsilon, &isa)
        || ps_py_allowed(module, isa, &allowed) < 0) {
        return NULL;
    }
    const Py_ssize_t planes[] = {3, PS_ANY, PS_ANY};
    if (ps_array_get(&guide, guide_obj, "guide", 'f', 3, planes, PS_READ) < 0
        || ps_array_get(&alpha, alpha_obj, "alpha", 'f', 2, guide.shape + 1, PS_READ) < 0) {
        goto done;
    }
    const Py_ssize_t slopes[] = {PS_ANY, alpha.shape[1], 4};
    if (ps_array_get(&out, out_obj, "out", 'f', 3, slopes, PS_WRITE) < 0
        || ps_array_apart(&out, &guide, 0) < 0 || ps_array_apart(&out, &alpha, 0) < 0) {
        goto done;
    }
    if (first < 0 || first > alpha.shape[0] - out.shape[0]) {
        PyErr_Format(PyExc_ValueError, "first: expected 0 to %zd for %zd rows of %zd, got %zd",
                     alpha.shape[0] - out.shape[0], out.shape[0], alpha.shape[0], first);
        goto done;
    }
    if (!(epsilon >= 1e-5 && epsilon <= 1e5)) { /* below, float32 may find no positive pivots */
        PyErr_SetString(PyExc_ValueError, "epsilon: expected 1e-5 to 1e5");
        goto done;
    }
    ps_in channels[3];
    for (Py_ssize_t c = 0; c < 3; c++) {
        channels[c].data = (const unsigned char *)guide.view.buf + c * guide.strides[0];
        channels[c].stride = guide.strides[1];
    }
    const ps_guided_impl *impl = PS_PY_PICK(ps_guided_impls, allowed);

    Py_BEGIN_ALLOW_THREADS
    status = ps_guided_slopes(impl, channels, ps_array_in(&alpha), (size_t)alpha.shape[0],
                              (size_t)alpha.shape[1], (size_t)first, (size_t)out.shape[0],
                              (float)epsilon, ps_array_out(&out));
    Py_END_ALLOW_THREADS

    result = status == 0 ? Py_NewRef(Py_None) : PyErr_NoMemory();
done:
    ps_array_release(&out);
    ps_array_release(&alpha);
    ps_array_release(&guide);
    return result;
}

PyObject *
ps_py_guided_detail(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"image",     "slopes",  "alpha",     "out", "y_start",
                            "y_weights", "x_start", "x_weights", "isa", NULL};
    PyObject *image_obj, *slopes_obj, *alpha_obj, *out_obj, *result = NULL;
    PyObject *y_start, *y_weights, *x_start, *x_weights;
    const char *isa = NULL;
    unsigned allowed;
    int status;
    ps_array image = {0}, slopes = {0}, alpha = {0}, out = {0};
    ps_py_taps y = {0}, x = {0};

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOOOOOO|$z:guided_detail", names, &image_obj,
                                     &slopes_obj, &alpha_obj, &out_obj, &y_start, &y_weights,
                                     &x_start, &x_weights, &isa)
        || ps_py_allowed(module, isa, &allowed) < 0) {
        return NULL;
    }
    const Py_ssize_t pixels[] = {PS_ANY, PS_ANY, 3}, four[] = {PS_ANY, PS_ANY, 4};
    if (ps_array_get(&image, image_obj, "image", 'B', 3, pixels, PS_READ) < 0
        || ps_array_get(&slopes, slopes_obj, "slopes", 'f', 3, four, PS_READ) < 0
        || ps_array_get(&alpha, alpha_obj, "alpha", 'f', 2, image.shape, PS_READ) < 0
        || ps_array_get(&out, out_obj, "out", 'f', 2, image.shape, PS_WRITE) < 0
        || ps_py_taps_get(&y, y_start, "y_start", y_weights, "y_weights", slopes.shape[0],
                          out.shape[0])
               < 0
        || ps_py_taps_get(&x, x_start, "x_start", x_weights, "x_weights", slopes.shape[1],
                          out.shape[1])
               < 0
        || ps_array_apart(&out, &image, 0) < 0 || ps_array_apart(&out, &slopes, 0) < 0
        || ps_array_apart(&out, &alpha, 1) < 0 || ps_py_taps_apart(&out, &y) < 0
        || ps_py_taps_apart(&out, &x) < 0) {
        goto done;
    }
    const ps_guided_impl *impl = PS_PY_PICK(ps_guided_impls, allowed);

    Py_BEGIN_ALLOW_THREADS
    status =
        ps_guided_detail(impl, ps_array_in(&image), ps_array_in(&slopes), (size_t)slopes.shape[1],
                         ps_array_in(&alpha), &y.taps, &x.taps, ps_array_out(&out));
    Py_END_ALLOW_THREADS

    result = status == 0 ? Py_NewRef(Py_None) : PyErr_NoMemory();
done:
    ps_py_taps_release(&x);
    ps_py_taps_release(&y);
    ps_array_release(&out);
    ps_array_release(&alpha);
    ps_array_release(&slopes);
    ps_array_release(&image);
    return result;
}
