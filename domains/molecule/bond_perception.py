"""Bonds and formal charges from atoms in space, by a rule; loads no chemistry library.

1. Two atoms are joined where they are closer than the sum of their covalent radii (Cordero et al. 2008) plus 0.25 Å;
   two hydrogens never but as H2; a hydrogen keeps its nearest neighbour only.
2. Every atom takes its usual valence, H 1, C 4, N 3, O 2, F 1, and the bonds between atoms with valences left are
   raised to double or triple ones so that none is left.  Of several ways the one whose lengths are nearest to the
   typical ones is taken (sum of squared differences; ties go to the earlier atoms of the file).
3. Where there is no such way, the fewest and cheapest other states are tried whose charges add up to the molecule's:
   N⁺ with four bonds, O⁻ with one, and so on (`elements.ELEMENTS` lists all with their penalties).

Bond orders are those of one Kekulé structure.  A molecule without an answer (radicals, carbenes, broken geometries)
gets none: nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from domains.molecule.elements import BY_NUMBER, RADII, State

RULE = "covalent radii + 0.25 Å, usual valences, nearest typical lengths; version 1"
TOLERANCE = 0.25  # Å
_MOST_DEVIATIONS = 6
_MOST_COMBINATIONS = 20_000
_MOST_VISITS = 50_000
# Typical lengths in Å of single, double and triple bonds; other pairs: radii, less 0.2 Å an order.
_TYPICAL = {
    (6, 6): (1.54, 1.34, 1.20),
    (6, 7): (1.47, 1.28, 1.16),
    (6, 8): (1.43, 1.21, 1.13),
    (7, 7): (1.45, 1.25, 1.10),
    (7, 8): (1.40, 1.21, 1.06),
    (8, 8): (1.48, 1.21, 1.21),
    (6, 16): (1.82, 1.60, 1.53),
    (8, 16): (1.57, 1.43, 1.40),
    (8, 15): (1.63, 1.48, 1.45),
}


@dataclass(frozen=True)
class Bonds:
    """The bonds of a molecule.

    Attributes:
        pairs: Atom indices `[bonds, 2]`, the smaller first.
        orders: 1, 2 or 3, `[bonds]`.
        charges: Formal charges, `[atoms]`.
    """

    pairs: NDArray[np.int64]
    orders: NDArray[np.int64]
    charges: NDArray[np.int64]


def connected_pairs(numbers: NDArray[np.integer], positions: NDArray[np.floating]) -> NDArray[np.int64]:
    """The pairs of atoms that are joined (step 1), `[bonds, 2]`, the smaller index first, in order.

    Args:
        numbers: Atomic numbers `[n]`.
        positions: Å, `[n, 3]`.
    """
    z = numbers.astype(np.int64)
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    radii = RADII[z]
    near = distances < radii[:, None] + radii[None] + TOLERANCE
    np.fill_diagonal(near, False)
    hydrogen = z == 1
    if len(z) > 2:
        near[np.ix_(hydrogen, hydrogen)] = False
    crowded = np.flatnonzero(hydrogen & (near.sum(1) > 1))
    for atom in crowded:
        others = np.flatnonzero(near[atom])
        nearest = others[np.argmin(distances[atom, others])]
        near[atom] = near[:, atom] = False
        near[atom, nearest] = near[nearest, atom] = True
    return np.argwhere(np.triu(near))


def perceive(numbers: NDArray[np.integer], positions: NDArray[np.floating], charge: int = 0) -> Bonds | None:
    """The bonds of a molecule by the rule of this module; None where the rule has no answer.

    Args:
        numbers: Atomic numbers `[n]`, hydrogens included.
        positions: Å, `[n, 3]`.
        charge: Total charge.
    """
    if any(int(z) not in BY_NUMBER for z in numbers):
        return None
    pairs = connected_pairs(numbers, positions)
    first, second = pairs[:, 0], pairs[:, 1]
    lengths = np.linalg.norm(positions[first] - positions[second], axis=-1)
    problem = _Problem([int(z) for z in numbers], [(int(i), int(j)) for i, j in pairs], lengths.tolist())
    found = problem.solve(charge)
    if found is None:
        return None
    orders, charges = found
    return Bonds(pairs, np.array(orders, dtype=np.int64), np.array(charges, dtype=np.int64))


def _typical(first: int, second: int, order: int) -> float:
    known = _TYPICAL.get((min(first, second), max(first, second)))
    if known is not None:
        return known[order - 1]
    return float(RADII[first] + RADII[second]) - 0.2 * (order - 1)


class _Problem:
    """Steps 2 and 3 for one molecule."""

    def __init__(self, z: list[int], pairs: list[tuple[int, int]], lengths: list[float]) -> None:
        self.z, self.pairs, self.lengths = z, pairs, lengths
        self.degrees = [0] * len(z)
        for i, j in pairs:
            self.degrees[i] += 1
            self.degrees[j] += 1

    def solve(self, charge: int) -> tuple[list[int], list[int]] | None:
        best: tuple[float, list[int], list[State]] | None = None
        level: int | None = None
        for penalty, states in self._states(charge):
            if level is not None and penalty > level:
                break
            found = self._raise_bonds([s.valence - d for s, d in zip(states, self.degrees, strict=True)])
            if found is not None and (best is None or found[0] < best[0] - 1e-9):
                best, level = (*found, states), penalty
        if best is None:
            return None
        return best[1], [state.charge for state in best[2]]

    def _states(self, charge: int) -> Iterator[tuple[int, list[State]]]:
        """Choices of a state for every atom, by penalty, the usual ones first."""
        usual = [BY_NUMBER[z].states[0] for z in self.z]
        forced = [a for a, (s, d) in enumerate(zip(usual, self.degrees, strict=True)) if s.valence < d]
        if not forced and charge == 0:
            yield 0, usual
        others: list[tuple[int, State]] = [
            (atom, state)
            for atom, z in enumerate(self.z)
            for state in BY_NUMBER[z].states[1:]
            if state.valence >= self.degrees[atom]
        ]
        choices: list[tuple[int, tuple[tuple[int, State], ...]]] = []
        for count in range(max(1, len(forced)), min(_MOST_DEVIATIONS, len(self.z)) + 1):
            for chosen in combinations(others, count):
                atoms = [atom for atom, _ in chosen]
                if len(set(atoms)) < count or not set(forced) <= set(atoms):
                    continue
                if sum(state.charge for _, state in chosen) != charge:
                    continue
                choices.append((sum(state.penalty for _, state in chosen), chosen))
                if len(choices) > _MOST_COMBINATIONS:
                    break
            if len(choices) > 200:  # the cheap ones are among the few
                break
        for penalty, chosen in sorted(choices, key=lambda choice: choice[0]):
            states = list(usual)
            for atom, state in chosen:
                states[atom] = state
            yield penalty, states

    def _raise_bonds(self, left: list[int]) -> tuple[float, list[int]] | None:
        """Bond orders that use up the valences `left` over from single bonds, and their cost; None without any."""
        if min(left, default=0) < 0 or sum(left) % 2:
            return None
        orders = [1] * len(self.pairs)
        open_bonds = [k for k, (i, j) in enumerate(self.pairs) if left[i] > 0 and left[j] > 0]
        cost = [
            [(self.lengths[k] - _typical(self.z[i], self.z[j], order)) ** 2 for order in (1, 2, 3)]
            for k, (i, j) in enumerate(self.pairs)
        ]
        if not any(left):
            return 0.0, orders
        of_atom: dict[int, list[int]] = {}
        for k in open_bonds:
            for atom in self.pairs[k]:
                of_atom.setdefault(atom, []).append(k)
        if any(need and atom not in of_atom for atom, need in enumerate(left)):
            return None
        best: tuple[float, list[int]] | None = None
        visits = 0

        def walk(undecided: Sequence[int], extra: dict[int, int], spent: float) -> None:
            nonlocal best, visits
            visits += 1
            if visits > _MOST_VISITS or (best is not None and spent >= best[0] - 1e-9):
                return
            if not undecided:
                if not any(left):
                    best = (spent, [1 + extra.get(k, 0) for k in range(len(self.pairs))])
                return
            # The atom with the fewest undecided bonds decides next; one that cannot be satisfied ends the branch.
            counts: dict[int, int] = {}
            for k in undecided:
                for atom in self.pairs[k]:
                    counts[atom] = counts.get(atom, 0) + 1
            if any(need and not counts.get(atom) for atom, need in enumerate(left)):
                return
            atom = min(counts, key=lambda a: (counts[a], a))
            k = next(k for k in undecided if atom in self.pairs[k])
            i, j = self.pairs[k]
            rest = [other for other in undecided if other != k]
            most = min(left[i], left[j], 2)
            least = left[atom] if counts[atom] == 1 else 0
            for more in sorted(range(least, most + 1), key=lambda m: cost[k][m]):
                left[i] -= more
                left[j] -= more
                extra[k] = more
                walk(rest, extra, spent + cost[k][more])
                left[i] += more
                left[j] += more
            extra.pop(k, None)

        walk(open_bonds, {}, 0.0)
        return best
