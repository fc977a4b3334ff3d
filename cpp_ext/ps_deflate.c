/* ps_deflate.c - bytes to raw deflate (RFC 1951): Huffman codes and runs.
 *
 *     equal blocks of up to 65,535 bytes; in each, PS_MIN_RUN or more values like the one before
 *     them are matches at distance 1, all else literals; a block has Huffman codes of its own, or
 *     holds its bytes as they are where that is shorter
 *
 * Made for a photo's filtered rows, where longer patterns hardly repeat, so that a search for them
 * costs most of the time and gives little or nothing. Integers only, so that every machine writes
 * the same bytes; variants differ in how they look for runs.
 *
 * Source: RFC 1951. Moffat & Katajainen, "In-Place Calculation of Minimum-Redundancy Codes", WADS
 * 1995.
 */
#include "ps_deflate.h"

#define PS_BLOCK 65535 /* bytes of data; what a stored block holds */
#define PS_MIN_RUN 10 /* on cutouts; shorter runs cost no more as literals, with short codes then */
#define PS_MAX_MATCH 258
#define PS_MIN_MATCH 3

#define PS_LITERALS 286 /* and lengths; 256 ends a block */
#define PS_END 256
#define PS_DISTANCES 2 /* 1, and one unused: some decoders refuse a code of a single symbol */
#define PS_CODES 19    /* that code lengths are written in */

#define PS_LITERAL_BITS 14 /* longest code: four of them and 7 bits of rest fit into 64 bits */
#define PS_CODE_BITS 7

typedef struct ps_run {
    uint32_t first, length;
} ps_run;

typedef struct ps_deflate_work {
    ps_run runs[PS_BLOCK / PS_MIN_RUN + 1];
    uint32_t counts[4][256]; /* four, so that equal neighbours need not wait for each other */
    uint32_t frequency[PS_LITERALS];
    uint8_t lengths[PS_LITERALS];
    uint16_t codes[PS_LITERALS];
    uint32_t table[256]; /* of literals: code and, from bit 16, its length */
} ps_deflate_work;

typedef struct ps_bits {
    uint8_t *at;
    uint64_t held; /* the first bit lowest */
    unsigned count;
} ps_bits;

/* `count` + bits->count must not pass 64. */
PS_INLINE void
ps_bits_add(ps_bits *bits, uint32_t value, unsigned count)
{
    bits->held |= (uint64_t)value << bits->count;
    bits->count += count;
}

/* Writes whole bytes, leaves at most 7 bits; touches 8 bytes. */
PS_INLINE void
ps_bits_flush(ps_bits *bits)
{
    for (unsigned i = 0; i < 8; i++) { /* one store, as compilers see it */
        bits->at[i] = (uint8_t)(bits->held >> (8 * i));
    }
    bits->at += bits->count >> 3;
    bits->held >>= bits->count & 56;
    bits->count &= 7;
}

static void
ps_bits_align(ps_bits *bits)
{
    bits->count = (bits->count + 7) & ~7u;
    ps_bits_flush(bits);
}

/* Code lengths, 1 to `limit`, 0 for what does not occur; at least two symbols must occur. `n` is at
 * most PS_LITERALS, the frequencies' sum below 2^22. */
static void
ps_code_lengths(const uint32_t *frequency, size_t n, unsigned limit, uint8_t *lengths)
{
    uint32_t order[PS_LITERALS], a[PS_LITERALS]; /* a: weights, then parents, then depths */
    uint32_t of_length[33] = {0};
    size_t m = 0;

    for (size_t i = 0; i < n; i++) {
        lengths[i] = 0;
        if (frequency[i] != 0) {
            order[m++] = frequency[i] << 9 | (uint32_t)i;
        }
    }
    for (size_t gap = 121; gap > 0; gap /= 3) { /* Shell's sort; no two are equal */
        for (size_t i = gap; i < m; i++) {
            const uint32_t value = order[i];
            size_t j = i;
            for (; j >= gap && order[j - gap] > value; j -= gap) {
                order[j] = order[j - gap];
            }
            order[j] = value;
        }
    }
    for (size_t i = 0; i < m; i++) {
        a[i] = order[i] >> 9;
    }
    /* Inner node `next` joins the two lightest of leaves from `leaf` and inner nodes from `root`. */
    for (size_t next = 0, leaf = 0, root = 0; next + 1 < m; next++) {
        uint32_t weight = 0;
        for (int side = 0; side < 2; side++) {
            if (leaf >= m || (root < next && a[root] < a[leaf])) {
                weight += a[root];
                a[root++] = (uint32_t)next;
            } else {
                weight += a[leaf++];
            }
        }
        a[next] = weight;
    }
    a[m - 2] = 0;
    for (size_t i = m - 2; i-- > 0;) {
        a[i] = a[a[i]] + 1;
    }
    /* From the root down: what is no inner node at a depth is a leaf. A depth past the limit counts
     * as the limit. */
    size_t inner = m - 1, left = m, places = 1;
    for (uint32_t depth = 0; left > 0; depth++) {
        size_t used = 0;
        while (inner > 0 && a[inner - 1] == depth) {
            inner--;
            used++;
        }
        of_length[depth < limit ? depth : limit] += (uint32_t)(places - used);
        left -= places - used;
        places = 2 * used;
    }
    /* Codes cut to the limit take more room than there is: `total` units of 2^-limit of it. Each
     * step takes one leaf from the limit and puts it beside another, which becomes a bit longer. */
    size_t total = 0;
    for (unsigned length = 1; length <= limit; length++) {
        total += (size_t)of_length[length] << (limit - length);
    }
    for (; total > (size_t)1 << limit; total--) {
        unsigned length = limit - 1;
        while (of_length[length] == 0) {
            length--;
        }
        of_length[limit]--;
        of_length[length]--;
        of_length[length + 1] += 2;
    }
    for (size_t i = 0, length = limit; i < m; i++) { /* the rarest first */
        while (of_length[length] == 0) {
            length--;
        }
        of_length[length]--;
        lengths[order[i] & 511] = (uint8_t)length;
    }
}

/* Canonical codes, first bit lowest. */
static void
ps_make_codes(const uint8_t *lengths, size_t n, uint16_t *codes)
{
    uint32_t next[16] = {0}, code = 0;
    uint32_t of_length[16] = {0};

    for (size_t i = 0; i < n; i++) {
        of_length[lengths[i]]++;
    }
    of_length[0] = 0;
    for (unsigned length = 1; length < 16; length++) {
        code = (code + of_length[length - 1]) << 1;
        next[length] = code;
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t value = next[lengths[i]]++, reversed = 0;
        for (unsigned bit = 0; bit < lengths[i]; bit++) {
            reversed = reversed << 1 | (value & 1);
            value >>= 1;
        }
        codes[i] = (uint16_t)reversed;
    }
}

/* The symbol of a match of 3 to 258 bytes, and its extra bits. */
static unsigned
ps_length_symbol(unsigned length, unsigned *extra, unsigned *extra_bits)
{
    const unsigned offset = length - PS_MIN_MATCH;
    unsigned k = 0;

    *extra = *extra_bits = 0;
    if (length == PS_MAX_MATCH) {
        return 285;
    }
    if (offset < 8) {
        return 257 + offset;
    }
    while (offset >> (k + 3) != 0) {
        k++;
    }
    *extra = offset & ((1u << k) - 1);
    *extra_bits = k;
    return 257 + 4 * (k + 1) + ((offset >> k) & 3);
}

/* The next match of a run with `left` values to go; 0 where they are literals. */
static unsigned
ps_next_match(uint32_t left)
{
    return left >= PS_MAX_MATCH ? PS_MAX_MATCH : left >= PS_MIN_MATCH ? left : 0;
}

/* The first i from `from` on whose PS_MIN_RUN values from i equal data[i - 1], or n. */
static size_t
ps_find_run_scalar(const uint8_t *data, size_t from, size_t n)
{
    size_t same = 0;

    for (size_t i = from; i < n; i++) {
        same = data[i] == data[i - 1] ? same + 1 : 0;
        if (same == PS_MIN_RUN) {
            return i + 1 - PS_MIN_RUN;
        }
    }
    return n;
}

#if PS_X86
PS_AVX2 PS_INLINE uint64_t
ps_repeats_avx2(const uint8_t *at)
{
    const __m256i here = _mm256_loadu_si256((const __m256i *)(const void *)at);
    const __m256i before = _mm256_loadu_si256((const __m256i *)(const void *)(at - 1));

    return (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(here, before));
}

PS_AVX2 static size_t
ps_find_run_avx2(const uint8_t *data, size_t from, size_t n)
{
    size_t i = from;

    for (; i + 64 <= n; i += 64 - PS_MIN_RUN + 1) { /* the next 64 see what is cut off here */
        uint64_t m = ps_repeats_avx2(data + i) | ps_repeats_avx2(data + i + 32) << 32;
        m &= m >> 1; /* a bit: 2 repeats from it on */
        m &= m >> 2;
        m &= m >> 4;
        m &= m >> (PS_MIN_RUN - 8);
        if (m != 0) {
            while ((m & 1) == 0) {
                m >>= 1;
                i++;
            }
            return i;
        }
    }
    return ps_find_run_scalar(data, i, n);
}
#endif

#if PS_ARM64
static size_t
ps_find_run_neon(const uint8_t *data, size_t from, size_t n)
{
    size_t i = from;

    for (; i + 16 <= n; i += 16 - PS_MIN_RUN + 1) {
        const uint8x16_t same = vceqq_u8(vld1q_u8(data + i), vld1q_u8(data + i - 1));
        /* Four bits a value. */
        const uint8x8_t narrow = vshrn_n_u16(vreinterpretq_u16_u8(same), 4);
        uint64_t m = vget_lane_u64(vreinterpret_u64_u8(narrow), 0);
        m &= m >> 4;
        m &= m >> 8;
        m &= m >> 16;
        m &= m >> (4 * (PS_MIN_RUN - 8));
        if (m != 0) {
            while ((m & 1) == 0) {
                m >>= 4;
                i++;
            }
            return i;
        }
    }
    return ps_find_run_scalar(data, i, n);
}
#endif

const ps_deflate_impl ps_deflate_impls[] = {
/* best first, scalar last */
#if PS_X86
    {{"avx2", PS_CPU_AVX2}, ps_find_run_avx2},
#endif
#if PS_ARM64
    {{"neon", PS_CPU_NEON}, ps_find_run_neon},
#endif
    {{"scalar", 0}, ps_find_run_scalar},
};

/* Every stretch of PS_MIN_RUN or more values equal to the one before them. */
static size_t
ps_find_runs(const ps_deflate_impl *impl, const uint8_t *data, size_t n, ps_run *runs)
{
    size_t found = 0;

    for (size_t at = 1; (at = impl->find_run(data, at, n)) < n;) {
        size_t end = at + PS_MIN_RUN;
        while (end + 8 <= n && memcmp(data + end, data + end - 1, 8) == 0) {
            end += 8;
        }
        while (end < n && data[end] == data[end - 1]) {
            end++;
        }
        runs[found].first = (uint32_t)at;
        runs[found++].length = (uint32_t)(end - at);
        at = end;
    }
    return found;
}

static void
ps_count_literals(ps_deflate_work *work, const uint8_t *data, size_t n)
{
    size_t i = 0;

    for (; i + 4 <= n; i += 4) {
        work->counts[0][data[i]]++;
        work->counts[1][data[i + 1]]++;
        work->counts[2][data[i + 2]]++;
        work->counts[3][data[i + 3]]++;
    }
    for (; i < n; i++) {
        work->counts[0][data[i]]++;
    }
}

/* Fills work->frequency; returns the bits of matches beyond their symbols' codes. */
static size_t
ps_count(ps_deflate_work *work, const uint8_t *data, size_t n, size_t runs)
{
    size_t at = 0, bits = 0;
    unsigned extra, extra_bits;

    memset(work->counts, 0, sizeof work->counts);
    memset(work->frequency, 0, sizeof work->frequency);
    for (size_t r = 0; r < runs; r++) {
        uint32_t left = work->runs[r].length;
        ps_count_literals(work, data + at, work->runs[r].first - at);
        at = work->runs[r].first + left;
        for (unsigned match; (match = ps_next_match(left)) != 0; left -= match) {
            work->frequency[ps_length_symbol(match, &extra, &extra_bits)]++;
            bits += extra_bits + 1;
        }
        work->frequency[data[at - 1]] += left;
    }
    ps_count_literals(work, data + at, n - at);
    for (size_t i = 0; i < 256; i++) {
        work->frequency[i] +=
            work->counts[0][i] + work->counts[1][i] + work->counts[2][i] + work->counts[3][i];
    }
    work->frequency[PS_END] = 1;
    return bits;
}

/* A block's code lengths, themselves coded: RFC 1951, 3.2.7. */
typedef struct ps_header {
    uint8_t symbols[PS_LITERALS + PS_DISTANCES], extra[PS_LITERALS + PS_DISTANCES];
    uint8_t lengths[PS_CODES];
    size_t count, literals, codes;
    size_t bits;
} ps_header;

static const uint8_t ps_code_order[PS_CODES] = {16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                                11, 4,  12, 3, 13, 2, 14, 1, 15};
static const uint8_t ps_code_extra[PS_CODES] = {[16] = 2, [17] = 3, [18] = 7};

static void
ps_make_header(const uint8_t *literals, ps_header *header)
{
    uint8_t lengths[PS_LITERALS + PS_DISTANCES];
    uint32_t frequency[PS_CODES] = {0};
    size_t n = PS_LITERALS, count = 0;

    while (literals[n - 1] == 0) {
        n--;
    }
    header->literals = n;
    memcpy(lengths, literals, n);
    for (size_t i = 0; i < PS_DISTANCES; i++) {
        lengths[n++] = 1;
    }
    for (size_t i = 0; i < n;) {
        size_t same = 1;
        while (i + same < n && lengths[i + same] == lengths[i]) {
            same++;
        }
        uint8_t symbol = lengths[i], extra = 0;
        if (symbol == 0 && same >= 11) {
            same = same < 138 ? same : 138;
            symbol = 18;
            extra = (uint8_t)(same - 11);
        } else if (symbol == 0 && same >= 3) {
            symbol = 17;
            extra = (uint8_t)(same - 3);
        } else if (i > 0 && symbol == lengths[i - 1] && same >= 3) {
            same = same < 6 ? same : 6;
            symbol = 16;
            extra = (uint8_t)(same - 3);
        } else {
            same = 1;
        }
        header->symbols[count] = symbol;
        header->extra[count++] = extra;
        frequency[symbol]++;
        i += same;
    }
    header->count = count;
    ps_code_lengths(frequency, PS_CODES, PS_CODE_BITS, header->lengths);
    header->codes = PS_CODES;
    while (header->lengths[ps_code_order[header->codes - 1]] == 0) {
        header->codes--;
    }
    header->bits = 3 + 5 + 5 + 4 + 3 * header->codes;
    for (size_t i = 0; i < PS_CODES; i++) {
        header->bits += (size_t)frequency[i] * (header->lengths[i] + ps_code_extra[i]);
    }
}

static void
ps_write_header(ps_bits *bits, const ps_header *header, int last)
{
    uint16_t codes[PS_CODES];

    ps_bits_add(bits, last ? 1 : 0, 1);
    ps_bits_add(bits, 2, 2); /* its own Huffman codes */
    ps_bits_add(bits, (uint32_t)(header->literals - 257), 5);
    ps_bits_add(bits, PS_DISTANCES - 1, 5);
    ps_bits_add(bits, (uint32_t)(header->codes - 4), 4);
    ps_bits_flush(bits);
    for (size_t i = 0; i < header->codes; i++) {
        ps_bits_add(bits, header->lengths[ps_code_order[i]], 3);
        ps_bits_flush(bits);
    }
    ps_make_codes(header->lengths, PS_CODES, codes);
    for (size_t i = 0; i < header->count; i++) {
        const unsigned symbol = header->symbols[i];
        ps_bits_add(bits, codes[symbol], header->lengths[symbol]);
        ps_bits_add(bits, header->extra[i], ps_code_extra[symbol]);
        ps_bits_flush(bits);
    }
}

static void
ps_write_literals(ps_bits *out, const uint32_t *restrict table, const uint8_t *restrict data,
                  size_t n)
{
    ps_bits bits = *out; /* stays in registers */
    size_t i = 0;

    for (; i + 4 <= n; i += 4) {
        const uint32_t a = table[data[i]], b = table[data[i + 1]];
        const uint32_t c = table[data[i + 2]], d = table[data[i + 3]];
        const uint32_t ab = (a & 0xFFFF) | (b & 0xFFFF) << (a >> 16);
        const uint32_t cd = (c & 0xFFFF) | (d & 0xFFFF) << (c >> 16);
        ps_bits_add(&bits, ab, (a >> 16) + (b >> 16));
        ps_bits_add(&bits, cd, (c >> 16) + (d >> 16));
        ps_bits_flush(&bits);
    }
    for (; i < n; i++) {
        ps_bits_add(&bits, table[data[i]] & 0xFFFF, table[data[i]] >> 16);
        ps_bits_flush(&bits);
    }
    *out = bits;
}

static void
ps_write_coded(ps_bits *bits, ps_deflate_work *work, const uint8_t *data, size_t n, size_t runs)
{
    size_t at = 0;
    unsigned extra, extra_bits;

    ps_make_codes(work->lengths, PS_LITERALS, work->codes);
    for (size_t i = 0; i < 256; i++) {
        work->table[i] = work->codes[i] | (uint32_t)work->lengths[i] << 16;
    }
    for (size_t r = 0; r < runs; r++) {
        uint32_t left = work->runs[r].length;
        ps_write_literals(bits, work->table, data + at, work->runs[r].first - at);
        at = work->runs[r].first + left;
        for (unsigned match; (match = ps_next_match(left)) != 0; left -= match) {
            const unsigned symbol = ps_length_symbol(match, &extra, &extra_bits);
            ps_bits_add(bits, work->codes[symbol], work->lengths[symbol]);
            ps_bits_add(bits, extra, extra_bits);
            ps_bits_add(bits, 0, 1); /* distance 1 */
            ps_bits_flush(bits);
        }
        ps_write_literals(bits, work->table, data + at - left, left);
    }
    ps_write_literals(bits, work->table, data + at, n - at);
    ps_bits_add(bits, work->codes[PS_END], work->lengths[PS_END]);
    ps_bits_flush(bits);
}

/* n: up to PS_BLOCK. */
static void
ps_write_stored(ps_bits *bits, const uint8_t *data, size_t n, int last)
{
    ps_bits_add(bits, last ? 1 : 0, 3);
    ps_bits_align(bits);
    ps_bits_add(bits, (uint32_t)n, 16);
    ps_bits_add(bits, (uint32_t)n ^ 0xFFFF, 16);
    ps_bits_flush(bits);
    if (n > 0) {
        memcpy(bits->at, data, n);
        bits->at += n;
    }
}

static void
ps_write_block(const ps_deflate_impl *impl, ps_bits *bits, ps_deflate_work *work,
               const uint8_t *data, size_t n, int last)
{
    const size_t runs = ps_find_runs(impl, data, n, work->runs);
    size_t size = ps_count(work, data, n, runs);
    ps_header header;

    ps_code_lengths(work->frequency, PS_LITERALS, PS_LITERAL_BITS, work->lengths);
    for (size_t i = 0; i < PS_LITERALS; i++) {
        size += (size_t)work->frequency[i] * work->lengths[i];
    }
    ps_make_header(work->lengths, &header);
    if (size + header.bits < 8 * (n + 4)) {
        ps_write_header(bits, &header, last);
        ps_write_coded(bits, work, data, n, runs);
    } else {
        ps_write_stored(bits, data, n, last);
    }
}

size_t
ps_deflate_bound(size_t n)
{
    size_t bound;

    /* 5 bytes a stored block, 5 for the empty one, 8 that a flush may touch. */
    return ps_size_mul_add(n / PS_BLOCK + 3, 6, 8, &bound) && bound <= SIZE_MAX - n ? n + bound : 0;
}

int
ps_deflate(const ps_deflate_impl *impl, const uint8_t *data, size_t n, int last, uint8_t *out,
           size_t *used)
{
    ps_deflate_work *work = ps_alloc(1, sizeof *work);
    ps_bits bits = {out, 0, 0};

    if (work == NULL) {
        return -1;
    }
    const size_t blocks = n / PS_BLOCK + (n % PS_BLOCK != 0);
    for (size_t left = blocks, at = 0; left > 0; left--) {
        const size_t size = (n - at) / left; /* within one of each other, the last the largest */
        ps_write_block(impl, &bits, work, data + at, size, last && left == 1);
        at += size;
    }
    if (!last || n == 0) {
        ps_write_stored(&bits, data, 0, last);
    }
    ps_bits_align(&bits);
    *used = (size_t)(bits.at - out);
    free(work);
    return 0;
}
