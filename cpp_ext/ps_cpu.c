/* ps_cpu.c - features of this processor, PS_FORCE_ISA, and the choice of a kernel's variant.
 *
 * A feature counts where both the processor has it and the operating system saves its registers
 * (CPUID and XCR0; Intel, "Software Developer's Manual", volume 1, section 14.3). NEON is part of
 * every AArch64.
 */
#include "ps_cpu.h"

#include <stdlib.h>

#if defined(_MSC_VER) /* before ps_common.h, as all system headers */
#include <intrin.h>
#endif

#include "ps_common.h"

const ps_isa ps_isas[] = {
#if PS_X86
    {"avx512", PS_CPU_AVX512 | PS_CPU_AVX2},
    {"avx2", PS_CPU_AVX2},
#endif
#if PS_ARM64
    {"neon", PS_CPU_NEON},
#endif
    {"scalar", 0},
    {NULL, 0},
};

/* clang-cl comes without the library that __builtin_cpu_supports asks, and so goes with MSVC. */
#if PS_X86 && defined(_MSC_VER)
PS_TARGET("xsave")
static unsigned long long
ps_cpu_saved(void)
{
    return _xgetbv(0);
}
#endif

unsigned
ps_cpu_features(void)
{
    unsigned features = 0;
#if PS_X86 && !defined(_MSC_VER) && defined(__GNUC__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2")) {
        features |= PS_CPU_AVX2;
    }
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
        features |= PS_CPU_AVX512;
    }
#elif PS_X86 && defined(_MSC_VER)
    int leaf[4];
    __cpuid(leaf, 0);
    if (leaf[0] >= 7) {
        __cpuid(leaf, 1);
        if ((leaf[2] >> 27) & 1) { /* OSXSAVE: _xgetbv may be asked */
            const unsigned long long saved = ps_cpu_saved();
            __cpuidex(leaf, 7, 0);
            const unsigned ebx = (unsigned)leaf[1];
            if ((saved & 0x06) == 0x06 && ((ebx >> 5) & 1)) {
                features |= PS_CPU_AVX2;
            }
            const unsigned avx512 = (1u << 16) | (1u << 17) | (1u << 30) | (1u << 31);
            if ((saved & 0xE6) == 0xE6 && (ebx & avx512) == avx512) {
                features |= PS_CPU_AVX512;
            }
        }
    }
#elif PS_ARM64
    features |= PS_CPU_NEON;
#endif
    return features;
}

const char *
ps_cpu_forced(void)
{
    const char *name = getenv("PS_FORCE_ISA");
    return name != NULL && name[0] != '\0' ? name : NULL;
}

const void *
ps_cpu_pick(const void *impls, size_t size, unsigned allowed)
{
    const unsigned char *entry = impls;
    while ((((const ps_isa *)(const void *)entry)->needs & ~allowed) != 0) {
        entry += size;
    }
    return entry;
}
