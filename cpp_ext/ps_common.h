/* ps_common.h - what every kernel shares: compiler macros, row access, rounding, allocation.
 *
 * Kernels know nothing of Python. An array comes as ps_in or ps_out: its first row and the bytes
 * from one row to the next (any sign); within a row, values lie side by side.
 */
#ifndef PS_COMMON_H
#define PS_COMMON_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ps_cpu.h"

/* Scalar and vector code agree bit for bit only where each operation rounds to float. */
#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0
#error "floats are evaluated with excess precision here; build for SSE2 or use the NumPy kernels"
#endif

#if defined(__x86_64__) || defined(_M_X64)
#define PS_X86 1
#include <immintrin.h>
#if defined(_MSC_VER) && defined(__clang__) && !defined(__AVX2__)
/* For MSVC's sake clang-cl leaves out of it what the baseline lacks. */
#include <smmintrin.h>
#include <avxintrin.h>
#include <avx2intrin.h>
#include <avx512fintrin.h>
#include <avx512bwintrin.h>
#include <avx512dqintrin.h>
#include <avx512vlintrin.h>
#include <avx512vlbwintrin.h>
#include <avx512vldqintrin.h>
#endif
#else
#define PS_X86 0
#endif

#if defined(__aarch64__) || defined(_M_ARM64)
#define PS_ARM64 1
#include <arm_neon.h>
#else
#define PS_ARM64 0
#endif

#if defined(__GNUC__) || defined(__clang__) /* clang-cl defines only the latter */
#define PS_TARGET(features) __attribute__((target(features)))
#define PS_INLINE static inline __attribute__((always_inline))
#elif defined(_MSC_VER)
#define PS_TARGET(features) /* every intrinsic is allowed everywhere */
#define PS_INLINE static __forceinline
#else
#define PS_TARGET(features)
#define PS_INLINE static inline
#endif

/* cl.exe knows the keyword only under /std:c11, and its headers say __declspec(restrict): whatever
 * comes from the system is included before this. Nor does it know -ffp-contract=off. */
#if defined(_MSC_VER) && !defined(__clang__)
#define restrict __restrict
#pragma fp_contract(off)
#endif

#define PS_AVX2 PS_TARGET("avx2")
#define PS_AVX512 PS_TARGET("avx512f,avx512bw,avx512dq,avx512vl")

typedef struct ps_in {
    const unsigned char *data;
    ptrdiff_t stride; /* bytes from row to row */
} ps_in;

typedef struct ps_out {
    unsigned char *data;
    ptrdiff_t stride;
} ps_out;

/* The array layer has checked that float rows are aligned. */
static inline const float *
ps_in_f32(ps_in in, size_t y)
{
    return (const float *)(const void *)(in.data + (ptrdiff_t)y * in.stride);
}

static inline const uint8_t *
ps_in_u8(ps_in in, size_t y)
{
    return in.data + (ptrdiff_t)y * in.stride;
}

static inline float *
ps_out_f32(ps_out out, size_t y)
{
    return (float *)(void *)(out.data + (ptrdiff_t)y * out.stride);
}

static inline uint8_t *
ps_out_u8(ps_out out, size_t y)
{
    return out.data + (ptrdiff_t)y * out.stride;
}

/* To [0, 1]; NaN becomes 0. */
static inline float
ps_clamp01(float a)
{
    a = a > 0.0f ? a : 0.0f; /* false for NaN */
    return a < 1.0f ? a : 1.0f;
}

/* To [0, 1]; NaN stays, as in numpy.clip. */
static inline float
ps_clip01(float a)
{
    a = 0.0f > a ? 0.0f : a;
    return 1.0f < a ? 1.0f : a;
}

/* rint(x) for 0 <= x <= 255, halves to even. Adding 1.5 * 2^23 leaves no fraction bits, so that the
 * addition rounds as the vector conversions do, and unlike lrintf the compiler vectorises it. */
static inline uint8_t
ps_round_u8(float x)
{
    const float shifted = x + 12582912.0f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    return (uint8_t)(bits & 0xFF);
}

/* malloc(count * size), or NULL where that overflows; never NULL for 0 elements. */
static inline void *
ps_alloc(size_t count, size_t size)
{
    if (count > (size_t)PTRDIFF_MAX / size) {
        return NULL;
    }
    return malloc(count > 0 ? count * size : 1);
}

/* As ps_alloc, for many megabytes that are soon written from end to end: on Linux in huge pages, where
 * first touches cost a fraction. (ps_memory.c) */
void *ps_alloc_large(size_t count, size_t size);

/* a * b + c into *result; 0 where it would overflow. */
static inline int
ps_size_mul_add(size_t a, size_t b, size_t c, size_t *result)
{
    if (a != 0 && b > SIZE_MAX / a) {
        return 0;
    }
    if (c > SIZE_MAX - a * b) {
        return 0;
    }
    *result = a * b + c;
    return 1;
}

#endif
