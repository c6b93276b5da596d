"""`launch.py train scenes` and `train emoji`: the built-in text-to-image models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from core.noise import Noise
from core.training.losses import denoising_loss
from domains.common.errors import BadInput
from domains.common.task import Sampling
from domains.common.training_loop import Course, Scores, Told, check_new, follow, publish
from domains.common.training_report import in_processes
from domains.common.training_settings import parse_settings
from domains.image.emoji import SIDE, EmojiSet, EmojiStream, read_emoji
from domains.image.files import contact_sheet, from_bytes, to_bytes
from domains.image.judge import judge
from domains.image.model import ImageModel, new_model
from domains.image.sampling import draw
from domains.image.scenes.scorer import load_scorer
from domains.image.scenes.unseen import unseen_prompts
from domains.image.stream import Batch, SceneStream
from domains.image.training import DEFAULTS, EMOJI, batch_loss, model_config

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "images"
_STRIDE = 1_000_003
_PROMPTS = 64  # of each kind, read while training
_WATCHED = Sampling(steps=20, guidance=2.5)


class Stream(Protocol):
    """Captioned pictures by address."""

    def batch_at(self, address: int) -> Batch: ...


@dataclass(frozen=True)
class Job:
    """A model in training: what it learns from, how it is judged, what its card says.

    `judge` and `stream` are made in the process that trains.
    """

    name: str
    config: dict[str, Any]
    settings: dict[str, Any]
    defaults: dict[str, Any]
    stream: Stream
    judge: Callable[[ImageModel, Path], Scores]
    say: Callable[[Scores], str]
    panels: tuple[str, ...]
    card: dict[str, Any]


def train(
    data: Path | None, settings: dict[str, str], resume: bool, device: str, out: Path, told: Told
) -> None:
    """Trains `scenes` into a model folder.

    Args:
        data: None; the scenes are rendered.
        settings: `--set` texts; see `training.DEFAULTS`.
        resume: Go on from the state in `out`.
        device: `cpu` or `cuda`.
        out: Folder for state, samples, metrics, and the finished model.
        told: Called with (done, total, message).

    Raises:
        BadInput: For data, or a setting that cannot be used.
    """
    if data is not None:
        raise BadInput("data", "scenes are rendered, not read; leave --data out")
    chosen = parse_settings(settings, DEFAULTS)
    _start(_of_scenes, (chosen, device), chosen, resume, device, out, told)


def train_emoji(
    data: Path | None, settings: dict[str, str], resume: bool, device: str, out: Path, told: Told
) -> None:
    """Trains `emoji` into a model folder.

    Args:
        data: Folder of the packed emoji; the project's own where None.
        settings: `--set` texts; see `training.EMOJI`.
        resume: Go on from the state in `out`.
        device: `cpu` or `cuda`.
        out: Folder for state, samples, metrics, and the finished model.
        told: Called with (done, total, message).

    Raises:
        BadInput: If the data is not there, or for a setting that cannot be used.
    """
    chosen = parse_settings(settings, EMOJI)
    _start(_of_emoji, (chosen, read_emoji(data or DATA)), chosen, resume, device, out, told)


def _start(
    make: Callable[..., Job],
    given: tuple[Any, ...],
    settings: dict[str, Any],
    resume: bool,
    device: str,
    out: Path,
    told: Told,
) -> None:
    check_new(out, resume)
    model_config(settings)
    out.mkdir(parents=True, exist_ok=True)
    in_processes(_train, (make, given, resume, device, out, told), settings["processes"], device)


def _of_scenes(settings: dict[str, Any], device: str) -> Job:
    scorer = load_scorer(device=device)
    binding = unseen_prompts("binding", _PROMPTS, split="val")
    relation = unseen_prompts("relation", _PROMPTS, split="val")
    prompts, asserted = binding.english + relation.chinese, binding.asserted + relation.asserted
    return Job(
        "scenes",
        model_config(settings),
        settings,
        DEFAULTS,
        SceneStream(*(settings[k] for k in ("seed", "batch", "chinese", "thorough", "masked", "edited"))),
        lambda model, folder: judge(model, scorer, prompts, asserted, _WATCHED, folder / "samples.png"),
        lambda scores: f"attributes {scores['attributes']:.3f}, binding {scores['binding']:.3f}",
        ("attributes", "binding", "relations"),
        {
            "summary": "Draws small captioned scenes from English or Chinese prompts, 64 x 64.",
            "data": [{"group": "scenes", "licence": "this project's own", "pictures": "endless, rendered"}],
            "judged_on": f"{2 * _PROMPTS} unseen prompts, half of them Chinese, read by scenes-scorer; "
            f"{_WATCHED.steps} steps, guidance {_WATCHED.guidance:g}",
            "limits": "Knows one to three coloured shapes on simple grounds, and the words of its grammar; no more.",
        },
    )


def _of_emoji(settings: dict[str, Any], emoji: EmojiSet) -> Job:
    aside = emoji.part("val")
    return Job(
        "emoji",
        model_config(settings, SIDE, "rgba"),
        settings,
        EMOJI,
        EmojiStream(
            emoji.part("train"),
            settings["seed"],
            settings["batch"],
            settings["coloured"],
            masked=settings["masked"],
        ),
        lambda model, folder: _emoji_scores(model, aside, folder),
        lambda scores: f"loss on emoji kept aside {scores['loss_aside']:.4f}",
        ("loss_aside",),
        {
            "summary": "Draws emoji with transparent ground from their names, 64 x 64.",
            "data": [{"group": "noto-emoji", "licence": "Apache-2.0", "sha256": emoji.sha256}],
            "judged_on": f"{len(aside.names)} emoji kept aside; denoising loss",
            "limits": "Knows some 1,600 emoji by their Unicode names, and seven colours and grey to change them to.",
        },
    )


_WISHES = (
    "cat face", "blue cat face", "pizza", "green pizza", "red apple", "purple apple", "rocket", "pink rocket",
    "smiling face with sunglasses", "grey smiling face with sunglasses", "octopus", "yellow octopus",
)  # fmt: skip


def _emoji_scores(model: ImageModel, aside: EmojiSet, folder: Path) -> Scores:
    told, _ = draw(model, _WISHES, _WATCHED, Noise.of(0, len(_WISHES)))
    contact_sheet(to_bytes(told), _WISHES, folder / "samples.png")
    with torch.no_grad():
        f = model.denoiser.given(model.told(aside.names)[0])
        device = next(model.network.parameters()).device
        losses = denoising_loss(f, from_bytes(aside.pixels).to(device), Noise.of(1, len(aside.names)))
    return {"loss_aside": float(losses.mean())}


def _train(
    make: Callable[..., Job], given: Sequence[Any], resume: bool, device: str, out: Path, told: Told
) -> None:
    job = make(*given)
    settings = job.settings

    def course(rank: int, ranks: int) -> Course:
        model = new_model(job.config)
        model.network.to(device)

        def loss(address: int) -> Tensor:
            seed = settings["seed"] * _STRIDE + address
            return batch_loss(model, job.stream.batch_at(address), seed, settings, device)

        def judged(network: nn.Module, folder: Path) -> Scores:
            return job.judge(model.with_network(network), folder)

        return Course(model.network, loss, judged, job.say, job.panels, lambda: new_model(job.config).network)

    ended = follow(course, settings, resume, device, out, told)
    if ended is None:
        return
    trainer, _, scores = ended
    facts = dict(job.card)
    validation = {"what": facts.pop("judged_on"), **{k: round(v, 4) for k, v in scores.items()}}
    card = {
        "name": job.name,
        "model": job.config,
        **facts,
        "validation": validation,
        "paper": "after Imagen (Saharia et al. 2022) and simple diffusion (Hoogeboom et al. 2023)",
        "licence": "Apache-2.0",
    }
    publish(out, trainer, job.name, card, settings, job.defaults, device)
