/* ps_wave_vector.h - the sweep of ps_wave.c in vectors; included once per instruction set, with the
 * PS_V macros defined. The operations and their order are those of ps_wave_pixel.
 */

/* reg + grad |a - other| */
#define PS_V_PULL(a, other) PS_V_ADD(reg, PS_V_MUL(grad, PS_V_ABS(PS_V_SUB(a, other))))

PS_INLINE PS_V_TARGET void
PS_V(ps_sweep_slots)(const ps_chunk *chunk, ptrdiff_t base, int from, int to, ptrdiff_t first,
                     ptrdiff_t last, int inside)
{
    typedef PS_V(ps_vector) vector;
    const ptrdiff_t plane = PS_V_LANES + 2 * PS_WAVE_MARGIN, step = PS_PLANES * plane;
    const vector reg = PS_V_SET(chunk->regularization), grad = PS_V_SET(chunk->gradient_weight);
    const vector one = PS_V_SET(1.0f);
    float lanes[PS_V_LANES];
    vector left[PS_COLOURS];

    for (ptrdiff_t lane = 0; lane < PS_V_LANES; lane++) {
        lanes[lane] = (float)(base + lane);
    }
    const vector lane = PS_V_LOAD(lanes);
    const PS_V(ps_choice) above = PS_V_LESS(lane, PS_V_SET(ps_wave_near(-chunk->row)));
    const PS_V(ps_choice) over =
        PS_V_LESS(lane, PS_V_SET(ps_wave_near(chunk->height - chunk->row)));
    for (ptrdiff_t c = 0; c < PS_COLOURS; c++) {
        left[c] =
            PS_V_LOAD(chunk->slots + (first - 1) * step + (to + c) * plane + PS_WAVE_MARGIN + base);
    }
    for (ptrdiff_t k = first; k < last; k++) {
        const float *pixel = chunk->slots + k * step + PS_WAVE_MARGIN + base;
        const float *old = pixel + from * plane + step;
        float *new = chunk->slots + k *step + PS_WAVE_MARGIN + base + to *plane;
        const vector a = PS_V_LOAD(pixel), a1 = PS_V_SUB(one, a);
        vector w_right = PS_V_PULL(a, PS_V_LOAD(pixel + step));
        vector w_down = PS_V_PULL(a, PS_V_LOAD(pixel + step + 1));
        vector w_left = PS_V_PULL(a, PS_V_LOAD(pixel - step));
        vector w_up = PS_V_PULL(a, PS_V_LOAD(pixel - step - 1));
        const vector sum = PS_V_ADD(PS_V_ADD(PS_V_ADD(w_right, w_down), w_left), w_up);
        const vector inverse = PS_V_DIV(one, sum);
        const vector squares = PS_V_ADD(PS_V_MUL(a, a), PS_V_MUL(a1, a1));
        const vector gain = PS_V_DIV(one, PS_V_ADD(squares, sum));
        const vector gains[2] = {PS_V_MUL(a, gain), PS_V_MUL(a1, gain)};
        vector up[PS_COLOURS], mean[PS_COLOURS];

        w_right = PS_V_MUL(w_right, inverse);
        w_down = PS_V_MUL(w_down, inverse);
        w_left = PS_V_MUL(w_left, inverse);
        w_up = PS_V_MUL(w_up, inverse);
        for (ptrdiff_t c = 0; c < PS_COLOURS; c++) {
            up[c] = PS_V_LATER(left[c], new + c *plane - step - 1);
            mean[c] = PS_V_ADD(PS_V_MUL(w_right, PS_V_LOAD(old + c * plane)),
                               PS_V_MUL(w_down, PS_V_LOAD(old + c * plane + 1)));
            mean[c] = PS_V_ADD(mean[c], PS_V_MUL(w_left, left[c]));
            mean[c] = PS_V_ADD(mean[c], PS_V_MUL(w_up, up[c]));
        }
        for (ptrdiff_t c = 0; c < 3; c++) {
            vector rest = PS_V_SUB(PS_V_LOAD(pixel + (1 + c) * plane), PS_V_MUL(a, mean[c]));
            rest = PS_V_SUB(rest, PS_V_MUL(a1, mean[3 + c]));
            mean[c] = PS_V_CLIP(PS_V_ADD(mean[c], PS_V_MUL(gains[0], rest)));
            mean[3 + c] = PS_V_CLIP(PS_V_ADD(mean[3 + c], PS_V_MUL(gains[1], rest)));
        }
        if (!inside) { /* idle lanes carry on a neighbour's colours */
            const ptrdiff_t time = chunk->time + k;
            const PS_V(ps_choice) before = PS_V_LESS(PS_V_SET(ps_wave_near(time)), lane);
            const PS_V(ps_choice) within =
                PS_V_LESS(PS_V_SET(ps_wave_near(time - chunk->width)), lane);
            for (ptrdiff_t c = 0; c < PS_COLOURS; c++) {
                mean[c] = PS_V_CHOOSE(within, mean[c], left[c]);
                mean[c] = PS_V_CHOOSE(before, PS_V_LOAD(old + c * plane), mean[c]);
                mean[c] = PS_V_CHOOSE(over, mean[c], up[c]);
                mean[c] = PS_V_CHOOSE(above, PS_V_LOAD(old + c * plane + 1), mean[c]);
            }
        }
        for (ptrdiff_t c = 0; c < PS_COLOURS; c++) {
            left[c] = mean[c];
            PS_V_STORE(new + c *plane, mean[c]);
        }
    }
}

PS_V_TARGET static void
PS_V(ps_sweep)(const ps_chunk *chunk, ptrdiff_t base, int from, int to, ptrdiff_t first,
               ptrdiff_t last)
{
    const ptrdiff_t end = base + PS_V_LANES - 1;
    const int inside = chunk->row + base >= 0 && chunk->row + end < chunk->height
                       && chunk->time + first - end >= 0
                       && chunk->time + last - 1 - base < chunk->width;

    if (inside) {
        PS_V(ps_sweep_slots)(chunk, base, from, to, first, last, 1);
    } else {
        PS_V(ps_sweep_slots)(chunk, base, from, to, first, last, 0);
    }
}

#undef PS_V
#undef PS_V_TARGET
#undef PS_V_LANES
#undef PS_V_SET
#undef PS_V_LOAD
#undef PS_V_STORE
#undef PS_V_ADD
#undef PS_V_SUB
#undef PS_V_MUL
#undef PS_V_DIV
#undef PS_V_ABS
#undef PS_V_CLIP
#undef PS_V_LATER
#undef PS_V_LESS
#undef PS_V_CHOOSE
#undef PS_V_PULL
