/* py_module.h - what the bindings share: Python, the module's state, the method bodies. */
#ifndef PY_MODULE_H
#define PY_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "ps_common.h"

typedef struct ps_state {
    unsigned cpu;     /* features this processor has */
    unsigned allowed; /* features kernels may use without isa=: all, or what PS_FORCE_ISA names */
} ps_state;

/* Features that kernels may use, for an isa= argument (NULL: the process's choice). Returns -1 with
 * a ValueError where the name is unknown or this processor lacks it. */
int ps_py_allowed(PyObject *module, const char *isa, unsigned *allowed);

/* The best variant in a kernel's table. */
#define PS_PY_PICK(impls, allowed) ps_cpu_pick((impls), sizeof *(impls), (allowed))

PyObject *ps_py_quantize(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *ps_py_cutout(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *ps_py_composite(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *ps_py_premultiply(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *ps_py_unpremultiply(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *ps_py_resize_to_planes(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *ps_py_resize_alpha(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *ps_py_blur_fusion(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *ps_py_multilevel(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *ps_py_png_filter(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *ps_py_deflate(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *ps_py_multilevel_job(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *ps_py_multilevel_join(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *ps_py_guided_slopes(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *ps_py_guided_detail(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *ps_py_connectivity(PyObject *module, PyObject *args, PyObject *kwargs);

#endif
