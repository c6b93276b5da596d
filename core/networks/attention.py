"""Multi-head attention, to itself or to a context, with a choice of how it is computed."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from core.networks.embeddings import rotate

Backend: TypeAlias = Literal["auto", "fused", "written"]


def attend(q: Tensor, k: Tensor, v: Tensor, keys: Tensor | None = None, backend: Backend = "auto") -> Tensor:
    """softmax(q k^T / sqrt(size)) v.

    Args:
        q: `[batch, heads, queries, size]`.
        k: `[batch, heads, length, size]`.
        v: Of the shape of `k`.
        keys: Bool `[batch, length]`, False where there is nothing to attend to.
        backend: "fused" is PyTorch's kernel, "written" three products; "auto" takes the written one where gradients
            flow on a CPU and sequences are short, since there its backward pass is several times faster.

    Returns:
        `[batch, heads, queries, size]`.
    """
    if backend == "auto":
        written = q.device.type == "cpu" and q.requires_grad and k.shape[-2] <= 256
        backend = "written" if written else "fused"
    mask = None if keys is None else keys[:, None, None, :]
    out: Tensor
    if backend == "fused":
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return out
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    if mask is not None:
        scores = scores.masked_fill(~mask, -1e4)
    out = scores.softmax(-1).to(v.dtype) @ v
    return out


class Attention(nn.Module):
    """Multi-head self-attention over the last-but-one axis of `[batch, length, width]` (Vaswani et al. 2017).

    Args:
        width: Features a token.
        heads: Divides `width`.
        bias: Whether the projections have biases.
        normalised: Whether queries and keys are normalised (Dehghani et al. 2023), which bounds the scores.
        backend: See `attend`.

    Raises:
        ValueError: If `width` is not a multiple of `heads`.
    """

    def __init__(
        self, width: int, heads: int, bias: bool = False, normalised: bool = False, backend: Backend = "auto"
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} must be a multiple of heads {heads}")
        self.heads, self.backend = heads, backend
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)
        self.norms = nn.ModuleList(nn.RMSNorm(width // heads) for _ in range(2)) if normalised else None

    def forward(self, x: Tensor, angles: Tensor | None = None, keys: Tensor | None = None) -> Tensor:
        """Attends; `angles` rotate queries and keys, `keys` `[batch, length]` is False where there is nothing."""
        qkv = rearrange(self.qkv(x), "b n (three h d) -> b n three h d", three=3, h=self.heads)
        qk, v = qkv[:, :, :2], qkv[:, :, 2]
        if self.norms is not None:
            qk = torch.stack([norm(part) for norm, part in zip(self.norms, qk.unbind(2), strict=True)], 2)
        if angles is not None:
            qk = rotate(qk, angles)
        q, k = qk.unbind(2)
        y = attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), keys, self.backend)
        out: Tensor = self.out(rearrange(y, "b h n d -> b n (h d)"))
        return out


class CrossAttention(nn.Module):
    """Attention of tokens `[batch, length, width]` to a context `[batch, tokens, context_width]`.

    Args:
        width: Features a token.
        context_width: Features a token of the context.
        heads: Divides `width`.
        backend: See `attend`.
    """

    def __init__(self, width: int, context_width: int, heads: int, backend: Backend = "auto") -> None:
        super().__init__()
        self.heads, self.backend = heads, backend
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(context_width, 2 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor, keys: Tensor | None = None) -> Tensor:
        """Attends; `keys` is bool `[batch, tokens]`, False where the context is padding."""
        q = rearrange(self.query(x), "b n (h d) -> b h n d", h=self.heads)
        k, v = rearrange(self.key_value(context), "b n (two h d) -> two b h n d", two=2, h=self.heads)
        y = attend(q, k, v, keys, self.backend)
        out: Tensor = self.out(rearrange(y, "b h n d -> b n (h d)"))
        return out
