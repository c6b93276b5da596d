"""The joint model of molecules: states and back, equal chances of molecules, turning, walks, a training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from core.noise import Noise
from core.spaces.brownian import Brownian
from domains.common.errors import BadInput
from domains.common.task import Sampling
from domains.molecule.data import MoleculeArrays, MoleculeTensors, padded_tensors
from domains.molecule.joint_model import (
    MoleculeModel,
    from_square,
    molecule_model,
    new_model,
    pairs_of,
    to_square,
)
from domains.molecule.joint_sampling import as_tensors, drawn_sizes, stable_shares, walk
from domains.molecule.joint_training import (
    DEFAULTS,
    SizedStream,
    batch_loss,
    known_parts,
    model_config,
    train_druglike,
    train_qm9,
)
from domains.molecule.properties import NAMES

SMALL = {"width": 16, "pair": 8, "depth": 2, "heads": 2}


def water_and_methane(name: str = "qm9") -> MoleculeArrays:
    """Forty waters and sixty methanes, each moved and turned a little."""
    rng = np.random.default_rng(0)
    water = (np.array([8, 1, 1]), np.array([[0, 1], [0, 2]]), [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 0.63
    methane = (
        np.array([6, 1, 1, 1, 1]),
        np.array([[0, k] for k in range(1, 5)]),
        np.vstack([[0, 0, 0], corners]),
    )
    chosen = [water] * 40 + [methane] * 60
    positions = [np.asarray(m[2]) + 0.02 * rng.normal(size=(len(m[0]), 3)) for m in chosen]
    atoms, bonds = sum(len(m[0]) for m in chosen), sum(len(m[1]) for m in chosen)
    return MoleculeArrays(
        name=name,
        sizes=np.array([len(m[0]) for m in chosen]),
        numbers=np.concatenate([m[0] for m in chosen]).astype(np.uint8),
        charges=np.zeros(atoms, np.int8),
        hydrogens=np.zeros(atoms, np.uint8),
        bond_counts=np.array([len(m[1]) for m in chosen]),
        pairs=np.concatenate([m[1] for m in chosen]).astype(np.uint8),
        orders=np.ones(bonds, np.uint8),
        aromatic=np.zeros(bonds, bool),
        split=np.zeros(100, np.uint8),
        smiles=["O"] * 40 + ["C"] * 60,
        positions=np.concatenate(positions).astype(np.float32) if name == "qm9" else None,
        made_with="test",
        properties=np.array([[-0.8, 0.3, 18, 31, 0, 1]] * 40 + [[0.6, 0.4, 16, 0, 0, 0]] * 60, np.float32),
    )


@pytest.fixture(scope="module", params=["qm9", "zinc"])
def arrays(request: pytest.FixtureRequest) -> MoleculeArrays:
    return water_and_methane(request.param)


@pytest.fixture(scope="module")
def model(arrays: MoleculeArrays) -> MoleculeModel:
    torch.manual_seed(0)
    made = new_model(json.loads(json.dumps(model_config(arrays, {**DEFAULTS, **SMALL}))))
    with torch.no_grad():
        for parameter in made.network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    made.network.eval().requires_grad_(False)
    return made


def one_size(arrays: MoleculeArrays, n: int) -> MoleculeTensors:
    whole = padded_tensors(arrays)
    return whole.collate((whole.sizes == n).nonzero()[:, 0][:6])


def test_squares_and_pairs() -> None:
    square = torch.randint(4, (2, 5, 5))
    square = (square + square.transpose(1, 2)) * (1 - torch.eye(5, dtype=torch.long))
    assert from_square(square).shape == (2, 10)
    assert torch.equal(to_square(from_square(square), 5), square)


def test_what_sampling_remembers_serves_training() -> None:
    pairs_of.cache_clear()
    with torch.inference_mode():
        pairs_of(6)
    assert not pairs_of(6).is_inference()


def test_a_state_says_what_the_molecule_is(arrays: MoleculeArrays, model: MoleculeModel) -> None:
    batch = one_size(arrays, 5)
    state = model.state(batch)
    again = as_tensors(model, [{k: v[i] for k, v in state.items()} for i in range(len(batch))])
    for name in ("sizes", "numbers", "charges", "bonds"):
        assert torch.equal(getattr(again, name), getattr(batch, name)), name
    if arrays.positions is not None:
        assert again.positions is not None and batch.positions is not None
        torch.testing.assert_close(again.positions, batch.positions)
    assert stable_shares(batch) == {"atoms": 1.0, "molecules": 1.0, "connected": 1.0}


def test_what_does_not_hold_together_is_counted(arrays: MoleculeArrays) -> None:
    batch = one_size(arrays, 5)
    batch.bonds[0, 0, 1] = batch.bonds[0, 1, 0] = 0  # a hydrogen has left
    batch.bonds[1, 0, 1] = batch.bonds[1, 1, 0] = 2
    found = stable_shares(batch)
    assert found["atoms"] == pytest.approx(26 / 30) and found["molecules"] == pytest.approx(4 / 6)
    assert found["connected"] == pytest.approx(5 / 6)


def test_each_molecule_is_as_likely_as_any_other(arrays: MoleculeArrays) -> None:
    stream = SizedStream(padded_tensors(arrays), 0, 60)
    seen: dict[int, int] = {3: 0, 5: 0}
    for k in range(600):
        batch = stream.batch_at(k)
        assert len(set(batch.sizes.tolist())) == 1
        seen[int(batch.sizes[0])] += len(batch)
    assert seen[3] / (seen[3] + seen[5]) == pytest.approx(0.4, abs=0.03)
    assert torch.equal(stream.batch_at(3).numbers, stream.batch_at(3).numbers)


def answer(model: MoleculeModel, x: dict[str, Tensor]) -> dict[str, Tensor]:
    return model.denoiser(x, torch.tensor(0.5))


def test_answers_turn_with_the_molecule_and_follow_its_numbering() -> None:
    arrays = water_and_methane()
    torch.manual_seed(0)
    model = new_model(model_config(arrays, {**DEFAULTS, **SMALL}))
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.network.eval()
    state = model.state(one_size(arrays, 5))
    before = answer(model, state)
    turn = Brownian().manifold.uniform(torch.empty(1, 3, 3, dtype=torch.float64), Noise.of(3, 1))[0].float()
    after = answer(model, {**state, "positions": state["positions"] @ turn.T})
    for name in ("atoms", "charges", "bonds"):
        assert float((after[name] - before[name]).abs().max()) < 1e-4, name
    assert float((after["positions"] - before["positions"] @ turn.T).abs().max()) < 1e-4
    order = torch.tensor([2, 0, 4, 1, 3])
    renumbered = {
        "positions": state["positions"][:, order],
        "atoms": state["atoms"][:, order],
        "charges": state["charges"][:, order],
        "bonds": from_square(to_square(state["bonds"], 5)[:, order][:, :, order]),
    }
    other = answer(model, renumbered)
    torch.testing.assert_close(other["atoms"], before["atoms"][:, order], rtol=0, atol=1e-5)
    squares = [to_square(a["bonds"], 5) for a in (other, before)]
    torch.testing.assert_close(squares[0], squares[1][:, order][:, :, order], rtol=0, atol=1e-5)


def test_properties_are_told_or_not(arrays: MoleculeArrays, model: MoleculeModel) -> None:
    assert tuple(model.properties) == NAMES
    nothing = model.told({}, 2)
    assert not nothing["told"].any() and not nothing["vector"].any()
    cond = model.told({"logP": torch.tensor(0.6), "weight": torch.tensor([16.0, float("nan")])}, 2)
    assert cond["told"].tolist() == [[1, 0, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]]
    mean, std = model.properties["logP"]
    torch.testing.assert_close(cond["vector"][:, 0], torch.full((2,), (0.6 - mean) / std))
    with pytest.raises(KeyError):
        model.told({"colour": torch.tensor(1.0)}, 2)
    state = model.state(one_size(arrays, 5))
    f, t = model.denoiser, torch.tensor(0.5)
    plain = f.given(model.told({}, 6))(state, t)
    torch.testing.assert_close(plain["atoms"], f(state, t)["atoms"], rtol=1e-4, atol=1e-4)
    wanted = f.given(model.told({"logP": torch.tensor(3.0)}, 6))(state, t)
    assert float((wanted["atoms"] - plain["atoms"]).abs().max()) > 1e-4


def test_known_parts_are_connected_and_of_all_sizes() -> None:
    ring = torch.zeros(400, 6, 6, dtype=torch.bool)
    for k in range(6):
        ring[:, k, (k + 1) % 6] = ring[:, (k + 1) % 6, k] = True
    known = known_parts(ring, np.random.default_rng(0))
    assert set(known.sum(1).tolist()) == {1, 2, 3, 4, 5}
    # A connected part of a ring has two ends, or is one atom.
    changes = (known != known.roll(1, 1)).sum(1)
    assert (changes == 2).all()


def test_what_is_known_is_kept_to_the_token(model: MoleculeModel) -> None:
    known = {
        "atoms": torch.tensor([1, 0, 0]),
        "charges": torch.zeros(3, dtype=torch.long),
        "bonds": torch.tensor([[0, 1, 1], [1, 0, 0], [1, 0, 0]]),
    }
    states, _ = walk(model, [5, 5, 3], Sampling(solver="ancestral", steps=4), Noise.of(1, 3), known=known)
    numbers = torch.tensor(model.vocabulary.numbers)[known["atoms"]]
    for k in range(3):
        assert torch.equal(states.numbers[k, :3].long(), numbers)
        assert torch.equal(states.bonds[k, :3, :3].long(), known["bonds"])
    other, _ = walk(model, [5, 5, 3], Sampling(solver="ancestral", steps=4), Noise.of(1, 3))
    assert not torch.equal(other.numbers, states.numbers)


def test_walks_keep_the_order_of_sizes_and_are_the_same_alone(model: MoleculeModel) -> None:
    sizes, few = [5, 3, 5, 3], Sampling(solver="ancestral", steps=4)
    noise = Noise.of(4, 4)
    states, nfe = walk(model, sizes, few, noise)
    assert states.sizes.tolist() == sizes and nfe == 4
    alone, _ = walk(model, [5], few, noise.take([2]))
    assert torch.equal(alone.numbers[0], states.numbers[2]) and torch.equal(alone.bonds[0], states.bonds[2])
    if model.scale is not None:
        assert alone.positions is not None and states.positions is not None
        torch.testing.assert_close(alone.positions[0], states.positions[2], rtol=0, atol=1e-4)
        assert float(states.positions[1, :3].mean(0).abs().max()) < 1e-5
    told: list[float] = []
    walk(model, sizes, few, noise, report=lambda done, index, x: told.append(done))
    assert told == sorted(told) and told[-1] == 4 and len(told) == 8


def test_sizes_are_drawn_as_often_as_they_occur(model: MoleculeModel) -> None:
    sizes = drawn_sizes(model, Noise.of(0, 2000))
    assert set(sizes) == {3, 5} and np.mean(np.array(sizes) == 3) == pytest.approx(0.4, abs=0.04)


def test_every_parameter_learns(arrays: MoleculeArrays, model: MoleculeModel) -> None:
    twin = new_model(model.config)
    with torch.autocast("cpu", torch.bfloat16):
        loss = batch_loss(twin, one_size(arrays, 5), 0, "cpu")
    loss.backward()
    for name, parameter in twin.network.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name


@pytest.mark.parametrize(("name", "train"), [("qm9", train_qm9), ("zinc", train_druglike)])
def test_training_leaves_a_model_that_loads(name: str, train: object, tmp_path: Path) -> None:
    data, out = tmp_path / "molecules.npz", tmp_path / "run"
    water_and_methane(name).save(data)
    few = {**{k: str(v) for k, v in SMALL.items()}, "steps": "2", "pairs": "100"}
    train(data, few, False, "cpu", out, lambda *_: None)  # type: ignore[operator]
    card = json.loads((out / "card.json").read_text())
    assert card["training"]["steps"] == 2 and card["model"]["sizes"] == {"3": 40, "5": 60}
    assert 0 <= card["validation"]["valid_atoms"] <= 1
    assert (molecule_model(str(out)).scale is None) == (name == "zinc")
    with pytest.raises(BadInput, match="is trained on"):
        (train_druglike if name == "qm9" else train_qm9)(data, few, False, "cpu", tmp_path / "other", print)
    with pytest.raises(BadInput, match="prepare"):
        train(None, few, False, "cpu", tmp_path / "other", print)  # type: ignore[operator]
