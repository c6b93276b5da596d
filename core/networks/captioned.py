"""A network that reads what it is told in words: a text encoder and a backbone, trained as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from core.networks.text_encoder import TextEncoder, text_tokens


class Captioned(nn.Module):
    """A backbone whose context and vector are a text encoder's (as in Saharia et al. 2022, but trained together).

    A condition holds either `text` and `text_keys`, which are encoded on the way, as training wants it, or what `read`
    makes of texts once for a whole walk.  No words are the empty text: the unconditional branch of guidance.

    Args:
        body: Registered name of the backbone; it takes `context` and `vector`.
        body_config: Its other arguments.
        text_config: Arguments of `TextEncoder`.
    """

    def __init__(self, body: str, body_config: Mapping[str, Any], text_config: Mapping[str, Any]) -> None:
        super().__init__()
        from core.networks import build_network  # which knows this class, too

        self.text = TextEncoder(**text_config)
        width = self.text.embedding.embedding_dim
        self.body = build_network(body, {**body_config, "context": width, "vector": width})

    def forward(self, x: Tensor, clock: Tensor, cond: Mapping[str, Tensor] | None) -> Tensor:
        """`[batch, channels, ...]` -> the same.

        Args:
            x: Scaled state.
            clock: log(alpha / sigma), `[batch]`.
            cond: `text` int64 `[batch, length]` with `text_keys` bool `[batch, length]`, or `context`, `context_keys`
                and `vector`; what else it holds is the backbone's.  None is the empty text.
        """
        told = dict(cond) if cond is not None else self.read([""] * len(x))
        if "text" in told:
            told |= self._encoded(told.pop("text"), told.pop("text_keys"))
        out: Tensor = self.body(x, clock, told)
        return out

    def with_body(self, body: nn.Module) -> Captioned:
        """The same encoder in front of another backbone, such as this one with control branches; weights are shared."""
        twin = copy(self)
        twin._modules = {**self._modules, "body": body}
        return twin

    def read(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """A condition of `texts`, encoded: `context`, `context_keys`, `vector`, each with the batch in front."""
        return self.text.read(texts)

    def words(self, texts: Sequence[str], kept: Tensor | None = None) -> dict[str, Tensor]:
        """A condition of `texts` that is encoded where the network is called: `text`, `text_keys`.

        Args:
            texts: One a sample.
            kept: Bool `[batch]`; where False, the sample is told nothing, which teaches the unconditional branch.
        """
        shown = texts if kept is None else [t if k else "" for t, k in zip(texts, kept.tolist(), strict=True)]
        tokens, keys = text_tokens(shown, self.text.length)
        longest = int(keys.sum(1).max())
        device = self.text.embedding.weight.device
        return {"text": tokens[:, :longest].to(device), "text_keys": keys[:, :longest].to(device)}

    def _encoded(self, tokens: Tensor, keys: Tensor) -> dict[str, Tensor]:
        context, vector = self.text(tokens, keys)
        return {"context": context, "context_keys": keys, "vector": vector}


def emphasised(
    cond: Mapping[str, Tensor], texts: Sequence[str], weights: Sequence[Sequence[float]]
) -> dict[str, Tensor]:
    """A condition of `read` in which characters count more or less than others.

    Each token's features are multiplied by the weight of its character, and all of a text then scaled so that their
    norm stays what it was (after AUTOMATIC1111's web UI, which keeps the mean: these features are centred).

    Args:
        cond: `context` `[batch, tokens, width]`, `context_keys`, `vector`, of `texts`.
        texts: One a sample.
        weights: For each text the weight of each character.

    Raises:
        ValueError: If a text has not as many weights as characters.
    """
    context, keys = cond["context"], cond["context_keys"]
    scale = torch.ones_like(context[..., 0])
    for row, text, given in zip(scale, texts, weights, strict=True):
        if len(text) != len(given):
            raise ValueError(f"{len(given)} weights for {len(text)} characters")
        numbers = [w for c, w in zip(text, given, strict=True) for _ in c.encode("utf-8", "replace")]
        room = numbers[: len(row) - 1]  # the first token is the start
        row[1 : 1 + len(room)] = torch.tensor(room, dtype=row.dtype, device=row.device)
    weighed = context * scale[..., None]
    before, after = (v.flatten(1).norm(dim=1).clamp_min(1e-6) for v in (context, weighed))
    weighed = weighed * (before / after)[:, None, None]
    count = keys.sum(1, keepdim=True).to(context.dtype)
    return {**cond, "context": weighed, "vector": (weighed * keys[..., None]).sum(1) / count}


def aligned(conditions: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Tensor]]:
    """Conditions whose contexts are padded to one length, so that branches can share a batch.

    Args:
        conditions: Each with `context` `[batch, tokens, width]` and `context_keys` `[batch, tokens]`.
    """
    longest = max(c["context"].shape[1] for c in conditions)
    padded = []
    for cond in conditions:
        more = longest - cond["context"].shape[1]
        padded.append(
            {
                **cond,
                "context": torch.nn.functional.pad(cond["context"], (0, 0, 0, more)),
                "context_keys": torch.nn.functional.pad(cond["context_keys"], (0, more), value=False),
            }
        )
    return padded
