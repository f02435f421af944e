"""Edits of bytes, of any kind of file and of those whose layout is known here."""

import struct
import zlib
from collections.abc import Callable

import numpy as np

Edit = Callable[[np.random.Generator, bytes], bytes]

ODD = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
SECTOR = 4096
TAGS = (254, 256, 257, 258, 259, 262, 273, 274, 277, 278, 279, 282, 284, 317, 320, 322, 330, 338, 339, 700, 34665)  # of TIFF


def mutated(rng: np.random.Generator, content: bytes, others: list[bytes]) -> bytes:
    """One to three edits that know nothing of the format."""
    for _ in range(rng.integers(1, 4)):
        content = _GENERIC[rng.integers(len(_GENERIC))](rng, content, others)
    return content


def flip(rng: np.random.Generator, content: bytes, _: list[bytes] = []) -> bytes:  # noqa: B006 - is not changed
    """One to eight bits."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 9) if data else 0):
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    return bytes(data)


def _near_start(rng: np.random.Generator, length: int) -> int:
    """A place; every second one is in the first part, where the headers are."""
    return int(rng.integers(max(min(length, 256) if rng.integers(2) else length, 1)))


def _flip_head(rng: np.random.Generator, content: bytes, _: list[bytes]) -> bytes:
    data = bytearray(content)
    if data:
        data[_near_start(rng, len(data))] ^= 1 << rng.integers(8)
    return bytes(data)


def _odd_number(rng: np.random.Generator, content: bytes, _: list[bytes]) -> bytes:
    size, order = ((1, "little"), (2, "little"), (2, "big"), (4, "little"), (4, "big"))[rng.integers(5)]
    place = _near_start(rng, len(content) - size)
    value = ODD[rng.integers(len(ODD))] & (256**size - 1)
    return content[:place] + value.to_bytes(size, order) + content[place + size :]  # type: ignore[arg-type]


def cut(rng: np.random.Generator, content: bytes, _: list[bytes] = []) -> bytes:  # noqa: B006
    """The end is missing."""
    return content[: rng.integers(len(content) + 1)]


def _remove(rng: np.random.Generator, content: bytes, _: list[bytes]) -> bytes:
    place = _near_start(rng, len(content))
    return content[:place] + content[place + int(rng.integers(1, 65)) :]


def _insert(rng: np.random.Generator, content: bytes, _: list[bytes]) -> bytes:
    place = _near_start(rng, len(content))
    return content[:place] + rng.bytes(rng.integers(1, 65)) + content[place:]


def _repeat(rng: np.random.Generator, content: bytes, _: list[bytes]) -> bytes:
    place, length = _near_start(rng, len(content)), int(rng.integers(1, 257))
    return content[: place + length] + content[place:]


def _splice(rng: np.random.Generator, content: bytes, others: list[bytes]) -> bytes:
    other = others[rng.integers(len(others))] if others else content
    return content[: rng.integers(len(content) + 1)] + other[rng.integers(len(other) + 1) :]


def zero_sector(rng: np.random.Generator, content: bytes, _: list[bytes] = []) -> bytes:  # noqa: B006
    """A sector that a disk has lost."""
    place = int(rng.integers(max(len(content) // SECTOR, 1))) * SECTOR
    return content[:place] + bytes(len(content[place : place + SECTOR])) + content[place + SECTOR :]


_GENERIC = (flip, flip, _flip_head, _flip_head, _odd_number, _odd_number, cut, _remove, _insert, _repeat, _splice, zero_sector)


# -- lists of parts: chunks, segments, boxes -------------------------------------------------------------------------------


def _parts_edited(rng: np.random.Generator, parts: list[tuple[bytes, bytes]], first: int) -> list[tuple[bytes, bytes]]:
    """Parts (kind, content), one of them edited, removed, doubled, moved or given another's kind; those before `first` stay."""
    parts = list(parts)
    if len(parts) <= first:
        return parts
    index = int(rng.integers(first, len(parts)))
    kind, content = parts[index]
    match rng.integers(6):
        case 0:
            del parts[index]
        case 1:
            parts.insert(int(rng.integers(first, len(parts) + 1)), parts[index])
        case 2:
            other = int(rng.integers(first, len(parts)))
            parts[index], parts[other] = parts[other], parts[index]
        case 3:
            parts[index] = parts[int(rng.integers(first, len(parts)))][0], content
        case _:
            parts[index] = kind, mutated(rng, content, [])
    return parts


def png_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and content of each chunk."""
    parts, place = [], 8
    while place + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, place)
        parts.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    return parts


def png_of(parts: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG of these chunks, with right checksums."""
    body = b"".join(struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in parts)
    return b"\x89PNG\r\n\x1a\n" + body


def edit_png(rng: np.random.Generator, content: bytes) -> bytes:
    """Chunks, with right checksums."""
    return png_of(_parts_edited(rng, png_chunks(content), int(rng.integers(2))))


def jpeg_segments(content: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Marker and content of each segment before the scan, and the rest."""
    parts, place = [], 2
    while content[place : place + 1] == b"\xff" and content[place + 1 : place + 2] != b"\xda" and place + 4 <= len(content):
        (length,) = struct.unpack_from(">H", content, place + 2)
        parts.append((content[place : place + 2], content[place + 4 : place + 2 + length]))
        place += 2 + length
    return parts, content[place:]


def jpeg_of(parts: list[tuple[bytes, bytes]], rest: bytes) -> bytes:
    """A JPEG of these segments."""
    return b"\xff\xd8" + b"".join(k + struct.pack(">H", min(len(c), 65533) + 2) + c[:65533] for k, c in parts) + rest


def edit_jpeg(rng: np.random.Generator, content: bytes) -> bytes:
    """Segments, with right lengths."""
    parts, rest = jpeg_segments(content)
    return jpeg_of(_parts_edited(rng, parts, 0), rest)


def edit_webp(rng: np.random.Generator, content: bytes) -> bytes:
    """Chunks of a RIFF file, with right lengths."""
    parts, place = [], 12
    while place + 8 <= len(content):
        (length,) = struct.unpack_from("<I", content, place + 4)
        parts.append((content[place : place + 4], content[place + 8 : place + 8 + length]))
        place += 8 + length + length % 2
    body = b"".join(k + struct.pack("<I", len(c)) + c + b"\0" * (len(c) % 2) for k, c in _parts_edited(rng, parts, 0))
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def edit_boxes(rng: np.random.Generator, content: bytes) -> bytes:
    """Boxes of an AVIF file (ISO 14496-12), also inside ``meta``; the sizes around the edit are set right."""
    start = content.find(b"meta") - 4
    if start < 0:
        return mutated(rng, content, [])
    (length,) = struct.unpack_from(">I", content, start)
    parts, place = [], start + 12
    while place + 8 <= start + length:
        (size,) = struct.unpack_from(">I", content, place)
        if size < 8:
            break
        parts.append((content[place + 4 : place + 8], content[place + 8 : place + size]))
        place += size
    body = b"".join(struct.pack(">I", len(c) + 8) + k + c for k, c in _parts_edited(rng, parts, 0))
    return content[:start] + struct.pack(">I", len(body) + 12) + content[start + 4 : start + 12] + body + content[start + length :]


def edit_tiff(rng: np.random.Generator, content: bytes) -> bytes:
    """One to three entries of the first directory: tag, type, count or value."""
    data = bytearray(content)
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
    (directory,) = struct.unpack_from(f"{order}Q" if big else f"{order}I", data, 8 if big else 4)
    (count,) = struct.unpack_from(f"{order}Q" if big else f"{order}H", data, directory)
    size, first = (20, directory + 8) if big else (12, directory + 2)
    for _ in range(rng.integers(1, 4)):
        entry = first + size * int(rng.integers(count))
        match rng.integers(4):
            case 0:  # another tag, now and then one that exists
                struct.pack_into(f"{order}H", data, entry, int(rng.choice(TAGS)))
            case 1:
                struct.pack_into(f"{order}H", data, entry + 2, int(rng.integers(0, 20)))
            case 2:
                struct.pack_into(f"{order}I", data, entry + 4, ODD[rng.integers(len(ODD))])
            case _:
                value = int(rng.integers(0, 40)) if rng.integers(2) else ODD[rng.integers(len(ODD))]
                struct.pack_into(f"{order}I", data, entry + (12 if big else 8), value)
    return bytes(data)


def edit_bmp(rng: np.random.Generator, content: bytes) -> bytes:
    """A number of the header."""
    place = int(rng.choice([10, 14, 18, 22, 26, 28, 30, 34, 46, 50]))
    value = int(rng.integers(0, 65)) if rng.integers(2) else ODD[rng.integers(len(ODD))]
    return content[:place] + struct.pack("<I", value) + content[place + 4 :]
