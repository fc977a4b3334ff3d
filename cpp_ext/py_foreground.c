/* py_foreground.c - bindings of blur_fusion and multilevel. */
#include "ps_blur_fusion.h"
#include "ps_multilevel.h"
#include "py_array.h"

/* A number in [low, 2^30]; sums of a few such numbers do not overflow. */
static int
ps_py_count(Py_ssize_t value, const char *name, Py_ssize_t low)
{
    const Py_ssize_t high = (Py_ssize_t)1 << 30;

    if (value < low || value > high) {
        PyErr_Format(PyExc_ValueError, "%s: expected %zd to %zd, got %zd", name, low, high, value);
        return -1;
    }
    return 0;
}

PyObject *
ps_py_blur_fusion(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"image",          "alpha", "foreground", "background", "foreground_out",
                            "background_out", "size",  "isa",        NULL};
    PyObject *image_obj, *alpha_obj, *foreground_obj, *background_obj;
    PyObject *foreground_out_obj, *background_out_obj, *result = NULL;
    const char *isa = NULL;
    unsigned allowed;
    int status;
    Py_ssize_t size;
    ps_array image = {0}, alpha = {0}, foreground = {0}, background = {0};
    ps_array foreground_out = {0}, background_out = {0};

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOOOOn|$z:blur_fusion", names, &image_obj,
                                     &alpha_obj, &foreground_obj, &background_obj,
                                     &foreground_out_obj, &background_out_obj, &size, &isa)
        || ps_py_allowed(module, isa, &allowed) < 0 || ps_py_count(size, "size", 1) < 0) {
        return NULL;
    }
    const Py_ssize_t any[] = {PS_ANY, PS_ANY, 3};
    if (ps_array_get(&image, image_obj, "image", 'f', 3, any, PS_READ) < 0
        || ps_array_get(&alpha, alpha_obj, "alpha", 'f', 2, image.shape, PS_READ) < 0
        || ps_array_get(&foreground, foreground_obj, "foreground", 'f', 3, image.shape, PS_READ) < 0
        || ps_array_get(&background, background_obj, "background", 'f', 3, image.shape, PS_READ) < 0
        || ps_array_get(&foreground_out, foreground_out_obj, "foreground_out", 'f', 3, image.shape,
                        PS_WRITE)
               < 0
        || ps_array_get(&background_out, background_out_obj, "background_out", 'f', 3, image.shape,
                        PS_WRITE)
               < 0) {
        goto done;
    }
    const ps_array *inputs[] = {&image, &alpha, &foreground, &background};
    for (size_t i = 0; i < 4; i++) {
        if (ps_array_apart(&foreground_out, inputs[i], 0) < 0
            || ps_array_apart(&background_out, inputs[i], 0) < 0) {
            goto done;
        }
    }
    if (ps_array_apart(&foreground_out, &background_out, 0) < 0) {
        goto done;
    }
    const ps_blur_fusion_impl *impl = PS_PY_PICK(ps_blur_fusion_impls, allowed);

    Py_BEGIN_ALLOW_THREADS
    status = ps_blur_fusion(impl, ps_array_in(&image), ps_array_in(&alpha),
                            ps_array_in(&foreground), ps_array_in(&background),
                            ps_array_out(&foreground_out), ps_array_out(&background_out),
                            (size_t)image.shape[0], (size_t)image.shape[1], (size_t)size);
    Py_END_ALLOW_THREADS

    result = status == 0 ? Py_NewRef(Py_None) : PyErr_NoMemory();
done:
    ps_array_release(&background_out);
    ps_array_release(&foreground_out);
    ps_array_release(&background);
    ps_array_release(&foreground);
    ps_array_release(&alpha);
    ps_array_release(&image);
    return result;
}

PyObject *
ps_py_multilevel(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"image",
                            "alpha",
                            "foreground",
                            "background",
                            "regularization",
                            "gradient_weight",
                            "small_size",
                            "small_iterations",
                            "big_iterations",
                            "isa",
                            NULL};
    PyObject *image_obj, *alpha_obj, *foreground_obj, *background_obj, *result = NULL;
    const char *isa = NULL;
    unsigned allowed;
    int status;
    double regularization, gradient_weight;
    Py_ssize_t small_size, small_iterations, big_iterations;
    ps_array image = {0}, alpha = {0}, foreground = {0}, background = {0};

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOOddnnn|$z:multilevel", names, &image_obj,
                                     &alpha_obj, &foreground_obj, &background_obj, &regularization,
                                     &gradient_weight, &small_size, &small_iterations,
                                     &big_iterations, &isa)
        || ps_py_allowed(module, isa, &allowed) < 0 || ps_py_count(small_size, "small_size", 0) < 0
        || ps_py_count(small_iterations, "small_iterations", 0) < 0
        || ps_py_count(big_iterations, "big_iterations", 0) < 0) {
        return NULL;
    }
    const Py_ssize_t any[] = {PS_ANY, PS_ANY, 3};
    if (ps_array_get(&image, image_obj, "image", 'f', 3, any, PS_READ) < 0
        || ps_array_get(&alpha, alpha_obj, "alpha", 'f', 2, image.shape, PS_READ) < 0
        || ps_array_get(&foreground, foreground_obj, "foreground", 'f', 3, image.shape, PS_WRITE)
               < 0
        || ps_array_get(&background, background_obj, "background", 'f', 3, image.shape, PS_WRITE)
               < 0
        || ps_array_apart(&foreground, &image, 0) < 0 || ps_array_apart(&foreground, &alpha, 0) < 0
        || ps_array_apart(&background, &image, 0) < 0 || ps_array_apart(&background, &alpha, 0) < 0
        || ps_array_apart(&foreground, &background, 0) < 0) {
        goto done;
    }
    ps_multilevel_options options;
    options.regularization = (float)regularization;
    options.gradient_weight = (float)gradient_weight;
    options.small_size = (size_t)small_size;
    options.small_iterations = (size_t)small_iterations;
    options.big_iterations = (size_t)big_iterations;
    const ps_multilevel_impl *impl = PS_PY_PICK(ps_multilevel_impls, allowed);

    Py_BEGIN_ALLOW_THREADS
    status = ps_multilevel(impl, ps_array_in(&image), ps_array_in(&alpha),
                           ps_array_out(&foreground), ps_array_out(&background),
                           (size_t)image.shape[0], (size_t)image.shape[1], &options);
    Py_END_ALLOW_THREADS

    result = status == 0 ? Py_NewRef(Py_None) : PyErr_NoMemory();
done:
    ps_array_release(&background);
    ps_array_release(&foreground);
    ps_array_release(&alpha);
    ps_array_release(&image);
    return result;
}
