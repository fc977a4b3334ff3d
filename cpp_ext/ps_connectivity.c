/* ps_connectivity.c - how long a pixel stays in the largest component as a threshold rises.
 *
 *     S(k)    = {p: alpha[p] >= t[k] and truth[p] >= t[k]},   k = 1 ... n
 *     O(k)    = the largest 4-connected component of S(k); of equal ones, that whose first pixel in
 *               reading order comes first; with `background` the rest of the picture, all of it
 *               together, where that is at least as large
 *     held[p] = the largest K with p in O(1), ..., O(K)
 *
 * One union-find instead of n labellings. Its elements are runs: pixels of a row, side by side, that
 * are in the same S(k). Thresholds go down; at each, runs appear and neighbours unite. The root of a
 * component is its first run, so that ties fall as they should.
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

typedef struct ps_largest {
    uint32_t root, size; /* no root while the size is 0 */
} ps_largest;

/* How many thresholds both alphas of each pixel reach. NaN reaches none. */
static void
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

/* Let the runs of one level appear, and unite them with the neighbours that are there. Rows begin at
 * rows[0] to rows[height]. Returns how many pixels appeared. */
static size_t
ps_lower(ps_run *runs, const uint32_t *rows, size_t height, uint8_t level, ps_largest *largest)
{
    size_t appeared = 0;

    for (size_t y = 0; y < height; y++) {
        uint32_t above = y > 0 ? rows[y - 1] : 0; /* the first that does not end left of the run */
        for (uint32_t i = rows[y]; i < rows[y + 1]; i++) {
            const ps_run run = runs[i];
            const int appears = run.level == level;
            if (run.level < level) {
                continue;
            }
            if (appears) {
                appeared += run.end - run.start;
                ps_consider(runs, i, largest);
            }
            /* Both there, and one of them new. */
            if (i > rows[y] && runs[i - 1].end == run.start && runs[i - 1].level >= level
                && (appears || runs[i - 1].level == level)) {
                ps_unite(runs, i - 1, i, level, largest);
            }
            if (y == 0) {
                continue;
            }
            while (above < rows[y] && runs[above].end <= run.start) {
                above++;
            }
            for (uint32_t j = above; j < rows[y] && runs[j].start < run.end; j++) {
                if (runs[j].level >= level && (appears || runs[j].level == level)) {
                    ps_unite(runs, j, i, level, largest);
                }
            }
        }
    }
    return appeared;
}

/* Unite all, and turn each run's `held` into the result. Returns that of pixels without a run. */
static uint8_t
ps_hold(ps_run *runs, const uint32_t *rows, size_t height, size_t width, size_t n, int background)
{
    uint32_t roots[PS_CONNECTIVITY_MOST + 1];
    uint8_t nested[PS_CONNECTIVITY_MOST + 1]; /* whether O(k + 1) is there and lies in O(k) */
    uint8_t behind[PS_CONNECTIVITY_MOST + 1]; /* whether O(k) is the background */
    ps_largest largest = {0, 0};
    size_t there = 0;

    for (size_t k = n; k > 0; k--) {
        const ps_largest before = largest;
        there += ps_lower(runs, rows, height, (uint8_t)k, &largest);
        roots[k] = largest.root;
        nested[k] = before.size > 0 && ps_root(runs, before.root) == largest.root;
        behind[k] = background && height * width - there >= largest.size;
    }

    size_t last = 0; /* the O(k) up to it are nested, and components */
    if (largest.size > 0 && !behind[1]) {
        last = 1;
        while (last < n && nested[last] && !behind[last + 1]) {
            last++;
        }
    }
    for (size_t k = 1; k <= last; k++) { /* there and then it was the root */
        runs[roots[k]].joined = roots[k];
        runs[roots[k]].held = (uint8_t)k;
    }
    for (uint32_t i = 0; i < rows[height]; i++) {
        const uint8_t whole = runs[runs[i].joined].held;
        runs[i].held = runs[i].held < whole ? runs[i].held : whole;
    }
    if (last == n || !behind[last + 1]) {
        return 0;
    }
    for (uint32_t i = 0; i < rows[height]; i++) { /* those who fall out into the background stay */
        if (runs[i].held == last && runs[i].level == last) {
            runs[i].held = (uint8_t)n;
        }
    }
    return last == 0 ? (uint8_t)n : 0;
}

int
ps_connectivity(ps_in alpha, ps_in truth, size_t height, size_t width, const float *thresholds,
                size_t n, int background, ps_out held)
{
    uint32_t *rows = ps_alloc(height + 1, sizeof *rows);
    ps_run *runs = NULL;
    size_t count = 0;

    if (rows == NULL) {
        return -1;
    }
    for (size_t y = 0; y < height; y++) {
        uint8_t *levels = ps_out_u8(held, y);
        ps_levels(ps_in_f32(alpha, y), ps_in_f32(truth, y), thresholds, n, levels, width);
        rows[y] = (uint32_t)count;
        count += ps_runs_of_row(levels, width, NULL, 0);
    }
    rows[height] = (uint32_t)count;
    runs = ps_alloc_large(count, sizeof *runs);
    if (runs == NULL) {
        free(rows);
        return -1;
    }
    for (size_t y = 0; y < height; y++) {
        (void)ps_runs_of_row(ps_out_u8(held, y), width, runs, rows[y]);
    }
    const uint8_t elsewhere = ps_hold(runs, rows, height, width, n, background);
    for (size_t y = 0; y < height; y++) {
        uint8_t *row = ps_out_u8(held, y);
        memset(row, elsewhere, width);
        for (uint32_t i = rows[y]; i < rows[y + 1]; i++) {
            memset(row + runs[i].start, runs[i].held, runs[i].end - runs[i].start);
        }
    }
    free(runs);
    free(rows);
    return 0;
}
