"""`launch.py train qm9-joint` and `train druglike-graph`: batches of one size each, the loss of all parts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core.files import file_sha256
from core.noise import Noise
from core.training.losses import denoising_loss
from domains.common.errors import BadInput
from domains.common.task import Sampling
from domains.common.training_loop import Course, Scores, Told, check_new, follow, publish
from domains.common.training_report import in_processes
from domains.common.training_settings import COMMON, parse_settings
from domains.molecule.data import PROPERTY_NAMES, MoleculeArrays, MoleculeTensors, load_arrays, padded_tensors
from domains.molecule.joint_model import BONDS, MoleculeModel, new_model
from domains.molecule.joint_sampling import drawn_sizes, summary, walk

_STRIDE = 1_000_003
_JUDGED = 256
GROWN = 0.25  # share of molecules of which a part is known
_WATCHED = Sampling(solver="ancestral", steps=50)

# The configuration of `qm9-joint`; `--set key=value` changes any of it.
DEFAULTS: dict[str, Any] = {
    **COMMON,
    "width": 128, "pair": 64, "depth": 6, "heads": 8, "expansion": 2, "pairs": 40_000, "schedule": "vp-cosine",
    "learning_rate": 1e-3, "weight_decay": 0.01, "average": 0.9995,
}  # fmt: skip
DRUGLIKE: dict[str, Any] = {**DEFAULTS, "pairs": 40_000}


@dataclass(frozen=True)
class SizedStream:
    """Endless batches of molecules of one size each; batch `k` is the same whenever it is made.

    Sizes are drawn such that every molecule is as likely as any other.

    Attributes:
        molecules: What is drawn from.
        seed: Of the draws.
        pairs: Pairs of atoms in a batch, about.
    """

    molecules: MoleculeTensors
    seed: int
    pairs: int

    @cached_property
    def _by_size(self) -> tuple[np.ndarray, list[Tensor], list[int], np.ndarray]:
        sizes = self.molecules.sizes
        kinds = torch.unique(sizes)
        members = [(sizes == n).nonzero()[:, 0] for n in kinds]
        batches = [max(1, self.pairs // int(n) ** 2) for n in kinds]
        chances = np.array([len(m) / b for m, b in zip(members, batches, strict=True)])
        return kinds.numpy(), members, batches, np.cumsum(chances) / chances.sum()

    def batch_at(self, address: int) -> MoleculeTensors:
        """The batch at an address, a whole number from 0."""
        rng = Noise((self.seed,), ("molecules", address)).shared()
        _, members, batches, edges = self._by_size
        k = min(int(np.searchsorted(edges, rng.random(), side="right")), len(members) - 1)
        chosen = members[k][torch.from_numpy(rng.integers(len(members[k]), size=batches[k]))]
        return self.molecules.collate(chosen)


def model_config(arrays: MoleculeArrays, settings: dict[str, Any]) -> dict[str, Any]:
    """The `model` part of a card: vocabulary, laws and sizes as the training part has them."""
    train = padded_tensors(arrays, "train")
    numbers = [int(z) for z in np.unique(arrays.numbers)]
    charges = [int(c) for c in np.unique(arrays.charges)]
    mask = train.mask
    atoms = torch.stack([(train.numbers[mask] == z).sum() for z in numbers]).double()
    charged = torch.stack([(train.charges[mask] == c).sum() for c in charges]).double()
    bonds = torch.zeros(BONDS, dtype=torch.float64)
    for order in range(1, BONDS):
        bonds[order] = (train.bonds == order).sum() / 2
    bonds[0] = (train.sizes * (train.sizes - 1) / 2).sum() - bonds.sum()
    scale = None
    if train.positions is not None:
        scale = round(float(train.positions[mask].std()), 4)
    properties = {}
    if train.properties is not None:
        for k, name in enumerate(PROPERTY_NAMES):
            column = train.properties[:, k].double()
            properties[name] = [round(float(column.mean()), 6), round(max(float(column.std()), 1e-3), 6)]
    shape = ("width", "pair", "depth", "heads", "expansion")
    return {
        "network": "molecule",
        "config": {name: settings[name] for name in shape},
        "numbers": numbers,
        "charges": charges,
        "hydrogens": 1 in numbers,
        "laws": {
            name: [round(float(v), 9) for v in counts / counts.sum()]
            for name, counts in (("atoms", atoms), ("charges", charged), ("bonds", bonds))
        },
        "scale": scale,
        "properties": properties,
        "sizes": {
            str(n): int(count)
            for n, count in enumerate(arrays.size_histogram("train"))
            if n > 1 and count > 0
        },
        "schedule": settings["schedule"],
    }


def batch_loss(model: MoleculeModel, batch: MoleculeTensors, seed: int, device: str) -> Tensor:
    """Mean denoising loss of a batch of molecules of one size, a scalar.

    Args:
        model: In training.
        batch: Of one size, at least two atoms.
        seed: Address of times, noise, and of how the molecules are turned.
        device: `cpu` or `cuda`.
    """
    x0 = {name: v.to(device) for name, v in model.state(batch).items()}
    noise = Noise.of(seed, len(batch))
    rng = noise.at("known").shared()
    grown = rng.random(len(batch)) < GROWN
    known = known_parts(batch.bonds > 0, rng) & torch.from_numpy(grown)[:, None]
    f = model.denoiser_given(known.to(device))
    if model.properties and batch.properties is not None:
        f = f.given({**(f.cond or {}), **_some_told(model, batch, noise)})
    # All parts at one time.  A product's own weighting by the clock is that of EDM for positions, none for tokens.
    return denoising_loss(f, x0, noise).mean()


def known_parts(bonded: Tensor, rng: np.random.Generator) -> Tensor:
    """A connected part of each molecule, bool `[batch, n]`: from a random atom on, by one neighbour after another.

    Args:
        bonded: Bool `[batch, n, n]`, of whole molecules.
        rng: Draws the parts; their sizes are even from 1 to all atoms but one.
    """
    count, n = bonded.shape[:2]
    known = torch.zeros(count, n, dtype=torch.bool)
    known[torch.arange(count), torch.from_numpy(rng.integers(n, size=count))] = True
    sizes = torch.from_numpy(rng.integers(1, max(2, n), size=count))
    for size in range(2, n):
        beside = (bonded & known[:, None]).any(-1) & ~known
        chosen = (torch.from_numpy(rng.random((count, n))) * beside).argmax(1)
        grows = (size <= sizes) & beside.any(1)
        known[torch.arange(count)[grows], chosen[grows]] = True
    return known


def _some_told(model: MoleculeModel, batch: MoleculeTensors, noise: Noise) -> dict[str, Tensor]:
    """Properties of the batch, of which nothing, or each with even chances, is told."""
    assert batch.properties is not None
    rng = noise.at("told").shared()
    shape = tuple(batch.properties.shape)
    told = (rng.random(shape) < 0.5) & (rng.random((shape[0], 1)) < 0.7)
    hidden = torch.where(torch.from_numpy(told), batch.properties, torch.nan)
    return model.told({name: hidden[:, k] for k, name in enumerate(model.properties)}, shape[0])


def train_qm9(
    data: Path | None, settings: dict[str, str], resume: bool, device: str, out: Path, told: Told
) -> None:
    """Trains `qm9-joint` into a model folder.

    Args:
        data: File of prepared molecules, made by `python -m domains.molecule.prepare`.
        settings: `--set` texts; see `DEFAULTS`.
        resume: Go on from the state in `out`.
        device: `cpu` or `cuda`.
        out: Folder for state, metrics, and the finished model.
        told: Called with (done, total, message).

    Raises:
        BadInput: If the data is not there, or for a setting that cannot be used.
    """
    _start("qm9-joint", "qm9", data, settings, DEFAULTS, resume, device, out, told)


def train_druglike(
    data: Path | None, settings: dict[str, str], resume: bool, device: str, out: Path, told: Told
) -> None:
    """Trains `druglike-graph` into a model folder; arguments and errors as of `train_qm9`."""
    _start("druglike-graph", "zinc", data, settings, DRUGLIKE, resume, device, out, told)


def _start(
    name: str,
    kind: str,
    data: Path | None,
    given: dict[str, str],
    defaults: dict[str, Any],
    resume: bool,
    device: str,
    out: Path,
    told: Told,
) -> None:
    check_new(out, resume)
    settings = parse_settings(given, defaults)
    if data is None or not data.is_file():
        raise BadInput("data", "name a file that `python -m domains.molecule.prepare` has made")
    arrays = load_arrays(data)
    if arrays.name != kind:
        raise BadInput("data", f"holds {arrays.name[:20]}; {name} is trained on {kind}")
    out.mkdir(parents=True, exist_ok=True)
    sha256 = file_sha256(data)
    in_processes(
        _train,
        (name, arrays, sha256, settings, defaults, resume, device, out, told),
        settings["processes"],
        device,
    )


def _train(
    name: str,
    arrays: MoleculeArrays,
    sha256: str,
    settings: dict[str, Any],
    defaults: dict[str, Any],
    resume: bool,
    device: str,
    out: Path,
    told: Told,
) -> None:
    config = model_config(arrays, settings)
    whole = padded_tensors(arrays, "train")
    keep = (whole.sizes > 1).nonzero()[:, 0]
    stream = SizedStream(whole.collate(keep), settings["seed"], settings["pairs"])

    def course(rank: int, ranks: int) -> Course:
        model = new_model(config)
        model.network.to(device)

        def loss(address: int) -> Tensor:
            return batch_loss(model, stream.batch_at(address), settings["seed"] * _STRIDE + address, device)

        def judged(network: nn.Module, folder: Path) -> Scores:
            finished = model.with_network(network)
            noise = Noise.of(0, _JUDGED)
            states, _ = walk(finished, drawn_sizes(finished, noise), _WATCHED, noise)
            return summary(states)

        return Course(
            model.network,
            loss,
            judged,
            lambda scores: ", ".join(f"{k} {v:.3f}" for k, v in scores.items()),
            ("valid_atoms", "valid_molecules", "valid_connected", "edm_molecules"),
            lambda: new_model(config).network,
        )

    ended = follow(course, settings, resume, device, out, told)
    if ended is None:
        return
    trainer, _, scores = ended
    card = {
        "name": name,
        "summary": "Molecules of QM9's kind with their geometry: positions, atoms, charges and bonds together."
        if config["scale"] is not None
        else "Drug-like molecules of up to 38 heavy atoms, as graphs.",
        "model": config,
        "data": [
            {
                "group": arrays.name,
                "licence": _LICENCES[arrays.name],
                "sha256": sha256,
                "molecules": len(whole),
            }
        ],
        "validation": {
            "what": f"{_JUDGED} molecules, {_WATCHED.steps} steps of {_WATCHED.solver}; valences of the stated bonds, "
            "and EDM's rule on distances",
            **{k: round(v, 4) for k, v in scores.items()},
        },
        "limits": "Small organic molecules like those it was trained on; no stereo, no isotopes, no salts.",
        "paper": "after MiDi (Vignac et al. 2023), DiGress (Vignac et al. 2023) and EDM (Hoogeboom et al. 2022)",
        "licence": "Apache-2.0",
    }
    publish(out, trainer, name, card, settings, defaults, device)


_LICENCES = {"qm9": "CC0", "zinc": "MIT for the list, ZINC's terms for the data"}
