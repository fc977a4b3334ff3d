/* ps_cpu.h - the instruction sets kernels are written for, and which of them this processor has. */
#ifndef PS_CPU_H
#define PS_CPU_H

#include <stddef.h>

#define PS_CPU_AVX2 1u
#define PS_CPU_AVX512 2u /* F, BW, DQ and VL */
#define PS_CPU_NEON 4u

/* A name for isa=, and the features it stands for. Every kernel table's entries begin with one. */
typedef struct ps_isa {
    const char *name;
    unsigned needs;
} ps_isa;

/* All names, best first, "scalar" last, ended by a NULL name. Each needs what the lesser ones need
 * as well, so that a kernel without a variant for it falls to the next best. */
extern const ps_isa ps_isas[];

/* The features this processor and its operating system have. */
unsigned ps_cpu_features(void);

/* The name in the environment's PS_FORCE_ISA, or NULL where it is unset or empty. */
const char *ps_cpu_forced(void);

/* The first of a kernel table's entries (each `size` bytes, starting with a ps_isa) that needs no
 * more than `allowed`. The table's last entry is scalar and needs nothing. */
const void *ps_cpu_pick(const void *impls, size_t size, unsigned allowed);

#endif
