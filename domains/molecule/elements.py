"""The elements that this domain speaks of: symbols, radii, valences.  Loads no chemistry library."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class State:
    """A way in which an atom binds.

    Attributes:
        charge: Formal charge.
        valence: Sum of its bond orders.
        penalty: What it costs to choose it; 0 is the usual one.
    """

    charge: int
    valence: int
    penalty: int


@dataclass(frozen=True)
class Element:
    """An element.

    Attributes:
        symbol: As written. number: Atomic number.
        radius: Single-bond covalent radius in Å (Cordero et al., Dalton Trans. 2008, 2832, table 2).
        states: Ways to bind, the usual one first.
    """

    symbol: str
    number: int
    radius: float
    states: tuple[State, ...]


def _element(symbol: str, number: int, radius: float, *states: tuple[int, int, int]) -> Element:
    return Element(symbol, number, radius, tuple(State(*state) for state in states))


# (charge, valence, penalty); a carbanion is rarer than an oxide, an expanded octet than none.
ELEMENTS: tuple[Element, ...] = (
    _element("H", 1, 0.31, (0, 1, 0), (1, 0, 4)),
    _element("B", 5, 0.84, (0, 3, 0), (-1, 4, 1)),
    _element("C", 6, 0.76, (0, 4, 0), (-1, 3, 4), (1, 3, 5)),
    _element("N", 7, 0.71, (0, 3, 0), (1, 4, 1), (-1, 2, 3)),
    _element("O", 8, 0.66, (0, 2, 0), (-1, 1, 1), (1, 3, 3)),
    _element("F", 9, 0.57, (0, 1, 0), (-1, 0, 2)),
    _element("Si", 14, 1.11, (0, 4, 0)),
    _element("P", 15, 1.07, (0, 3, 0), (0, 5, 1), (1, 4, 2)),
    _element("S", 16, 1.05, (0, 2, 0), (0, 4, 1), (0, 6, 1), (-1, 1, 2), (1, 3, 3)),
    _element("Cl", 17, 1.02, (0, 1, 0), (-1, 0, 2), (0, 7, 5)),
    _element("Br", 35, 1.20, (0, 1, 0), (-1, 0, 2)),
    _element("I", 53, 1.39, (0, 1, 0), (-1, 0, 2), (0, 3, 3)),
)
BY_NUMBER = {element.number: element for element in ELEMENTS}
BY_SYMBOL = {element.symbol: element for element in ELEMENTS}


def number_table(values: dict[int, float], missing: float) -> NDArray[np.float64]:
    """Atomic number -> value, as an array of 256 to be indexed with atomic numbers."""
    table = np.full(256, missing)
    for number, value in values.items():
        table[number] = value
    return table


RADII = number_table({element.number: element.radius for element in ELEMENTS}, np.nan)
