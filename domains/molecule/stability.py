"""Atom and molecule stability by the rule of EDM (Hoogeboom et al. 2022, "Equivariant Diffusion for Molecule Generation
in 3D", section 5.1 and the appendix on bond distances), which every later paper on QM9 reports.

A pair of atoms is bonded where it is closer than the typical length of a single bond plus 10 pm, doubly below the
typical double bond plus 5 pm, triply below the triple bond plus 3 pm.  An atom is stable where its bond orders add up
to the allowed valence; a molecule is where all its atoms are.  No charge enters: a zwitterion is unstable by this rule,
and so are some other real molecules, whence the row of real data that belongs beside every number.

The lengths are those that the paper tabulates, in picometres, from wiredchemist.com and chemistry-reference.com.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domains.molecule.elements import BY_SYMBOL

RULE = "EDM 2022"
MARGINS = (10.0, 5.0, 3.0)

_SINGLE = """
H H 74, H C 109, H N 101, H O 96, H F 92, H B 119, H Si 148, H P 144, H S 134, H Cl 127, H Br 141, H I 161,
C C 154, C N 147, C O 143, C F 135, C Si 185, C P 184, C S 182, C Cl 177, C Br 194, C I 214,
N N 145, N O 140, N F 136, N Cl 175, N Br 214, N S 168, N I 222, N P 177,
O O 148, O F 142, O Br 172, O S 151, O P 163, O Si 163, O Cl 164, O I 194,
F F 142, F S 158, F Si 160, F Cl 166, F Br 178, F P 156, F I 187, B Cl 175,
Si Si 233, Si S 200, Si Cl 202, Si Br 215, Si I 243, Cl Cl 199, Cl P 203, Cl S 207, Cl Br 214,
S S 204, S Br 225, S P 210, S I 234, Br Br 228, Br P 222, P P 221, I I 266
"""
_DOUBLE = "C C 134, C N 129, C O 120, C S 160, N N 125, N O 121, O O 121, O P 150, P S 186"
_TRIPLE = "C C 120, C N 116, C O 113, N N 110"
_ALLOWED = {
    "H": (1,), "B": (3,), "C": (4,), "N": (3,), "O": (2,), "F": (1,), "Si": (4,), "P": (3, 5), "S": (4,),
    "Cl": (1,), "Br": (1,), "I": (1,),
}  # fmt: skip
_SIZE = 64  # atomic numbers below it are in the tables


def _table(text: str, margin: float) -> NDArray[np.float64]:
    """Thresholds `[Z, Z]` in Å; 0 where there is none, so that no distance falls below."""
    table = np.zeros((_SIZE, _SIZE))
    for entry in text.replace("\n", " ").split(","):
        first, second, length = entry.split()
        a, b = BY_SYMBOL[first].number, BY_SYMBOL[second].number
        table[a, b] = table[b, a] = (float(length) + margin) / 100
    return table


THRESHOLDS = tuple(_table(t, m) for t, m in zip((_SINGLE, _DOUBLE, _TRIPLE), MARGINS, strict=True))
_STABLE = np.zeros((_SIZE, 128), dtype=bool)
for _symbol, _valences in _ALLOWED.items():
    _STABLE[BY_SYMBOL[_symbol].number, list(_valences)] = True
KNOWN = np.zeros(_SIZE, dtype=bool)
KNOWN[[BY_SYMBOL[symbol].number for symbol in _ALLOWED]] = True
_BATCH_CELLS = 2_000_000  # pairs of atoms looked at together


@dataclass(frozen=True)
class Stability:
    """What EDM's rule says of some molecules.

    Attributes:
        stable_atoms: Number of stable atoms, `[molecules]`.
        atoms: Number of atoms, `[molecules]`.
        judged: Whether all its elements are in the paper's tables, `[molecules]`.
    """

    stable_atoms: NDArray[np.int64]
    atoms: NDArray[np.int64]
    judged: NDArray[np.bool_]

    @property
    def atom_share(self) -> float:
        """Share of stable atoms in all molecules that are judged; NaN without any."""
        total = self.atoms[self.judged].sum()
        return float(self.stable_atoms[self.judged].sum() / total) if total else float("nan")

    @property
    def molecules(self) -> NDArray[np.bool_]:
        """Which molecules are stable; False where not judged."""
        return self.judged & (self.stable_atoms == self.atoms)

    @property
    def molecule_share(self) -> float:
        """Share of stable molecules among those judged; NaN without any."""
        return float(self.molecules[self.judged].mean()) if self.judged.any() else float("nan")


def bond_orders(numbers: NDArray[np.integer], distances: NDArray[np.floating]) -> NDArray[np.int64]:
    """Bond order of each pair by EDM's rule.

    Args:
        numbers: Atomic numbers `[..., n]`; 0 is no atom, and binds nothing.
        distances: Å, `[..., n, n]`.

    Returns:
        0, 1, 2 or 3, `[..., n, n]`.
    """
    z = np.minimum(numbers.astype(np.int64), _SIZE - 1)
    pair = (z[..., :, None], z[..., None, :])
    single, double, triple = (distances < table[pair] for table in THRESHOLDS)
    orders = single.astype(np.int64) + (single & double) + (single & double & triple)
    orders[..., np.arange(z.shape[-1]), np.arange(z.shape[-1])] = 0
    return orders


def edm_stability(
    numbers: Sequence[NDArray[np.integer]], positions: Sequence[NDArray[np.floating]]
) -> Stability:
    """Stability of molecules given as atoms in space, hydrogens among them.

    Args:
        numbers: Atomic numbers `[n]` of each molecule.
        positions: Å, `[n, 3]` of each molecule.
    """
    count = len(numbers)
    sizes = np.array([len(z) for z in numbers], dtype=np.int64)
    stable, judged = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=bool)
    for size in np.unique(sizes):
        if size == 0:
            continue
        members = np.flatnonzero(sizes == size)
        step = max(1, _BATCH_CELLS // int(size) ** 2)
        for start in range(0, len(members), step):
            some = members[start : start + step]
            z = np.minimum(np.stack([numbers[k] for k in some]).astype(np.int64), _SIZE - 1)
            x = np.stack([positions[k] for k in some]).astype(np.float64)
            orders = bond_orders(z, np.linalg.norm(x[:, :, None] - x[:, None], axis=-1))
            valences = np.minimum(orders.sum(-1), 127)
            stable[some] = _STABLE[z, valences].sum(-1)
            judged[some] = KNOWN[z].all(-1)
    return Stability(stable, sizes, judged)
