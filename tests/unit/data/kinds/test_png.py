"""PNG: only pixels are left, and all of them."""

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flame_fl.contract.errors import InputError
from flame_fl.data.kinds import png

Image = pytest.importorskip("PIL.Image")
CANARY = b"KANARIENVOGEL"
KINDS: dict[str, tuple[str, Any, tuple[int, ...]]] = {
    "grey": ("L", np.uint8, ()),
    "grey16": ("I;16", np.uint16, ()),
    "grey-alpha": ("LA", np.uint8, (2,)),
    "colour": ("RGB", np.uint8, (3,)),
    "colour-alpha": ("RGBA", np.uint8, (4,)),
}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def chunks(data: bytes) -> list[bytes]:
    kinds, at = [], 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kinds.append(data[at + 4 : at + 8])
        at += 12 + length
    return kinds


def image(kind: str, seed: int = 1, size: tuple[int, int] = (7, 5)) -> np.ndarray:
    _, dtype, samples = KINDS[kind]
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (*size, *samples), dtype)


def encoded(pixels: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_the_same_in_every_kind(kind: str, tmp_path: Path) -> None:
    pixels = image(kind)
    (tmp_path / "a.png").write_bytes(encoded(pixels))
    after = Image.open(BytesIO(png.cleaned(tmp_path / "a.png")))
    assert after.mode == KINDS[kind][0]
    np.testing.assert_array_equal(np.asarray(after), pixels)
    assert png.look(tmp_path / "a.png") == (pixels.shape, pixels.dtype.itemsize * 8)


@pytest.mark.parametrize("colours", [2, 5, 200])
def test_a_palette_is_kept(colours: int, tmp_path: Path) -> None:
    indices = np.random.default_rng(1).integers(0, colours, (7, 5), np.uint8)
    palette = Image.fromarray(indices, "L").convert("P")
    palette.putpalette(list(range(colours)) * 3)
    palette.save(tmp_path / "a.png")
    before, after = Image.open(tmp_path / "a.png"), Image.open(BytesIO(png.cleaned(tmp_path / "a.png")))
    assert before.mode == after.mode == "P"
    np.testing.assert_array_equal(np.asarray(after), np.asarray(before))
    np.testing.assert_array_equal(np.asarray(after.convert("RGB")), np.asarray(before.convert("RGB")))


def test_masks_of_one_bit_are_kept(tmp_path: Path) -> None:
    mask = np.random.default_rng(1).random((7, 5)) < 0.5
    Image.fromarray(mask).save(tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(png.cleaned(tmp_path / "a.png")))), mask)


ANCILLARY = st.sampled_from(
    [
        b"tEXt",
        b"iTXt",
        b"zTXt",
        b"eXIf",
        b"tIME",
        b"pHYs",
        b"gAMA",
        b"cHRM",
        b"sRGB",
        b"iCCP",
        b"sPLT",
        b"dSIG",
        b"prVt",
    ]
)


def body(kind: bytes) -> bytes:
    """What such a chunk may hold, with the canary in it where there is room."""
    match kind:
        case b"tEXt":
            return b"Patient\0" + CANARY
        case b"zTXt":
            return b"Patient\0\0" + zlib.compress(CANARY)
        case b"iTXt":
            return b"Patient\0\0\0\0\0" + CANARY
        case b"iCCP":
            return b"Profile\0\0" + zlib.compress(CANARY)
        case b"tIME":
            return struct.pack(">HBBBBB", 2020, 2, 29, 1, 2, 3)
        case b"pHYs":
            return struct.pack(">IIB", 1, 1, 1)
        case b"gAMA" | b"sRGB":
            return bytes(4)[: 4 if kind == b"gAMA" else 1]
        case b"cHRM":
            return bytes(32)
        case _:
            return CANARY


@settings(max_examples=80)
@given(before=st.lists(ANCILLARY, max_size=4), after=st.lists(ANCILLARY, max_size=4), kind=st.sampled_from(list(KINDS)))
def test_no_chunk_but_those_of_pixels_survives(
    before: list[bytes], after: list[bytes], kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pixels = image(kind)
    plain = encoded(pixels)
    first, last = 8 + 25, len(plain) - 12
    data = plain[:first] + b"".join(chunk(k, body(k)) for k in before) + plain[first:last]
    data += b"".join(chunk(k, body(k)) for k in after) + plain[last:] + CANARY
    path = tmp_path_factory.mktemp("png") / "a.png"
    path.write_bytes(data)
    cleaned = png.cleaned(path)
    assert set(chunks(cleaned)) == {b"IHDR", b"IDAT", b"IEND"}
    assert CANARY not in cleaned
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(cleaned))), pixels)
    path.write_bytes(plain)
    assert png.cleaned(path) == cleaned  # the view depends on the pixels alone


def test_what_hides_behind_the_pixels_stays_behind(tmp_path: Path) -> None:
    """Bytes after the end of the compressed stream, in an IDAT chunk."""
    rows = b"".join(b"\0" + bytes(3) for _ in range(2))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 2, 8, 0, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows) + CANARY) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(data)
    assert CANARY not in png.cleaned(tmp_path / "a.png")


def header(width: int, height: int, depth: int, colour: int) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "does not begin"),
        (b"GIF89a" + bytes(100), "does not begin"),
        (header(50_000, 50_000, 8, 0), "more than 89,478,485"),
        (header(0, 5, 8, 0), "no pixels"),
        (header(2, 2, 16, 2), "bit for bit"),
        (header(2, 2, 2, 0), "bit for bit"),
        (header(100, 100, 8, 0), "cannot be read"),
    ],
)
def test_what_is_refused(data: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / CANARY.decode()
    path.write_bytes(data)
    with pytest.raises(InputError, match=says) as caught:
        png.cleaned(path)
    assert CANARY.decode() not in str(caught.value)


def test_an_animation_is_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(image("grey", seed)) for seed in (1, 2)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="several frames"):
        png.cleaned(tmp_path / "a.png")


@pytest.mark.parametrize("size", [(13, 3), (60_000, 60_000)])
def test_a_second_header_is_refused(size: tuple[int, int], tmp_path: Path) -> None:
    """Even one that the pixels fit as well: 7 rows of 6 bytes are 3 of 14."""
    first, second = (chunk(b"IHDR", struct.pack(">IIBBBBB", *wh, 8, 0, 0, 0, 0)) for wh in ((5, 7), size))
    pixels = chunk(b"IDAT", zlib.compress(bytes(42))) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + first + pixels)
    assert png.cleaned(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + first + second + pixels)
    with pytest.raises(InputError):
        png.cleaned(tmp_path / "a.png")


@given(cut=st.integers(0, 10_000), kind=st.sampled_from(list(KINDS)))
def test_a_file_cut_before_its_last_pixel_is_an_input_error(
    cut: int, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = encoded(image(kind))
    path = tmp_path_factory.mktemp("png") / "a.png"
    path.write_bytes(whole[: cut % (len(whole) - 12 - 4 - 4)])  # IEND, checksum, and the stream's own checksum
    with pytest.raises(InputError):
        png.cleaned(path)


def test_made_up_images(tmp_path: Path) -> None:
    for kind in KINDS:
        pixels = image(kind)
        np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(png.made(pixels)))), pixels)
    with pytest.raises(InputError, match="8 bits"):
        png.made(np.zeros((2, 2, 3), np.uint16))
