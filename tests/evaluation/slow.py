"""The metrics again, as plain loops over pixels straight from their formulas."""

from __future__ import annotations

import math
from collections import deque


def pixels(array):
    height, width = array.shape
    return [(y, x) for y in range(height) for x in range(width)]


def total(alpha, truth, power, region=None):
    return math.fsum(
        abs(float(alpha[p]) - float(truth[p])) ** power
        for p in pixels(alpha)
        if region is None or region[p]
    )


def stretched(alpha):
    low, high = float(alpha.min()), float(alpha.max())
    return (alpha - low) / (high - low) if high > low else alpha


def slopes(alpha, kernel, sigma):
    """Magnitude of the gradient at each pixel, by a kernel in two dimensions."""
    height, width = alpha.shape
    if kernel == "unit-l2":
        reach = next(x for x in range(999) if gauss(x, sigma) <= 0.01)
    else:
        reach = int(4 * sigma + 0.5)
    offsets = range(-reach, reach + 1)
    weights = {
        (i, j): -j * math.exp(-(i * i + j * j) / (2 * sigma**2)) for i in offsets for j in offsets
    }
    if kernel == "unit-l2":
        gain = math.sqrt(sum(w * w for w in weights.values()))
    else:  # sum of the Gaussian, and the derivative's 1 / sigma^2
        gain = sum(math.exp(-(x * x) / (2 * sigma**2)) for x in offsets) ** 2 * sigma**2

    def at(y, x):
        if kernel == "unit-l2":  # the border's pixel goes on
            return float(alpha[min(max(y, 0), height - 1), min(max(x, 0), width - 1)])
        return float(alpha[mirrored(y, height), mirrored(x, width)])

    found = {}
    for y, x in pixels(alpha):
        across = sum(w * at(y + i, x + j) for (i, j), w in weights.items())
        down = sum(w * at(y + j, x + i) for (i, j), w in weights.items())
        found[y, x] = math.hypot(across, down) / gain
    return found


def gauss(x, sigma):
    return math.exp(-(x * x) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))


def mirrored(i, size):
    """As ``d c b a | a b c d | d c b a``."""
    i %= 2 * size
    return i if i < size else 2 * size - 1 - i


def gradient(alpha, truth, region=None, *, stretch=False, kernel="unit-l2", sigma=1.4):
    if stretch:
        alpha, truth = stretched(alpha), stretched(truth)
    a, t = slopes(alpha, kernel, sigma), slopes(truth, kernel, sigma)
    return math.fsum((a[p] - t[p]) ** 2 for p in pixels(alpha) if region is None or region[p])


def components(members):
    """4-connected components, in the order of their first pixels."""
    waiting, found = set(members), []
    for start in sorted(members):
        if start not in waiting:
            continue
        waiting.remove(start)
        component, queue = {start}, deque([start])
        while queue:
            y, x = queue.popleft()
            for q in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if q in waiting:
                    waiting.remove(q)
                    component.add(q)
                    queue.append(q)
        found.append(component)
    return found


def connectivity(
    alpha, truth, region=None, *, theta=0.15, steps=10, component="foreground", when_empty="stop"
):
    everywhere = pixels(alpha)
    left, last = set(everywhere), {}
    for k in range(1, steps + 1):
        reached = {p for p in everywhere if min(alpha[p], truth[p]) >= alpha.dtype.type(k / steps)}
        candidates = components(reached)
        if component == "any":
            candidates.insert(0, set(everywhere) - reached)
        candidates = [c for c in candidates if c]
        if not candidates and when_empty == "skip":
            continue
        largest = max(candidates, key=len, default=set())  # the first of equal ones
        for p in left - largest:
            last[p] = (k - 1) / steps
        left &= largest
    last.update(dict.fromkeys(left, 1.0))

    def phi(value, p):
        d = float(value) - last[p]
        return 1 - d if d >= theta else 1.0

    return math.fsum(
        abs(phi(alpha[p], p) - phi(truth[p], p)) for p in everywhere if region is None or region[p]
    )


def iou(alpha, truth):
    a = {p for p in pixels(alpha) if alpha[p] > 0.5}
    t = {p for p in pixels(truth) if truth[p] > 0.5}
    return len(a & t) / len(a | t) if a | t else 1.0


def boundary_iou(alpha, truth, width=0.02):
    height, breadth = alpha.shape
    d = max(1, round(width * math.hypot(height, breadth)))

    def edge(array):
        inside = {p for p in pixels(array) if array[p] > 0.5}
        return {
            (y, x)
            for y, x in inside
            if any((y + i, x + j) not in inside for i in range(-d, d + 1) for j in range(-d, d + 1))
        }

    a, t = edge(alpha), edge(truth)
    return len(a & t) / len(a | t) if a | t else 1.0


def dtssd(alpha, truth):
    roots = []
    for i in range(len(alpha) - 1):
        squares = [
            ((float(alpha[i + 1][p]) - float(alpha[i][p]))
             - (float(truth[i + 1][p]) - float(truth[i][p]))) ** 2
            for p in pixels(alpha[0])
        ]  # fmt: skip
        roots.append(math.sqrt(math.fsum(squares) / len(squares)))
    return math.fsum(roots) / len(roots)


def messddt(alpha, truth, flow):
    """For flows of whole pixels."""
    height, width = alpha[0].shape
    means = []
    for i in range(len(alpha) - 1):
        differences = []
        for y, x in pixels(alpha[0]):
            to = y + int(flow[i][y, x, 1]), x + int(flow[i][y, x, 0])
            if 0 <= to[0] < height and 0 <= to[1] < width:
                here = (float(alpha[i][y, x]) - float(truth[i][y, x])) ** 2
                there = (float(alpha[i + 1][to]) - float(truth[i + 1][to])) ** 2
                differences.append(abs(here - there))
        if differences:
            means.append(math.fsum(differences) / len(differences))
    return math.fsum(means) / len(means)


def foreground_error(foreground, truth, alpha):
    over = math.fsum(
        float(alpha[p]) * abs(float(foreground[p][c]) - float(truth[p][c]))
        for p in pixels(alpha)
        for c in range(3)
    )
    return over / (3 * math.fsum(float(alpha[p]) for p in pixels(alpha)))
