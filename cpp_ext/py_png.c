/* py_png.c - bindings of png_filter and deflate. */
#include "ps_deflate.h"
#include "ps_png_filter.h"
#include "py_array.h"

PyObject *
ps_py_png_filter(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"image", "first", "pixel", "out", "isa", NULL};
    PyObject *image_obj, *out_obj, *result = NULL;
    Py_ssize_t first, pixel;
    const char *isa = NULL;
    unsigned allowed;
    int status;
    ps_array image = {0}, out = {0};

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OnnO|$z:png_filter", names, &image_obj, &first,
                                     &pixel, &out_obj, &isa)
        || ps_py_allowed(module, isa, &allowed) < 0) {
        return NULL;
    }
    const Py_ssize_t any[] = {PS_ANY, PS_ANY};
    if (ps_array_get(&image, image_obj, "image", 'B', 2, any, PS_READ) < 0) {
        goto done;
    }
    const Py_ssize_t wide[] = {PS_ANY, image.shape[1] + 1};
    if (ps_array_get(&out, out_obj, "out", 'B', 2, wide, PS_WRITE) < 0
        || ps_array_apart(&out, &image, 0) < 0) {
        goto done;
    }
    if (pixel < 1 || image.shape[1] % pixel != 0) {
        PyErr_Format(PyExc_ValueError, "pixel: expected bytes that divide the row's %zd, got %zd",
                     image.shape[1], pixel);
        goto done;
    }
    if (first < 0 || first > image.shape[0] - out.shape[0]) {
        PyErr_Format(PyExc_ValueError,
                     "first: expected 0 or more, and %zd rows from there within the image's %zd, "
                     "got %zd",
                     out.shape[0], image.shape[0], first);
        goto done;
    }
    const ps_png_filter_impl *impl = PS_PY_PICK(ps_png_filter_impls, allowed);

    Py_BEGIN_ALLOW_THREADS
    status = ps_png_filter(impl, ps_array_in(&image), (size_t)first, ps_array_out(&out),
                           (size_t)out.shape[0], (size_t)image.shape[1], (size_t)pixel);
    Py_END_ALLOW_THREADS

    result = status == 0 ? Py_NewRef(Py_None) : PyErr_NoMemory();
done:
    ps_array_release(&out);
    ps_array_release(&image);
    return result;
}

static int
ps_py_contiguous(const ps_array *bytes)
{
    if (bytes->shape[0] > 1 && bytes->strides[0] != 1) {
        PyErr_Format(PyExc_ValueError, "%s: expected a contiguous array", bytes->name);
        return -1;
    }
    return 0;
}

PyObject *
ps_py_deflate(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"data", "last", "out", "isa", NULL};
    PyObject *data_obj, *out_obj, *result = NULL;
    const char *isa = NULL;
    unsigned allowed;
    size_t used = 0, bound;
    int last, status;
    ps_array data = {0}, out = {0};

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OpO|$z:deflate", names, &data_obj, &last,
                                     &out_obj, &isa)
        || ps_py_allowed(module, isa, &allowed) < 0) {
        return NULL;
    }
    const Py_ssize_t any[] = {PS_ANY};
    if (ps_array_get(&data, data_obj, "data", 'B', 1, any, PS_READ) < 0
        || ps_array_get(&out, out_obj, "out", 'B', 1, any, PS_WRITE) < 0
        || ps_py_contiguous(&data) < 0 || ps_py_contiguous(&out) < 0
        || ps_array_apart(&out, &data, 0) < 0) {
        goto done;
    }
    bound = ps_deflate_bound((size_t)data.shape[0]);
    if (bound == 0 || (size_t)out.shape[0] < bound) {
        PyErr_Format(PyExc_ValueError, "out: expected at least %zu bytes for %zd of data, got %zd",
                     bound, data.shape[0], out.shape[0]);
        goto done;
    }
    const ps_deflate_impl *impl = PS_PY_PICK(ps_deflate_impls, allowed);

    Py_BEGIN_ALLOW_THREADS
    status = ps_deflate(impl, data.view.buf, (size_t)data.shape[0], last, out.view.buf, &used);
    Py_END_ALLOW_THREADS

    result = status == 0 ? PyLong_FromSize_t(used) : PyErr_NoMemory();
done:
    ps_array_release(&out);
    ps_array_release(&data);
    return result;
}
