/* py_connectivity.c - binding of connectivity. */
#include "ps_connectivity.h"
#include "py_array.h"

PyObject *
ps_py_connectivity(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"alpha", "truth", "thresholds", "held", "background", "isa", NULL};
    PyObject *alpha_obj, *truth_obj, *thresholds_obj, *held_obj, *result = NULL;
    const char *isa = NULL;
    unsigned allowed;
    int background, status;
    ps_array alpha = {0}, truth = {0}, thresholds = {0}, held = {0};

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOOp|$z:connectivity", names, &alpha_obj,
                                     &truth_obj, &thresholds_obj, &held_obj, &background, &isa)
        || ps_py_allowed(module, isa, &allowed) < 0) {
        return NULL;
    }
    const Py_ssize_t any[] = {PS_ANY, PS_ANY};
    if (ps_array_get(&alpha, alpha_obj, "alpha", 'f', 2, any, PS_READ) < 0
        || ps_array_get(&truth, truth_obj, "truth", 'f', 2, alpha.shape, PS_READ) < 0
        || ps_array_get(&thresholds, thresholds_obj, "thresholds", 'f', 1, any, PS_READ) < 0
        || ps_array_get(&held, held_obj, "held", 'B', 2, alpha.shape, PS_WRITE) < 0
        || ps_array_apart(&held, &alpha, 0) < 0 || ps_array_apart(&held, &truth, 0) < 0
        || ps_array_apart(&held, &thresholds, 0) < 0) {
        goto done;
    }
    if (thresholds.shape[0] > PS_CONNECTIVITY_MOST) {
        PyErr_Format(PyExc_ValueError, "thresholds: expected at most %d, got %zd",
                     PS_CONNECTIVITY_MOST, thresholds.shape[0]);
        goto done;
    }
    if ((uint64_t)alpha.shape[0] > UINT32_MAX / (uint64_t)alpha.shape[1]) {
        PyErr_Format(PyExc_ValueError, "alpha: expected at most %lu pixels, got (%zd, %zd)",
                     (unsigned long)UINT32_MAX, alpha.shape[0], alpha.shape[1]);
        goto done;
    }
    float ascending[PS_CONNECTIVITY_MOST]; /* a copy: nobody changes it in between */
    const size_t n = (size_t)thresholds.shape[0];
    for (size_t k = 0; k < n; k++) {
        memcpy(ascending + k,
               (const char *)thresholds.view.buf + (Py_ssize_t)k * thresholds.strides[0],
               sizeof *ascending);
        if (!(ascending[k] > (k > 0 ? ascending[k - 1] : -INFINITY))) { /* NaN too */
            PyErr_SetString(PyExc_ValueError, "thresholds: expected them ascending");
            goto done;
        }
    }
    const ps_connectivity_impl *impl = PS_PY_PICK(ps_connectivity_impls, allowed);

    Py_BEGIN_ALLOW_THREADS
    status = ps_connectivity(impl, ps_array_in(&alpha), ps_array_in(&truth), (size_t)alpha.shape[0],
                             (size_t)alpha.shape[1], ascending, n, background, ps_array_out(&held));
    Py_END_ALLOW_THREADS

    result = status == 0 ? Py_NewRef(Py_None) : PyErr_NoMemory();
done:
    ps_array_release(&held);
    ps_array_release(&thresholds);
    ps_array_release(&truth);
    ps_array_release(&alpha);
    return result;
}
