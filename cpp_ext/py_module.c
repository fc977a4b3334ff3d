/* py_module.c - portrait_sdk.ops._kernels: method table, module state, choice of instruction set.
 *
 * Multi-phase init (PEP 489) and the limited API (PEP 384) from 3.11, the first stable ABI with
 * Py_buffer: one binary serves every later Python.
 */
#include "py_module.h"

#include "ps_blur_fusion.h"
#include "ps_composite.h"
#include "ps_connectivity.h"
#include "ps_deflate.h"
#include "ps_guided.h"
#include "ps_multilevel.h"
#include "ps_png_filter.h"
#include "ps_quantize.h"
#include "ps_resize.h"

/* Every kernel's table, to ask which names have a variant. */
typedef struct ps_family {
    const void *impls;
    size_t size;
} ps_family;

static const ps_family ps_families[] = {
    {ps_blur_fusion_impls, sizeof *ps_blur_fusion_impls},
    {ps_composite_impls, sizeof *ps_composite_impls},
    {ps_connectivity_impls, sizeof *ps_connectivity_impls},
    {ps_cutout_impls, sizeof *ps_cutout_impls},
    {ps_deflate_impls, sizeof *ps_deflate_impls},
    {ps_guided_impls, sizeof *ps_guided_impls},
    {ps_multilevel_impls, sizeof *ps_multilevel_impls},
    {ps_png_filter_impls, sizeof *ps_png_filter_impls},
    {ps_premultiply_impls, sizeof *ps_premultiply_impls},
    {ps_quantize_impls, sizeof *ps_quantize_impls},
    {ps_resize_impls, sizeof *ps_resize_impls},
    {ps_unpremultiply_impls, sizeof *ps_unpremultiply_impls},
};

/* Whether this processor has `isa` and any kernel a variant for it. */
static int
ps_py_usable(const ps_isa *isa, unsigned cpu)
{
    if ((isa->needs & ~cpu) != 0) {
        return 0;
    }
    for (size_t i = 0; i < sizeof ps_families / sizeof *ps_families; i++) {
        const ps_isa *best = ps_cpu_pick(ps_families[i].impls, ps_families[i].size, isa->needs);
        if (strcmp(best->name, isa->name) == 0) {
            return 1;
        }
    }
    return 0;
}

/* A list of the usable names, best first, "scalar" last. */
static PyObject *
ps_py_usable_names(unsigned cpu)
{
    PyObject *names = PyList_New(0);

    for (const ps_isa *isa = ps_isas; names != NULL && isa->name != NULL; isa++) {
        if (ps_py_usable(isa, cpu)) {
            PyObject *name = PyUnicode_FromString(isa->name);
            if (name == NULL || PyList_Append(names, name) < 0) {
                Py_CLEAR(names);
            }
            Py_XDECREF(name);
        }
    }
    return names;
}

static int
ps_py_find(unsigned cpu, const char *what, const char *name, unsigned *allowed)
{
    for (const ps_isa *isa = ps_isas; isa->name != NULL; isa++) {
        if (strcmp(isa->name, name) == 0 && ps_py_usable(isa, cpu)) {
            *allowed = isa->needs;
            return 0;
        }
    }
    PyObject *names = ps_py_usable_names(cpu);
    PyObject *separator = PyUnicode_FromString(", ");
    PyObject *text = names != NULL && separator != NULL ? PyUnicode_Join(separator, names) : NULL;
    if (text != NULL) {
        PyErr_Format(PyExc_ValueError, "%s: expected one of %U on this processor, got '%.100s'",
                     what, text, name);
    }
    Py_XDECREF(text);
    Py_XDECREF(separator);
    Py_XDECREF(names);
    return -1;
}

int
ps_py_allowed(PyObject *module, const char *isa, unsigned *allowed)
{
    const ps_state *state = PyModule_GetState(module);

    if (isa != NULL) {
        return ps_py_find(state->cpu, "isa", isa, allowed);
    }
    *allowed = state->allowed;
    return 0;
}

static PyObject *
ps_py_isas(PyObject *module, PyObject *unused)
{
    const ps_state *state = PyModule_GetState(module);
    PyObject *names = ps_py_usable_names(state->cpu);
    PyObject *result = names != NULL ? PyList_AsTuple(names) : NULL;

    (void)unused;
    Py_XDECREF(names);
    return result;
}

static int
ps_py_exec(PyObject *module)
{
    ps_state *state = PyModule_GetState(module);
    const char *forced = ps_cpu_forced();

    state->cpu = ps_cpu_features();
    state->allowed = state->cpu;
    if (forced != NULL) {
        return ps_py_find(state->cpu, "environment variable PS_FORCE_ISA", forced, &state->allowed);
    }
    return 0;
}

/* Functions with keywords have another type than the table's, by design of the API. */
#define PS_KEYWORDS(function) ((PyCFunction)(void (*)(void))(function))

/* clang-format off */
#define PS_METHOD(name, text) \
    {#name, PS_KEYWORDS(ps_py_##name), METH_VARARGS | METH_KEYWORDS, PyDoc_STR(text)}
/* clang-format on */

static PyMethodDef ps_py_methods[] = {
    {"isas", ps_py_isas, METH_NOARGS,
     PyDoc_STR("Instruction sets usable on this processor, best first, 'scalar' last.")},
    PS_METHOD(resize_to_planes, "Resize uint8 (H, W, 3) to normalised float32 (3, h, w)."),
    PS_METHOD(resize_alpha, "Resize float32 (h, w) to float32 or uint8 (H, W), clamped."),
    PS_METHOD(quantize, "float32 (H, W) to uint8 (H, W), rounded."),
    PS_METHOD(cutout, "Straight colours and rounded alpha, uint8 (H, W, 4)."),
    PS_METHOD(composite, "Foreground over background, uint8 (H, W, 3)."),
    PS_METHOD(premultiply, "Colours times alpha, uint8 (H, W, 4)."),
    PS_METHOD(unpremultiply, "Colours divided by alpha, uint8 (H, W, 4)."),
    PS_METHOD(blur_fusion, "One pass of blur fusion foreground estimation."),
    PS_METHOD(multilevel, "Multi-level foreground and background colours."),
    PS_METHOD(png_filter, "Rows as differences from their neighbours, uint8 (h, 1 + N)."),
    PS_METHOD(deflate, "Bytes to raw deflate; returns how many."),
    PS_METHOD(multilevel_job, "The same as a job that several threads join."),
    PS_METHOD(multilevel_join, "Take part in a job until nothing of it is left to begin."),
    PS_METHOD(guided_slopes, "How alpha follows the colours of a small photo, (h, w, 4)."),
    PS_METHOD(guided_detail, "Add the detail of the photo to a resized alpha (H, W)."),
    PS_METHOD(connectivity, "Thresholds that find a pixel in the largest component, uint8 (H, W)."),
    {NULL, NULL, 0, NULL},
};

/* The API keeps a function in a void pointer, which ISO C leaves open. */
#if defined(__GNUC__) || defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#endif
static PyModuleDef_Slot ps_py_slots[] = {
    {Py_mod_exec, (void *)ps_py_exec},
    {0, NULL},
};
#if defined(__GNUC__) || defined(__clang__)
#pragma GCC diagnostic pop
#endif

static struct PyModuleDef ps_py_module = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_kernels",
    .m_doc = PyDoc_STR("Compiled kernels; what each means stands in _kernels_numpy.py."),
    .m_size = sizeof(ps_state),
    .m_methods = ps_py_methods,
    .m_slots = ps_py_slots,
};

PyMODINIT_FUNC PyInit__kernels(void); /* no header declares what only Python looks up */

PyMODINIT_FUNC
PyInit__kernels(void)
{
    return PyModuleDef_Init(&ps_py_module);
}
