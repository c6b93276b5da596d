"""A character-level LSTM over SMILES: the baseline that many graph models do not beat (Segler et al. 2018; `CharRNN` in
MOSES, Polykovskiy et al. 2020).  Its size and its training time are parameters, so that it can be given what a model of
ours was given.  Loads no chemistry library.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from core.files import atomic_path
from domains.common.errors import BadInput
from domains.molecule.smiles_tokens import END, Vocabulary

LONGEST = 250  # tokens
LAYERS = 3
_BATCH = 256
_RATE, _FLOOR = 2e-3, 0.02
_CLIP = 5.0
Watch = Callable[[float], None]


class SmilesLSTM(nn.Module):
    """Three layers of LSTM with an embedding as wide as their state, and a linear read-out.

    Attributes:
        vocabulary: Its tokens. width: Of the state.
    """

    def __init__(self, vocabulary: Vocabulary, width: int) -> None:
        super().__init__()
        self.vocabulary, self.width = vocabulary, width
        self.embedding = nn.Embedding(len(vocabulary), width)
        self.recurrent = nn.LSTM(width, width, LAYERS, batch_first=True)
        self.read_out = nn.Linear(width, len(vocabulary))

    @classmethod
    def of_size(cls, vocabulary: Vocabulary, parameters: int) -> SmilesLSTM:
        """The widest one with at most `parameters` parameters.

        Raises:
            ValueError: If not even a state of 8 fits.
        """
        # 8 w² + 8 w a layer, and 2 V w + V for embedding and read-out.
        a, b, c = 8 * LAYERS, 8 * LAYERS + 2 * len(vocabulary), len(vocabulary) - parameters
        width = int((-b + np.sqrt(max(0.0, b * b - 4.0 * a * c))) / (2 * a))
        if width < 8:
            raise ValueError(f"{parameters} parameters are too few")
        return cls(vocabulary, width)

    def forward(
        self, rows: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Logits `[B, L, V]` of the token after each of `rows` `[B, L]`, and the state."""
        hidden, state = self.recurrent(self.embedding(rows), state)
        return self.read_out(hidden), state

    @torch.no_grad()
    def sample(self, count: int, seed: int, batch: int = 500) -> list[str]:
        """Draws SMILES from the model as it is, temperature 1; the same seed gives the same ones on one machine."""
        self.eval()
        device = self.read_out.weight.device
        generator = torch.Generator().manual_seed(seed)
        made: list[str] = []
        while len(made) < count:
            some = min(batch, count - len(made))
            token = torch.full((some, 1), END, device=device)
            rows, state = [], None
            ended = torch.zeros(some, dtype=torch.bool)
            for _ in range(LONGEST):
                logits, state = self(token, state)
                chance = logits[:, -1].float().softmax(-1).cpu()
                drawn = torch.multinomial(chance, 1, generator=generator)
                rows.append(drawn)
                ended |= drawn[:, 0] == END
                if bool(ended.all()):
                    break
                token = drawn.to(device)
            made += [self.vocabulary.decode(row) for row in torch.cat(rows, 1).tolist()]
        return made

    def save(self, path: Path) -> None:
        """Writes weights and vocabulary as safetensors, atomically."""
        about = {"words": json.dumps(self.vocabulary.words), "width": str(self.width)}
        weights = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        with atomic_path(path) as temporary:
            save_file(weights, temporary, metadata=about)

    @classmethod
    def load(cls, path: Path) -> SmilesLSTM:
        """Reads what `save` wrote.

        Raises:
            BadInput: For `model`, if the file is something else.
        """
        try:
            with safe_open(path, framework="pt") as held:
                about = held.metadata() or {}
                weights = {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118 - no mapping
            model = cls(Vocabulary(tuple(json.loads(about["words"]))), int(about["width"]))
            model.load_state_dict(weights)
        except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
            raise BadInput("model", f"is no LSTM of SMILES of ours ({type(error).__name__})") from None
        return model


@dataclass
class Training:
    """How a training went.

    Attributes:
        steps: Gradient steps. seconds: Wall time. losses: Nats a token of the last steps, on training batches.
        validation: Nats a token on the validation part, at the end; NaN without one.
    """

    steps: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    validation: float = float("nan")


def train_lstm(
    smiles: Sequence[str],
    *,
    parameters: int,
    minutes: float,
    steps: int | None = None,
    validation: Sequence[str] = (),
    seed: int = 0,
    device: str = "cpu",
    watch: Watch | None = None,
) -> tuple[SmilesLSTM, Training]:
    """Trains an LSTM for so many minutes of wall time, with Adam and a rate that falls to a fiftieth along a cosine.

    Args:
        smiles: The training part. validation: Scored once at the end.
        parameters: The most it may have. minutes: Wall time of the training steps.
        steps: Ends the training earlier, after so many gradient steps.
        watch: Told the share of the time that is spent.
    """
    torch.manual_seed(seed)
    vocabulary = Vocabulary.of([*smiles, *validation])
    model = SmilesLSTM.of_size(vocabulary, parameters).to(device)
    rows = torch.from_numpy(vocabulary.encode(smiles)).to(device)
    lengths = (rows != END).sum(1) + 1
    optimiser = torch.optim.Adam(model.parameters(), lr=_RATE)
    generator = torch.Generator().manual_seed(seed)
    told, done, began = Training(), watch or (lambda share: None), time.monotonic()
    model.train()
    while (
        share := max((time.monotonic() - began) / (60 * minutes), told.steps / steps if steps else 0.0)
    ) < 1:
        for group in optimiser.param_groups:
            group["lr"] = _RATE * (_FLOOR + (1 - _FLOOR) * 0.5 * (1 + float(np.cos(np.pi * share))))
        chosen = torch.randint(len(rows), (_BATCH,), generator=generator).to(device)
        loss = _loss(model, rows[chosen], lengths[chosen])
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
        optimiser.step()
        told.steps += 1
        told.losses = [*told.losses[-99:], float(loss.detach())]
        done(share)
    told.seconds = time.monotonic() - began
    if validation:
        model.eval()
        held = torch.from_numpy(vocabulary.encode(validation)).to(device)
        with torch.no_grad():
            sizes = (held != END).sum(1) + 1
            parts = [
                (
                    float(_loss(model, held[k : k + _BATCH], sizes[k : k + _BATCH])),
                    int(sizes[k : k + _BATCH].sum()),
                )
                for k in range(0, len(held), _BATCH)
            ]
        told.validation = sum(loss * count for loss, count in parts) / sum(count for _, count in parts)
    return model, told


def _loss(model: SmilesLSTM, rows: Tensor, lengths: Tensor) -> Tensor:
    """Mean nats a token, the end included."""
    rows = rows[:, : int(lengths.max())].long()
    before = torch.cat([torch.full_like(rows[:, :1], END), rows[:, :-1]], 1)
    logits, _ = model(before)
    each = nn.functional.cross_entropy(logits.flatten(0, 1), rows.flatten(), reduction="none").view_as(rows)
    kept = torch.arange(rows.shape[1], device=rows.device) < lengths[:, None]
    return (each * kept).sum() / kept.sum()
