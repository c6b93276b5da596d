"""The speed of the core's networks against named peers of equal parameters: one training step and one sampling step.

Peers are diffusers' networks where it has the architecture, and the nearest plain one otherwise.  Widths and depths are
chosen so that parameters agree within a few per cent (the table prints both).  Timing is processor time, interleaved in
turning order, with the ratio taken within a repetition, so that a machine that slows down slows both.

    python launch.py bench networks                       the whole table
    python launch.py bench networks --only unet dit       some rows
    python launch.py bench networks --scaling             seconds against tokens, of DiM's scan and DiT's attention
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import torch
from torch import Tensor, nn

from core.networks import build_network
from core.networks.autoencoder import Autoencoder, autoencoder_loss
from core.networks.text_encoder import TextEncoder, text_tokens
from core.noise import Noise
from domains.common.evaluation_table import environment

BAR, DEFAULT_BAR = 0.9, 1.2
Call = Callable[[], Tensor]


@dataclass(frozen=True)
class Pair:
    """Two networks that do the same job.

    Attributes:
        name: Of ours.
        peer: What it is compared with.
        ours, theirs: The networks.
        call, peer_call: One forward pass to something that has a mean square.
    """

    name: str
    peer: str
    ours: nn.Module
    theirs: nn.Module
    call: Call
    peer_call: Call


def parameters(network: nn.Module) -> int:
    """Number of trained numbers."""
    return sum(p.numel() for p in network.parameters())


def unet_pair() -> Pair:
    """Our default U-Net at 32 x 32 beside diffusers' UNet2DModel."""
    from diffusers import UNet2DModel

    ours = build_network("unet", {"channels": 3, "width": 64, "blocks": (2, 2, 3), "attention": (2,)})
    theirs: Any = UNet2DModel(
        sample_size=32,
        block_out_channels=(64, 128, 128),
        layers_per_block=2,
        attention_head_dim=32,
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    )
    x, clock = torch.randn(16, 3, 32, 32), torch.zeros(16)
    return Pair(
        "U-Net",
        "diffusers UNet2DModel",
        ours,
        theirs,
        lambda: ours(x, clock, None),
        lambda: theirs(x, clock).sample,
    )


def unet1d_pair() -> Pair:
    """One-dimensional convolutions over 256 places."""
    from diffusers import UNet1DModel

    ours = build_network(
        "unet", {"channels": 8, "width": 64, "multipliers": (1, 2, 4), "dims": 1, "blocks": (1, 1, 2)}
    )
    theirs: Any = UNet1DModel(
        sample_size=256,
        in_channels=8,
        out_channels=8,
        extra_in_channels=0,
        time_embedding_type="positional",
        use_timestep_embedding=True,
        freq_shift=0.0,
        flip_sin_to_cos=False,
        block_out_channels=(64, 128, 256),
        layers_per_block=2,
        down_block_types=("DownResnetBlock1D", "DownResnetBlock1D", "DownResnetBlock1D"),
        up_block_types=("UpResnetBlock1D", "UpResnetBlock1D"),
        mid_block_type="MidResTemporalBlock1D",
        out_block_type="OutConv1DBlock",
        act_fn="swish",
    )
    x, clock = torch.randn(32, 8, 256), torch.zeros(32)
    return Pair(
        "U-Net, 1-D",
        "diffusers UNet1DModel",
        ours,
        theirs,
        lambda: ours(x, clock, None),
        lambda: theirs(x, clock).sample,
    )


def unet3d_pair() -> Pair:
    """Full three-dimensional convolutions on 8 frames of 16 x 16, beside diffusers' factorised ones."""
    from diffusers import UNet3DConditionModel

    ours = build_network(
        "unet", {"channels": 4, "width": 32, "multipliers": (1, 2, 4), "dims": 3, "blocks": 2, "context": 32}
    )
    theirs: Any = UNet3DConditionModel(
        sample_size=16,
        block_out_channels=(32, 64, 128),
        layers_per_block=2,
        cross_attention_dim=32,
        attention_head_dim=32,
        norm_num_groups=8,
        down_block_types=("DownBlock3D", "DownBlock3D", "CrossAttnDownBlock3D"),
        up_block_types=("CrossAttnUpBlock3D", "UpBlock3D", "UpBlock3D"),
    )
    x, clock, context = torch.randn(2, 4, 8, 16, 16), torch.zeros(2), torch.randn(2, 8, 32)
    return Pair(
        "U-Net, 3-D",
        "diffusers UNet3DConditionModel",
        ours,
        theirs,
        lambda: ours(x, clock, {"context": context}),
        lambda: theirs(x, clock, context).sample,
    )


def dit_pair() -> Pair:
    """256 tokens, adaLN-zero."""
    from diffusers import DiTTransformer2DModel

    ours = build_network("dit", {"channels": 4, "width": 192, "depth": 6, "heads": 3, "classes": 10})
    theirs: Any = DiTTransformer2DModel(
        num_attention_heads=3,
        attention_head_dim=64,
        in_channels=4,
        num_layers=6,
        sample_size=32,
        patch_size=2,
        num_embeds_ada_norm=1000,
    )
    # diffusers keeps an embedding of 1000 labels and of the clock in every block; only what runs is counted.
    x, clock, label = torch.randn(8, 4, 32, 32), torch.zeros(8), torch.arange(8)
    return Pair(
        "DiT",
        "diffusers DiTTransformer2DModel",
        ours,
        theirs,
        lambda: ours(x, clock, {"label": label}),
        lambda: theirs(x, timestep=clock.long(), class_labels=label).sample,
    )


def pixart_pair() -> Pair:
    """256 tokens, shared modulation, cross-attention to 16 tokens of text."""
    from diffusers import PixArtTransformer2DModel

    ours = build_network(
        "dit",
        {"channels": 4, "width": 192, "depth": 6, "heads": 3, "modulation": "single", "context": 192},
    )
    theirs: Any = PixArtTransformer2DModel(
        num_attention_heads=3,
        attention_head_dim=64,
        in_channels=4,
        out_channels=4,
        num_layers=6,
        cross_attention_dim=192,
        caption_channels=192,
        sample_size=32,
        patch_size=2,
        use_additional_conditions=False,
    )
    x, clock, context = torch.randn(8, 4, 32, 32), torch.zeros(8), torch.randn(8, 16, 192)
    return Pair(
        "DiT, adaLN-single, cross-attention",
        "diffusers PixArtTransformer2DModel",
        ours,
        theirs,
        lambda: ours(x, clock, {"context": context}),
        lambda: (
            theirs(
                x,
                encoder_hidden_states=context,
                timestep=clock,
                added_cond_kwargs={"resolution": None, "aspect_ratio": None},
            ).sample
        ),
    )


class Plain(nn.Module):
    """torch.nn.TransformerEncoder on the same tokens: the nearest plain peer of what diffusers does not have."""

    def __init__(self, inward: int, width: int, depth: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(inward, width), nn.Linear(width, inward)
        layer = nn.TransformerEncoderLayer(
            width, heads, hidden, 0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.body = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """`[batch, tokens, inward]` -> the same."""
        out: Tensor = self.leave(self.body(self.enter(tokens)))
        return out


def uvit_pair() -> Pair:
    """257 tokens with long skips, beside as many plain layers."""
    ours = build_network("uvit", {"channels": 4, "width": 192, "depth": 7, "heads": 3})
    theirs = Plain(16, 192, 7, 3, 900)
    x, clock, tokens = torch.randn(8, 4, 32, 32), torch.zeros(8), torch.randn(8, 257, 16)
    return Pair(
        "U-ViT",
        "torch.nn.TransformerEncoder",
        ours,
        theirs,
        lambda: ours(x, clock, None),
        lambda: theirs(tokens),
    )


def experts_pair() -> Pair:
    """DiffMoE against our dense DiT of equal active parameters: what choosing experts costs."""
    ours = build_network("dit", {"channels": 4, "width": 192, "depth": 6, "heads": 3, "experts": 4})
    theirs = build_network("dit", {"channels": 4, "width": 192, "depth": 6, "heads": 3})
    x, clock = torch.randn(8, 4, 32, 32), torch.zeros(8)
    return Pair(
        "DiffMoE, 4 experts, 1 active",
        "our dense DiT of equal active parameters",
        ours,
        theirs,
        lambda: ours(x, clock, None),
        lambda: theirs(x, clock, None),
    )


def dim_pair() -> Pair:
    """1024 tokens: where the linear scan meets attention of equal parameters."""
    from diffusers import DiTTransformer2DModel

    ours = build_network("dim", {"channels": 4, "width": 192, "depth": 8, "heads": 6})
    theirs: Any = DiTTransformer2DModel(
        num_attention_heads=3,
        attention_head_dim=64,
        in_channels=4,
        num_layers=6,
        sample_size=64,
        patch_size=2,
        num_embeds_ada_norm=10,
    )
    x, clock = torch.randn(2, 4, 64, 64), torch.zeros(2)
    label = torch.zeros(2, dtype=torch.long)
    return Pair(
        "DiM, 1024 tokens",
        "diffusers DiTTransformer2DModel",
        ours,
        theirs,
        lambda: ours(x, clock, None),
        lambda: theirs(x, timestep=clock.long(), class_labels=label).sample,
    )


def autoencoder_pair() -> Pair:
    """Images of 64 x 64 to 16 x 16 latents and back."""
    from diffusers import AutoencoderKL

    ours = Autoencoder(3, width=32, multipliers=(1, 2, 3), blocks=1)
    theirs: Any = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 64, 64),
        norm_num_groups=8,
        sample_size=64,
        mid_block_add_attention=False,
    )
    x, noise = torch.rand(8, 3, 64, 64), Noise.of(0, 8)

    def call() -> Tensor:
        made, latent = ours(x, noise)
        return autoencoder_loss(x, made, latent)

    def peer_call() -> Tensor:
        law = theirs.encode(x).latent_dist
        made = theirs.decode(law.sample()).sample
        return (x - made).abs().flatten(1).mean(1) + 1e-4 * law.kl()

    return Pair("autoencoder", "diffusers AutoencoderKL", ours, theirs, call, peer_call)


TEXTS = [f"a red square left of a blue circle, number {k}" for k in range(32)]


def text_pair() -> Pair:
    """From 32 texts to features, beside the encoder that ByT5 is made of, read by ByT5's tokenizer."""
    from transformers import ByT5Tokenizer, T5Config, T5EncoderModel

    ours, tokenizer = TextEncoder(length=64), ByT5Tokenizer()
    config = T5Config(
        vocab_size=384, d_model=128, d_kv=32, d_ff=288, num_layers=4, num_heads=4, dropout_rate=0.0,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    theirs: Any = T5EncoderModel(config)
    return Pair(
        "text encoder",
        "transformers T5EncoderModel, ByT5Tokenizer",
        ours,
        theirs,
        lambda: ours.read(TEXTS)["context"],
        lambda: theirs(**tokenizer(TEXTS, padding=True, return_tensors="pt")).last_hidden_state,
    )


def text_network_pair() -> Pair:
    """The network alone on ready tokens, beside plain layers that have no positions, padding or bytes to look up."""
    ours = TextEncoder(length=64)
    tokens, keys = text_tokens(TEXTS, 48)
    theirs, features = Plain(16, 128, 4, 4, 384), torch.randn(32, 48, 16)
    return Pair(
        "text encoder, the network alone",
        "torch.nn.TransformerEncoder",
        ours,
        theirs,
        lambda: ours(tokens, keys)[0],
        lambda: theirs(features),
    )


PAIRS: dict[str, Callable[[], Pair]] = {
    "unet": unet_pair,
    "unet-1d": unet1d_pair,
    "unet-3d": unet3d_pair,
    "dit": dit_pair,
    "dit-single": pixart_pair,
    "uvit": uvit_pair,
    "dim": dim_pair,
    "experts": experts_pair,
    "autoencoder": autoencoder_pair,
    "text-encoder": text_pair,
    "text-network": text_network_pair,
}


def ran(network: nn.Module, call: Call) -> int:
    """Parameters that a forward and backward pass reaches: a peer may carry others that it never uses."""
    network.zero_grad(set_to_none=True)
    call().float().square().mean().backward()
    count = sum(p.numel() for p in network.parameters() if p.grad is not None)
    network.zero_grad(set_to_none=True)
    return count


def training_step(network: nn.Module, call: Call) -> Callable[[], object]:
    """Forward, backward and a step of AdamW, in float32."""
    optimiser = torch.optim.AdamW(network.parameters(), 1e-5)

    def step() -> None:
        optimiser.zero_grad()
        call().float().square().mean().backward()
        optimiser.step()

    return step


def sampling_step(network: nn.Module, call: Call) -> Callable[[], object]:
    """A forward pass without gradients."""

    def step() -> None:
        with torch.no_grad():
            call()

    return step


def spent(step: Callable[[], object]) -> float:
    """Processor seconds of one call."""
    start = time.process_time()
    step()
    return time.process_time() - start


def compare(
    one: Callable[[], object], other: Callable[[], object], repetitions: int
) -> tuple[float, float, float]:
    """(median seconds of one, of the other, median of other / one within a repetition)."""
    one(), other()
    pairs = []
    for k in range(repetitions):
        first, second = (one, other) if k % 2 == 0 else (other, one)
        a, b = spent(first), spent(second)
        pairs.append((a, b) if k % 2 == 0 else (b, a))
    ours, theirs = (statistics.median(p[i] for p in pairs) for i in (0, 1))
    return ours, theirs, statistics.median(b / a for a, b in pairs)


@dataclass(frozen=True)
class Row:
    """One line of the table; ratios are the peer's seconds over ours."""

    pair: Pair
    ours: int
    theirs: int
    training: tuple[float, float, float]
    sampling: tuple[float, float, float]


def measure(pair: Pair, repetitions: int) -> Row:
    """Times both networks of a pair."""
    sizes = ran(pair.ours, pair.call), ran(pair.theirs, pair.peer_call)
    for network in (pair.ours, pair.theirs):
        network.train()
    training = compare(
        training_step(pair.ours, pair.call), training_step(pair.theirs, pair.peer_call), repetitions
    )
    for network in (pair.ours, pair.theirs):
        network.eval()
    sampling = compare(
        sampling_step(pair.ours, pair.call), sampling_step(pair.theirs, pair.peer_call), repetitions
    )
    return Row(pair, *sizes, training, sampling)


def page(rows: Sequence[Row], threads: int, command: str) -> str:
    """The table in Markdown, with what falls below its bar."""
    where = environment()
    lines = [
        "# Speed of the networks",
        "",
        f"`{command}`, {where['machine']}, {threads} threads, torch {where['torch']}, float32, "
        f"{datetime.now(UTC).date()}. Processor seconds, medians; a ratio above 1 says that ours is faster.",
        "",
        "| network | parameters | peer | parameters | training step | ratio | sampling step | ratio |",
        "|---|--:|---|--:|--:|--:|--:|--:|",
    ]
    below = []
    for row in rows:
        t, s = row.training, row.sampling
        lines.append(
            f"| {row.pair.name} | {row.ours / 1e6:.2f} M | {row.pair.peer} | {row.theirs / 1e6:.2f} M "
            f"| {t[0]:.3f} against {t[1]:.3f} s | {t[2]:.2f} | {s[0]:.3f} against {s[1]:.3f} s | {s[2]:.2f} |"
        )
        bar = DEFAULT_BAR if row.pair.name == "U-Net" else BAR
        below += [
            f"{row.pair.name}, {what}: {ratio[2]:.2f}, wanted {bar}"
            for what, ratio in (("training", t), ("sampling", s))
            if ratio[2] < bar
        ]
    lines += ["", *([f"Below the bar: {line}." for line in below] or ["No ratio is below its bar."])]
    return "\n".join([*lines, ""])


def scaling(repetitions: int) -> str:
    """Seconds of a sampling step against the number of tokens, and the slopes of their logarithms."""
    sides = (16, 32, 64, 128)
    found: dict[str, list[float]] = {"dim": [], "dit": []}
    for name, seconds in found.items():
        network = build_network(name, {"channels": 4, "width": 96, "heads": 3, "depth": 4}).eval()
        for side in sides:
            inputs = torch.randn(1, 4, side, side), torch.zeros(1), None
            step = sampling_step(network, partial(network, *inputs))
            step()
            seconds.append(statistics.median(spent(step) for _ in range(repetitions)))
    tokens = [(side // 2) ** 2 for side in sides]
    lines = ["", "## Seconds against tokens", "", "| tokens | DiM | DiT |", "|--:|--:|--:|"]
    lines += [
        f"| {n} | {a:.4f} | {b:.4f} |" for n, a, b in zip(tokens, found["dim"], found["dit"], strict=True)
    ]
    octaves = torch.tensor([float(tokens[-1]) / tokens[-2]]).log()
    for name, label in (("dim", "DiM"), ("dit", "DiT")):
        slope = float(torch.tensor(found[name][-1] / found[name][-2]).log() / octaves)
        lines.append(f"\n{label}: seconds grow as tokens to the power {slope:.2f} over the last step.")
    return "\n".join([*lines, ""])


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(prog="launch.py bench networks", description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument(
        "--only", nargs="+", choices=sorted(PAIRS), default=list(PAIRS), help="rows to measure"
    )
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--scaling", action="store_true", help="measure seconds against tokens too")
    parser.add_argument("--out", type=Path, help="folder in which to write networks.md")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    rows = []
    for name in given.only:
        torch.manual_seed(0)
        rows.append(measure(PAIRS[name](), given.repetitions))
        print(
            f"{rows[-1].pair.name}: training {rows[-1].training[2]:.2f}, sampling {rows[-1].sampling[2]:.2f}",
            flush=True,
        )
    text = page(
        rows, given.threads, "python launch.py bench networks" + (" --scaling" if given.scaling else "")
    )
    if given.scaling:
        text += scaling(given.repetitions)
    print(text)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "networks.md").write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
