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

static ps_colour_in
ps_py_colours(const ps_array *array)
{
    ps_colour_in colours;
    colours.rows = ps_array_in(array);
    colours.u8 = array->view.itemsize == 1;
    return colours;
}

PyObject *
ps_py_blur_fusion(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {
        "image", "alpha", "foreground", "background", "foreground_out", "background_out", "size",
        "first", "last",  "isa",        NULL};
    PyObject *image_obj, *alpha_obj, *foreground_obj, *background_obj;
    PyObject *foreground_out_obj, *background_out_obj, *result = NULL;
    const char *isa = NULL;
    unsigned allowed;
    int status;
    Py_ssize_t size, first, last;
    ps_array image = {0}, alpha = {0}, foreground = {0}, background = {0};
    ps_array foreground_out = {0}, background_out = {0};
    ps_blur_task task;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOOOOnnn|$z:blur_fusion", names, &image_obj,
                                     &alpha_obj, &foreground_obj, &background_obj,
                                     &foreground_out_obj, &background_out_obj, &size, &first, &last,
                                     &isa)
        || ps_py_allowed(module, isa, &allowed) < 0 || ps_py_count(size, "size", 1) < 0) {
        return NULL;
    }
    const Py_ssize_t any[] = {PS_ANY, PS_ANY, 3};
    const int whole = background_out_obj != Py_None;
    if (ps_array_get(&image, image_obj, "image", 'a', 3, any, PS_READ) < 0
        || ps_array_get(&alpha, alpha_obj, "alpha", 'f', 2, image.shape, PS_READ) < 0
        || ps_array_get(&foreground, foreground_obj, "foreground", 'a', 3, image.shape, PS_READ) < 0
        || ps_array_get(&background, background_obj, "background", 'a', 3, image.shape, PS_READ) < 0
        || ps_array_get(&foreground_out, foreground_out_obj, "foreground_out", 'a', 3, image.shape,
                        PS_WRITE)
               < 0
        || (whole
            && ps_array_get(&background_out, background_out_obj, "background_out", 'f', 3,
                            image.shape, PS_WRITE)
                   < 0)) {
        goto done;
    }
    const ps_array *inputs[] = {&image, &alpha, &foreground, &background};
    for (size_t i = 0; i < 4; i++) {
        if (ps_array_apart(&foreground_out, inputs[i], 0) < 0
            || (whole && ps_array_apart(&background_out, inputs[i], 0) < 0)) {
            goto done;
        }
    }
    if (whole && ps_array_apart(&foreground_out, &background_out, 0) < 0) {
        goto done;
    }
    if (first < 0 || last <= first || last > image.shape[0]) {
        PyErr_Format(PyExc_ValueError, "first, last: expected rows of 0 to %zd, got %zd to %zd",
                     image.shape[0], first, last);
        goto done;
    }
    const ps_blur_fusion_impl *impl = PS_PY_PICK(ps_blur_fusion_impls, allowed);
    memset(&task, 0, sizeof task);
    task.image = ps_py_colours(&image);
    task.alpha = ps_array_in(&alpha);
    task.foreground = ps_py_colours(&foreground);
    task.background = ps_py_colours(&background);
    task.foreground_out = ps_array_out(&foreground_out);
    task.foreground_u8 = foreground_out.view.itemsize == 1;
    if (whole) {
        task.background_out = ps_array_out(&background_out);
    }
    task.height = (size_t)image.shape[0];
    task.width = (size_t)image.shape[1];
    task.size = (size_t)size;
    task.first = (size_t)first;
    task.last = (size_t)last;

    Py_BEGIN_ALLOW_THREADS
    status = ps_blur_fusion(impl, &task);
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

/* A job and the arrays it works on, held for as long as there is a capsule of it. */
typedef struct ps_py_job {
    ps_array image;
    ps_array alpha;
    ps_array foreground;
    ps_array background;
    ps_multilevel_job *job;
} ps_py_job;

static const char ps_py_job_name[] = "portrait_sdk.ops._kernels.multilevel_job";

static void
ps_py_job_free(ps_py_job *held)
{
    if (held != NULL) {
        ps_multilevel_free(held->job);
        ps_array_release(&held->background);
        ps_array_release(&held->foreground);
        ps_array_release(&held->alpha);
        ps_array_release(&held->image);
        PyMem_Free(held);
    }
}

static void
ps_py_job_destroy(PyObject *capsule)
{
    ps_py_job_free(PyCapsule_GetPointer(capsule, ps_py_job_name));
}

static int
ps_py_job_arrays(ps_py_job *held, PyObject *image, PyObject *alpha, PyObject *foreground,
                 PyObject *background)
{
    const Py_ssize_t any[] = {PS_ANY, PS_ANY, 3};

    if (ps_array_get(&held->image, image, "image", 'a', 3, any, PS_READ) < 0
        || ps_array_get(&held->alpha, alpha, "alpha", 'f', 2, held->image.shape, PS_READ) < 0) {
        return -1;
    }
    const char type = held->image.view.itemsize == 1 ? 'B' : 'f';
    if (ps_py_count(held->image.shape[0], "image: height", 1) < 0
        || ps_py_count(held->image.shape[1], "image: width", 1) < 0
        || ps_array_get(&held->foreground, foreground, "foreground", type, 3, held->image.shape,
                        PS_WRITE)
               < 0
        || ps_array_apart(&held->foreground, &held->image, 0) < 0
        || ps_array_apart(&held->foreground, &held->alpha, 0) < 0) {
        return -1;
    }
    if (background == Py_None) {
        return 0;
    }
    if (type == 'B') {
        PyErr_SetString(PyExc_TypeError, "background: expected None beside a uint8 image");
        return -1;
    }
    if (ps_array_get(&held->background, background, "background", type, 3, held->image.shape,
                     PS_WRITE)
            < 0
        || ps_array_apart(&held->background, &held->image, 0) < 0
        || ps_array_apart(&held->background, &held->alpha, 0) < 0
        || ps_array_apart(&held->foreground, &held->background, 0) < 0) {
        return -1;
    }
    return 0;
}

/* The job of the arguments, or NULL with an exception. */
static ps_py_job *
ps_py_job_new(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"image",          "alpha",           "foreground", "background",
                            "regularization", "gradient_weight", "small_size", "small_iterations",
                            "big_iterations", "tiled_levels",    "isa",        NULL};
    PyObject *image, *alpha, *foreground, *background;
    const char *isa = NULL;
    unsigned allowed;
    double regularization, gradient_weight;
    Py_ssize_t small_size, small_iterations, big_iterations, tiled_levels;
    ps_multilevel_task task;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOOddnnnn|$z:multilevel", names, &image,
                                     &alpha, &foreground, &background, &regularization,
                                     &gradient_weight, &small_size, &small_iterations,
                                     &big_iterations, &tiled_levels, &isa)
        || ps_py_allowed(module, isa, &allowed) < 0 || ps_py_count(small_size, "small_size", 0) < 0
        || ps_py_count(small_iterations, "small_iterations", 0) < 0
        || ps_py_count(big_iterations, "big_iterations", 0) < 0
        || ps_py_count(tiled_levels, "tiled_levels", 0) < 0) {
        return NULL;
    }
    ps_py_job *held = PyMem_Calloc(1, sizeof *held);
    if (held == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    if (ps_py_job_arrays(held, image, alpha, foreground, background) < 0) {
        ps_py_job_free(held);
        return NULL;
    }
    memset(&task, 0, sizeof task);
    task.image = ps_array_in(&held->image);
    task.image_u8 = held->image.view.itemsize == 1;
    task.alpha = ps_array_in(&held->alpha);
    task.foreground = ps_array_out(&held->foreground);
    if (background != Py_None) {
        task.background = ps_array_out(&held->background);
    }
    task.height = (size_t)held->image.shape[0];
    task.width = (size_t)held->image.shape[1];
    task.options.regularization = (float)regularization;
    task.options.gradient_weight = (float)gradient_weight;
    task.options.small_size = (size_t)small_size;
    task.options.small_iterations = (size_t)small_iterations;
    task.options.big_iterations = (size_t)big_iterations;
    task.options.tiled_levels = (size_t)tiled_levels;
    held->job = ps_multilevel_new(PS_PY_PICK(ps_multilevel_impls, allowed), &task);
    if (held->job == NULL) {
        ps_py_job_free(held);
        PyErr_NoMemory();
        return NULL;
    }
    return held;
}

static PyObject *
ps_py_job_join(const ps_py_job *held)
{
    int status;

    Py_BEGIN_ALLOW_THREADS
    status = ps_multilevel_join(held->job);
    Py_END_ALLOW_THREADS

    return status == 0 ? Py_NewRef(Py_None) : PyErr_NoMemory();
}

PyObject *
ps_py_multilevel(PyObject *module, PyObject *args, PyObject *kwargs)
{
    ps_py_job *held = ps_py_job_new(module, args, kwargs);
    PyObject *result = held != NULL ? ps_py_job_join(held) : NULL;

    ps_py_job_free(held);
    return result;
}

PyObject *
ps_py_multilevel_job(PyObject *module, PyObject *args, PyObject *kwargs)
{
    ps_py_job *held = ps_py_job_new(module, args, kwargs);
    PyObject *capsule =
        held != NULL ? PyCapsule_New(held, ps_py_job_name, ps_py_job_destroy) : NULL;

    if (capsule == NULL) {
        ps_py_job_free(held);
    }
    return capsule;
}

PyObject *
ps_py_multilevel_join(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"job", NULL};
    PyObject *capsule;

    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:multilevel_join", names, &capsule)) {
        return NULL;
    }
    const ps_py_job *held = PyCapsule_GetPointer(capsule, ps_py_job_name);
    return held != NULL ? ps_py_job_join(held) : NULL; /* the caller's reference keeps it */
}
