"""mmCIF: an item `_langevin_recipe.json`, a category of its own, at the head of the first data block (CIF 1.1)."""

from __future__ import annotations

from typing import IO

from domains.common.recipes.formats.lines import Line, lines
from domains.common.recipes.notation import MAX_STORED_BYTES, cut, too_large
from domains.common.recipes.splice import Damaged, Edit, Format, NoPlace

_ITEM = b"_langevin_recipe.json"
_WIDTH = 200


def read(stream: IO[bytes]) -> bytes | None:
    """The recipe."""
    return _block(stream)[1]


def edits(stream: IO[bytes], text: bytes | None) -> list[Edit]:
    """Takes an old item out and puts the new one right after the block's name."""
    head, _, old = _block(stream)
    made = [Edit(*old)] if old is not None else []
    if text is not None:
        first, *more = cut(text, _WIDTH)
        rows = [_ITEM, b";" + first, *more, b";", b""]
        made.append(Edit(head.end, head.end, head.newline.join(rows)))
    return made


def _block(stream: IO[bytes]) -> tuple[Line, bytes | None, tuple[int, int] | None]:
    """The line that names the block, the recipe, and where its item is."""
    source = lines(stream)
    head = next((line for line in source if line.text.strip() and not line.text.startswith(b"#")), None)
    # Items may follow the name on its line; programs that write structures put none there.
    if (
        head is None
        or not head.text.lower().startswith(b"data_")
        or len(head.text.split()) > 1
        or not head.newline
    ):
        raise NoPlace
    begin = next((line for line in source if line.text.strip() not in (b"", b"#")), None)
    if begin is None or begin.text.split() != [_ITEM]:
        return head, None, None
    pieces: list[bytes] = []
    size = 0
    for line in source:
        if not pieces and not line.text.startswith(b";"):
            raise Damaged
        if pieces and line.text.startswith(b";"):
            return head, b"".join(pieces), (begin.start, line.end)
        pieces.append(line.text.removeprefix(b";").strip())
        size += len(line.text)
        if size > MAX_STORED_BYTES:
            raise too_large()
    raise Damaged


MMCIF = Format("mmCIF", "an item `_langevin_recipe.json` of the first data block", read, edits)
