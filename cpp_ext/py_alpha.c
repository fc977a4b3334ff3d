/* py_alpha.c - bindings of quantize and cutout: alpha to bytes, alone and beside colours. */
#include "ps_composite.h"
#include "ps_quantize.h"
#include "py_array.h"

PyObject *
ps_py_quantize(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"alpha", "out", "isa", NULL};
    PyObject *alpha_obj, *out_obj, *result = NULL;
    const char *isa = NULL;
    unsigned allowed;
    ps_array alpha = {0}, out = {0};

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|$z:quantize", names, &alpha_obj, &out_obj,
                                     &isa)
        || ps_py_allowed(module, isa, &allowed) < 0) {
        return NULL;
    }
    const Py_ssize_t any[] = {PS_ANY, PS_ANY};
    if (ps_array_get(&alpha, alpha_obj, "alpha", 'f', 2, any, PS_READ) < 0
        || ps_array_get(&out, out_obj, "out", 'B', 2, alpha.shape, PS_WRITE) < 0
        || ps_array_apart(&out, &alpha, 0) < 0) {
        goto done;
    }
    const ps_quantize_impl *impl = PS_PY_PICK(ps_quantize_impls, allowed);

    Py_BEGIN_ALLOW_THREADS
    ps_quantize(impl, ps_array_in(&alpha), ps_array_out(&out), (size_t)alpha.shape[0],
                (size_t)alpha.shape[1]);
    Py_END_ALLOW_THREADS

    result = Py_NewRef(Py_None);
done:
    ps_array_release(&out);
    ps_array_release(&alpha);
    return result;
}

PyObject *
ps_py_cutout(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"foreground", "alpha", "out", "isa", NULL};
    PyObject *foreground_obj, *alpha_obj, *out_obj, *result = NULL;
    const char *isa = NULL;
    unsigned allowed;
    ps_array foreground = {0}, alpha = {0}, out = {0};

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO|$z:cutout", names, &foreground_obj,
                                     &alpha_obj, &out_obj, &isa)
        || ps_py_allowed(module, isa, &allowed) < 0) {
        return NULL;
    }
    const Py_ssize_t any[] = {PS_ANY, PS_ANY, 3};
    if (ps_array_get(&foreground, foreground_obj, "foreground", 'B', 3, any, PS_READ) < 0
        || ps_array_get(&alpha, alpha_obj, "alpha", 'f', 2, foreground.shape, PS_READ) < 0) {
        goto done;
    }
    const Py_ssize_t rgba[] = {alpha.shape[0], alpha.shape[1], 4};
    if (ps_array_get(&out, out_obj, "out", 'B', 3, rgba, PS_WRITE) < 0
        || ps_array_apart(&out, &foreground, 0) < 0 || ps_array_apart(&out, &alpha, 0) < 0) {
        goto done;
    }
    const ps_cutout_impl *impl = PS_PY_PICK(ps_cutout_impls, allowed);

    Py_BEGIN_ALLOW_THREADS
    ps_cutout(impl, ps_array_in(&foreground), ps_array_in(&alpha), ps_array_out(&out),
              (size_t)alpha.shape[0], (size_t)alpha.shape[1]);
    Py_END_ALLOW_THREADS

    result = Py_NewRef(Py_None);
done:
    ps_array_release(&out);
    ps_array_release(&alpha);
    ps_array_release(&foreground);
    return result;
}
