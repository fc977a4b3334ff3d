/* py_composite.c - bindings of composite, premultiply and unpremultiply. */
#include "ps_composite.h"
#include "py_array.h"

PyObject *
ps_py_composite(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"foreground", "alpha", "background", "out", "isa", NULL};
    PyObject *foreground_obj, *alpha_obj, *background_obj, *out_obj, *result = NULL;
    const char *isa = NULL;
    unsigned allowed;
    int one_colour, status;
    ps_array foreground = {0}, alpha = {0}, background = {0}, out = {0};

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO|$z:composite", names, &foreground_obj,
                                     &alpha_obj, &background_obj, &out_obj, &isa)
        || ps_py_allowed(module, isa, &allowed) < 0) {
        return NULL;
    }
    const Py_ssize_t any[] = {PS_ANY, PS_ANY, 3};
    if (ps_array_get(&foreground, foreground_obj, "foreground", 'B', 3, any, PS_READ) < 0
        || ps_array_get(&alpha, alpha_obj, "alpha", 'f', 2, foreground.shape, PS_READ) < 0
        || ps_array_get(&background, background_obj, "background", 'B', 3, any, PS_READ) < 0) {
        goto done;
    }
    one_colour = background.shape[0] == 1 && background.shape[1] == 1;
    if (!one_colour
        && (background.shape[0] != alpha.shape[0] || background.shape[1] != alpha.shape[1])) {
        PyErr_Format(PyExc_ValueError,
                     "background: expected uint8 (%zd, %zd, 3) or (1, 1, 3), got uint8 "
                     "(%zd, %zd, 3)",
                     alpha.shape[0], alpha.shape[1], background.shape[0], background.shape[1]);
        goto done;
    }
    if (ps_array_get(&out, out_obj, "out", 'B', 3, foreground.shape, PS_WRITE) < 0
        || ps_array_apart(&out, &foreground, 0) < 0 || ps_array_apart(&out, &alpha, 0) < 0
        || ps_array_apart(&out, &background, 0) < 0) {
        goto done;
    }
    const ps_composite_impl *impl = PS_PY_PICK(ps_composite_impls, allowed);

    Py_BEGIN_ALLOW_THREADS
    status = ps_composite(impl, ps_array_in(&foreground), ps_array_in(&alpha),
                          ps_array_in(&background), one_colour, ps_array_out(&out),
                          (size_t)alpha.shape[0], (size_t)alpha.shape[1]);
    Py_END_ALLOW_THREADS

    result = status == 0 ? Py_NewRef(Py_None) : PyErr_NoMemory();
done:
    ps_array_release(&out);
    ps_array_release(&background);
    ps_array_release(&alpha);
    ps_array_release(&foreground);
    return result;
}

/* premultiply and unpremultiply differ in names and table alone. */
static PyObject *
ps_py_rgba(PyObject *module, PyObject *args, PyObject *kwargs, const char *format, char **names,
           const ps_rgba_impl *impls)
{
    PyObject *rgba_obj, *out_obj, *result = NULL;
    const char *isa = NULL;
    unsigned allowed;
    ps_array rgba = {0}, out = {0};

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, format, names, &rgba_obj, &out_obj, &isa)
        || ps_py_allowed(module, isa, &allowed) < 0) {
        return NULL;
    }
    const Py_ssize_t any[] = {PS_ANY, PS_ANY, 4};
    if (ps_array_get(&rgba, rgba_obj, names[0], 'B', 3, any, PS_READ) < 0
        || ps_array_get(&out, out_obj, names[1], 'B', 3, rgba.shape, PS_WRITE) < 0
        || ps_array_apart(&out, &rgba, 1) < 0) {
        goto done;
    }
    const ps_rgba_impl *impl = PS_PY_PICK(impls, allowed);

    Py_BEGIN_ALLOW_THREADS
    ps_rgba(impl, ps_array_in(&rgba), ps_array_out(&out), (size_t)rgba.shape[0],
            (size_t)rgba.shape[1]);
    Py_END_ALLOW_THREADS

    result = Py_NewRef(Py_None);
done:
    ps_array_release(&out);
    ps_array_release(&rgba);
    return result;
}

PyObject *
ps_py_premultiply(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"straight", "out", "isa", NULL};

    return ps_py_rgba(module, args, kwargs, "OO|$z:premultiply", names, ps_premultiply_impls);
}

PyObject *
ps_py_unpremultiply(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"premultiplied", "out", "isa", NULL};

    return ps_py_rgba(module, args, kwargs, "OO|$z:unpremultiply", names, ps_unpremultiply_impls);
}
