"""The denoiser of a product: each part by its own coefficients, one network for all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from core.denoiser import Preconditioned
from core.guidance.classifier_free import Guided
from core.joint_denoiser import PreconditionedParts
from core.noise import Noise
from core.sampling import final, sample
from core.solvers.multistep import Multistep
from core.spaces.categorical import Categorical
from core.spaces.gaussian import Gaussian
from core.spaces.points import ZeroCentre
from core.spaces.product import Product
from core.time_grids import uniform
from core.training.losses import denoising_loss

PLACES = Gaussian(project=ZeroCentre())
PROCESS = Product({"place": PLACES, "kind": Categorical.uniform(3)}, {"kind": 0.5})


class Echo:
    """Remembers what it was asked and answers half of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, Any, Any]] = []

    def __call__(self, x: Mapping[str, Tensor], clocks: Mapping[str, Tensor], cond: Any) -> dict[str, Tensor]:
        self.asked.append((x, clocks, cond))
        return {"place": 0.5 * x["place"], "kind": torch.zeros(*x["kind"].shape, 3)}


def state() -> dict[str, Tensor]:
    noise = Noise.of(0, 4)
    like = {"place": torch.empty(4, 5, 3), "kind": torch.zeros(4, 5, dtype=torch.long)}
    prior: dict[str, Tensor] = PROCESS.prior(like, noise)
    return prior


def test_numbers_are_scaled_as_alone_and_tokens_pass() -> None:
    x, t = state(), torch.tensor([0.2, 0.5, 0.7, 0.9])
    for target in ("edm", "v", "x0", "flow"):
        echo = Echo()
        q = PreconditionedParts(echo, PROCESS, {"place": target})(x, t)  # type: ignore[dict-item]
        alone = Preconditioned(lambda x, clock, cond: 0.5 * x, PLACES, target)  # type: ignore[arg-type]
        torch.testing.assert_close(q["place"], PLACES.project(alone(x["place"], t)))  # type: ignore[misc]
        asked, clocks, cond = echo.asked[0]
        assert asked["kind"] is x["kind"] and cond is None
        torch.testing.assert_close(clocks["place"].double(), PLACES.log_snr(t.double()), rtol=1e-5, atol=1e-5)
        assert clocks["kind"].shape == (4,)


def test_each_part_has_its_clock_and_one_at_zero_stays() -> None:
    echo, x = Echo(), state()
    q = PreconditionedParts(echo, PROCESS)(x, {"place": torch.tensor(0.0), "kind": torch.tensor(0.4)})
    torch.testing.assert_close(q["place"], x["place"], rtol=0, atol=1e-6)
    clocks = echo.asked[0][1]
    assert clocks["place"].tolist() == [20.0] * 4 and abs(float(clocks["kind"][0])) < 2


def test_a_condition_is_bound() -> None:
    echo, told = Echo(), {"vector": torch.ones(4, 1)}
    PreconditionedParts(echo, PROCESS).given(told)(state(), torch.tensor(0.5))
    assert echo.asked[0][2] is told


class Small(nn.Module):
    """Places and kinds, each told of the other."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 64), nn.SiLU(), nn.Linear(64, 6))

    def forward(self, x: Mapping[str, Tensor], clocks: Mapping[str, Tensor], cond: Any) -> dict[str, Tensor]:
        kinds = nn.functional.one_hot(x["kind"], 3).to(x["place"])
        told = torch.stack([clocks["place"], clocks["kind"]], -1)[:, None].expand(-1, x["kind"].shape[1], -1)
        out = self.net(torch.cat([x["place"], kinds, 0.2 * told], -1))
        return {"place": out[..., :3], "kind": out[..., 3:]}


def test_a_joint_law_is_learned_and_walked() -> None:
    """Points of kind 0 lie left, of kind 2 right: after a short training the walk says so, too."""
    torch.manual_seed(0)
    network = Small()
    f = PreconditionedParts(network, PROCESS)
    kinds = torch.tensor([0, 0, 2, 2]).repeat(64, 1)
    places = torch.zeros(64, 4, 3)
    places[..., 0] = kinds - 1.0
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    for step in range(300):
        loss = denoising_loss(f, {"place": places, "kind": kinds}, Noise.of(step, 64)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    noise = Noise.of(7, 64)
    with torch.no_grad():
        x = PROCESS.prior({"place": places, "kind": kinds}, noise.at("prior"))
        end = final(sample(f, Multistep(), x, uniform(20), noise)).x
    sided = end["kind"] != 1
    agree = ((end["place"][..., 0] > 0) == (end["kind"] == 2))[sided]
    assert float(sided.float().mean()) > 0.9 and float(agree.float().mean()) > 0.9
    assert float(end["place"].mean(1).abs().max()) < 1e-5


def test_guidance_of_all_parts_takes_one_batch() -> None:
    class Told(Echo):
        def __call__(
            self, x: Mapping[str, Tensor], clocks: Mapping[str, Tensor], cond: Any
        ) -> dict[str, Tensor]:
            out = super().__call__(x, clocks, cond)
            lean = cond["vector"][:, :, None]
            return {
                "place": out["place"] * (1 + lean),
                "kind": out["kind"] + lean * torch.tensor([1.0, 0.0, -1.0]),
            }

    network, x, t = Told(), state(), torch.tensor(0.5)
    f = PreconditionedParts(network, PROCESS)
    strong, weak = f.given({"vector": torch.ones(4, 1)}), f.given({"vector": torch.zeros(4, 1)})
    guided = Guided(strong, weak, 2.0)(x, t)
    assert len(network.asked) == 1 and len(network.asked[0][0]["kind"]) == 8
    apart = PROCESS.blend(x, [weak(x, t), strong(x, t)], [-1.0, 2.0])
    for name in ("place", "kind"):
        torch.testing.assert_close(guided[name].softmax(-1), apart[name].softmax(-1), rtol=1e-4, atol=1e-5)
