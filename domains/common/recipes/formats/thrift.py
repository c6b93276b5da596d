"""The part of Thrift's compact protocol that finds the fields of a structure without decoding them.

(github.com/apache/thrift, doc/specs/thrift-compact-protocol.md.)  Depth and length are bounded by the data.
"""

from __future__ import annotations

from dataclasses import dataclass

from domains.common.recipes.splice import Damaged

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT, UUID = range(1, 14)
_MAX_DEPTH = 32


@dataclass(frozen=True)
class Field:
    """A field of a structure: its id, its type, and where its value begins and ends."""

    id: int
    kind: int
    start: int
    end: int


class Reader:
    """Walks over `data` from `position`.  Every method raises `Damaged` where the data are not what they should be."""

    def __init__(self, data: bytes, position: int = 0) -> None:
        self.data, self.position = data, position

    def byte(self) -> int:
        """The next byte."""
        if self.position >= len(self.data):
            raise Damaged
        self.position += 1
        return self.data[self.position - 1]

    def varint(self) -> int:
        """The next unsigned number."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return value
        raise Damaged

    def string(self) -> bytes:
        """The next string."""
        start = self.skip_string()
        return self.data[start : self.position]

    def skip_string(self) -> int:
        """Passes over a string; where its bytes begin."""
        length = self.varint()
        start = self.position
        self.position += length
        if self.position > len(self.data):
            raise Damaged
        return start

    def fields(self, depth: int = 0) -> list[Field]:
        """The fields of the structure that begins here."""
        found, number = [], 0
        while head := self.byte():
            kind, delta = head & 0x0F, head >> 4
            if delta:
                number += delta
            else:
                value = self.varint()
                number = (value >> 1) ^ -(value & 1)
            start = self.position
            self.skip(kind, depth + 1)
            found.append(Field(number, kind, start, self.position))
        return found

    def structs(self) -> list[tuple[int, int]]:
        """Where each structure of the list of structures that begins here begins and ends."""
        size, kind = self.list_head()
        if kind != STRUCT:
            raise Damaged
        found = []
        for _ in range(size):
            start = self.position
            self.skip(STRUCT, 1)
            found.append((start, self.position))
        return found

    def list_head(self) -> tuple[int, int]:
        """Length and type of the list that begins here."""
        head = self.byte()
        size = head >> 4
        if size == 15:
            size = self.varint()
        if size > len(self.data) - self.position:  # every element takes a byte at least
            raise Damaged
        return size, head & 0x0F

    def skip(self, kind: int, depth: int = 0, element: bool = False) -> None:
        """Passes over a value of a type; booleans take a byte only as elements."""
        if depth > _MAX_DEPTH:
            raise Damaged
        if kind in (TRUE, FALSE):
            self.position += element
        elif kind == BYTE:
            self.position += 1
        elif kind in (I16, I32, I64):
            self.varint()
        elif kind == DOUBLE:
            self.position += 8
        elif kind == BINARY:
            self.skip_string()
        elif kind in (LIST, SET):
            size, of = self.list_head()
            for _ in range(size):
                self.skip(of, depth + 1, element=True)
        elif kind == MAP:
            self._skip_map(depth)
        elif kind == STRUCT:
            self.fields(depth)
        elif kind == UUID:
            self.position += 16
        else:
            raise Damaged
        if self.position > len(self.data):
            raise Damaged

    def _skip_map(self, depth: int) -> None:
        size = self.varint()
        if size == 0:
            return
        if size > len(self.data) - self.position:
            raise Damaged
        kinds = self.byte()
        for _ in range(size):
            self.skip(kinds >> 4, depth + 1, element=True)
            self.skip(kinds & 0x0F, depth + 1, element=True)


def struct_of(fields: list[tuple[int, int, bytes]]) -> bytes:
    """A structure of (id, type, value as spelled), in ascending order of ids."""
    out, last = bytearray(), 0
    for number, kind, value in fields:
        delta = number - last
        if 0 < delta <= 15:
            out.append(delta << 4 | kind)
        else:
            out.append(kind)
            out += _varint((number << 1) ^ (number >> 63))
        out += value
        last = number
    return bytes(out + b"\x00")


def list_header(size: int, kind: int) -> bytes:
    """The head of a list."""
    return bytes([size << 4 | kind]) if size < 15 else bytes([0xF0 | kind]) + _varint(size)


def string(data: bytes) -> bytes:
    """A string with its length."""
    return _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while True:
        out.append(value & 0x7F | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(out)
