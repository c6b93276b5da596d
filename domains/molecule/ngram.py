"""An n-gram model of SMILES: the next token by how often it followed the last ones.  A baseline that trains in
seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from domains.molecule.smiles_tokens import tokens

LONGEST = 250  # tokens; a sample that does not end by then is cut off, and so most likely invalid
_START, _END = "<", ">"


class NGram:
    """Counts of tokens after the `order` − 1 tokens before them.

    A context that was never seen cannot come up: its last tokens were drawn as part of one that was.

    Attributes:
        order: n; 10 looks at nine tokens, as in MOSES.
    """

    def __init__(self, smiles: Sequence[str], order: int = 10) -> None:
        if order < 1 or not smiles:
            raise ValueError("needs an order of at least 1 and some SMILES")
        self.order = order
        counts: dict[tuple[str, ...], dict[str, int]] = {}
        for one in smiles:
            row = [_START] * (order - 1) + tokens(one) + [_END]
            for place in range(order - 1, len(row)):
                following = counts.setdefault(tuple(row[place - order + 1 : place]), {})
                following[row[place]] = following.get(row[place], 0) + 1
        self._following = {
            context: (list(found), np.cumsum(list(found.values()), dtype=np.float64))
            for context, found in counts.items()
        }

    def sample(self, count: int, seed: int) -> list[str]:
        """Draws SMILES; the same seed gives the same ones."""
        rng = np.random.default_rng(seed)
        made = []
        for _ in range(count):
            row: list[str] = []
            context = (_START,) * (self.order - 1)
            while len(row) < LONGEST:
                words, totals = self._following[context]
                token = words[int(np.searchsorted(totals, rng.random() * totals[-1], side="right"))]
                if token == _END:
                    break
                row.append(token)
                context = (*context, token)[1:]
            made.append("".join(row))
        return made
