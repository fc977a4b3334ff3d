/* ps_memory.c - large allocations. */
#if defined(__linux__)
#define _DEFAULT_SOURCE 1 /* for madvise, which -std=c11 hides */
#include <sys/mman.h>
#endif

#include "ps_common.h"

void *
ps_alloc_large(size_t count, size_t size)
{
    void *memory = ps_alloc(count, size);

#if defined(__linux__) && defined(MADV_HUGEPAGE)
    const size_t huge = (size_t)1 << 21;
    if (memory != NULL && count * size >= 2 * huge) { /* a hint: no harm where it is refused */
        const uintptr_t first = ((uintptr_t)memory + huge - 1) / huge * huge;
        const uintptr_t last = ((uintptr_t)memory + count * size) / huge * huge;
        (void)madvise((void *)first, (size_t)(last - first), MADV_HUGEPAGE);
    }
#endif
    return memory;
}
