"""The trainer: exact resumption, averaging, losses as weighted divergences."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from core.denoiser import Preconditioned
from core.exact import GaussianMixture
from core.noise import Noise
from core.schedules import EDM, Flow, VPCosine
from core.spaces.categorical import Categorical
from core.spaces.gaussian import Gaussian
from core.spaces.product import Product
from core.training.average import WeightAverage
from core.training.losses import (
    constant,
    denoising_loss,
    edm,
    logit_normal_times,
    min_snr,
    simple,
    truncated_snr,
    uniform_times,
)
from core.training.trainer import Trainer, TrainerSettings

SETTINGS = TrainerSettings(steps=40, warmup=5, log_every=5, bfloat16=False, save_minutes=1e9, average=0.9)


class Small(nn.Module):
    """A little network with the signature that `Preconditioned` calls."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 32), nn.Tanh(), nn.Linear(32, 2))

    def forward(self, x: Tensor, clock: Tensor, cond: object) -> Tensor:
        return self.layers(torch.cat([x, clock[:, None] / 8], -1))


PROCESS = Gaussian(VPCosine())
LAW = GaussianMixture(
    PROCESS, torch.tensor([[-1.0, 0.0], [1.0, 0.5]]), torch.tensor([0.3, 0.3]), torch.tensor([0.5, 0.5])
)


def make(folder: Path, settings: TrainerSettings = SETTINGS) -> Trainer:
    torch.manual_seed(0)
    network = Small()

    def loss(step: int) -> Tensor:
        noise = Noise.of(step, 16)
        x0 = LAW.sample(noise.at("data"), torch.empty(16, 2))
        return denoising_loss(Preconditioned(network, PROCESS, "v"), x0, noise).mean()

    return Trainer(network, loss, settings, folder)


def weights(trainer: Trainer) -> dict[str, Tensor]:
    state = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    return state | {f"average.{k}": v.clone() for k, v in trainer.average.values.items()}


def test_training_lowers_the_loss_and_logs_every_report(tmp_path: Path) -> None:
    trainer = make(
        tmp_path, TrainerSettings(steps=400, warmup=10, log_every=100, bfloat16=False, learning_rate=3e-3)
    )
    reports = list(trainer.run())
    assert [r.step for r in reports] == [100, 200, 300, 400]
    noise = Noise.of(10**6, 8000)
    x0 = LAW.sample(noise.at("data"), torch.empty(8000, 2))
    least = float(denoising_loss(LAW, x0, noise).mean())
    untrained = float(denoising_loss(Preconditioned(Small(), PROCESS, "v"), x0, noise).mean())
    assert reports[-1].loss - least < 0.5 * (untrained - least)
    with (tmp_path / "loss.csv").open(newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [100, 200, 300, 400]


def test_a_resumed_run_is_bit_for_bit_the_uninterrupted_one(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole_run")
    (tmp_path / "whole_run").mkdir()
    list(whole.run())
    folder = tmp_path / "cut"
    folder.mkdir()
    first = make(folder)
    for report in first.run():
        if report.step == 20:
            break
    first.save()
    second = make(folder)
    assert second.resume()
    assert second.step == 20
    list(second.run())
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(second)[name]), name
    assert len((folder / "loss.csv").read_text().splitlines()) == 1 + 8


def test_a_run_killed_at_any_moment_resumes_to_the_same_weights(tmp_path: Path) -> None:
    """The child saves after every report and is killed with SIGKILL; the rows after the last save are trained again."""
    script = (
        "import sys; from pathlib import Path; from tests.core.test_training import make\n"
        "t = make(Path(sys.argv[1])); t.resume()\n"
        "for report in t.run():\n    t.save(); print(report.step, flush=True); import time; time.sleep(0.05)\n"
    )
    folder = tmp_path / "killed"
    folder.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) >= 10:
            break
    time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    resumed = make(folder)
    assert resumed.resume()
    assert 10 <= resumed.step < 40
    list(resumed.run())
    (tmp_path / "plain").mkdir()
    plain = make(tmp_path / "plain")
    list(plain.run())
    for name, value in weights(plain).items():
        torch.testing.assert_close(value, weights(resumed)[name], rtol=0, atol=1e-6, msg=name)
    assert not list(folder.glob(".*part"))


def test_a_state_of_another_network_is_refused(tmp_path: Path) -> None:
    trainer = make(tmp_path)
    list(trainer.run())
    other = Trainer(nn.Linear(2, 2), lambda step: torch.zeros(()), SETTINGS, tmp_path)
    with pytest.raises(ValueError, match="another network"):
        other.resume()


def test_a_loss_that_is_not_finite_stops_training(tmp_path: Path) -> None:
    network = nn.Linear(2, 1)
    trainer = Trainer(network, lambda step: network(torch.full((1, 2), torch.inf)).sum(), SETTINGS, tmp_path)
    with pytest.raises(ArithmeticError, match="step 0"):
        list(trainer.run())


def test_the_average_follows_the_formula() -> None:
    network = nn.Linear(1, 1, bias=False)
    average = WeightAverage(network, 0.5)
    start = network.weight.detach().clone()
    with torch.no_grad():
        network.weight.fill_(3.0)
    average.update(network, 0)  # keeps (1 + 0) / (10 + 0)
    torch.testing.assert_close(average.values["weight"], 0.1 * start + 0.9 * 3.0)
    average.update(network, 1000)
    torch.testing.assert_close(average.values["weight"], 0.5 * (0.1 * start + 0.9 * 3.0) + 0.5 * 3.0)


def test_the_exact_denoiser_has_the_smallest_loss() -> None:
    process = Gaussian(VPCosine())
    law = GaussianMixture(
        process, torch.tensor([[-1.0], [1.0]]), torch.tensor([0.2, 0.2]), torch.tensor([0.3, 0.7])
    )
    noise = Noise.of(0, 4000)
    x0 = law.sample(noise.at("data"), torch.empty(4000, 1))

    class Off:
        def __init__(self, factor: float) -> None:
            self.factor, self.process = factor, process

        def __call__(self, x: Tensor, t: Tensor) -> Tensor:
            return self.factor * law(x, t)

    best = denoising_loss(law, x0, noise, weighting=constant).mean()
    for factor in (0.9, 1.1):
        assert denoising_loss(Off(factor), x0, noise, weighting=constant).mean() > best + 1e-3


def test_noise_and_v_weightings_are_the_errors_of_noise_and_v() -> None:
    process = Gaussian(VPCosine())
    noise = Noise.of(1, 64)
    x0 = noise.at("data").normal(torch.empty(64, 5))
    guess = torch.zeros_like(x0)

    class Zero:
        def __init__(self) -> None:
            self.process = process

        def __call__(self, x: Tensor, t: Tensor) -> Tensor:
            return guess

    t = uniform_times(noise.at("time"), 64)
    alpha, sigma = (c[:, None].float() for c in process.schedule(t))
    x = process.corrupt(x0, t, noise.at("corrupt"))
    z = (x - alpha * x0) / sigma
    noise_error = ((x - alpha * guess) / sigma - z).square().mean(1)
    torch.testing.assert_close(
        denoising_loss(Zero(), x0, noise, weighting=simple), noise_error, rtol=1e-3, atol=1e-4
    )
    v, v_guess = alpha * z - sigma * x0, alpha * (x - alpha * guess) / sigma - sigma * guess
    torch.testing.assert_close(
        denoising_loss(Zero(), x0, noise, weighting=edm), (v - v_guess).square().mean(1), rtol=1e-3, atol=1e-4
    )


def test_weightings_at_known_clocks() -> None:
    clock = torch.tensor([-1.0, 0.0, 1.0])
    snr = torch.exp(2 * clock)
    torch.testing.assert_close(min_snr(clock), snr.clamp_max(5))
    torch.testing.assert_close(truncated_snr(clock), snr.clamp_min(1))
    sigma = torch.exp(-clock)
    torch.testing.assert_close(edm(clock, 0.5), (sigma**2 + 0.25) / (sigma * 0.5) ** 2)


def test_times_are_stratified_and_logit_normal_has_its_moments() -> None:
    times = uniform_times(Noise.of(0, 100), 100).sort().values
    assert float(times.diff().max()) == pytest.approx(0.01, abs=1e-9)
    logits = torch.logit(logit_normal_times(Noise.of(0, 5000), 5000, 0.4, 1.3))
    assert float(logits.mean()) == pytest.approx(0.4, abs=0.03)
    assert float(logits.std()) == pytest.approx(1.3, abs=0.03)


def test_a_product_sums_its_parts_and_weights_only_smooth_ones() -> None:
    parts = {"place": Gaussian(Flow()), "kind": Categorical((0.5, 0.5))}
    product = Product(parts, weights={"kind": 3.0})
    noise = Noise.of(2, 32)
    x0 = {"place": torch.randn(32, 2), "kind": torch.randint(0, 2, (32, 3))}

    class Fixed:
        def __init__(self) -> None:
            self.process = product

        def __call__(self, x: object, t: object) -> dict[str, Tensor]:
            return {"place": torch.zeros(32, 2), "kind": torch.zeros(32, 3, 2)}

    t = uniform_times(noise.at("time"), 32)
    weight = edm(parts["place"].log_snr(t)).float()
    want = weight * x0["place"].square().mean(1) + 3.0 * torch.log(torch.tensor(2.0))
    torch.testing.assert_close(denoising_loss(Fixed(), x0, noise), want, rtol=1e-4, atol=1e-4)


def test_the_edm_preconditioner_gives_unit_loss_at_initialisation() -> None:
    """A network of zeros: skip x alone; EDM's weighting makes its loss data_std^2-free and 1 at every clock."""

    def zeros(x: Tensor, clock: Tensor, cond: object) -> Tensor:
        return torch.zeros_like(x)

    noise = Noise.of(3, 20_000)
    x0 = noise.at("data").normal(torch.empty(20_000, 1))
    f = Preconditioned(zeros, Gaussian(EDM()), "edm")  # type: ignore[arg-type]
    assert float(denoising_loss(f, x0, noise).mean()) == pytest.approx(1.0, abs=0.03)
