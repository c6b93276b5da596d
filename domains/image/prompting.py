"""From the prompts of a request to a guided denoiser: weights, changes on the way, what to steer away from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from core.guidance.classifier_free import Guided
from core.guidance.staged import Staged
from core.guidance.weights import Weight
from core.networks.captioned import aligned, emphasised
from core.sampling import Counted
from domains.image.model import ImageModel
from domains.image.prompt_syntax import Stage, read_syntax


def encoded(model: ImageModel, stage: Stage, count: int) -> dict[str, Tensor]:
    """The condition of a stage of a prompt, for `count` pictures."""
    cond = model.network.read([stage.text])
    if any(w != 1 for w in stage.weights):
        cond = emphasised(cond, [stage.text], [stage.weights])
    return {name: v.expand(count, *v.shape[1:]) for name, v in cond.items()}


def prompted(
    model: ImageModel,
    prompt: str,
    negative: str,
    weight: Weight,
    count: int,
    times: Tensor,
    counter: Counted,
    also: Mapping[str, Tensor] | None = None,
) -> Staged | Guided:
    """The denoiser that a request's prompts ask for.

    Args:
        model: On its device.
        prompt: In the notation of `prompt_syntax`.
        negative: What to guide away from, in the same notation; empty is the unconditional branch.
        weight: Of guidance.
        count: Pictures in the batch.
        times: The grid `[steps + 1]`; a share of the walk is a share of its steps.
        counter: The model's own denoiser, counted; all stages count in it.
        also: What else both branches are told, `[count, ...]` each.

    Raises:
        BadInput: If a prompt cannot be read.
    """
    wanted, unwanted = read_syntax(prompt), read_syntax(negative, "negative_prompt")
    begins = sorted({stage.begins for stage in (*wanted, *unwanted)})
    steps = len(times) - 1
    stages: list[tuple[float, Guided]] = []
    with torch.no_grad():
        for share in begins:
            told, untold = aligned([encoded(model, _at(s, share), count) for s in (wanted, unwanted)])
            time = float(times[min(steps - 1, round(share * steps))]) if share < 1 else -1.0
            if stages and time >= stages[-1][0]:  # two changes within one step: the later one counts
                stages.pop()
            strong, weak = (counter.given({**cond, **(also or {})}) for cond in (told, untold))
            stages.append((time, Guided(strong, weak, weight)))
    return stages[0][1] if len(stages) == 1 else Staged(stages)


def _at(stages: Sequence[Stage], share: float) -> Stage:
    return [s for s in stages if s.begins <= share][-1]
