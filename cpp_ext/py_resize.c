/* py_resize.c - bindings of resize_to_planes and resize_alpha. */
#include "py_array.h"
#include "py_taps.h"

PyObject *
ps_py_resize_to_planes(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"image", "out",    "y_start", "y_weights", "x_start", "x_weights",
                            "scale", "offset", "reverse", "isa",       NULL};
    PyObject *image_obj, *out_obj, *y_start, *y_weights, *x_start, *x_weights;
    PyObject *scale_obj, *offset_obj, *result = NULL;
    const char *isa = NULL;
    unsigned allowed;
    int reverse, status;
    ps_array image = {0}, out = {0}, scale = {0}, offset = {0};
    ps_py_taps y = {0}, x = {0};

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOOOOOOp|$z:resize_to_planes", names,
                                     &image_obj, &out_obj, &y_start, &y_weights, &x_start,
                                     &x_weights, &scale_obj, &offset_obj, &reverse, &isa)
        || ps_py_allowed(module, isa, &allowed) < 0) {
        return NULL;
    }
    const Py_ssize_t pixels[] = {PS_ANY, PS_ANY, 3}, planes[] = {3, PS_ANY, PS_ANY}, three[] = {3};
    if (ps_array_get(&image, image_obj, "image", 'B', 3, pixels, PS_READ) < 0
        || ps_array_get(&out, out_obj, "out", 'f', 3, planes, PS_WRITE | PS_ANY_STRIDES) < 0
        || ps_py_taps_get(&y, y_start, "y_start", y_weights, "y_weights", image.shape[0],
                          out.shape[1])
               < 0
        || ps_py_taps_get(&x, x_start, "x_start", x_weights, "x_weights", image.shape[1],
                          out.shape[2])
               < 0
        || ps_array_get(&scale, scale_obj, "scale", 'f', 1, three, PS_READ) < 0
        || ps_array_get(&offset, offset_obj, "offset", 'f', 1, three, PS_READ) < 0
        || ps_array_apart(&out, &image, 0) < 0 || ps_py_taps_apart(&out, &y) < 0
        || ps_py_taps_apart(&out, &x) < 0 || ps_array_apart(&out, &scale, 0) < 0
        || ps_array_apart(&out, &offset, 0) < 0) {
        goto done;
    }
    float scales[3], offsets[3];
    for (Py_ssize_t c = 0; c < 3; c++) {
        memcpy(scales + c, (const char *)scale.view.buf + c * scale.strides[0], sizeof *scales);
        memcpy(offsets + c, (const char *)offset.view.buf + c * offset.strides[0], sizeof *offsets);
    }
    const ps_planes target = {out.view.buf, out.strides[0], out.strides[1], out.strides[2]};
    const ps_resize_impl *impl = PS_PY_PICK(ps_resize_impls, allowed);

    Py_BEGIN_ALLOW_THREADS
    status = ps_resize_to_planes(impl, ps_array_in(&image), (size_t)image.shape[1], &y.taps,
                                 &x.taps, scales, offsets, reverse, &target);
    Py_END_ALLOW_THREADS

    result = status == 0 ? Py_NewRef(Py_None) : PyErr_NoMemory();
done:
    ps_array_release(&offset);
    ps_array_release(&scale);
    ps_py_taps_release(&x);
    ps_py_taps_release(&y);
    ps_array_release(&out);
    ps_array_release(&image);
    return result;
}

PyObject *
ps_py_resize_alpha(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"alpha",   "out",       "y_start", "y_weights",
                            "x_start", "x_weights", "isa",     NULL};
    PyObject *alpha_obj, *out_obj, *y_start, *y_weights, *x_start, *x_weights, *result = NULL;
    const char *isa = NULL;
    unsigned allowed;
    int status;
    ps_array alpha = {0}, out = {0};
    ps_py_taps y = {0}, x = {0};

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOOOO|$z:resize_alpha", names, &alpha_obj,
                                     &out_obj, &y_start, &y_weights, &x_start, &x_weights, &isa)
        || ps_py_allowed(module, isa, &allowed) < 0) {
        return NULL;
    }
    const Py_ssize_t any[] = {PS_ANY, PS_ANY};
    if (ps_array_get(&alpha, alpha_obj, "alpha", 'f', 2, any, PS_READ) < 0
        || ps_array_get(&out, out_obj, "out", 'a', 2, any, PS_WRITE) < 0
        || ps_py_taps_get(&y, y_start, "y_start", y_weights, "y_weights", alpha.shape[0],
                          out.shape[0])
               < 0
        || ps_py_taps_get(&x, x_start, "x_start", x_weights, "x_weights", alpha.shape[1],
                          out.shape[1])
               < 0
        || ps_array_apart(&out, &alpha, 0) < 0 || ps_py_taps_apart(&out, &y) < 0
        || ps_py_taps_apart(&out, &x) < 0) {
        goto done;
    }
    const int to_u8 = out.view.itemsize == 1;
    const ps_resize_impl *impl = PS_PY_PICK(ps_resize_impls, allowed);

    Py_BEGIN_ALLOW_THREADS
    status =
        ps_resize_alpha(impl, ps_array_in(&alpha), &y.taps, &x.taps, to_u8, ps_array_out(&out));
    Py_END_ALLOW_THREADS

    result = status == 0 ? Py_NewRef(Py_None) : PyErr_NoMemory();
done:
    ps_py_taps_release(&x);
    ps_py_taps_release(&y);
    ps_array_release(&out);
    ps_array_release(&alpha);
    return result;
}
