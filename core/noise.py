"""Addressed noise: every random number has an address, so it can be drawn again, alone or in any batch.

`Noise(seeds)` gives sample `i` the counter-based stream of `seeds[i]` at an address that the caller spells out with
`at`.  Sample 3 of a batch of 8 is bit for bit sample 3 alone, on every device, because numbers are drawn on the CPU by
Philox4x64 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") keyed by seed and address.  Drawing twice
at one address gives the same numbers: whoever draws twice must fork with `at`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Noise:
    """Streams of random numbers, one a sample.

    Attributes:
        seeds: One non-negative integer below 2**63 a sample.
        address: Where in the streams to draw; extended by `at`.
    """

    seeds: tuple[int, ...]
    address: tuple[int | str, ...] = ()

    @classmethod
    def of(cls, seed: int, count: int) -> Noise:
        """Streams of `count` samples of one request: sample `i` has the stream of (seed, i)."""
        return cls(tuple(_mix(seed, "sample", i) for i in range(count)))

    def at(self, *address: int | str) -> Noise:
        """The same streams at an address below this one."""
        return Noise(self.seeds, self.address + address)

    def take(self, index: Sequence[int]) -> Noise:
        """The streams of some of the samples."""
        return Noise(tuple(self.seeds[i] for i in index), self.address)

    def __len__(self) -> int:
        return len(self.seeds)

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal numbers of the shape `[batch, ...]`, dtype and device of `like`.

        Raises:
            ValueError: If the batch of `like` is not the number of streams.
        """
        return self._draw("normal", like)

    def uniform(self, like: Tensor) -> Tensor:
        """Numbers uniform in [0, 1), of the shape `[batch, ...]`, dtype and device of `like`."""
        u = self._draw("uniform", like)
        return u.clamp(max=1 - torch.finfo(u.dtype).eps / 2)  # half precision would round up to 1

    def shared(self) -> np.random.Generator:
        """One generator for decisions that concern the batch as a whole, as resampling of particles does."""
        return _generator(_mix(*self.seeds), self.address)

    def _draw(self, kind: str, like: Tensor) -> Tensor:
        if len(like) != len(self.seeds):
            raise ValueError(f"noise has {len(self.seeds)} streams, the state has {len(like)} samples")
        wide = like.dtype == torch.float64
        dtype: Any = np.float64 if wide else np.float32
        out = np.empty((len(like), math.prod(like.shape[1:])), dtype)
        for row, seed in zip(out, self.seeds, strict=True):
            generator = _generator(seed, (*self.address, kind))
            if kind == "normal":
                generator.standard_normal(dtype=dtype, out=row)
            else:
                generator.random(dtype=dtype, out=row)
        floating = like.dtype if like.is_floating_point() else torch.float32
        return torch.from_numpy(out).reshape(like.shape).to(device=like.device, dtype=floating)


def _plain(words: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """NumPy's integers spell themselves otherwise than Python's; both must name the same stream."""
    return tuple(w if isinstance(w, str) else int(w) for w in words)


def _mix(*words: int | str) -> int:
    return int.from_bytes(blake2b(repr(_plain(words)).encode(), digest_size=8).digest(), "little") >> 1


def _generator(seed: int, address: tuple[int | str, ...]) -> np.random.Generator:
    where = repr((int(seed), _plain(address)))
    key = np.frombuffer(blake2b(where.encode(), digest_size=16).digest(), np.uint64)
    return np.random.Generator(np.random.Philox(key=key))
