"""Make an ICC profile for a file that states its colours by numbers.

PNG has cICP, gAMA and cHRM chunks (PNG specification, third edition, 4.3). AVIF has the ``nclx`` colour box (ISO/IEC 23008-12, 23091-2).
JPEG 2000 has a profile in its ``colr`` box.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

D65 = (0.3127, 0.3290)
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), D65)  # x, y of red, green, blue and white
PRIMARIES = {  # by their number in ISO/IEC 23091-2, table 2
    1: SRGB,
    2: SRGB,  # not specified
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), (0.310, 0.316)),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), D65),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), D65),
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), D65),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65),
}
# Table 3. BT.709's curve (1, 6, 14, 15) is read as sRGB's, as browsers read it.
GAMMAS: dict[int, float | None] = {1: None, 2: None, 6: None, 13: None, 14: None, 15: None, 4: 2.2, 5: 2.8, 8: 1.0}  # None: sRGB's curve
HDR = {16: "PQ", 18: "HLG"}
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)  # IEC 61966-2-1
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
D50 = np.array([0.9642, 1.0, 0.8249])  # ICC.1:2022, 7.2.16
MAX_INVISIBLE_DIFFERENCE = 0.004  # of coordinates and exponents

Primaries = tuple[tuple[float, float], ...]


def stated_profile(file: BinaryIO, file_format: str | None, grey: bool) -> bytes | None:
    """Return the ICC profile of an image file that states its colours by numbers.

    Args:
        file: an open file that can seek.
        file_format: Pillow's name of its format.
        grey: whether its pixels have one channel.

    Returns:
        The profile. None for sRGB and for a file without such numbers.

    Raises:
        ValueError: the colours are HDR or the numbers unknown, so that no profile can express them.
    """
    match file_format:
        case "PNG":
            return _of_png(dict(_chunks(file)), grey)
        case "AVIF":
            return _of_avif(file, grey)
        case "JPEG2000":
            found = boxes(file, ("jp2h", "colr"), [])
            return next((box[3:] for box in found if box[:1] == b"\2"), None)  # method 2: an ICC profile
    return None


def _of_png(chunks: dict[bytes, bytes], grey: bool) -> bytes | None:
    if len(stated := chunks.get(b"cICP", b"")) == 4:
        if not stated[3]:
            raise ValueError("its cICP chunk states the narrow range of video. Convert the file to full range")
        return by_numbers(stated[0], stated[1], grey)
    if b"iCCP" in chunks or b"sRGB" in chunks:
        return None
    gamma: float | None = None
    primaries: Primaries = SRGB
    if len(stated := chunks.get(b"gAMA", b"")) == 4 and (value := struct.unpack(">I", stated)[0]):
        gamma = None if abs(value / 1e5 - 1 / 2.2) < MAX_INVISIBLE_DIFFERENCE else 1e5 / value
    if len(stated := chunks.get(b"cHRM", b"")) == 32:
        numbers = [value / 1e5 for value in struct.unpack(">8I", stated)]
        white, *colours = [(numbers[place], numbers[place + 1]) for place in range(0, 8, 2)]
        primaries = (*colours, white)
    return _profile(primaries, gamma, grey)


def _of_avif(file: BinaryIO, grey: bool) -> bytes | None:
    found = boxes(file, ("meta", "iprp", "ipco", "colr"), ["meta"])
    stated = next((box for box in found if box[:4] == b"nclx" and len(box) >= 11), None)
    if not stated:
        return None
    primaries, transfer = struct.unpack(">HH", stated[4:8])
    return by_numbers(primaries, transfer, grey)


def by_numbers(primaries: int, transfer: int, grey: bool) -> bytes | None:
    """Return the ICC profile of colours that are stated by numbers of ISO/IEC 23091-2. It is None for sRGB.

    Raises:
        ValueError: the colours are HDR or the numbers unknown.
    """
    _refuse_hdr(transfer)
    if primaries not in PRIMARIES or transfer not in GAMMAS:
        raise ValueError(
            f"its colours (primaries {primaries}, transfer {transfer} of ISO/IEC 23091-2) are not supported. Convert it to sRGB"
        )
    return _profile(PRIMARIES[primaries], GAMMAS[transfer], grey)


def refuse_hdr(profile: bytes) -> None:
    """Check that an ICC profile does not state HDR by its ``cicp`` tag (ICC.1:2022, 9.2.17).

    Raises:
        ValueError: it does.
    """
    for number in range(min(int.from_bytes(profile[128:132], "big"), 100)):
        tag, offset, _ = struct.unpack(">4sII", profile[132 + 12 * number : 144 + 12 * number].ljust(12, b"\0"))
        if tag == b"cicp" and offset + 10 <= len(profile):
            _refuse_hdr(profile[offset + 9])  # behind the type, four reserved bytes and the primaries


def _refuse_hdr(transfer: int) -> None:
    if transfer in HDR:
        raise ValueError(f"its colours are HDR ({HDR[transfer]}), which is not supported. Convert the file to sRGB or Display P3")


def avif_size(file: BinaryIO) -> tuple[int, int] | None:
    """Return the largest width and height that an AVIF file states, or None if it states none."""
    sizes = [struct.unpack(">II", box[4:12]) for box in boxes(file, ("meta", "iprp", "ipco", "ispe"), ["meta"]) if len(box) >= 12]
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield small chunks of a PNG before its pixels."""
    file.seek(8)
    while len(head := file.read(8)) == 8 and head[4:] not in (b"IDAT", b"IEND"):
        (length,) = struct.unpack(">I", head[:4])
        if length <= 32:
            yield head[4:], file.read(length)
            file.seek(4, 1)
        else:
            yield head[4:], b""
            file.seek(length + 4, 1)


def boxes(file: BinaryIO, path: tuple[str, ...], full: list[str], begin: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Yield the contents of the boxes at a path such as ``meta/iprp/ipco/colr`` (ISO/IEC 14496-12).

    Boxes in `full` begin with a version.
    """
    if end is None:
        end = file.seek(0, 2)
    while begin + 8 <= end:
        file.seek(begin)
        size, kind = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1 and len(long := file.read(8)) == 8:
            size, head = struct.unpack(">Q", long)[0], 16
        stop = min(begin + size if size else end, end)
        if stop < begin + head:
            return
        if kind.decode("latin-1") == path[0]:
            inside = begin + head + (4 if path[0] in full else 0)
            if len(path) > 1:
                yield from boxes(file, path[1:], full, inside, stop)
            else:
                file.seek(inside)
                yield file.read(min(stop - inside, 1 << 22))
        begin = stop


# -- an ICC profile (ICC.1:2022) -------------------------------------------------------------------------------------------


def _profile(primaries: Primaries, gamma: float | None, grey: bool) -> bytes | None:
    """Return the profile of three primaries and one curve. It is None for sRGB and for invalid coordinates.

    Args:
        primaries: x, y of red, green, blue and white.
        gamma: exponent of the curve. None is sRGB's curve.
        grey: whether the profile holds only white and curve.
    """
    curve = b"para\0\0\0\0" + (_numbers(gamma, kind=0) if gamma else _numbers(*SRGB_CURVE, kind=3))
    same = np.abs(np.subtract(primaries, SRGB)).max() < MAX_INVISIBLE_DIFFERENCE
    if gamma is None and (grey or same):
        return None
    if min(y for _, y in primaries) <= 0:
        return None
    tags = {b"desc": _text("Stated by numbers"), b"cprt": _text("No copyright"), b"wtpt": _xyz(D50)}
    if grey:
        tags[b"kTRC"] = curve
    else:
        columns = np.array([_from_xy(*place) for place in primaries[:3]]).T
        white = _from_xy(*primaries[3])
        if abs(np.linalg.det(columns)) < 1e-6:
            return None
        cones = BRADFORD @ white
        if cones.min() <= 0:
            return None
        adapted = np.linalg.inv(BRADFORD) @ np.diag(BRADFORD @ D50 / cones) @ BRADFORD
        colours = adapted @ columns @ np.diag(np.linalg.solve(columns, white))
        tags |= {name: _xyz(colour) for name, colour in zip((b"rXYZ", b"gXYZ", b"bXYZ"), colours.T, strict=True)}
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
        tags[b"chad"] = b"sf32\0\0\0\0" + _fixed(*adapted.flat)
    table, body, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(content))
        body += content + b"\0" * (-len(content) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"\0\0\0\0", 0x04300000, b"mntr", b"GRAY" if grey else b"RGB ", b"XYZ ")
    head += struct.pack(">6H4s", 2020, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + _fixed(*D50) + bytes(48)
    return head + table + body


def _from_xy(x: float, y: float) -> np.ndarray:
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _fixed(*values: float) -> bytes:
    """Return s15Fixed16 numbers."""
    return struct.pack(f">{len(values)}i", *(round(min(max(value, -32768), 32767) * 65536) for value in values))


def _numbers(*values: float, kind: int) -> bytes:
    return struct.pack(">HH", kind, 0) + _fixed(*values)


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(*values)


def _text(text: str) -> bytes:
    return b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", 2 * len(text), 28) + text.encode("utf-16-be")
