"""A panel as a file of the bundle: JSON whose columns are packed, so that a million variants fit into a bundle.

``chromosomes`` is a list of [code, number of variants]. The other columns are base64 of LZMA of bytes: ``positions``
the distances to the variant before (uint32, one plane of bytes after another, from 0 at each chromosome), ``alleles``
one byte, 4 * ref + alt of ACGT, or 255 where a pair is in ``long_alleles`` (lines "REF ALT"), ``frequencies`` uint16
in thousandths (65535 unknown), ``ids`` the numbers of rs ids (uint32 planes), 0 for those in ``other_ids`` (lines,
empty for none).
"""

import base64
import json
import lzma
from typing import Any

import numpy as np
import numpy.typing as npt

from gwas.errors import InputError
from gwas.harmonise import complement
from gwas.panel import BUILDS, MT, Panel

_BASES = "ACGT"
_LONG, _UNKNOWN, _PARTS = 255, 65535, 1000
_HIGHEST = 2**32 - 1


def encode(panel: Panel) -> str:
    """The text of a panel's file."""
    edges = panel.stretches()
    steps = np.diff(panel.position, prepend=0)
    for start, _ in edges:
        steps[start] = panel.position[start]
    place = {ref + alt: 4 * i + j for i, ref in enumerate(_BASES) for j, alt in enumerate(_BASES)}
    pairs = list(zip(panel.ref.tolist(), panel.alt.tolist(), strict=True))
    codes = np.array([place.get(ref + alt, _LONG) if len(ref) == len(alt) == 1 else _LONG for ref, alt in pairs], "u1")
    numbers = np.array([_rs(word) for word in panel.stored_ids.tolist()], dtype=np.uint32)
    known = np.isfinite(panel.alt_frequency)
    parts = np.where(known, np.round(np.where(known, panel.alt_frequency, 0) * _PARTS), _UNKNOWN).astype(np.uint16)
    content = {
        "title": panel.title,
        "origin": panel.origin,
        "build": panel.build,
        "chromosomes": [[int(panel.chromosome[start]), stop - start] for start, stop in edges],
        "positions": _packed(_planes(steps.astype(np.uint32))),
        "alleles": _packed(codes.tobytes()),
        "long_alleles": _packed(_lines([" ".join(pairs[row]) for row in np.flatnonzero(codes == _LONG)])),
        "frequencies": _packed(_planes(parts)),
        "ids": _packed(_planes(numbers)),
        "other_ids": _packed(_lines(panel.stored_ids[numbers == 0].tolist())),
    }
    return json.dumps(content, indent=1) + "\n"


def decode(name: str, text: str) -> Panel:
    """A panel from its file's text.

    Raises:
        InputError: It is not what `encode` writes.
    """
    try:
        return _decoded(name, json.loads(text))
    except (KeyError, TypeError, ValueError, lzma.LZMAError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"The file of the panel {name!r} is damaged; write it again: `python -m gwas panel`."
        ) from None


def _decoded(name: str, content: dict[str, Any]) -> Panel:
    counts = content["chromosomes"]
    chromosome = np.repeat(np.array([code for code, _ in counts], "u1"), [count for _, count in counts])
    steps = _unplanes(_unpacked(content["positions"]), np.dtype(np.uint32)).astype(np.int64)
    position = np.empty(len(steps), dtype=np.int64)
    start = 0
    for _, count in counts:
        position[start : start + count] = np.cumsum(steps[start : start + count])
        start += count
    codes = np.frombuffer(_unpacked(content["alleles"]), dtype=np.uint8)
    bases = np.array([*_BASES], dtype=object)
    short = np.minimum(codes, 15)
    ref, alt = bases[short >> 2], bases[short & 3]
    long = [line.split(" ") for line in _unlines(_unpacked(content["long_alleles"]))]
    for row, pair in zip(np.flatnonzero(codes == _LONG), long, strict=True):
        ref[row], alt[row] = pair
    parts = _unplanes(_unpacked(content["frequencies"]), np.dtype(np.uint16))
    frequency = np.where(parts == _UNKNOWN, np.nan, parts / _PARTS).astype(np.float32)
    numbers = _unplanes(_unpacked(content["ids"]), np.dtype(np.uint32))
    ids = np.array([f"rs{number}" if number else "" for number in numbers.tolist()], dtype=object)
    ids[numbers == 0] = _unlines(_unpacked(content["other_ids"]))
    if not len(chromosome) == len(position) == len(codes) == len(parts) == len(numbers):
        raise ValueError
    panel = Panel(
        name, content["title"], content["origin"], content["build"], chromosome, position, ref, alt, frequency, ids
    )
    check(panel)
    return panel


def check(panel: Panel) -> None:
    """A panel has variants, in order, of a known build, with alleles, each once.

    Raises:
        InputError: It has not.
    """
    if not panel.size:
        raise InputError(f"The panel {panel.name!r} names no variant.")
    if panel.build not in BUILDS:
        raise InputError(f"The panel's build is {panel.build!r}; state one of {', '.join(BUILDS)}.")
    place = panel.chromosome.astype(np.int64) * 2**40 + panel.position
    known = (panel.chromosome > 0) & (panel.chromosome <= MT)
    if (np.diff(place) < 0).any() or panel.position.min() < 1 or not known.all():
        raise InputError(f"The panel {panel.name!r} is not in order of chromosome and position.")
    if (panel.ref == panel.alt).any() or (panel.ref == "").any() or (panel.alt == "").any():
        raise InputError(f"The panel {panel.name!r} has variants without two alleles.")
    if repeated := len(look_alikes(panel, place)):
        raise InputError(
            f"The panel {panel.name!r} has {repeated} variants at whose position another one has the same alleles, "
            "perhaps in the other order or on the other strand; remove one of them."
        )


def look_alikes(panel: Panel, place: npt.NDArray[np.int64]) -> list[int]:
    """Rows whose alleles an earlier row at their place has already, in either order or on either strand."""
    again = np.flatnonzero(np.diff(place) == 0)
    found = []
    seen: set[tuple[int, frozenset[str]]] = set()
    for row in np.unique([*again, *(again + 1)]).tolist():
        pair = frozenset((panel.ref[row], panel.alt[row]))
        turned = frozenset(complement(allele) for allele in pair)
        if (int(place[row]), pair) in seen or (int(place[row]), turned) in seen:
            found.append(row)
        seen.add((int(place[row]), pair))
    return found


def _rs(word: str) -> int:
    """The number of an rs id; 0 for any other name, and for one that would not come back the same."""
    digits = word[2:]
    known = word.startswith("rs") and digits.isascii() and digits.isdigit() and digits[0] != "0"
    return int(digits) if known and int(digits) <= _HIGHEST else 0


def _planes(values: npt.NDArray[Any]) -> bytes:
    """The lowest bytes of all values, then the next ones: neighbours in a plane are alike, which packs better."""
    wide = values.astype(values.dtype.newbyteorder("<"))
    return np.ascontiguousarray(wide.view(np.uint8).reshape(len(wide), -1).T).tobytes()


def _unplanes(raw: bytes, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    planes = np.frombuffer(raw, dtype=np.uint8).reshape(dtype.itemsize, -1)
    return np.ascontiguousarray(planes.T).view(dtype.newbyteorder("<")).ravel().astype(dtype)


def _lines(words: list[str]) -> bytes:
    return "".join(f"{word}\n" for word in words).encode()


def _unlines(raw: bytes) -> list[str]:
    return raw.decode().split("\n")[:-1]


def _packed(raw: bytes) -> str:
    return base64.b64encode(lzma.compress(raw, preset=6)).decode()


def _unpacked(text: str) -> bytes:
    return lzma.decompress(base64.b64decode(text))
