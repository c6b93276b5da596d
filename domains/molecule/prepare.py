"""From packed data sets to prepared arrays, once: bonds and charges perceived, SMILES canonical, molecules split.

    python -m domains.molecule.prepare DATA OUT.npz

`DATA` is `qm9_3d.npz` (the agreement with `qm9.smi.gz`, where it lies beside it, is printed) or a table of SMILES such
as `zinc_druglike.csv.gz`.  `prepared(path)` keeps the result in the person's cache folder.
"""

from __future__ import annotations

import csv
import gzip
import io
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rdkit
from numpy.typing import NDArray
from rdkit import Chem

from domains.common.cache import cache_folder
from domains.common.errors import BadInput
from domains.common.files import file_sha256, read_bounded
from domains.molecule.bond_perception import perceive
from domains.molecule.chemistry import (
    Graph,
    canonical_smiles,
    has_radicals,
    is_connected,
    sanitised,
    silenced,
    to_graph,
    to_molecule,
)
from domains.molecule.data import VERSION, MoleculeArrays, load_arrays, split_of
from domains.molecule.properties import properties_of

Progress = Callable[[float, float, str], None]
MOST_BYTES = 256 * 2**20
MOST_TEXT = 512 * 2**20
HEAVY_ATOMS = 38
# What `druglike-graph` speaks of; molecules with other elements are left out and counted.
DRUGLIKE = frozenset((5, 6, 7, 8, 9, 14, 15, 16, 17, 35, 53))


@dataclass
class Report:
    """What became of a data set.

    Attributes:
        read: Molecules in the file. kept: Molecules in the arrays.
        left_out: Reason -> how many.
    """

    read: int = 0
    kept: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def lines(self) -> list[str]:
        """For people."""
        reasons = [f"{count:,} {reason}" for reason, count in self.left_out.most_common()]
        return [f"{self.kept:,} of {self.read:,} molecules kept", *(f"left out: {line}" for line in reasons)]


def prepared(path: Path, progress: Progress | None = None) -> MoleculeArrays:
    """The arrays of a data set: `path` itself where it is prepared, else prepared now or found in the cache.

    Raises:
        BadInput: For `data`, where the file is none of the kinds that are known.
    """
    if path.suffix == ".npz" and _holds(path, "smiles_ends"):
        return load_arrays(path)
    kept = (
        cache_folder("molecules")
        / f"molecules-{VERSION}-properties-{rdkit.__version__}-{file_sha256(path)[:16]}.npz"
    )
    if kept.is_file():
        return load_arrays(kept)
    arrays, _ = prepare(path, progress)
    arrays.save(kept)
    return arrays


def prepare(path: Path, progress: Progress | None = None) -> tuple[MoleculeArrays, Report]:
    """Makes the arrays of `qm9_3d.npz` or of a table of SMILES, and says what was left out.

    Raises:
        BadInput: For `data`, where the file is none of these.
    """
    if path.suffix == ".npz":
        return prepare_geometries(path, progress)
    return prepare_smiles(read_smiles(path), progress)


def prepare_geometries(path: Path, progress: Progress | None = None) -> tuple[MoleculeArrays, Report]:
    """QM9's geometries: hydrogens are atoms, bonds and charges follow `bond_perception`.

    Left out are molecules without an answer of the rule, and those that RDKit does not accept, that are not in one
    piece or have unpaired electrons.
    """
    try:
        with np.load(path, allow_pickle=False) as held:
            sizes, z, xyz = held["n_atoms"].astype(np.int64), held["z"], held["xyz_mA"]
    except (OSError, ValueError, KeyError, EOFError):
        raise BadInput("data", "must hold n_atoms, z and xyz_mA, as qm9_3d.npz does") from None
    if xyz.shape != (len(z), 3) or sizes.sum() != len(z):
        raise BadInput("data", "n_atoms, z and xyz_mA do not fit together")
    report, ends = Report(read=len(sizes)), np.cumsum(sizes)
    graphs: list[Graph] = []
    names: list[str] = []
    for k, (end, size) in enumerate(zip(ends, sizes, strict=True)):
        numbers, positions = z[end - size : end], xyz[end - size : end] / 1000.0
        graph = geometry_graph(numbers, positions)
        if isinstance(graph, str):
            report.left_out[graph] += 1
        else:
            graphs.append(graph[0])
            names.append(graph[1])
        if progress is not None and k % 500 == 0:
            progress(k, len(sizes), "perceiving bonds")
    report.kept = len(graphs)
    return _arrays("qm9", graphs, names, progress), report


def geometry_graph(numbers: NDArray[np.integer], positions: NDArray[np.floating]) -> tuple[Graph, str] | str:
    """The graph and canonical SMILES of a molecule in space; else why it is left out."""
    bonds = perceive(numbers, positions)
    if bonds is None:
        return "without bonds by the rule"
    stated = to_molecule(
        numbers, bonds.pairs, bonds.orders, bonds.charges, np.zeros(len(numbers), dtype=np.int64), positions
    )
    molecule = sanitised(stated)
    if molecule is None:
        return "not accepted by RDKit"
    if not is_connected(molecule):
        return "not in one piece"
    if has_radicals(molecule):
        return "with unpaired electrons"
    aromatic = np.array([bond.GetIsAromatic() for bond in molecule.GetBonds()], dtype=bool)
    graph = Graph(
        numbers=numbers.astype(np.int64),
        charges=bonds.charges,
        hydrogens=np.zeros(len(numbers), dtype=np.int64),
        pairs=bonds.pairs,
        orders=bonds.orders,
        aromatic=aromatic,
        positions=positions.astype(np.float64),
    )
    return graph, canonical_smiles(molecule)


def read_smiles(path: Path) -> list[str]:
    """The SMILES of a table (a column `smiles`, or the first word of each line), gzipped or not.

    Raises:
        BadInput: For `data`, if it is too large or no text.
    """
    data = read_bounded(path, MOST_BYTES, "data")
    if data[:2] == b"\x1f\x8b":
        with gzip.open(io.BytesIO(data)) as stream:
            data = stream.read(MOST_TEXT + 1)
    if len(data) > MOST_TEXT:
        raise BadInput("data", "unpacks to more than 512 MB; split it into parts")
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise BadInput("data", "is no text; give a table of SMILES or qm9_3d.npz") from None
    if lines and "," in lines[0] and "smiles" in lines[0].lower():
        rows = csv.DictReader(lines)
        column = next(name for name in rows.fieldnames or () if name.strip().lower() == "smiles")
        return [row[column] for row in rows if row[column]]
    return [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]


def prepare_smiles(
    smiles: Sequence[str], progress: Progress | None = None, name: str = "zinc"
) -> tuple[MoleculeArrays, Report]:
    """Molecules given as SMILES: heavy atoms only, hydrogens counted, bonds both kekulised and flagged aromatic.

    Left out are molecules above 38 heavy atoms, of several pieces, with elements beyond `DRUGLIKE`, radicals, isotopes,
    and those seen before (stereoisomers of one graph count once).
    """
    report, seen = Report(read=len(smiles)), set[str]()
    graphs: list[Graph] = []
    names: list[str] = []
    for k, text in enumerate(smiles):
        with silenced():
            molecule = Chem.MolFromSmiles(text)
        reason = _why_not(molecule)
        if reason is None:
            canonical = canonical_smiles(molecule)
            if canonical in seen:
                reason = "seen before"
            else:
                seen.add(canonical)
                # In the order of the canonical SMILES, so that nothing of the file's own order is learned.
                graphs.append(to_graph(Chem.MolFromSmiles(canonical)))
                names.append(canonical)
        if reason is not None:
            report.left_out[reason] += 1
        if progress is not None and k % 500 == 0:
            progress(k, len(smiles), "reading SMILES")
    report.kept = len(graphs)
    return _arrays(name, graphs, names, progress), report


def _why_not(molecule: Chem.Mol | None) -> str | None:
    if molecule is None or not molecule.GetNumAtoms():
        return "not accepted by RDKit"
    if molecule.GetNumAtoms() > HEAVY_ATOMS:
        return f"above {HEAVY_ATOMS} heavy atoms"
    if not is_connected(molecule):
        return "not in one piece"
    if any(atom.GetAtomicNum() not in DRUGLIKE for atom in molecule.GetAtoms()):
        return "with other elements"
    if any(atom.GetIsotope() for atom in molecule.GetAtoms()):
        return "with isotopes"
    if has_radicals(molecule):
        return "with unpaired electrons"
    return None


def _arrays(
    name: str, graphs: Sequence[Graph], names: list[str], progress: Progress | None = None
) -> MoleculeArrays:
    if not graphs:
        raise BadInput("data", "holds no molecule that can be used")

    def all_of(parts: Iterable[NDArray[np.generic]], kind: type[np.generic]) -> NDArray[np.generic]:
        return np.concatenate([part.astype(kind) for part in parts])

    table = []
    for k, text in enumerate(names):
        with silenced():
            table.append([*properties_of(Chem.MolFromSmiles(text)).values()])
        if progress is not None and k % 500 == 0:
            progress(k, len(names), "computing properties")
    positions = None
    if graphs[0].positions is not None:
        positions = np.concatenate([graph.positions for graph in graphs]).astype(np.float32)
    return MoleculeArrays(
        name=name,
        sizes=np.array([len(graph.numbers) for graph in graphs], dtype=np.int64),
        numbers=all_of((graph.numbers for graph in graphs), np.uint8),  # type: ignore[arg-type]
        charges=all_of((graph.charges for graph in graphs), np.int8),  # type: ignore[arg-type]
        hydrogens=all_of((graph.hydrogens for graph in graphs), np.uint8),  # type: ignore[arg-type]
        bond_counts=np.array([len(graph.orders) for graph in graphs], dtype=np.int64),
        pairs=all_of((graph.pairs for graph in graphs), np.uint8),  # type: ignore[arg-type]
        orders=all_of((graph.orders for graph in graphs), np.uint8),  # type: ignore[arg-type]
        aromatic=all_of((graph.aromatic for graph in graphs), np.bool_),  # type: ignore[arg-type]
        split=np.array([split_of(one) for one in names], dtype=np.uint8),
        smiles=names,
        positions=positions,
        made_with=f"RDKit {rdkit.__version__}",
        properties=np.array(table, np.float32),
    )


def _holds(path: Path, key: str) -> bool:
    try:
        with np.load(path, allow_pickle=False) as held:
            return key in held.files
    except (OSError, ValueError, EOFError):
        return False


def agreement(names: Sequence[str], reference: Sequence[str]) -> dict[str, float]:
    """Shares of molecules that a list of SMILES holds too, from the strictest sense to the loosest.

    The SMILES of QM9 that circulate were perceived by Open Babel, which gave neutral amines and imines charges they do
    not have (`[NH+]`, `[CH+][NH2+]`).  So the share is given exactly, with charges and hydrogens undone, in elements
    and connections alone, and exactly among the molecules whose connections the list holds without charges.
    """
    exact, uncharged, skeletons = set[str](), set[str](), dict[str, bool]()
    with silenced():
        for text in reference:
            molecule = Chem.MolFromSmiles(text)
            exact.add(_exact(molecule, text))
            uncharged.add(_bare(molecule, text, orders=True))
            skeleton = _bare(molecule, text, orders=False)
            skeletons[skeleton] = skeletons.get(skeleton, False) or "+" in text or "-]" in text
        hits, plain = [0, 0, 0, 0], 0
        for text in names:
            molecule = Chem.MolFromSmiles(text)
            skeleton = _bare(molecule, text, orders=False)
            same = _exact(molecule, text) in exact
            hits[0] += same
            hits[1] += _bare(molecule, text, orders=True) in uncharged
            hits[2] += skeleton in skeletons
            if skeletons.get(skeleton) is False:
                plain += 1
                hits[3] += same
    total = max(1, len(names))
    return {
        "exactly": hits[0] / total,
        "with charges undone": hits[1] / total,
        "in elements and connections": hits[2] / total,
        "exactly, where the list states no charges": hits[3] / max(1, plain),
    }


def _exact(molecule: Chem.Mol | None, text: str) -> str:
    return text if molecule is None else canonical_smiles(molecule)


def _bare(molecule: Chem.Mol | None, text: str, orders: bool) -> str:
    """Elements and connections, with bond orders or without, but neither charges nor hydrogens."""
    if molecule is None:
        molecule = Chem.MolFromSmiles(text, sanitize=False)
        if molecule is None:
            return text
    made = Chem.RWMol()
    for atom in molecule.GetAtoms():
        plain = Chem.Atom(atom.GetAtomicNum())
        plain.SetNoImplicit(True)
        made.AddAtom(plain)
    for bond in molecule.GetBonds():
        kind = bond.GetBondType() if orders else Chem.BondType.SINGLE
        made.AddBond(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), kind)
    return str(Chem.MolToSmiles(made))


def main(arguments: Sequence[str], show: Callable[[str], None] = print) -> None:
    """Prepares a data set and prints what became of it."""
    source, out = Path(arguments[0]), Path(arguments[1])
    arrays, report = prepare(source)
    arrays.save(out)
    for line in report.lines():
        show(line)
    parts = ", ".join(f"{name} {len(arrays.members(name)):,}" for name in ("train", "val", "test"))
    show(f"{parts}; {arrays.made_with}; {out.stat().st_size / 1e6:.1f} MB")
    show(f"charged molecules: {_charged(arrays):.2%}; elements: {np.unique(arrays.numbers).tolist()}")
    show(f"atoms a molecule: {dict(enumerate(arrays.size_histogram().tolist()))}")
    beside = source.with_name("qm9.smi.gz")
    if arrays.name == "qm9" and beside.is_file():
        for words, share in agreement(arrays.smiles, read_smiles(beside)).items():
            show(f"in {beside.name} {words}: {share:.2%}")


def _charged(arrays: MoleculeArrays) -> float:
    owner = np.repeat(np.arange(len(arrays)), arrays.sizes)
    return float((np.bincount(owner, weights=np.abs(arrays.charges.astype(float))) > 0).mean())


if __name__ == "__main__":
    main(sys.argv[1:])
