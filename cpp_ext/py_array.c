/* py_array.c - the only buffer-protocol code: every check of an argument that is an array.
 *
 * An array is refused rather than converted. Messages read
 *
 *     alpha: expected float32 (720, 1280), got uint8 (720, 1280)
 *
 * Source: PEP 3118 and the struct module's format characters.
 */
#include "py_array.h"

#define PS_TEXT 160 /* bytes for a dtype and a shape; longer shapes are cut off */

/* The format's single type character in this machine's byte order, or 0. */
static char
ps_format_type(const char *format)
{
    static const union {
        uint16_t word;
        unsigned char first;
    } order = {1};
    const char native = order.first == 1 ? '<' : '>';

    if (format == NULL) {
        return 'B';
    }
    if (format[0] == '@' || format[0] == '=' || format[0] == native) {
        format++;
    }
    return format[0] != '\0' && format[1] == '\0' ? format[0] : '\0';
}

static int
ps_is_type(const Py_buffer *view, char type)
{
    const char found = ps_format_type(view->format);

    switch (type) {
    case 'f':
        return found == 'f' && view->itemsize == 4;
    case 'B':
        return found == 'B' && view->itemsize == 1;
    case 'i':
        return (found == 'i' || found == 'l') && view->itemsize == 4;
    default: /* 'a' */
        return ps_is_type(view, 'f') || ps_is_type(view, 'B');
    }
}

static const char *
ps_type_name(char type)
{
    switch (type) {
    case 'f':
        return "float32";
    case 'B':
        return "uint8";
    case 'i':
        return "int32";
    default:
        return "float32 or uint8";
    }
}

/* The dtype's name as NumPy says it, or the format itself. */
static void
ps_describe_type(const Py_buffer *view, char *text, size_t size)
{
    const long bits = 8 * (long)view->itemsize;

    switch (ps_format_type(view->format)) {
    case '?':
        PyOS_snprintf(text, size, "bool");
        break;
    case 'e':
    case 'f':
    case 'd':
        PyOS_snprintf(text, size, "float%ld", bits);
        break;
    case 'b':
    case 'h':
    case 'i':
    case 'l':
    case 'q':
        PyOS_snprintf(text, size, "int%ld", bits);
        break;
    case 'B':
    case 'H':
    case 'I':
    case 'L':
    case 'Q':
        PyOS_snprintf(text, size, "uint%ld", bits);
        break;
    default:
        PyOS_snprintf(text, size, "format '%.40s'", view->format == NULL ? "B" : view->format);
    }
}

static void
ps_describe_shape(int rank, const Py_ssize_t *shape, char *text, size_t size)
{
    size_t at = 0;

    PyOS_snprintf(text, size, "(");
    for (int axis = 0; axis < rank; axis++) {
        const char *end = axis + 1 < rank ? ", " : rank == 1 ? "," : "";
        at = strlen(text);
        if (shape[axis] == PS_ANY) {
            PyOS_snprintf(text + at, size - at, "any%s", end);
        } else {
            PyOS_snprintf(text + at, size - at, "%lld%s", (long long)shape[axis], end);
        }
    }
    at = strlen(text);
    PyOS_snprintf(text + at, size - at, ")");
}

static int
ps_array_expected(const ps_array *array, PyObject *error, char type, int rank,
                  const Py_ssize_t *shape)
{
    char want[PS_TEXT], got[PS_TEXT], dtype[64];

    ps_describe_shape(rank, shape, want, sizeof want);
    ps_describe_shape(array->view.ndim, array->view.shape, got, sizeof got);
    ps_describe_type(&array->view, dtype, sizeof dtype);
    PyErr_Format(error, "%s: expected %s %s, got %s %s", array->name, ps_type_name(type), want,
                 dtype, got);
    return -1;
}

static size_t
ps_magnitude(Py_ssize_t stride)
{
    return stride < 0 ? (size_t)0 - (size_t)stride : (size_t)stride;
}

/* Whether no two elements share a byte: taken from the smallest stride to the largest, each steps
 * past all that lies below it. (Sufficient; arrays made by slicing and transposing pass.) */
static int
ps_array_is_injective(const ps_array *array)
{
    size_t extent = (size_t)array->view.itemsize; /* bytes spanned by the axes taken */
    int taken[PS_MAX_RANK] = {0};

    for (int turn = 0; turn < array->view.ndim; turn++) {
        int next = -1;
        for (int axis = 0; axis < array->view.ndim; axis++) {
            if (!taken[axis]
                && (next < 0
                    || ps_magnitude(array->strides[axis]) < ps_magnitude(array->strides[next]))) {
                next = axis;
            }
        }
        taken[next] = 1;
        if (array->shape[next] > 1) {
            if (ps_magnitude(array->strides[next]) < extent) {
                return 0;
            }
            extent += (size_t)(array->shape[next] - 1) * ps_magnitude(array->strides[next]);
        }
    }
    return 1;
}

static int
ps_array_check_layout(const ps_array *array, int flags)
{
    const Py_ssize_t item = array->view.itemsize;
    Py_ssize_t packed = item;

    if ((uintptr_t)array->view.buf % (uintptr_t)item != 0) {
        PyErr_Format(PyExc_ValueError, "%s: its memory is not aligned to its %zd-byte values",
                     array->name, item);
        return -1;
    }
    for (int axis = array->view.ndim - 1; axis >= 0; axis--) {
        if (array->shape[axis] > 1) {
            if (array->strides[axis] % item != 0) {
                PyErr_Format(PyExc_ValueError,
                             "%s: axis %d has a stride of %zd bytes, not a "
                             "multiple of its %zd-byte values",
                             array->name, axis, array->strides[axis], item);
                return -1;
            }
            if (axis > 0 && !(flags & PS_ANY_STRIDES) && array->strides[axis] != packed) {
                PyErr_Format(PyExc_ValueError,
                             "%s: values of a row must lie side by side, but "
                             "axis %d has a stride of %zd bytes instead of %zd; "
                             "numpy.ascontiguousarray makes such an array",
                             array->name, axis, array->strides[axis], packed);
                return -1;
            }
        }
        packed *= array->shape[axis];
    }
    if ((flags & PS_WRITE) && !ps_array_is_injective(array)) {
        PyErr_Format(PyExc_ValueError, "%s: its elements overlap each other in memory",
                     array->name);
        return -1;
    }
    return 0;
}

int
ps_array_get(ps_array *array, PyObject *object, const char *name, char type, int rank,
             const Py_ssize_t *shape, int flags)
{
    int fits;

    array->name = name;
    if (!PyObject_CheckBuffer(object)) {
        PyObject *kind = PyType_GetName(Py_TYPE(object));
        if (kind != NULL) {
            PyErr_Format(PyExc_TypeError, "%s: expected a %s array, got %U", name,
                         ps_type_name(type), kind);
            Py_DECREF(kind);
        }
        return -1;
    }
    if (PyObject_GetBuffer(object, &array->view, PyBUF_RECORDS_RO) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_MemoryError)) {
            PyErr_Format(PyExc_TypeError, "%s: expected a %s array, got one without plain values",
                         name, ps_type_name(type));
        }
        return -1;
    }
    array->held = 1;
    if (!ps_is_type(&array->view, type)) {
        return ps_array_expected(array, PyExc_TypeError, type, rank, shape);
    }
    fits = array->view.ndim == rank;
    for (int axis = 0; fits && axis < rank; axis++) {
        const Py_ssize_t extent = array->view.shape[axis];
        fits = extent >= 1 && (shape[axis] == PS_ANY || shape[axis] == extent);
        array->shape[axis] = extent;
        array->strides[axis] = array->view.strides[axis];
    }
    if (!fits) {
        return ps_array_expected(array, PyExc_ValueError, type, rank, shape);
    }
    if ((flags & PS_WRITE) && array->view.readonly) {
        PyErr_Format(PyExc_ValueError, "%s: expected a writable array, got a read-only one", name);
        return -1;
    }
    return ps_array_check_layout(array, flags);
}

void
ps_array_release(ps_array *array)
{
    if (array->held) {
        PyBuffer_Release(&array->view);
        array->held = 0;
    }
}

/* First byte, and the byte past the last, of all elements. */
static void
ps_array_bounds(const ps_array *array, uintptr_t *low, uintptr_t *high)
{
    *low = (uintptr_t)array->view.buf;
    *high = *low + (uintptr_t)array->view.itemsize;
    for (int axis = 0; axis < array->view.ndim; axis++) {
        const uintptr_t reach =
            (uintptr_t)(array->shape[axis] - 1) * ps_magnitude(array->strides[axis]);
        if (array->strides[axis] < 0) {
            *low -= reach;
        } else {
            *high += reach;
        }
    }
}

/* Bytes of one row: all axes but the first; 0 where they are not packed. */
static uintptr_t
ps_array_row_bytes(const ps_array *array)
{
    Py_ssize_t packed = array->view.itemsize;

    for (int axis = array->view.ndim - 1; axis > 0; axis--) {
        if (array->shape[axis] > 1 && array->strides[axis] != packed) {
            return 0;
        }
        packed *= array->shape[axis];
    }
    return (uintptr_t)packed;
}

/* Whether two arrays are columns side by side of one larger array. */
static int
ps_array_side_by_side(const ps_array *a, const ps_array *b)
{
    const uintptr_t row_a = ps_array_row_bytes(a), row_b = ps_array_row_bytes(b);
    const uintptr_t first = (uintptr_t)a->view.buf, second = (uintptr_t)b->view.buf;

    if (a->strides[0] != b->strides[0] || a->strides[0] <= 0 || row_a == 0 || row_b == 0) {
        return 0;
    }
    const uintptr_t stride = (uintptr_t)a->strides[0];
    const uintptr_t ahead =
        first >= second ? (first - second) % stride : (stride - (second - first) % stride) % stride;
    return ahead >= row_b && ahead + row_a <= stride;
}

int
ps_array_apart(const ps_array *out, const ps_array *in, int same_is_fine)
{
    uintptr_t out_low, out_high, in_low, in_high;

    ps_array_bounds(out, &out_low, &out_high);
    ps_array_bounds(in, &in_low, &in_high);
    if (out_high <= in_low || in_high <= out_low || ps_array_side_by_side(out, in)) {
        return 0;
    }
    if (same_is_fine && out->view.buf == in->view.buf
        && (out->shape[0] == 1 || out->strides[0] == in->strides[0])) {
        return 0;
    }
    PyErr_Format(PyExc_ValueError, "%s: shares memory with %s; give it memory of its own",
                 out->name, in->name);
    return -1;
}

void
ps_array_copy_i32(const ps_array *array, int32_t *values)
{
    const unsigned char *at = array->view.buf;

    for (Py_ssize_t i = 0; i < array->shape[0]; i++, at += array->strides[0]) {
        memcpy(values + i, at, sizeof *values);
    }
}
