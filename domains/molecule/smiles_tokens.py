"""SMILES as tokens: brackets, two-letter elements and ring numbers of two digits are one token each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_TOKEN = re.compile(r"\[[^\]]*\]|Br|Cl|%\d\d|.", re.DOTALL)
END = 0  # also fills what lies beyond the end, and stands before the first token


def tokens(smiles: str) -> list[str]:
    """The tokens of a SMILES, which joined give it back."""
    return _TOKEN.findall(smiles)


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by number; 0 is the end."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, smiles: Iterable[str]) -> Vocabulary:
        """Of all tokens that occur, in alphabetical order."""
        return cls(tuple(sorted({token for one in smiles for token in tokens(one)})))

    def __len__(self) -> int:
        return len(self.words) + 1

    def encode(self, smiles: Sequence[str]) -> NDArray[np.uint8]:
        """Numbers of the tokens, each row ended by at least one 0, `[molecules, longest + 1]`.

        Raises:
            ValueError: If a token is not in the vocabulary, or there are more than 255.
        """
        if len(self) > 255:
            raise ValueError("more tokens than fit into a byte")
        number = {word: place + 1 for place, word in enumerate(self.words)}
        rows = [tokens(one) for one in smiles]
        made = np.zeros((len(rows), max(map(len, rows), default=0) + 1), dtype=np.uint8)
        for place, row in enumerate(rows):
            unknown = [word for word in row if word not in number]
            if unknown:
                raise ValueError(f"token {unknown[0]!r} is not in the vocabulary")
            made[place, : len(row)] = [number[word] for word in row]
        return made

    def decode(self, row: Iterable[int]) -> str:
        """The SMILES of a row of numbers, up to its first 0."""
        made = []
        for number in row:
            if number == END:
                break
            made.append(self.words[number - 1])
        return "".join(made)
