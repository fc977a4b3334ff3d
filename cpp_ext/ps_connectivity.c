/* ps_connectivity.c - how long a pixel stays in the largest component as a threshold rises.
 *
 *     S(k)    = {p: alpha[p] >= t[k] and truth[p] >= t[k]},   k = 1 ... n
 *     O(k)    = the largest 4-connected component of S(k); of equal ones, that whose first pixel in
 *               reading order comes first; with `background` the rest of the picture, all of it
 *               together, where that is at least as large
 *     held[p] = the largest K with p in O(1), ..., O(K)
 *
 * One union-find instead of n labellings. Its elements are runs: pixels of a row, side by side, that
 * are in the same S(k). Thresholds go down; at each, runs appear, and pairs of neighbours unite of
 * which both are there by then. The root of a component is its first run, so that ties fall as they
 * should.
 *
 * S(k + 1) lies in S(k), so O(k + 1) lies in one component of S(k): in O(k), or apart from it, and
 * then no pixel has held k thresholds and the next. Up to there the O(k) are nested, and a run's count
 * follows from whom it was united with, and when. The background only grows as thresholds rise: once
 * it is the largest it stays so, and the pixels that are in it then stay to the end.
 */
#include "ps_connectivity.h"

#define PS_BLOCK 64 /* pixels that share two tests; most blocks of a matte need no more */

typedef struct ps_run {
    uint32_t start, end; /* columns */
    uint32_t parent;     /* towards the root; shortened on the way */
    uint32_t joined;     /* the root it was united with, itself before that; before it in order */
    uint32_t size;       /* of a root: pixels of the component */
    uint8_t level;       /* thresholds that its pixels reach, at least 1 */
    uint8_t held;        /* the threshold at which it was united, 0 before; the result in the end */
} ps_run;

typedef struct ps_pair {
    uint32_t first, second; /* neighbours; the lower level of the two is when they unite */
} ps_pair;

typedef struct ps_largest {
    uint32_t root, size; /* no root while the size is 0 */
} ps_largest;

PS_INLINE void
ps_levels(const float *restrict alpha, const float *restrict truth, const float *thresholds,
          size_t n, uint8_t *restrict out, size_t width)
{
    for (size_t x = 0; x < width; x += PS_BLOCK) {
        const size_t count = width - x < PS_BLOCK ? width - x : PS_BLOCK;
        const float *a = alpha + x, *t = truth + x;
        const float low = thresholds[0], high = thresholds[n - 1];
        int some = 0, full = 0;

        for (size_t i = 0; i < count; i++) {
            some += (a[i] >= low) & (t[i] >= low);
            full += (a[i] >= high) & (t[i] >= high);
        }
        memset(out + x, full == (int)count ? (int)n : 0, count);
        if (some == 0 || full == (int)count) {
            continue;
        }
        for (size_t k = 0; k < n; k++) {
            const float least = thresholds[k];
            for (size_t i = 0; i < count; i++) {
                out[x + i] = (uint8_t)(out[x + i] + ((a[i] >= least) & (t[i] >= least)));
            }
        }
    }
}

static void
ps_levels_scalar(const float *restrict alpha, const float *restrict truth, const float *thresholds,
                 size_t n, uint8_t *restrict out, size_t width)
{
    ps_levels(alpha, truth, thresholds, n, out, width);
}

#if PS_X86
/* The same, by the compiler for wider vectors: half the time. */
PS_AVX2 static void
ps_levels_avx2(const float *restrict alpha, const float *restrict truth, const float *thresholds,
               size_t n, uint8_t *restrict out, size_t width)
{
    ps_levels(alpha, truth, thresholds, n, out, width);
}
#endif

const ps_connectivity_impl ps_connectivity_impls[] = {
/* best first, scalar last */
#if PS_X86
    {{"avx2", PS_CPU_AVX2}, ps_levels_avx2},
#endif
    {{"scalar", 0}, ps_levels_scalar},
};

/* The column after the run that begins at x. */
static size_t
ps_run_end(const uint8_t *levels, size_t x, size_t width)
{
    const uint8_t level = levels[x];
    const uint64_t eight = level * UINT64_C(0x0101010101010101);
    uint64_t next;

    for (; x + 8 <= width; x += 8) {
        memcpy(&next, levels + x, 8);
        if (next != eight) {
            break;
        }
    }
    while (x < width && levels[x] == level) {
        x++;
    }
    return x;
}

/* Count a row's runs of level 1 and more; write them too where `runs` is not NULL. */
static size_t
ps_runs_of_row(const uint8_t *levels, size_t width, ps_run *runs, size_t first)
{
    size_t count = 0;

    for (size_t x = 0, end; x < width; x = end) {
        end = ps_run_end(levels, x, width);
        if (levels[x] == 0) {
            continue;
        }
        if (runs != NULL) {
            const uint32_t self = (uint32_t)(first + count);
            ps_run *run = runs + self;
            run->start = (uint32_t)x;
            run->end = (uint32_t)end;
            run->parent = run->joined = self;
            run->size = (uint32_t)(end - x);
            run->level = levels[x];
            run->held = 0;
        }
        count++;
    }
    return count;
}

static uint32_t
ps_root(ps_run *runs, uint32_t i)
{
    while (runs[i].parent != i) {
        runs[i].parent = runs[runs[i].parent].parent;
        i = runs[i].parent;
    }
    return i;
}

/* Sizes only grow and the smaller of two united is gone, so the largest seen is never a past one. */
static void
ps_consider(const ps_run *runs, uint32_t root, ps_largest *largest)
{
    const uint32_t size = runs[root].size;

    if (size > largest->size || (size == largest->size && root < largest->root)) {
        largest->root = root;
        largest->size = size;
    }
}

static void
ps_unite(ps_run *runs, uint32_t a, uint32_t b, uint8_t threshold, ps_largest *largest)
{
    a = ps_root(runs, a);
    b = ps_root(runs, b);
    if (a == b) {
        return;
    }
    const uint32_t first = a < b ? a : b, second = a < b ? b : a;
    runs[second].parent = runs[second].joined = first;
    runs[second].held = threshold;
    runs[first].size += runs[second].size;
    ps_consider(runs, first, largest);
}

/* Count a pair of neighbours at the lower of their levels; write it there where there is room. */
static void
ps_add_pair(const ps_run *runs, uint32_t first, uint32_t second, size_t *ends, ps_pair *pairs)
{
    const uint8_t a = runs[first].level, b = runs[second].level;
    const size_t at = ends[a < b ? a : b]++;

    if (pairs != NULL) {
        pairs[at].first = first;
        pairs[at].second = second;
    }
}

/* Add all pairs. Rows begin at runs rows[0] to rows[height]. */
static void
ps_add_pairs(const ps_run *runs, const uint32_t *rows, size_t height, size_t *ends, ps_pair *pairs)
{
    for (size_t y = 0; y < height; y++) {
        uint32_t above = y > 0 ? rows[y - 1] : rows[y]; /* the first that may reach the run */
        for (uint32_t i = rows[y]; i < rows[y + 1]; i++) {
            if (i > rows[y] && runs[i - 1].end == runs[i].start) {
                ps_add_pair(runs, i - 1, i, ends, pairs);
            }
            while (above < rows[y] && runs[above].end <= runs[i].start) {
                above++;
            }
            for (uint32_t j = above; j < rows[y] && runs[j].start < runs[i].end; j++) {
                ps_add_pair(runs, j, i, ends, pairs);
            }
        }
    }
}

/* Pairs of neighbours, those of level k from begins[k] on; NULL where memory ran out. */
static ps_pair *
ps_sorted_pairs(const ps_run *runs, const uint32_t *rows, size_t height, size_t *begins)
{
    size_t ends[PS_CONNECTIVITY_MOST + 1] = {0};

    ps_add_pairs(runs, rows, height, ends, NULL);
    begins[0] = 0;
    for (size_t k = 0; k <= PS_CONNECTIVITY_MOST; k++) {
        begins[k + 1] = begins[k] + ends[k];
        ends[k] = begins[k];
    }
    ps_pair *pairs = ps_alloc_large(begins[PS_CONNECTIVITY_MOST + 1], sizeof *pairs);
    if (pairs != NULL) {
        ps_add_pairs(runs, rows, height, ends, pairs);
    }
    return pairs;
}

/* Unite all, and turn each of the runs' `held` into the result; `pixels` are the picture's. Returns
 * that of pixels without a run. */
static uint8_t
ps_hold(ps_run *runs, size_t count, const ps_pair *pairs, const size_t *begins, size_t pixels,
        size_t n, int background)
{
    ps_largest largest[PS_CONNECTIVITY_MOST + 2]; /* O(k); at first the longest run of level k */
    size_t there[PS_CONNECTIVITY_MOST + 2];       /* pixels in S(k); at first those of level k */
    uint8_t nested[PS_CONNECTIVITY_MOST + 1];     /* whether O(k + 1) is there and lies in O(k) */

    memset(largest, 0, sizeof largest);
    memset(there, 0, sizeof there);
    for (size_t i = 0; i < count; i++) {
        there[runs[i].level] += runs[i].size;
        ps_consider(runs, (uint32_t)i, &largest[runs[i].level]);
    }
    for (size_t k = n; k > 0; k--) {
        there[k] += there[k + 1];
        const ps_largest alone = largest[k];
        largest[k] = largest[k + 1];
        if (alone.size > 0) {
            ps_consider(runs, alone.root, &largest[k]);
        }
        for (size_t i = begins[k]; i < begins[k + 1]; i++) {
            ps_unite(runs, pairs[i].first, pairs[i].second, (uint8_t)k, &largest[k]);
        }
        nested[k] =
            largest[k + 1].size > 0 && ps_root(runs, largest[k + 1].root) == largest[k].root;
    }

    size_t last = 0; /* up to there the O(k) are nested, and components */
    while (last < n && largest[last + 1].size > 0 && (last == 0 || nested[last])
           && !(background && pixels - there[last + 1] >= largest[last + 1].size)) {
        last++;
    }
    for (size_t k = 1; k <= last; k++) { /* there and then it was the root */
        runs[largest[k].root].joined = largest[k].root;
        runs[largest[k].root].held = (uint8_t)k;
    }
    for (size_t i = 0; i < count; i++) {
        const uint8_t whole = runs[runs[i].joined].held;
        runs[i].held = runs[i].held < whole ? runs[i].held : whole;
    }
    if (last == n || !background || pixels - there[last + 1] < largest[last + 1].size) {
        return 0;
    }
    for (size_t i = 0; i < count; i++) { /* those who fall out into the background stay */
        if (runs[i].held == last && runs[i].level == last) {
            runs[i].held = (uint8_t)n;
        }
    }
    return last == 0 ? (uint8_t)n : 0;
}

int
ps_connectivity(const ps_connectivity_impl *impl, ps_in alpha, ps_in truth, size_t height,
                size_t width, const float *thresholds, size_t n, int background, ps_out held)
{
    uint32_t *rows = ps_alloc(height + 1, sizeof *rows);
    size_t begins[PS_CONNECTIVITY_MOST + 2], count = 0;
    ps_run *runs = NULL;
    ps_pair *pairs = NULL;
    int status = -1;

    if (rows == NULL) {
        goto done;
    }
    for (size_t y = 0; y < height; y++) {
        uint8_t *levels = ps_out_u8(held, y);
        impl->levels(ps_in_f32(alpha, y), ps_in_f32(truth, y), thresholds, n, levels, width);
        rows[y] = (uint32_t)count;
        count += ps_runs_of_row(levels, width, NULL, 0);
    }
    rows[height] = (uint32_t)count;
    runs = ps_alloc_large(count, sizeof *runs);
    if (runs == NULL) {
        goto done;
    }
    for (size_t y = 0; y < height; y++) {
        (void)ps_runs_of_row(ps_out_u8(held, y), width, runs, rows[y]);
    }
    pairs = ps_sorted_pairs(runs, rows, height, begins);
    if (pairs == NULL) {
        goto done;
    }
    const uint8_t elsewhere = ps_hold(runs, count, pairs, begins, height * width, n, background);
    for (size_t y = 0; y < height; y++) {
        uint8_t *row = ps_out_u8(held, y);
        memset(row, elsewhere, width);
        for (uint32_t i = rows[y]; i < rows[y + 1]; i++) {
            memset(row + runs[i].start, runs[i].held, runs[i].end - runs[i].start);
        }
    }
    status = 0;
done:
    free(pairs);
    free(runs);
    free(rows);
    return status;
}
