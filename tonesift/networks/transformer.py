"""Causal transformer: self-attention [1]_ over the last `context` steps, carried on from piece to piece of a sequence.

What a layer remembers is the keys and values of the last steps [4]_, before any position is worked into them. Positions
count as distances only, so nothing grows however long a stream is: queries and keys are turned by angles ('rotary'
[2]_), or each distance has a learned vector that is added to the key ('learned' [3]_).

References
----------
.. [1] A. Vaswani et al., "Attention Is All You Need", 2017.
.. [2] J. Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021.
.. [3] P. Shaw, J. Uszkoreit and A. Vaswani, "Self-Attention with Relative Position Representations", 2018.
.. [4] Z. Dai et al., "Transformer-XL: Attentive Language Models Beyond a Fixed-Length Context", 2019.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import gelu, pad, scaled_dot_product_attention

from tonesift import memory
from tonesift.errors import InputError
from tonesift.networks import base
from tonesift.networks.base import DropoutMasks, Linear, State, Stepper, array, draw_uniform, dropped, with_bias

FEWEST_QUERIES = 32  # steps that attend in one call, if there are so many: with a short context, calls cost the most
SLOWEST_TURN = 10_000  # rotary: steps in which the slowest pair would turn by 1 rad, were there one more pair
GELU = (np.float32((2 / np.pi) ** 0.5), np.float32((2 / np.pi) ** 0.5 * 0.044715))  # of x and x³ in its tanh


class Rotary(nn.Module):
    """Queries and keys turned, pair by pair of their numbers, by angles that grow with the step.

    Parameters
    ----------
    context : int
        Steps that are attended to.
    size : int
        Numbers of a query or key.
    """

    cosines: Tensor  # (steps, size / 2)
    sines: Tensor

    def __init__(self, context: int, size: int) -> None:
        super().__init__()
        steps = np.arange(most_queries(context) + context - 1)
        memory.check({"model.context": 12.0 * len(steps) * size})
        angles = torch.from_numpy(np.outer(steps, turns(size)))  # cosines of float64 angles, then rounded
        self.register_buffer("cosines", angles.cos().float(), persistent=False)
        self.register_buffer("sines", angles.sin().float(), persistent=False)

    def forward(self, queries: Tensor, keys: Tensor, visible: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, heads, n, size), keys (B, heads, m, size) and mask of attention; both end with the same step."""
        begin, end = keys.shape[-2] - queries.shape[-2], keys.shape[-2]
        return self._turned(queries, begin, end), self._turned(keys, 0, end), visible

    def _turned(self, vectors: Tensor, begin: int, end: int) -> Tensor:
        cosines, sines = self.cosines[begin:end], self.sines[begin:end]
        first, second = vectors.unflatten(-1, (-1, 2)).unbind(-1)
        pairs = torch.stack([first * cosines - second * sines, first * sines + second * cosines], dim=-1)
        return pairs.flatten(-2).to(vectors.dtype)


class Learned(nn.Module):
    """A learned vector for each distance, added to the keys; the heads share it. Parameters as for `Rotary`."""

    def __init__(self, context: int, size: int) -> None:
        super().__init__()
        self.distances = nn.Parameter(torch.zeros(context, size))

    def forward(self, queries: Tensor, keys: Tensor, visible: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Rotary`: the mask is the part of scores that distances make, minus infinity where nothing is seen."""
        count, context = queries.shape[-2], len(self.distances)
        scores = queries @ self.distances.flip(0).to(queries.dtype).T  # (B, heads, n, context), the farthest first
        # row i begins at column i: pad all rows, and cut the whole anew into rows that are a column shorter
        flat = pad(scores, (0, count)).flatten(-2)[..., :-count]
        skewed = flat.unflatten(-1, (count, count + context - 1))[..., -keys.shape[-2] :]
        return queries, keys, skewed.masked_fill(~visible, -torch.inf)


POSITIONS = {"rotary": Rotary, "learned": Learned}


def turns(size: int) -> NDArray[np.float64]:
    """Angles (size / 2,) in rad by which each pair of numbers turns in a step."""
    return SLOWEST_TURN ** -(np.arange(0, size, 2) / size)


def most_queries(context: int) -> int:
    """Steps that attend in one call, at most: bounds memory, and the work of looking at what none may see."""
    return max(context, FEWEST_QUERIES)


def latest(steps: Tensor, count: int) -> Tensor:
    """The last of so many steps (L, B, ...), with zeros in front where there are fewer."""
    return pad(steps[max(0, len(steps) - count) :], (0, 0, 0, 0, max(0, count - len(steps)), 0))


class Block(nn.Module):
    """A layer: attention, then two linear layers at each step, each behind a normalisation and added to what it read.

    Parameters
    ----------
    model_dim, num_heads, ff_dim, positions, context
        As for `Body`.
    """

    def __init__(self, model_dim: int, num_heads: int, ff_dim: int, positions: str, context: int) -> None:
        super().__init__()
        self.num_heads, self.context = num_heads, context
        self.attention_norm = nn.LayerNorm(model_dim)
        self.entering = Linear(model_dim, 3 * model_dim)  # queries, keys, values
        self.positions = POSITIONS[positions](context, model_dim // num_heads)
        self.leaving = Linear(model_dim, model_dim)
        self.feed_norm = nn.LayerNorm(model_dim)
        self.widening = Linear(model_dim, ff_dim)
        self.narrowing = Linear(ff_dim, model_dim)

    def attended(self, hidden: Tensor, past: State, seen: Tensor | None) -> tuple[Tensor, State]:
        """What attention finds for each step (L, B, model_dim), and the keys and values to remember.

        Parameters
        ----------
        hidden : Tensor, shape (L, B, model_dim)
            What the layer reads.
        past : list of Tensor, shape (P, B, model_dim)
            Keys and values of earlier steps, or nothing.
        seen : Tensor, shape (P + L, B), or None
            Which steps belong to the sequence; None if all do.
        """
        queries, *memory = self.entering(self.attention_norm(hidden)).chunk(3, dim=-1)
        if past:
            memory = [torch.cat([old.to(new.dtype), new]) for old, new in zip(past, memory, strict=True)]
        queries = queries * (queries.shape[-1] // self.num_heads) ** -0.5
        found, before = [], len(memory[0]) - len(queries)
        for part in queries.split(most_queries(self.context)):
            begin, end = max(0, before - self.context + 1), before + len(part)
            keys, values = (self._heads(each[begin:end]) for each in memory)
            visible = _near(len(part), end - begin, self.context, hidden.device)
            if seen is not None:
                visible = visible & seen[begin:end].T[:, None, None]
            given, keys, mask = self.positions(self._heads(part), keys, visible)
            mixed = scaled_dot_product_attention(given, keys, values, attn_mask=mask, scale=1.0)
            found.append(mixed.permute(2, 0, 1, 3).flatten(-2))
            before = end
        return self.leaving(torch.cat(found)), [latest(each, self.context - 1) for each in memory]

    def fed(self, hidden: Tensor) -> Tensor:
        """What the two linear layers make of each step (L, B, model_dim)."""
        return self.narrowing(gelu(self.widening(self.feed_norm(hidden)), approximate="tanh"))

    def _heads(self, steps: Tensor) -> Tensor:
        return steps.unflatten(-1, (self.num_heads, -1)).permute(1, 2, 0, 3)  # (B, heads, steps, size)


def _near(queries: int, keys: int, context: int, device: torch.device) -> Tensor:
    """Whether a key (m) is of a query's (n) own step or one of the context - 1 before; both end with the same step."""
    own = keys - queries
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(own).triu(own - context + 1)


class Body(base.Body):
    """Embedding, blocks of attention over the last `context` steps, and a normalisation.

    Parameters
    ----------
    inputs : int
        Features at each step.
    num_layers : int
        Blocks.
    dropout : float
        Share of what attention, and what the linear layers behind it, add to the hidden values, dropped in training.
    model_dim : int
        Hidden values at each step.
    num_heads : int
        Heads of attention; each has model_dim / num_heads of the numbers.
    ff_dim : int
        Units between the two linear layers of a block.
    positions : {'rotary', 'learned'}
        How attention knows distances: by angles, or by a learned vector for each.
    context : int
        Steps that a step attends to, its own included, in each block.

    Raises
    ------
    InputError
        If the heads cannot share the hidden values, or 'rotary' cannot pair a head's numbers.

    Notes
    -----
    The state is which of the last context - 1 steps belong to the sequence, 1 or 0, shape (context - 1, B, 1), then
    each block's keys and values of those steps, shapes (context - 1, B, model_dim). Zeros are a beginning.

    With D = model_dim, F = ff_dim and I inputs it has D (I + 3) + num_layers (4 D² + 2 D F + 9 D + F + P) parameters;
    P is 0 with 'rotary' and context D / num_heads with 'learned'.
    """

    def __init__(
        self,
        inputs: int,
        num_layers: int,
        dropout: float,
        model_dim: int,
        num_heads: int,
        ff_dim: int,
        positions: str,
        context: int,
    ) -> None:
        super().__init__()
        _check(model_dim, num_heads, positions)
        self.dropout, self.width, self.context = dropout, model_dim, context
        self.embedding = Linear(inputs, model_dim)
        shape = (model_dim, num_heads, ff_dim, positions, context)
        self.blocks = nn.ModuleList(Block(*shape) for _ in range(num_layers))
        self.norm = nn.LayerNorm(model_dim)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw weights from uniform distributions of mean 0; biases are 0, and normalisations change nothing.

        Variances are 1 / inputs of the layer, 2 num_layers times less where a block adds to the hidden values, and 1
        for the vectors of distances, as keys have.
        """
        added = {layer for block in self.blocks for layer in (block.leaving, block.narrowing)}
        for part in self.modules():
            if isinstance(part, nn.LayerNorm):
                part.reset_parameters()
            elif isinstance(part, nn.Linear):
                nn.init.zeros_(part.bias)
                variance = 1 / part.in_features / (2 * len(self.blocks) if part in added else 1)
                draw_uniform([part.weight], (3 * variance) ** 0.5, generator)
            elif isinstance(part, Learned):
                draw_uniform([part.distances], 3**0.5, generator)

    def layers_in_order(self) -> list[nn.Module]:
        """The embedding, each block, the last normalisation."""
        return [self.embedding, *self.blocks, self.norm]

    def forward(self, features: Tensor, state: State | None, masks: DropoutMasks | None) -> tuple[Tensor, State]:
        """See `base.Body`; the class says what the state is."""
        hidden = self.embedding(features).to(self.embedding.weight.dtype)  # sums stay exact if products are rounded
        here = hidden.new_ones(*hidden.shape[:2], 1)
        steps = here if state is None else torch.cat([state[0].to(here), here])
        seen = None if state is None else steps[..., 0] > 0
        after = [latest(steps, self.context - 1)]
        for number, block in enumerate(self.blocks):
            past = [] if state is None else state[2 * number + 1 : 2 * number + 3]
            attended, memory = block.attended(hidden, past, seen)
            hidden = hidden + dropped(attended, masks, self.dropout)
            hidden = hidden + dropped(block.fed(hidden), masks, self.dropout)
            after += memory
        return self.norm(hidden), after

    def stepper(self, rows: int) -> "TransformerStepper":
        """See `base.Body`."""
        return TransformerStepper(self, rows)


def _check(model_dim: int, num_heads: int, positions: str) -> None:
    if positions not in POSITIONS:
        raise InputError(f"positions {positions!r} are unknown: choose one of {', '.join(POSITIONS)}")
    if model_dim % num_heads:
        raise InputError(f"model_dim {model_dim} is not a multiple of num_heads {num_heads}: choose one that is")
    if positions == "rotary" and model_dim // num_heads % 2:
        raise InputError(
            f"positions 'rotary' need an even model_dim / num_heads, but it is {model_dim // num_heads}: "
            "change one of them, or choose 'learned'"
        )


class _Layer(NamedTuple):
    """Weights of a stepper's layer, each bias in the last row, and what it remembers."""

    entering: NDArray[np.float32]
    leaving: NDArray[np.float32]
    widening: NDArray[np.float32]
    narrowing: NDArray[np.float32]
    distances: NDArray[np.float32] | None  # (2 context, size): row j for distance -j modulo context
    keys: NDArray[np.float32]  # (rows, heads, context, size)
    values: NDArray[np.float32]  # (rows, heads, context, size + 1), the last column 1


class TransformerStepper(Stepper):
    """Blocks of attention a step at a time: keys and values in rings of `context` steps.

    Parameters
    ----------
    body : Body
        Its weights are copied.
    rows : int
        Sequences.

    Notes
    -----
    The state is where the next step goes in the rings and how many steps are in them; with 'rotary' the angles of the
    next step, modulo 2 pi; and the rings. Keys lie there turned by the angles of their steps: only differences of
    angles over `context` steps count, so rounding does not add up. The order of the steps in a ring does not matter
    to attention.

    Hidden values have the mean 0, since the mean of all that is added up in them was taken out of the weights: every
    reader would subtract it. The weights and biases of normalisations are worked into the layers behind them, the
    scale of the scores into the queries'. The column of ones gives the sum of attention's weights by the way.
    """

    def __init__(self, body: Body, rows: int) -> None:
        dim, heads, self._context = body.width, body.blocks[0].num_heads, body.context
        size, ff = dim // heads, body.blocks[0].widening.out_features
        self._entering, self._embedding = _ones(rows, body.embedding.in_features), _centred(body.embedding)
        self._layers = [_layer(block, rows) for block in body.blocks]
        self._hidden, self._change, self._squares = (np.zeros((rows, dim), dtype="f4") for _ in range(3))
        self._spread, self._mean = np.zeros((rows, 1), dtype="f4"), np.full((dim, 1), 1 / dim, dtype="f4")
        self._epsilon = np.float32(body.norm.eps)
        self._scale, self._shift = array(body.norm.weight), array(body.norm.bias)
        self._normed, self._mixed, self._units, self.output = (_ones(rows, width) for width in (dim, dim, ff, dim))
        self._gates = np.zeros((rows, ff), dtype="f4")
        projected = np.zeros((rows, 3, heads, size), dtype="f4")
        self._projected, self._query = projected.reshape(rows, -1), projected[:, 0, :, :, None]
        self._key, self._value = projected[:, 1], projected[:, 2]
        scores = np.zeros((rows, heads, self._context), dtype="f4")
        self._scores, self._weights = scores[..., None], scores[:, :, None]
        self._sums = np.zeros((rows, heads, 1, size + 1), dtype="f4")
        self._heads = self._mixed[:, :dim].reshape(rows, heads, 1, size)
        self.reads, self._place = self._entering[:, :-1], np.zeros(2, dtype="i8")
        rings = [ring for layer in self._layers for ring in (layer.keys, layer.values[..., :-1])]
        self.state = [self._place, *rings]
        self._angles: NDArray[np.float64] | None = None
        if isinstance(body.blocks[0].positions, Rotary):
            self._turns = turns(size)
            self._angles, self._phases = np.zeros(size // 2), np.zeros(size // 2, dtype="c8")
            self._pairs = projected[:, :2].view("c8")  # of queries and keys
            self.state.insert(1, self._angles)

    def step(self) -> None:
        """See `base.Stepper`."""
        np.dot(self._entering, self._embedding, self._hidden)
        slot, filled = self._advance()
        for layer in self._layers:
            self._attend(layer, slot, filled)
            self._feed(layer)
        given = self.output[:, :-1]
        self._normalise(given)
        np.multiply(given, self._scale, given)
        np.add(given, self._shift, given)

    def _advance(self) -> tuple[int, int]:
        """Where this step goes in the rings and how many steps are in them with it; its angles become phases."""
        slot, before = self._place.tolist()
        filled = min(before + 1, self._context)
        self._place[:] = (slot + 1) % self._context, filled
        if self._angles is not None:
            np.cos(self._angles, self._phases.real)
            np.sin(self._angles, self._phases.imag)
            np.add(self._angles, self._turns, self._angles)
            np.remainder(self._angles, 2 * np.pi, self._angles)
        return slot, filled

    def _normalise(self, target: NDArray[np.float32]) -> None:
        """Hidden values over their root mean square: their mean is 0."""
        hidden, squares, spread = self._hidden, self._squares, self._spread
        np.multiply(hidden, hidden, squares)
        np.dot(squares, self._mean, spread)
        np.add(spread, self._epsilon, spread)
        np.sqrt(spread, spread)
        np.divide(hidden, spread, target)

    def _attend(self, layer: _Layer, slot: int, filled: int) -> None:
        self._normalise(self._normed[:, :-1])
        np.dot(self._normed, layer.entering, self._projected)
        if self._angles is not None:
            np.multiply(self._pairs, self._phases, self._pairs)
        layer.keys[:, :, slot] = self._key
        layer.values[:, :, slot, :-1] = self._value
        scores = self._scores[:, :, :filled]
        np.matmul(layer.keys[:, :, :filled], self._query, scores)
        if layer.distances is not None:
            begin = self._context - slot
            np.add(scores, np.matmul(layer.distances[begin : begin + filled], self._query), scores)
        np.subtract(scores, np.maximum.reduce(scores, axis=2, keepdims=True), scores)
        np.exp(scores, scores)
        np.matmul(self._weights[..., :filled], layer.values[:, :, :filled], self._sums)
        np.divide(self._sums[..., :-1], self._sums[..., -1:], self._heads)
        np.dot(self._mixed, layer.leaving, self._change)
        np.add(self._hidden, self._change, self._hidden)

    def _feed(self, layer: _Layer) -> None:
        units, gates = self._units[:, :-1], self._gates
        self._normalise(self._normed[:, :-1])
        np.dot(self._normed, layer.widening, gates)
        units[:] = gates
        np.multiply(gates, gates, gates)  # tanh(a x + b x³) x + x; its factor 1/2 is in the weights behind it
        np.multiply(gates, GELU[1], gates)
        np.add(gates, GELU[0], gates)
        np.multiply(gates, units, gates)
        np.tanh(gates, gates)
        np.multiply(gates, units, gates)
        np.add(units, gates, units)
        np.dot(self._units, layer.narrowing, self._change)
        np.add(self._hidden, self._change, self._hidden)


def _ones(rows: int, width: int) -> NDArray[np.float32]:
    """Memory (rows, width + 1) for a layer's inputs, the last column 1, for the bias."""
    memory = np.zeros((rows, width + 1), dtype="f4")
    memory[:, -1] = 1
    return memory


def _layer(block: Block, rows: int) -> _Layer:
    size = block.leaving.in_features // block.num_heads
    entering = _folded(block.attention_norm, block.entering)
    entering[:, : block.leaving.in_features] *= size**-0.5
    narrowing = _centred(block.narrowing)
    narrowing[:-1] *= 0.5
    distances = None
    if isinstance(block.positions, Learned):
        distances = array(block.positions.distances)[-np.arange(2 * block.context) % block.context]
    keys, values = (np.zeros((rows, block.num_heads, block.context, size + more), dtype="f4") for more in (0, 1))
    values[..., -1] = 1
    widening = _folded(block.feed_norm, block.widening)
    return _Layer(entering, _centred(block.leaving), widening, narrowing, distances, keys, values)


def _centred(layer: nn.Linear) -> NDArray[np.float32]:
    """Weights (inputs + 1, outputs) of a layer, its bias in the last row, whose outputs have the mean 0."""
    weights = with_bias(layer.weight, layer.bias).astype("f8")
    return (weights - weights.mean(axis=1, keepdims=True)).astype("f4")


def _folded(norm: nn.LayerNorm, layer: nn.Linear) -> NDArray[np.float32]:
    """Weights (inputs + 1, outputs) of a layer, its bias in the last row, with a normalisation's worked into them."""
    weights = with_bias(layer.weight, layer.bias).astype("f8")
    weights[-1] += array(norm.bias) @ weights[:-1]
    weights[:-1] *= array(norm.weight)[:, None]
    return weights.astype("f4")
