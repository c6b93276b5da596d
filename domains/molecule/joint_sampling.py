"""From noise to molecules: walks of one size after another, each molecule of its own stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.denoiser import Denoiser
from core.noise import Noise
from core.sampling import Counted, sample
from domains.common.sampling import walk_of
from domains.common.task import Sampling
from domains.molecule.data import MoleculeTensors
from domains.molecule.joint_model import MoleculeModel, from_square, to_square

PAIRS_AT_ONCE = 40_000  # pairs of atoms in a batch of the network's

# (counted denoiser of the model, which molecules, their number of atoms) -> what is walked.
Bound = Callable[[Counted, Sequence[int], int], Denoiser]


def drawn_sizes(model: MoleculeModel, noise: Noise) -> list[int]:
    """A number of atoms a stream, by how often the training set has it."""
    sizes = np.array(sorted(model.sizes))
    counts = np.array([model.sizes[int(n)] for n in sizes], float)
    edges = np.cumsum(counts) / counts.sum()
    u = noise.at("size").uniform(torch.empty(len(noise), dtype=torch.float64)).numpy()
    return [int(n) for n in sizes[np.searchsorted(edges, u, side="right").clip(0, len(sizes) - 1)]]


def walk(
    model: MoleculeModel,
    sizes: Sequence[int],
    sampling: Sampling,
    noise: Noise,
    *,
    bound: Bound | None = None,
    known: Mapping[str, Tensor] | None = None,
    report: Callable[[float, Sequence[int], dict[str, Tensor]], None] | None = None,
) -> tuple[MoleculeTensors, int]:
    """Molecules of given sizes, in their order, and the denoiser evaluations that each took.

    Args:
        model: On its device.
        sizes: Atoms of each molecule.
        sampling: Solver and steps.
        noise: One stream a molecule.
        bound: Gives the denoiser of each batch; the unconditioned one where None.
        known: `atoms` and `charges` int64 `[k]`, `bonds` int64 `[k, k]`: tokens of the first k atoms, which are kept.
        report: Called after each step with (molecules done, in parts; which are walked; their state).
    """
    device = next(model.network.parameters()).device
    order = np.argsort(np.asarray(sizes), kind="stable")
    ends: list[dict[str, Tensor] | None] = [None] * len(sizes)
    done, most = 0, 0
    low = 0
    while low < len(order):
        n = int(sizes[order[low]])
        room = max(1, PAIRS_AT_ONCE // (n * n))
        high = low
        while high < len(order) and high - low < room and sizes[order[high]] == n:
            high += 1
        index = [int(k) for k in order[low:high]]
        mine = noise.take(index)
        with torch.inference_mode():
            like = _like(model, len(index), n, device)
            counter = Counted(model.denoiser if known is None else model.denoiser_given(_put(like, known, n)))
            process = counter.process
            f = counter if bound is None else bound(counter, index, n)
            solver, times = walk_of(sampling, process, model.card)
            x = process.prior(like, mine.at("prior"))
            for step in sample(f, solver, x, times, mine):
                x = step.x
                if report is not None:
                    report(done + len(index) * step.index / (len(times) - 1), index, x)
        for row, k in enumerate(index):
            ends[k] = {name: v[row].cpu() for name, v in x.items()}
        done += len(index)
        most = max(most, counter.nfe)
        low = high
    return as_tensors(model, [end for end in ends if end is not None]), most


def _put(like: dict[str, Tensor], known: Mapping[str, Tensor], n: int) -> Tensor:
    """Writes known tokens into a state, and says which atoms they are of, bool `[batch, n]`."""
    size = len(known["atoms"])
    like["atoms"][:, :size], like["charges"][:, :size] = known["atoms"], known["charges"]
    square = torch.zeros(n, n, dtype=torch.int64)
    square[:size, :size] = known["bonds"]
    like["bonds"][:] = from_square(square[None])
    mask = torch.zeros_like(like["atoms"], dtype=torch.bool)
    mask[:, :size] = True
    return mask


def _like(model: MoleculeModel, count: int, n: int, device: torch.device) -> dict[str, Tensor]:
    whole = {"device": device, "dtype": torch.int64}
    like = {
        "atoms": torch.zeros(count, n, **whole),  # type: ignore[call-overload]
        "charges": torch.zeros(count, n, **whole),  # type: ignore[call-overload]
        "bonds": torch.zeros(count, n * (n - 1) // 2, **whole),  # type: ignore[call-overload]
    }
    if model.scale is not None:
        like = {"positions": torch.zeros(count, n, 3, device=device), **like}
    return like


def as_tensors(model: MoleculeModel, ends: Sequence[dict[str, Tensor]]) -> MoleculeTensors:
    """Clean states of molecules, one a mapping without a batch axis, as padded tensors."""
    sizes = torch.tensor([len(end["atoms"]) for end in ends], dtype=torch.int64)
    n, count = int(sizes.max()) if len(sizes) else 0, len(ends)
    numbers, charges = torch.zeros(count, n, dtype=torch.uint8), torch.zeros(count, n, dtype=torch.int8)
    bonds = torch.zeros(count, n, n, dtype=torch.uint8)
    positions = None if model.scale is None else torch.zeros(count, n, 3)
    number_of, charge_of = torch.tensor(model.vocabulary.numbers), torch.tensor(model.vocabulary.charges)
    for k, end in enumerate(ends):
        size = int(sizes[k])
        numbers[k, :size] = number_of[end["atoms"]].to(torch.uint8)
        charges[k, :size] = charge_of[end["charges"]].to(torch.int8)
        bonds[k, :size, :size] = to_square(end["bonds"][None], size)[0].to(torch.uint8)
        if positions is not None:
            positions[k, :size] = end["positions"].float() * (model.scale or 1.0)
    return MoleculeTensors(
        sizes,
        numbers,
        charges,
        torch.zeros_like(numbers),
        bonds,
        torch.zeros_like(bonds, dtype=torch.bool),
        positions,
    )


def stable_shares(states: MoleculeTensors) -> dict[str, float]:
    """What of the bonds that a model states holds together, by the tokens alone, without a chemistry library.

    Returns:
        `atoms`: share of atoms whose bond orders are what their element and charge ask for; `molecules`: of molecules
        all of whose atoms are; `connected`: of molecules in one piece.
    """
    orders = states.bonds.long().sum(-1)
    wanted = _VALENCE[states.numbers.long().clamp_max(len(_VALENCE) - 1)]
    carbon = states.numbers.long() == 6
    # Carbon loses a bond with a charge of either sign; the others gain one with a positive, lose one with a negative.
    shift = torch.where(carbon, -states.charges.long().abs(), states.charges.long())
    fits = (orders == wanted + shift) | ~states.mask
    reached = torch.eye(states.numbers.shape[1], dtype=torch.bool).expand(len(states), -1, -1) | (
        states.bonds > 0
    )
    for _ in range(max(1, int(np.ceil(np.log2(max(2, states.numbers.shape[1])))))):
        reached = (reached.float() @ reached.float()) > 0
    whole = (reached[:, 0] | ~states.mask).all(-1)
    return {
        "atoms": float(fits[states.mask].float().mean()),
        "molecules": float(fits.all(-1).float().mean()),
        "connected": float(whole.float().mean()),
    }


_VALENCE = torch.zeros(54, dtype=torch.int64)
for _number, _valence in {1: 1, 5: 3, 6: 4, 7: 3, 8: 2, 9: 1, 15: 5, 16: 2, 17: 1, 35: 1, 53: 1}.items():
    _VALENCE[_number] = _valence


def summary(states: MoleculeTensors) -> dict[str, Any]:
    """`stable_shares`, and EDM's shares where there are positions."""
    found: dict[str, Any] = {f"valid_{k}": v for k, v in stable_shares(states).items()}
    if states.positions is not None:
        from domains.molecule.stability import edm_stability

        sizes = states.sizes.tolist()
        numbers = [states.numbers[k, :n].numpy() for k, n in enumerate(sizes)]
        places = [states.positions[k, :n].numpy() for k, n in enumerate(sizes)]
        edm = edm_stability(numbers, places)
        found |= {"edm_atoms": edm.atom_share, "edm_molecules": edm.molecule_share}
    return found
