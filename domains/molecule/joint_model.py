"""The joint model of molecules: atoms, charges and bonds, and places where there are any, denoised together.

Bonds are tokens of the pairs above the diagonal, in the order of `pairs_of`, so that a bond has no direction. All
molecules of a batch have one number of atoms, so nothing is padded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.checkpoint import load_model
from core.denoiser import Condition
from core.joint_denoiser import PreconditionedParts
from core.networks.pair_transformer import PairTransformer
from core.process import Process
from core.schedules import SCHEDULES
from core.spaces.categorical import Categorical
from core.spaces.gaussian import Gaussian
from core.spaces.masked import Masked
from core.spaces.points import ZeroCentre
from core.spaces.product import Product
from domains.common.loaded_models import LoadedModels
from domains.molecule.data import MoleculeTensors

WALKS = 6  # lengths of random walks whose chances of return and arrival are features
BONDS = 4  # none, single, double, triple


@lru_cache(maxsize=128)
def pairs_of(atoms: int) -> Tensor:
    """Indices of the pairs above the diagonal, int64 `[2, atoms (atoms - 1) / 2]`, row by row."""
    with torch.inference_mode(False):  # what is remembered serves training as well
        return torch.triu_indices(atoms, atoms, offset=1)


def from_square(square: Tensor) -> Tensor:
    """`[batch, n, n]`, symmetric -> `[batch, pairs]`."""
    first, second = pairs_of(square.shape[1]).to(square.device)
    return square[:, first, second]


def to_square(values: Tensor, atoms: int) -> Tensor:
    """`[batch, pairs, ...]` -> `[batch, n, n, ...]`, symmetric, zero on the diagonal."""
    first, second = pairs_of(atoms).to(values.device)
    out = values.new_zeros(len(values), atoms, atoms, *values.shape[2:])
    out[:, first, second] = values
    out[:, second, first] = values
    return out


class Vocabulary(NamedTuple):
    """What tokens stand for.

    Attributes:
        numbers: Atomic number of each atom token.
        charges: Formal charge of each charge token.
        hydrogens: Whether hydrogens are atoms of the graph.
    """

    numbers: tuple[int, ...]
    charges: tuple[int, ...]
    hydrogens: bool


class MoleculeNetwork(nn.Module):
    """`PairTransformer` on the parts of a molecule, with chances of random walks on its bonds as features.

    Such features let it see rings, which attention alone cannot count (DiGress, Vignac et al. 2023, §5; the walks are
    those of Ma et al. 2023, GRIT).

    Args:
        numbers, charges: Atom and charge tokens.
        places: Whether the state has positions.
        width, pair, depth, heads, expansion: Of the transformer.
        vector: Features of a condition, each with a flag that says whether it is told; 0 is none.
    """

    def __init__(
        self,
        numbers: int,
        charges: int,
        places: bool,
        width: int = 128,
        pair: int = 64,
        depth: int = 6,
        heads: int = 8,
        expansion: int = 2,
        vector: int = 0,
    ) -> None:
        super().__init__()
        self.sizes = (numbers, charges)
        self.transformer = PairTransformer(
            points=numbers + charges + WALKS + 2,
            pairs=BONDS + WALKS + 1,
            point_outputs=numbers + charges,
            pair_outputs=BONDS,
            width=width,
            pair=pair,
            depth=depth,
            heads=heads,
            expansion=expansion,
            clocks=2 if places else 1,
            vector=2 * vector,
            places=places,
        )

    def forward(
        self, x: Mapping[str, Tensor], clocks: Mapping[str, Tensor], cond: Condition | None
    ) -> dict[str, Tensor]:
        """Logits of atoms `[batch, n, .]`, charges and bonds `[batch, pairs, 4]`, and the moves of positions.

        Args:
            x: `atoms` and `charges` int64 `[batch, n]`, `bonds` int64 `[batch, pairs]`, perhaps `positions`.
            clocks: Of each part, `[batch]`.
            cond: May hold `vector` `[batch, vector]` and `told` of the same shape, 1 where it counts; and `known`, bool
                `[batch, n]`: atoms whose tokens, and bonds among whom, are clean and to stay.
        """
        atoms, charges = x["atoms"], x["charges"]
        n = atoms.shape[1]
        bonds = to_square(functional.one_hot(x["bonds"], BONDS).float(), n)
        walks = _walks(1 - bonds[..., 0] - torch.eye(n, device=atoms.device))
        size = torch.full((*atoms.shape, 1), n / 30.0, device=atoms.device)
        known = (
            torch.zeros_like(size)
            if cond is None or "known" not in cond
            else cond["known"].float()[..., None]
        )
        points = torch.cat(
            [
                known,
                functional.one_hot(atoms, self.sizes[0]).float(),
                functional.one_hot(charges, self.sizes[1]).float(),
                walks.diagonal(dim1=1, dim2=2).mT,
                size,
            ],
            -1,
        )
        # A walk from i to j and back is as likely in one direction as weighed by degrees; the mean has none.
        both = known * known.transpose(1, 2)
        pairs = torch.cat([both[..., None], bonds, (walks + walks.transpose(1, 2)) / 2], -1)
        vector = None
        if cond is not None and "vector" in cond:
            told = cond["told"].float()
            vector = torch.cat([cond["vector"].float() * told, told], -1)
        told_clocks = [clocks["atoms"], *([clocks["positions"]] if "positions" in x else [])]
        tokens, edges, moves = self.transformer(points, pairs, x.get("positions"), told_clocks, vector)
        out = {
            "atoms": tokens[..., : self.sizes[0]],
            "charges": tokens[..., self.sizes[0] :],
            "bonds": from_square(edges),
        }
        return out if moves is None else {"positions": moves, **out}


def _walks(bonded: Tensor) -> Tensor:
    """`[batch, n, n]` of 0 and 1 -> chances of getting from one atom to another in 1 to 6 steps, `[batch, n, n, 6]`."""
    step = bonded.clamp_min(0) / bonded.clamp_min(0).sum(-1, keepdim=True).clamp_min(1)
    reached = [step]
    for _ in range(WALKS - 1):
        reached.append(reached[-1] @ step)
    return torch.stack(reached, -1)


@dataclass(frozen=True)
class MoleculeModel:
    """A network with its process and vocabulary.

    Attributes:
        network: On its device.
        vocabulary: What tokens stand for.
        laws: Part -> how often each of its tokens occurs, the prior of the part.
        scale: Å that a unit of the state's positions is; None for graphs alone.
        properties: Name -> (mean, standard deviation) in the training set, of what can be asked for.
        sizes: Number of atoms -> how many molecules of the training set had it.
        schedule: Of every part.
        config: The `model` part of its card.
        card: The card it was loaded from; empty for one in training.
    """

    network: MoleculeNetwork
    vocabulary: Vocabulary
    laws: Mapping[str, tuple[float, ...]]
    scale: float | None
    properties: Mapping[str, tuple[float, float]]
    sizes: Mapping[int, int]
    schedule: str
    config: dict[str, Any]
    card: dict[str, Any]

    @property
    def process(self) -> Product:
        """Positions without a centre, and tokens that are redrawn from how often they occur."""
        return self.process_given(None)

    def process_given(self, known: Tensor | None) -> Product:
        """The process among known atoms, bool `[batch, n]`: their tokens and the bonds among them are held clean."""
        schedule = SCHEDULES[self.schedule]()
        parts: dict[str, Process] = {}
        if self.scale is not None:
            parts["positions"] = Gaussian(schedule, project=ZeroCentre())
        parts |= {name: Categorical.marginal(law, schedule) for name, law in self.laws.items()}
        if known is not None:
            first, second = pairs_of(known.shape[1]).to(known.device)
            held = {"atoms": known, "charges": known, "bonds": known[:, first] & known[:, second]}
            parts |= {name: Masked(parts[name], mask) for name, mask in held.items()}
        return Product(parts, WEIGHTS)

    def denoiser_given(self, known: Tensor) -> PreconditionedParts:
        """The denoiser among known atoms, bool `[batch, n]`."""
        return PreconditionedParts(self.network, self.process_given(known)).given({"known": known})

    @property
    def denoiser(self) -> PreconditionedParts:
        """The unconditioned denoiser."""
        return PreconditionedParts(self.network, self.process)

    def with_network(self, network: nn.Module) -> MoleculeModel:
        """The same model with another network of its kind.

        Raises:
            TypeError: If it is of another kind.
        """
        if not isinstance(network, MoleculeNetwork):
            raise TypeError("a molecule model needs a MoleculeNetwork")
        return replace(self, network=network)

    def told(self, wanted: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
        """A condition that asks for properties.

        Args:
            wanted: Name -> values `[count]` or a scalar; NaN is not told.  Others are not told either.
            count: Molecules.

        Raises:
            KeyError: If the model does not know a property.
        """
        for name in wanted:
            if name not in self.properties:
                raise KeyError(name)
        columns, flags = [], []
        for name, (mean, std) in self.properties.items():
            values = wanted.get(name, torch.tensor(float("nan"))).float().expand(count)
            flags.append((~values.isnan()).float())
            columns.append(torch.nan_to_num((values - mean) / std))
        device = next(self.network.parameters()).device
        return {"vector": torch.stack(columns, 1).to(device), "told": torch.stack(flags, 1).to(device)}

    def state(self, batch: MoleculeTensors) -> dict[str, Tensor]:
        """Molecules of one size as a clean state."""
        numbers = torch.tensor(self.vocabulary.numbers, device=batch.numbers.device)
        charges = torch.tensor(self.vocabulary.charges, device=batch.numbers.device)
        found = {
            "atoms": (batch.numbers.long()[..., None] == numbers).long().argmax(-1),
            "charges": (batch.charges.long()[..., None] == charges).long().argmax(-1),
            "bonds": from_square(batch.bonds.long()),
        }
        if self.scale is None or batch.positions is None:
            return found
        return {"positions": batch.positions / self.scale, **found}


# Of the parts' divergences in the loss: most pairs are no bond, so a mean over pairs says little of those that are.
WEIGHTS = {"positions": 1.0, "atoms": 0.4, "charges": 0.4, "bonds": 4.0}


def new_model(config: dict[str, Any]) -> MoleculeModel:
    """An untrained model from the `model` part of a card.

    Raises:
        ValueError: If the card describes another kind of model.
    """
    if config.get("network") != "molecule":
        raise ValueError("the card does not describe a model of molecules")
    vocabulary = Vocabulary(tuple(config["numbers"]), tuple(config["charges"]), bool(config["hydrogens"]))
    properties = {name: (float(mean), float(std)) for name, (mean, std) in config["properties"].items()}
    network = MoleculeNetwork(
        len(vocabulary.numbers),
        len(vocabulary.charges),
        config["scale"] is not None,
        vector=len(properties),
        **config["config"],
    )
    laws = {name: tuple(float(v) for v in law) for name, law in config["laws"].items()}
    sizes = {int(n): int(count) for n, count in config["sizes"].items()}
    return MoleculeModel(
        network, vocabulary, laws, config["scale"], properties, sizes, config["schedule"], config, {}
    )


def load_molecule_model(folder: Path, device: str = "cpu") -> MoleculeModel:
    """The model in a folder, ready to sample.

    Raises:
        core.checkpoint.BadModel: If the folder is damaged.
        ValueError: If its card describes another kind of model.
    """
    tensors, card = load_model(folder)
    model = new_model(card["model"])
    model.network.load_state_dict(tensors)
    model.network.to(device).eval().requires_grad_(False)
    return replace(model, card=card)


# A built-in model by name (default `qm9-joint`), or one in a folder that `train` made.
molecule_model = LoadedModels(load_molecule_model, "qm9-joint")
