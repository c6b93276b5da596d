"""Molecules as tensors for training: read from prepared arrays, split, padded.  Loads no chemistry library.

`domains.molecule.prepare` makes such a file from a packed data set once, with RDKit; from then on NumPy and torch are
enough.  In memory the whole set lies as padded tensors, so a batch is one `index_select` a tensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.files import atomic_path
from domains.common.errors import BadInput

VERSION = 1
SPLITS = ("train", "val", "test")
# Columns of `properties`; `domains.molecule.properties` computes them.
PROPERTY_NAMES = ("logP", "QED", "weight", "TPSA", "rings", "H-bond donors")
SPLIT_SEED = "langevin molecules 1"
_SHARES = (90, 95)  # percent: below the first is train, below the second val, the rest test
_KEYS = (
    "version", "name", "sizes", "numbers", "charges", "hydrogens", "bond_counts", "pairs", "orders", "aromatic",
    "split", "smiles", "smiles_ends", "made_with",
)  # fmt: skip
_MOST_ATOMS, _MOST_MOLECULES = 100_000_000, 10_000_000


def split_of(smiles: str) -> int:
    """0, 1 or 2 (train, val, test) for a canonical SMILES: its SHA-256 with `SPLIT_SEED`, modulo 100.

    All geometries, protonations written alike and stereoisomers of one graph land in one part.
    """
    from hashlib import sha256

    share = int.from_bytes(sha256(f"{SPLIT_SEED}|{smiles}".encode()).digest()[:8], "big") % 100
    return int(share >= _SHARES[0]) + int(share >= _SHARES[1])


@dataclass(frozen=True)
class MoleculeArrays:
    """A data set as flat arrays; molecule k holds `sizes[k]` atoms and `bond_counts[k]` bonds.

    Attributes:
        name: `qm9` or `zinc`.
        sizes: Atoms a molecule, `[molecules]`.
        numbers, charges, hydrogens: Of all atoms in turn, `[atoms]`: atomic number, formal charge, and the hydrogens
            that are not atoms themselves.
        bond_counts: Bonds a molecule, `[molecules]`.
        pairs: Bonded atoms `[bonds, 2]`, counted within the molecule.
        orders: 1, 2, 3 of one Kekulé structure, `[bonds]`; aromatic: whether the bond is aromatic.
        split: Index into `SPLITS`, `[molecules]`.
        smiles: Canonical SMILES without stereo, one a molecule.
        positions: Å, `[atoms, 3]`; None where the set has no geometries.
        made_with: Version of RDKit behind the canonical SMILES, and so behind the split.
        properties: `PROPERTY_NAMES` of each molecule, `[molecules, 6]`; None in sets prepared without them.
    """

    name: str
    sizes: NDArray[np.int64]
    numbers: NDArray[np.uint8]
    charges: NDArray[np.int8]
    hydrogens: NDArray[np.uint8]
    bond_counts: NDArray[np.int64]
    pairs: NDArray[np.uint8]
    orders: NDArray[np.uint8]
    aromatic: NDArray[np.bool_]
    split: NDArray[np.uint8]
    smiles: list[str]
    positions: NDArray[np.float32] | None
    made_with: str
    properties: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.sizes)

    def members(self, split: str) -> NDArray[np.int64]:
        """Indices of the molecules of `train`, `val` or `test`."""
        return np.flatnonzero(self.split == SPLITS.index(split))

    def size_histogram(self, split: str = "train") -> NDArray[np.int64]:
        """Molecules by number of atoms, `[largest + 1]`; the law from which sampling draws sizes."""
        return np.bincount(self.sizes[self.members(split)], minlength=int(self.sizes.max()) + 1)

    def save(self, path: Path) -> None:
        """Writes the arrays as compressed `.npz`, atomically."""
        text = [one.encode("ascii") for one in self.smiles]
        arrays: dict[str, Any] = {
            "version": np.array(VERSION),
            "name": np.array(self.name),
            "made_with": np.array(self.made_with),
            "sizes": self.sizes.astype(np.uint8),
            "numbers": self.numbers,
            "charges": self.charges,
            "hydrogens": self.hydrogens,
            "bond_counts": self.bond_counts.astype(np.uint8),
            "pairs": self.pairs,
            "orders": self.orders,
            "aromatic": self.aromatic,
            "split": self.split,
            "smiles": np.frombuffer(b"".join(text), dtype=np.uint8),
            "smiles_ends": np.cumsum([len(one) for one in text]),
        }
        if self.positions is not None:
            arrays["positions_mA"] = np.round(self.positions * 1000).astype(np.int16)
        if self.properties is not None:
            arrays["properties"] = self.properties.astype(np.float32)
        with atomic_path(path) as temporary, open(temporary, "wb") as stream:
            np.savez_compressed(stream, **arrays)


def load_arrays(path: Path) -> MoleculeArrays:
    """Reads a file that `MoleculeArrays.save` wrote.

    Raises:
        BadInput: For `data`, if the file is something else or does not add up.
    """
    try:
        with np.load(path, allow_pickle=False) as held:
            found = {key: held[key] for key in (*_KEYS, "positions_mA", "properties") if key in held.files}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise BadInput("data", f"is no file of prepared molecules ({type(error).__name__})") from None
    missing = [key for key in _KEYS if key not in found]
    if missing or int(found["version"]) != VERSION:
        raise BadInput("data", "is no file of prepared molecules of this version; prepare it again")
    sizes, bonds = found["sizes"].astype(np.int64), found["bond_counts"].astype(np.int64)
    atoms, ends, width = int(sizes.sum()), found["smiles_ends"], len(PROPERTY_NAMES)
    fits = (
        len(sizes) == len(bonds) == len(found["split"]) == len(ends)
        and 0 < len(sizes) <= _MOST_MOLECULES
        and all(len(found[key]) == atoms for key in ("numbers", "charges", "hydrogens"))
        and found["pairs"].shape == (int(bonds.sum()), 2)
        and len(found["orders"]) == len(found["aromatic"]) == int(bonds.sum())
        and found.get("positions_mA", np.zeros((atoms, 3))).shape == (atoms, 3)
        and found.get("properties", np.zeros((len(sizes), width))).shape == (len(sizes), width)
        and bool((found["pairs"] < np.repeat(sizes, bonds)[:, None]).all())
        and bool((np.diff(ends, prepend=0) >= 0).all())
        and int(ends[-1]) == len(found["smiles"])
    )
    if not fits:
        raise BadInput("data", "the arrays of the file do not fit together; prepare it again")
    text = found["smiles"].tobytes().decode("ascii")
    begins = np.concatenate([[0], ends[:-1]])
    positions = found.get("positions_mA")
    return MoleculeArrays(
        name=str(found["name"]),
        sizes=sizes,
        numbers=found["numbers"],
        charges=found["charges"],
        hydrogens=found["hydrogens"],
        bond_counts=bonds,
        pairs=found["pairs"],
        orders=found["orders"],
        aromatic=found["aromatic"],
        split=found["split"],
        smiles=[text[a:b] for a, b in zip(begins, ends, strict=True)],
        positions=None if positions is None else (positions / 1000).astype(np.float32),
        made_with=str(found["made_with"]),
        properties=found.get("properties"),
    )


@dataclass(frozen=True)
class MoleculeTensors:
    """Padded molecules, `[molecules, n]` and `[molecules, n, n]`, n the largest number of atoms.

    Attributes:
        sizes: Atoms a molecule, int64 `[B]`.
        numbers: Atomic numbers, 0 beyond the last atom, uint8 `[B, n]`.
        charges: Formal charges, int8 `[B, n]`.
        hydrogens: Implied hydrogens, uint8 `[B, n]`.
        bonds: Order 0–3 of one Kekulé structure, symmetric, uint8 `[B, n, n]`.
        aromatic: Whether bonded by an aromatic bond, symmetric, bool `[B, n, n]`.
        positions: Å, zero centre of mass (all atoms weigh the same), 0 beyond the last atom, float32 `[B, n, 3]`.
        properties: `PROPERTY_NAMES` of each, float32 `[B, 6]`, or None.
    """

    sizes: Tensor
    numbers: Tensor
    charges: Tensor
    hydrogens: Tensor
    bonds: Tensor
    aromatic: Tensor
    positions: Tensor | None
    properties: Tensor | None = None

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def mask(self) -> Tensor:
        """Which places hold an atom, bool `[B, n]`."""
        return torch.arange(self.numbers.shape[1], device=self.sizes.device) < self.sizes[:, None]

    def to(self, device: torch.device | str) -> MoleculeTensors:
        """The same on another device."""
        return MoleculeTensors(*(None if t is None else t.to(device) for t in self._all()))  # type: ignore[arg-type]

    def collate(self, index: Tensor) -> MoleculeTensors:
        """The molecules at `index` `[B]`, padded to the largest of them."""
        sizes = self.sizes.index_select(0, index)
        n = int(sizes.max()) if len(sizes) else 0

        def taken(values: Tensor) -> Tensor:
            return values.index_select(0, index)[(slice(None), *[slice(n)] * (1 + (values.dim() == 3)))]

        return MoleculeTensors(
            sizes=sizes,
            numbers=taken(self.numbers),
            charges=taken(self.charges),
            hydrogens=taken(self.hydrogens),
            bonds=taken(self.bonds),
            aromatic=taken(self.aromatic),
            positions=None if self.positions is None else self.positions.index_select(0, index)[:, :n],
            properties=None if self.properties is None else self.properties.index_select(0, index),
        )

    def _all(self) -> tuple[Tensor | None, ...]:
        return (
            self.sizes, self.numbers, self.charges, self.hydrogens, self.bonds, self.aromatic, self.positions,
            self.properties,
        )  # fmt: skip


def padded_tensors(arrays: MoleculeArrays, split: str | None = None) -> MoleculeTensors:
    """The molecules of one part, or all, as padded tensors in memory; QM9 takes about 0.3 GB, ZINC 0.3 GB."""
    chosen = np.arange(len(arrays)) if split is None else arrays.members(split)
    count, n = len(chosen), int(arrays.sizes[chosen].max(initial=0))
    place = np.full(len(arrays), -1, dtype=np.int64)
    place[chosen] = np.arange(count)

    owner = np.repeat(np.arange(len(arrays)), arrays.sizes)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(arrays.sizes) - arrays.sizes, arrays.sizes)
    kept = place[owner] >= 0
    row, column = place[owner[kept]], within[kept]

    def flat(values: NDArray[np.generic]) -> Tensor:
        made = np.zeros((count, n), dtype=values.dtype)
        made[row, column] = values[kept]
        return torch.from_numpy(made)

    bond_owner = place[np.repeat(np.arange(len(arrays)), arrays.bond_counts)]
    bonded = bond_owner >= 0
    at, (first, second) = bond_owner[bonded], arrays.pairs[bonded].astype(np.int64).T

    def square(values: NDArray[np.generic]) -> Tensor:
        made = np.zeros((count, n, n), dtype=values.dtype)
        made[at, first, second] = made[at, second, first] = values[bonded]
        return torch.from_numpy(made)

    positions = None
    if arrays.positions is not None:
        made = np.zeros((count, n, 3), dtype=np.float32)
        made[row, column] = arrays.positions[kept]
        sizes = arrays.sizes[chosen][:, None, None].astype(np.float32)
        made -= made.sum(1, keepdims=True) / np.maximum(sizes, 1)
        made *= np.arange(n)[None, :, None] < sizes
        positions = torch.from_numpy(made)
    return MoleculeTensors(
        sizes=torch.from_numpy(arrays.sizes[chosen]),
        numbers=flat(arrays.numbers),
        charges=flat(arrays.charges),
        hydrogens=flat(arrays.hydrogens),
        bonds=square(arrays.orders),
        aromatic=square(arrays.aromatic),
        positions=positions,
        properties=None if arrays.properties is None else torch.from_numpy(arrays.properties[chosen]),
    )
