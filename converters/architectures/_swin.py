"""Window attention layers whose map may have any size, in one graph.

Sources:
    Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows",
    ICCV 2021: windows, shifts and their mask, relative position biases, patch merging.

The maps of a batch travel as one row of tokens (N * H * W, C), photo after photo, row after row.
Padding a map to whole windows, rolling it and cutting it only moves tokens, so all three are one
gather by an index that is computed from the batch's shape; one more gather brings the tokens back.
Nothing depends on the shape a graph was traced with, and since only the first axis is free, tracing
has little to reason about.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

WINDOW = 7
"""Tokens along a window's side."""
SHIFT = 3
"""How far every second block's windows are moved down and right, in tokens."""
HEAD = 32
"""Channels of one attention head."""
EPS = 1e-5
"""Of every norm, torch's own default."""

_AREA = WINDOW * WINDOW
_EXPANSION = 4  # hidden channels of a block's MLP per channel
_APART = -100.0  # added to the logits of tokens that the roll made neighbours


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How a batch's tokens are laid into windows and back."""

    order: Tensor
    """(N * windows * 49,) int64: which token comes where; N * H * W stands for the padding."""
    back: Tensor
    """(N * H * W,) int64: where each token went."""
    mask: Tensor | None
    """(N * windows, 1, 49, 49): 0, or -100 where two tokens are neighbours by the roll alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """One size of maps with its two cuts; all blocks on maps of this size share it."""

    size: tuple[int, int, int]
    """Batch, height and width."""
    plain: Cut
    shifted: Cut

    @classmethod
    def of(cls, batch: int, height: int, width: int, device: torch.device) -> Grid:
        """For ``batch`` maps of ``height`` x ``width`` tokens."""
        size = (batch, height, width)
        return cls(size=size, plain=_cut(size, 0, device), shifted=_cut(size, SHIFT, device))


def _cut(size: tuple[int, int, int], shift: int, device: torch.device) -> Cut:
    """Pad below and right to whole windows, roll by ``-shift`` on both axes, cut."""
    batch, height, width = size
    # Not by negation: ONNX divides integers towards zero.
    down, across = (height + WINDOW - 1) // WINDOW, (width + WINDOW - 1) // WINDOW
    photos = torch.arange(batch, device=device)[:, None]
    rows = torch.arange(down * WINDOW, device=device)
    columns = torch.arange(across * WINDOW, device=device)

    row = _roll(rows, shift, down).reshape(down, 1, WINDOW, 1)
    column = _roll(columns, shift, across).reshape(1, across, 1, WINDOW)
    token = (row * width + column).reshape(1, -1) + photos * (height * width)
    inside = ((row < height) & (column < width)).reshape(1, -1)
    order = torch.where(inside, token, batch * height * width).reshape(-1)

    # Where the roll brought each row and column, and from there its place in window order.
    row = _roll(torch.arange(height, device=device), -shift, down)
    column = _roll(torch.arange(width, device=device), -shift, across)
    of_row = row // WINDOW * (across * _AREA) + row % WINDOW * WINDOW
    of_column = column // WINDOW * _AREA + column % WINDOW
    place = (of_row[:, None] + of_column).reshape(1, -1)
    back = (place + photos * (down * across * _AREA)).reshape(-1)
    return Cut(order=order, back=back, mask=_mask(batch, rows, columns) if shift else None)


def _roll(line: Tensor, by: int, windows: int) -> Tensor:
    """Positions along ``windows`` windows, moved by less than one length and around the end."""
    if by == 0:
        return line
    length = windows * WINDOW
    moved = line + (by if by > 0 else length + by)
    return torch.where(moved >= length, moved - length, moved)


def _mask(batch: int, rows: Tensor, columns: Tensor) -> Tensor:
    """Keeps tokens apart that only the roll made neighbours: in the last windows of each axis.

    The rule is the paper's even where the padded map is a single window, which other
    implementations leave unshifted.
    """
    # Inside a window the first four rows stayed in place, the last three were brought from the top.
    brought = torch.arange(WINDOW, device=rows.device) >= WINDOW - SHIFT
    apart = brought[:, None] != brought
    row_apart = apart[:, None, :, None].expand(WINDOW, WINDOW, WINDOW, WINDOW)
    column_apart = apart[None, :, None, :].expand(WINDOW, WINDOW, WINDOW, WINDOW)

    first_rows, first_columns = rows[::WINDOW], columns[::WINDOW]  # of each window
    below = (first_rows == rows[-1] - (WINDOW - 1)).reshape(-1, 1, 1, 1)
    right = (first_columns == columns[-1] - (WINDOW - 1)).reshape(1, -1, 1, 1)
    masked = (below & row_apart.reshape(_AREA, _AREA)) | (
        right & column_apart.reshape(_AREA, _AREA)
    )
    mask = masked.reshape(-1, 1, _AREA, _AREA).to(torch.float32) * _APART
    return mask.repeat(batch, 1, 1, 1)


def relative_positions() -> Tensor:
    """(49, 49) int64: which row of a bias table belongs to each pair (query, key) of a window."""
    side = torch.arange(WINDOW)
    row, column = side.repeat_interleave(WINDOW), side.repeat(WINDOW)
    down = row[:, None] - row[None, :] + WINDOW - 1
    across = column[:, None] - column[None, :] + WINDOW - 1
    return down * (2 * WINDOW - 1) + across


class WindowAttention(nn.Module):
    """Multi-head self-attention inside each window, with relative position biases."""

    relative_position_index: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = channels // HEAD
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros((2 * WINDOW - 1) ** 2, self.heads)
        )
        # Follows from the window alone, so the copies that checkpoints carry are not read.
        self.register_buffer("relative_position_index", relative_positions(), persistent=False)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Attend.

        Args:
            tokens: (windows * 49, C), window after window.
            mask: Added to the logits, (windows, 1, 49, 49).

        Returns:
            (windows * 49, C).
        """
        qkv = self.qkv(tokens).reshape(-1, _AREA, 3, self.heads, HEAD)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        logits = (query * HEAD**-0.5) @ key.transpose(-2, -1)
        bias = self.relative_position_bias_table[self.relative_position_index.reshape(-1)]
        logits = logits + bias.reshape(_AREA, _AREA, self.heads).permute(2, 0, 1)
        if mask is not None:
            logits = logits + mask
        merged = (torch.softmax(logits, dim=-1) @ value).transpose(1, 2)
        attended: Tensor = self.proj(merged.reshape(tokens.shape))
        return attended


class Gelu(nn.Module):
    """Exact GELU, x / 2 * (1 + erf(x / sqrt 2)), in an order that ONNX Runtime computes in one go.

    Torch's own comes out of its exporter in another order, which runs as five passes.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, to the same."""
        return 0.5 * (x * (1 + torch.erf(x / math.sqrt(2))))


class Mlp(nn.Module):
    """Two linear layers around an exact GELU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, _EXPANSION * channels)
        self.act = Gelu()
        self.fc2 = nn.Linear(_EXPANSION * channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """(…, C) → (…, C)."""
        mixed: Tensor = self.fc2(self.act(self.fc1(tokens)))
        return mixed


class Block(nn.Module):
    """Window attention, then an MLP, each behind a norm and beside a shortcut."""

    def __init__(self, channels: int, *, shifted: bool) -> None:
        super().__init__()
        self.shifted = shifted
        self.norm1 = nn.LayerNorm(channels, eps=EPS)
        self.attn = WindowAttention(channels)
        self.norm2 = nn.LayerNorm(channels, eps=EPS)
        self.mlp = Mlp(channels)

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """(N * H * W, C) on maps of ``grid``'s size, to the same."""
        cut = grid.shifted if self.shifted else grid.plain
        # The zero token that padding points at; after the norm, so that it is zero there.
        padded = functional.pad(self.norm1(tokens), (0, 0, 0, 1))
        attended = self.attn(padded.index_select(0, cut.order), cut.mask)
        tokens = tokens + attended.index_select(0, cut.back)
        merged: Tensor = tokens + self.mlp(self.norm2(tokens))
        return merged


class PatchMerging(nn.Module):
    """Every 2 x 2 tokens become one of twice the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels, eps=EPS)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """(N * H * W, C) → (N * H * W / 4, 2C); H and W of ``grid`` are even."""
        batch, height, width = grid.size
        channels = tokens.shape[1]
        cells = tokens.reshape(batch * (height // 2), 2, width // 2, 2, channels)
        # Column parity before row parity: (0, 0), (1, 0), (0, 1), (1, 1) as (row, column).
        merged = cells.permute(0, 2, 3, 1, 4).reshape(-1, 4 * channels)
        reduced: Tensor = self.reduction(self.norm(merged))
        return reduced


class Layer(nn.Module):
    """Blocks on one map size, every second one shifted."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(channels, shifted=b % 2 == 1) for b in range(blocks))

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """(N * H * W, C) on maps of ``grid``'s size, to the same."""
        for block in self.blocks:
            tokens = block(tokens, grid)
        return tokens


class Stage(Layer):
    """A layer of the encoder with the merging that ends it; the last has none."""

    def __init__(self, channels: int, blocks: int, *, merges: bool) -> None:
        super().__init__(channels, blocks)
        self.downsample = PatchMerging(channels) if merges else None


class PatchEmbed(nn.Module):
    """Features to tokens: a strided convolution and a norm."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(inputs, channels, 3, stride=2, padding=1)
        self.norm = nn.LayerNorm(channels, eps=EPS)

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs, 2H, 2W) → (N * H * W, channels)."""
        tokens: Tensor = self.norm(to_tokens(self.proj(features)))
        return tokens


class Encoder(nn.Module):
    """The hierarchy: stages at strides 1, 2, 4 and 8 of the embedded map, each output normed."""

    def __init__(self, inputs: int, channels: int, blocks: Sequence[int]) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(inputs, channels)
        self.layers = nn.ModuleList()
        for i, count in enumerate(blocks):
            self.layers.append(Stage(channels << i, count, merges=i < len(blocks) - 1))
            self.add_module(f"norm{i}", nn.LayerNorm(channels << i, eps=EPS))

    def forward(self, features: Tensor, grids: Sequence[Grid]) -> list[Tensor]:
        """Maps (N, C, h, w), finest first.

        Args:
            features: (N, inputs, 2H, 2W).
            grids: One per stage, of its size.
        """
        tokens = self.patch_embed(features)
        maps = []
        for i, (stage, grid) in enumerate(zip(self.layers, grids, strict=True)):
            assert isinstance(stage, Stage)
            tokens = stage(tokens, grid)
            maps.append(to_map(self.get_submodule(f"norm{i}")(tokens), grid))
            if stage.downsample is not None:
                tokens = stage.downsample(tokens, grid)
        return maps


def to_tokens(features: Tensor) -> Tensor:
    """(N, C, H, W) → (N * H * W, C)."""
    return features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])


def to_map(tokens: Tensor, grid: Grid) -> Tensor:
    """(N * H * W, C) → (N, C, H, W)."""
    return tokens.reshape(*grid.size, -1).permute(0, 3, 1, 2)
