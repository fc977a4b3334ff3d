/* ps_team.h - counters through which the threads of one job meet. Kernels start no threads: the
 * caller's threads call the same function on the same job.
 *
 * A waiting thread lets others run, so that one that is late, or alone on its processor, is in
 * nobody's way for long.
 */
#ifndef PS_TEAM_H
#define PS_TEAM_H

#include <stdint.h>

#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#elif defined(__unix__) || defined(__APPLE__)
#include <sched.h>
#endif

#if defined(__GNUC__) || defined(__clang__)

static inline uint32_t
ps_counter_read(const uint32_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_ACQUIRE);
}

static inline void
ps_counter_write(uint32_t *counter, uint32_t value)
{
    __atomic_store_n(counter, value, __ATOMIC_RELEASE);
}

/* The value before. */
static inline uint32_t
ps_counter_add(uint32_t *counter, uint32_t value)
{
    return __atomic_fetch_add(counter, value, __ATOMIC_ACQ_REL);
}

#elif defined(_MSC_VER)

static inline uint32_t
ps_counter_add(uint32_t *counter, uint32_t value)
{
    return (uint32_t)_InterlockedExchangeAdd((volatile long *)counter, (long)value);
}

static inline uint32_t
ps_counter_read(const uint32_t *counter)
{
    return ps_counter_add((uint32_t *)counter, 0);
}

static inline void
ps_counter_write(uint32_t *counter, uint32_t value)
{
    (void)_InterlockedExchange((volatile long *)counter, (long)value);
}

#else
#error "no atomic counters for this compiler; use the NumPy kernels"
#endif

/* Return when the counter, which only grows, has reached `value`. */
static inline void
ps_counter_wait(const uint32_t *counter, uint32_t value)
{
    for (unsigned turn = 0; ps_counter_read(counter) < value; turn++) {
#if defined(__unix__) || defined(__APPLE__)
        if (turn >= 256) { /* some microseconds: a thread at work would have come by */
            (void)sched_yield();
            continue;
        }
#endif
#if defined(__x86_64__) || defined(_M_X64)
        _mm_pause();
#endif
    }
}

#endif
