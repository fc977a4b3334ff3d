/* ps_multilevel.c - multi-level estimation of foreground and background colours.
 *
 * From one pixel up to the full size, each level starts from the last one's nearest neighbours and
 * is swept a few times in raster order (ps_wave.c has the formula). Level l of L is
 * round(height^(l / L)) x round(width^(l / L)); the first starts from the mean colours of alpha over
 * 0.9 and under 0.1.
 *
 * The last `tiled_levels` levels are solved only where alpha is unknown, in windows that do not
 * depend on each other: runs of tiles in a row, with a rim around them that is solved with them and
 * thrown away. Elsewhere foreground is the image where alpha is nearer 1, and what the last whole
 * level says where it is nearer 0; background the other way round.
 *
 * A job is a list of passes, a pass of items. Threads take items in order, and begin one when the
 * pass before is done; bands of one pass follow each other as ps_wave.h says. A thread waits only
 * for items that others have begun, so one thread alone gets through, as do many.
 *
 * Source: Germer, Uelwer, Conrad & Harmeling, "Fast Multi-Level Foreground Estimation", ICPR 2020.
 */
#include "ps_multilevel.h"

#include <math.h>

#include "ps_team.h"

#define PS_TILE 64 /* rows and columns of a tile */
#define PS_RIM                                                                                     \
    7 /* pixels around a tile that are solved with it: 64 + 2 * 7 + 1 rows fill 5 bands */
#define PS_SURVEY_ROWS 64 /* rows of one partial sum of the start colours */
#define PS_MEAN_SIDE 512  /* tiled: start colours from about so many rows and columns */
#define PS_MAX_LEVELS 64

/* What rounds to 0 or 255 in 8 bits is known. */
static const float ps_known_low = 0.5f / 255.0f;
static const float ps_known_high = 1.0f - 0.5f / 255.0f;

typedef enum ps_pass_kind {
    PS_PASS_SURVEY, /* sums of start colours, unknown tiles */
    PS_PASS_START,  /* the start colours, tiles of the levels before */
    PS_PASS_BANDS,  /* sweeps over a whole level */
    PS_PASS_TILES   /* sweeps over its tiles, a row of them an item */
} ps_pass_kind;

typedef struct ps_pass {
    ps_pass_kind kind;
    size_t level;
    size_t turn; /* of a level's passes */
    size_t sweeps;
    uint32_t first; /* item, of all */
    uint32_t items;
    uint32_t done; /* items */
} ps_pass;

typedef struct ps_level {
    size_t height;
    size_t width;
    size_t sweeps;
    size_t passes;
    int tiled;
    size_t tile_rows;
    size_t tile_columns;
    unsigned char *tiles;    /* tiled: which have unknown pixels, or are started from */
    uint32_t *colours;       /* PS_WORDS a pixel; NULL in the last pass of the last level */
    uint32_t *image_columns; /* tables as in ps_wave.h */
    uint32_t *start_columns; /* the level before */
    uint32_t *own_columns;   /* this level, for passes after the first */
} ps_level;

struct ps_multilevel_job {
    const ps_multilevel_impl *impl;
    ps_multilevel_task task;
    size_t levels; /* the last level's index */
    size_t base;   /* the last whole level before tiled ones */
    ps_level level[PS_MAX_LEVELS];
    uint32_t start[PS_WORDS + 1]; /* one is read, not used */
    double *sums; /* per survey item: foreground R, G, B, count, background R, G, B, count */
    float *handed;
    ps_pass *pass;
    size_t passes;
    uint32_t items;
    uint32_t taken;
    uint32_t *progress; /* per item, of bands */
};

/* Plan --------------------------------------------------------------------------------------- */

/* round(extent ** (level / levels)), halves to even, as in Python. */
static size_t
ps_level_size(size_t extent, size_t level, size_t levels)
{
    return (size_t)rint(pow((double)extent, (double)level / (double)levels));
}

/* ceil(log2(extent)), at least 1. */
static size_t
ps_level_count(size_t extent)
{
    size_t levels = 0;
    while (((extent - 1) >> levels) != 0) {
        levels++;
    }
    return levels > 0 ? levels : 1;
}

/* A table of ps_wave.h: column i of `width`, clamped, in an array of `columns` columns. */
static uint32_t *
ps_column_table(size_t width, size_t columns)
{
    uint32_t *table = ps_alloc(PS_WAVE_TABLE(width), sizeof *table);

    for (size_t i = 0; table != NULL && i < PS_WAVE_TABLE(width); i++) {
        const size_t x = i < PS_WAVE_AHEAD ? 0 : i - PS_WAVE_AHEAD;
        table[i] = (uint32_t)((x < width ? x : width - 1) * columns / width);
    }
    return table;
}

static int
ps_plan_level(ps_multilevel_job *job, size_t i)
{
    const ps_multilevel_options *options = &job->task.options;
    const size_t last_width = i > 0 ? job->level[i - 1].width : 1;
    ps_level *level = &job->level[i];
    size_t pixels;

    level->height = ps_level_size(job->task.height, i, job->levels);
    level->width = ps_level_size(job->task.width, i, job->levels);
    const int small = level->height <= options->small_size && level->width <= options->small_size;
    level->sweeps = small ? options->small_iterations : options->big_iterations;
    level->passes = level->sweeps > 0 ? (level->sweeps + 1) / 2 : 1;
    level->tiled = i > 0 && job->levels - i < options->tiled_levels && !small && level->passes == 1;
    if (!level->tiled) {
        job->base = i;
    }
    level->tile_rows = (level->height + PS_TILE - 1) / PS_TILE;
    level->tile_columns = (level->width + PS_TILE - 1) / PS_TILE;
    level->image_columns = ps_column_table(level->width, job->task.width);
    level->start_columns = ps_column_table(level->width, last_width);
    if (level->image_columns == NULL || level->start_columns == NULL) {
        return -1;
    }
    if (level->passes > 1) {
        level->own_columns = ps_column_table(level->width, level->width);
        if (level->own_columns == NULL) {
            return -1;
        }
    }
    if (i < job->levels || level->passes > 1) {
        if (!ps_size_mul_add(level->height, level->width, 1, &pixels)) { /* 1: read past the end */
            return -1;
        }
        level->colours = ps_alloc_large(pixels, PS_WORDS * sizeof(uint32_t));
        if (level->colours == NULL) {
            return -1;
        }
    }
    if (level->tiled) {
        level->tiles = calloc(level->tile_rows * level->tile_columns, 1);
        if (level->tiles == NULL) {
            return -1;
        }
    }
    return 0;
}

static int
ps_plan_pass(ps_multilevel_job *job, ps_pass_kind kind, size_t level, size_t turn, size_t sweeps,
             size_t items)
{
    ps_pass *pass = &job->pass[job->passes++];
    if (items > UINT32_MAX / 2 - job->items) { /* the counters', and beyond all patience */
        return -1;
    }
    memset(pass, 0, sizeof *pass);
    pass->kind = kind;
    pass->level = level;
    pass->turn = turn;
    pass->sweeps = sweeps;
    pass->first = job->items;
    pass->items = (uint32_t)items;
    job->items += pass->items;
    return 0;
}

ps_multilevel_job *
ps_multilevel_new(const ps_multilevel_impl *impl, const ps_multilevel_task *task)
{
    ps_multilevel_job *job = calloc(1, sizeof *job);
    size_t passes = 2, handed;

    if (job == NULL) {
        return NULL;
    }
    job->impl = impl;
    job->task = *task;
    job->levels = ps_level_count(task->height > task->width ? task->height : task->width);
    for (size_t i = 0; i <= job->levels; i++) {
        if (ps_plan_level(job, i) < 0) {
            goto failed;
        }
        passes += job->level[i].passes;
    }
    const size_t surveys = (task->height + PS_SURVEY_ROWS - 1) / PS_SURVEY_ROWS;
    job->sums = ps_alloc(surveys, 8 * sizeof *job->sums);
    job->pass = ps_alloc(passes, sizeof *job->pass);
    if (job->sums == NULL || job->pass == NULL
        || !ps_size_mul_add(task->width, 2 * PS_COLOURS, 0, &handed)) {
        goto failed;
    }
    int planned = ps_plan_pass(job, PS_PASS_SURVEY, job->levels, 0, 0, surveys);
    planned |= ps_plan_pass(job, PS_PASS_START, 0, 0, 0, 1);
    for (size_t i = 0; i <= job->levels && planned == 0; i++) {
        const ps_level *level = &job->level[i];
        size_t left = level->sweeps;
        for (size_t turn = 0; turn < level->passes && planned == 0; turn++) {
            const size_t sweeps = left < 2 ? left : 2;
            left -= sweeps;
            if (level->tiled) {
                planned = ps_plan_pass(job, PS_PASS_TILES, i, turn, sweeps, level->tile_rows);
            } else {
                planned = ps_plan_pass(job, PS_PASS_BANDS, i, turn, sweeps,
                                       ps_wave_bands(impl, level->height, sweeps));
            }
        }
    }
    job->handed = ps_alloc(handed, sizeof *job->handed);
    job->progress = calloc(job->items, sizeof *job->progress);
    if (planned != 0 || job->handed == NULL || job->progress == NULL) {
        goto failed;
    }
    return job;
failed:
    ps_multilevel_free(job);
    return NULL;
}

void
ps_multilevel_free(ps_multilevel_job *job)
{
    if (job == NULL) {
        return;
    }
    for (size_t i = 0; i <= job->levels && i < PS_MAX_LEVELS; i++) {
        free(job->level[i].own_columns);
        free(job->level[i].start_columns);
        free(job->level[i].image_columns);
        free(job->level[i].colours);
        free(job->level[i].tiles);
    }
    free(job->progress);
    free(job->handed);
    free(job->pass);
    free(job->sums);
    free(job);
}

/* Items -------------------------------------------------------------------------------------- */

/* What one thread works with. */
typedef struct ps_workspace {
    ps_scratch *scratch;
    float *handed;           /* of a window of tiles */
    uint32_t *known;         /* foreground of a row as bytes */
    uint32_t *image_columns; /* likewise */
    uint32_t *start_columns;
} ps_workspace;

static int
ps_is_unknown(float a)
{
    return a > ps_known_low && a < ps_known_high;
}

/* Every so many rows and columns count for the start colours of a tiled job. */
static size_t
ps_mean_step(const ps_multilevel_job *job)
{
    const size_t shorter = job->task.height < job->task.width ? job->task.height : job->task.width;
    return job->base < job->levels ? 1 + shorter / PS_MEAN_SIDE : 1;
}

/* Add what alpha says is foreground to sums[0 .. 3], background to sums[4 .. 7]. */
static void
ps_survey_means(const ps_multilevel_job *job, size_t y, size_t step, double *sums)
{
    const size_t width = job->task.width;
    const float *alpha = ps_in_f32(job->task.alpha, y);

    if (job->task.image_u8) {
        const uint8_t *rgb = ps_in_u8(job->task.image, y);
        uint64_t whole[8] = {0};
        for (size_t x = 0; x < width; x += step) {
            const uint32_t front = alpha[x] > 0.9f, back = alpha[x] < 0.1f;
            for (size_t c = 0; c < 3; c++) {
                whole[c] += rgb[3 * x + c] & (0u - front);
                whole[4 + c] += rgb[3 * x + c] & (0u - back);
            }
            whole[3] += front;
            whole[7] += back;
        }
        for (size_t c = 0; c < 8; c++) {
            sums[c] += (double)whole[c] / (c % 4 == 3 ? 1.0 : 255.0);
        }
    } else {
        const float *rgb = ps_in_f32(job->task.image, y);
        double own[8] = {0.0};
        for (size_t x = 0; x < width; x += step) {
            const int front = alpha[x] > 0.9f, back = alpha[x] < 0.1f;
            for (size_t c = 0; c < 3; c++) {
                const double value = (double)rgb[3 * x + c];
                own[c] += front ? value : 0.0;
                own[4 + c] += back ? value : 0.0;
            }
            own[3] += front ? 1.0 : 0.0;
            own[7] += back ? 1.0 : 0.0;
        }
        for (size_t c = 0; c < 8; c++) {
            sums[c] += own[c];
        }
    }
}

static void
ps_survey(ps_multilevel_job *job, size_t item)
{
    const size_t from = item * PS_SURVEY_ROWS;
    const size_t rest = job->task.height - from;
    const size_t to = from + (rest < PS_SURVEY_ROWS ? rest : PS_SURVEY_ROWS);
    const ps_level *last = &job->level[job->levels];
    const size_t step = ps_mean_step(job);
    double *sums = job->sums + 8 * item;

    memset(sums, 0, 8 * sizeof *sums);
    for (size_t y = from; y < to; y++) {
        if (y % step == 0) {
            ps_survey_means(job, y, step, sums);
        }
        if (last->tiled) { /* as many rows in a survey as in a tile */
            const float *alpha = ps_in_f32(job->task.alpha, y);
            unsigned char *tiles = last->tiles + item * last->tile_columns;
            for (size_t tile = 0; tile < last->tile_columns; tile++) {
                const size_t right = (tile + 1) * PS_TILE;
                const size_t end = right < last->width ? right : last->width;
                int unknown = 0;
                for (size_t x = tile * PS_TILE; x < end; x++) {
                    unknown |= ps_is_unknown(alpha[x]);
                }
                tiles[tile] = (unsigned char)(tiles[tile] | unknown);
            }
        }
    }
}

/* A window: tiles [first, last) of a row of tiles, with the rim, in pixels. */
typedef struct ps_area {
    size_t top;
    size_t bottom;
    size_t left;
    size_t right;
} ps_area;

static ps_area
ps_tiles_area(const ps_level *level, size_t row, size_t first, size_t last, size_t rim)
{
    ps_area area;
    area.top = row * PS_TILE > rim ? row * PS_TILE - rim : 0;
    area.left = first * PS_TILE > rim ? first * PS_TILE - rim : 0;
    area.bottom = (row + 1) * PS_TILE + rim;
    area.right = last * PS_TILE + rim;
    area.bottom = area.bottom < level->height ? area.bottom : level->height;
    area.right = area.right < level->width ? area.right : level->width;
    return area;
}

/* Tiles of the level before that a level's windows start from. */
static void
ps_mark_tiles(const ps_level *level, ps_level *before)
{
    for (size_t row = 0; row < level->tile_rows; row++) {
        for (size_t tile = 0; tile < level->tile_columns; tile++) {
            if (!level->tiles[row * level->tile_columns + tile]) {
                continue;
            }
            const ps_area area = ps_tiles_area(level, row, tile, tile + 1, PS_RIM);
            const size_t top = area.top * before->height / level->height / PS_TILE;
            const size_t bottom = (area.bottom - 1) * before->height / level->height / PS_TILE;
            const size_t left = area.left * before->width / level->width / PS_TILE;
            const size_t right = (area.right - 1) * before->width / level->width / PS_TILE;
            for (size_t y = top; y <= bottom; y++) {
                for (size_t x = left; x <= right; x++) {
                    before->tiles[y * before->tile_columns + x] = 1;
                }
            }
        }
    }
}

/* Mean colour of alpha > 0.9, and of alpha < 0.1; 0 where there is no such pixel. */
static void
ps_start_colours(ps_multilevel_job *job)
{
    double sums[8] = {0.0};
    float colours[PS_COLOURS];

    for (uint32_t item = 0; item < job->pass[0].items; item++) {
        for (size_t c = 0; c < 8; c++) {
            sums[c] += job->sums[8 * item + c];
        }
    }
    for (size_t c = 0; c < 3; c++) {
        colours[c] = (float)(sums[c] / (sums[3] > 0.0 ? sums[3] : 1.0));
        colours[3 + c] = (float)(sums[4 + c] / (sums[7] > 0.0 ? sums[7] : 1.0));
    }
    for (size_t word = 0; word < PS_WORDS; word++) {
        job->start[word] = ps_round_colour(ps_clamp01(colours[2 * word]), 65535.0f)
                           | ps_round_colour(ps_clamp01(colours[2 * word + 1]), 65535.0f) << 16;
    }
    for (size_t i = job->levels; i > job->base + 1; i--) {
        ps_mark_tiles(&job->level[i], &job->level[i - 1]);
    }
}

/* A window over a whole level. */
static ps_window
ps_level_window(const ps_multilevel_job *job, const ps_pass *pass)
{
    const ps_multilevel_task *task = &job->task;
    const ps_level *level = &job->level[pass->level];
    ps_window window = {0};

    window.height = level->height;
    window.width = level->width;
    window.sweeps = pass->sweeps;
    window.regularization = task->options.regularization;
    window.gradient_weight = task->options.gradient_weight;
    window.image = task->image;
    window.image_u8 = task->image_u8;
    window.alpha = task->alpha;
    window.image_height = task->height;
    window.image_width = task->width;
    window.image_columns = level->image_columns;
    window.level_height = level->height;
    if (pass->turn > 0) { /* in place */
        window.start = level->colours;
        window.start_height = level->height;
        window.start_width = level->width;
        window.start_columns = level->own_columns;
    } else {
        const ps_level *before = pass->level > 0 ? level - 1 : NULL;
        window.start = before != NULL ? before->colours : job->start;
        window.start_height = before != NULL ? before->height : 1;
        window.start_width = before != NULL ? before->width : 1;
        window.start_columns = level->start_columns;
    }
    window.keep_height = level->height;
    window.keep_width = level->width;
    if (pass->level < job->levels || pass->turn + 1 < level->passes) {
        window.colours = level->colours;
        window.to_width = level->width;
    }
    window.foreground = task->foreground;
    window.background = task->background;
    window.handed = job->handed;
    return window;
}

/* One window of tiles. */
static void
ps_run_tiles(const ps_multilevel_job *job, const ps_pass *pass, ps_workspace *work, size_t row,
             size_t first, size_t last)
{
    const ps_level *level = &job->level[pass->level];
    const ps_area all = ps_tiles_area(level, row, first, last, PS_RIM);
    const ps_area kept = ps_tiles_area(level, row, first, last, 0);
    ps_window window = ps_level_window(job, pass);

    window.height = all.bottom - all.top;
    window.width = all.right - all.left;
    window.top = all.top;
    window.keep_top = kept.top - all.top;
    window.keep_left = kept.left - all.left;
    window.keep_height = kept.bottom - kept.top;
    window.keep_width = kept.right - kept.left;
    window.to_row = kept.top;
    window.to_column = kept.left;
    window.handed = work->handed;
    for (size_t i = 0; i < PS_WAVE_TABLE(window.width); i++) {
        const size_t x = i < PS_WAVE_AHEAD ? 0 : i - PS_WAVE_AHEAD;
        const size_t at = PS_WAVE_AHEAD + all.left + (x < window.width ? x : window.width - 1);
        work->image_columns[i] = level->image_columns[at];
        work->start_columns[i] = level->start_columns[at];
    }
    window.image_columns = work->image_columns;
    window.start_columns = work->start_columns;
    for (size_t band = 0; band < ps_wave_bands(job->impl, window.height, window.sweeps); band++) {
        ps_wave_run(job->impl, &window, band, work->scratch);
    }
}

static float
ps_u16_value(uint32_t value)
{
    return (float)(int32_t)(value & 0xFFFF) * (1.0f / 65535.0f);
}

/* Column x of the last level, on the base level. */
static size_t
ps_base_column(const ps_multilevel_job *job, size_t x)
{
    for (size_t i = job->levels; i > job->base; i--) {
        x = job->level[i].start_columns[PS_WAVE_AHEAD + x];
    }
    return x;
}

/* One row's pixels from .. to - 1 where alpha is known; `colours` is the base level's row. */
static void
ps_fill_floats(const ps_multilevel_job *job, size_t y, const uint32_t *colours, size_t from,
               size_t to)
{
    const float *alpha = ps_in_f32(job->task.alpha, y), *image = ps_in_f32(job->task.image, y);
    float *front = ps_out_f32(job->task.foreground, y);
    float *back = job->task.background.data != NULL ? ps_out_f32(job->task.background, y) : NULL;

    size_t last = SIZE_MAX;
    float guess[PS_COLOURS] = {0.0f};
    for (size_t x = from; x < to; x++) {
        const size_t column = ps_base_column(job, x);
        const int solid = alpha[x] > 0.5f;
        if (column != last && (!solid || back != NULL)) {
            const uint32_t *words = colours + PS_WORDS * column;
            for (size_t c = 0; c < PS_COLOURS; c++) {
                guess[c] = ps_u16_value(words[c / 2] >> 16 * (c % 2));
            }
            last = column;
        }
        for (size_t c = 0; c < 3; c++) {
            front[3 * x + c] = solid ? image[3 * x + c] : guess[c];
            if (back != NULL) {
                back[3 * x + c] = solid ? guess[3 + c] : image[3 * x + c];
            }
        }
    }
}

/* The base level's foreground at the last level's columns from .. to - 1, as bytes. */
static void
ps_known_row(const ps_multilevel_job *job, const uint32_t *colours, size_t from, size_t to,
             uint32_t *known)
{
    size_t last = SIZE_MAX;

    for (size_t x = from; x < to; x++) {
        const size_t column = ps_base_column(job, x);
        if (column == last) {
            known[x] = known[x - 1];
            continue;
        }
        const uint32_t *words = colours + PS_WORDS * column;
        known[x] = ps_round_colour(ps_u16_value(words[0]), 255.0f)
                   | ps_round_colour(ps_u16_value(words[0] >> 16), 255.0f) << 8
                   | ps_round_colour(ps_u16_value(words[1]), 255.0f) << 16;
        last = column;
    }
}

/* Tiles [first, last) of the last level, where alpha is known. */
static void
ps_fill_tiles(const ps_multilevel_job *job, ps_workspace *work, size_t row, size_t first,
              size_t last)
{
    const ps_multilevel_task *task = &job->task;
    const ps_level *base = &job->level[job->base];
    const ps_area area = ps_tiles_area(&job->level[job->levels], row, first, last, 0);
    size_t before = SIZE_MAX;

    for (size_t y = area.top; y < area.bottom; y++) {
        const float *alpha = ps_in_f32(task->alpha, y);
        const uint8_t *image = ps_in_u8(task->image, y);
        uint8_t *front = ps_out_u8(task->foreground, y);
        size_t from = y;
        for (size_t i = job->levels; i > job->base; i--) {
            from = from * job->level[i - 1].height / job->level[i].height;
        }
        const uint32_t *colours = base->colours + PS_WORDS * base->width * from;
        if (!task->image_u8) {
            ps_fill_floats(job, y, colours, area.left, area.right);
            continue;
        }
        if (from != before) {
            ps_known_row(job, colours, area.left, area.right, work->known);
            before = from;
        }
        for (size_t x = area.left; x < area.right; x++) {
            const uint32_t rgb =
                alpha[x] > 0.5f ? ps_rgb_word(image + 3 * x, x + 1 == task->width) : work->known[x];
            front[3 * x] = (uint8_t)(rgb & 0xFF);
            front[3 * x + 1] = (uint8_t)(rgb >> 8 & 0xFF);
            front[3 * x + 2] = (uint8_t)(rgb >> 16 & 0xFF);
        }
    }
}

static void
ps_run_tile_row(const ps_multilevel_job *job, const ps_pass *pass, ps_workspace *work, size_t row)
{
    const ps_level *level = &job->level[pass->level];
    const unsigned char *tiles = level->tiles + row * level->tile_columns;
    size_t last;

    for (size_t first = 0; first < level->tile_columns; first = last) { /* runs of the same kind */
        last = first + 1;
        while (last < level->tile_columns && tiles[last] == tiles[first]) {
            last++;
        }
        if (tiles[first]) {
            ps_run_tiles(job, pass, work, row, first, last);
        } else if (pass->level == job->levels) {
            ps_fill_tiles(job, work, row, first, last);
        }
    }
}

static void
ps_run_item(ps_multilevel_job *job, const ps_pass *pass, ps_workspace *work, size_t item)
{
    switch (pass->kind) {
    case PS_PASS_SURVEY:
        ps_survey(job, item);
        break;
    case PS_PASS_START:
        ps_start_colours(job);
        break;
    case PS_PASS_BANDS: {
        ps_window window = ps_level_window(job, pass);
        window.progress = job->progress + pass->first;
        ps_wave_run(job->impl, &window, item, work->scratch);
        break;
    }
    default:
        ps_run_tile_row(job, pass, work, item);
    }
}

int
ps_multilevel_join(ps_multilevel_job *job)
{
    const size_t width = job->task.width;
    ps_workspace work;
    int status = -1;

    work.scratch = calloc(1, sizeof *work.scratch);
    work.handed = ps_alloc(width, 2 * PS_COLOURS * sizeof *work.handed);
    work.known = ps_alloc(width, sizeof *work.known);
    work.image_columns = ps_alloc(PS_WAVE_TABLE(width), sizeof *work.image_columns);
    work.start_columns = ps_alloc(PS_WAVE_TABLE(width), sizeof *work.start_columns);
    if (work.scratch != NULL && work.handed != NULL && work.known != NULL
        && work.image_columns != NULL && work.start_columns != NULL) {
        ps_pass *pass = job->pass;
        for (;;) {
            const uint32_t item = ps_counter_add(&job->taken, 1);
            if (item >= job->items) { /* counts a little on, by one a thread */
                break;
            }
            while (item - pass->first >= pass->items) {
                pass++;
            }
            if (pass > job->pass) {
                ps_counter_wait(&pass[-1].done, pass[-1].items);
            }
            ps_run_item(job, pass, &work, item - pass->first);
            (void)ps_counter_add(&pass->done, 1);
        }
        status = 0;
    }
    free(work.start_columns);
    free(work.image_columns);
    free(work.known);
    free(work.handed);
    free(work.scratch);
    return status;
}
