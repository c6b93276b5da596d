"""A frozen U-Net with control branches bound to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from torch import Tensor, nn

from core.adapters.control import ControlNet, ControlNetXS, Told
from core.adapters.light_control import ControlNeXt, T2IAdapter
from core.networks.unet import Beside, UNet

Kind: TypeAlias = Literal["controlnet", "controlnet-xs", "controlnext", "t2i-adapter"]
BRANCHES: dict[str, Any] = {
    "controlnet": ControlNet,
    "controlnet-xs": ControlNetXS,
    "controlnext": ControlNeXt,
    "t2i-adapter": T2IAdapter,
}


def build_branch(kind: Kind, base: UNet, hint: int, **config: Any) -> nn.Module:
    """A branch that starts as nothing.

    Args:
        kind: One of `BRANCHES`.
        base: The trained U-Net.
        hint: Channels of its hints.
        config: Other arguments of the branch.

    Raises:
        ValueError: If there is no branch of that kind.
    """
    if kind not in BRANCHES:
        raise ValueError(f"no control branch {kind!r}; choose one of {', '.join(BRANCHES)}")
    branch: nn.Module = BRANCHES[kind](base, hint, **config)
    return branch


class Controlled(nn.Module):
    """A frozen U-Net with branches (own composition): hints come with the condition as `hint0`, `hint1`, ...

    Args:
        base: The trained U-Net; its parameters take no gradients from here on.
        branches: One a hint.
        scales: Of each branch; 0 leaves it out.

    Raises:
        ValueError: If there are not as many scales as branches.
    """

    def __init__(
        self, base: UNet, branches: Sequence[nn.Module], scales: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.branches = nn.ModuleList(branches)
        self.scales = [1.0] * len(branches) if scales is None else list(scales)
        if len(self.scales) != len(branches):
            raise ValueError(f"{len(self.scales)} scales for {len(branches)} branches")

    def prepared(self, cond: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The condition with hints of adapters that see nothing else turned to features, once for a whole walk.

        Args:
            cond: What the base is told, and hints `[batch, hint, ...]`.
        """
        out = dict(cond)
        for k, branch in enumerate(self.branches):
            if isinstance(branch, T2IAdapter) and f"hint{k}" in out:
                made = branch.features(out.pop(f"hint{k}"))
                out |= {f"hint{k}.{level}": v for level, v in enumerate(made)}
        return out

    def forward(self, x: Tensor, clock: Tensor, cond: Told) -> Tensor:
        """`[batch, channels, ...]` -> the same.

        Args:
            x: Scaled state.
            clock: `[batch]`.
            cond: What the base is told, and the hints `[batch, hint, ...]`, perhaps `prepared`; a branch without its
                hint takes no part.
        """
        told = {name: v for name, v in (cond or {}).items() if not name.startswith("hint")}
        plain = told if cond is not None else None
        taking: list[Beside] = []
        for k, branch in enumerate(self.branches):
            hint: Any = (cond or {}).get(f"hint{k}")
            if hint is None and cond is not None:
                hint = [cond[name] for name in sorted(cond) if name.startswith(f"hint{k}.")] or None
            if hint is not None and self.scales[k] != 0:
                taking.append(branch.beside(self.base, x, clock, plain, hint, self.scales[k]))  # type: ignore[operator]
        out: Tensor = self.base(x, clock, plain, _All(taking) if taking else None)
        return out


@dataclass
class _All:
    parts: Sequence[Beside]

    def down(self, place: int, y: Tensor) -> Tensor:
        for part in self.parts:
            y = part.down(place, y)
        return y

    def middle(self, y: Tensor) -> Tensor:
        for part in self.parts:
            y = part.middle(y)
        return y

    def skip(self, place: int, y: Tensor) -> Tensor:
        for part in self.parts:
            y = part.skip(place, y)
        return y
