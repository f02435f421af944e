"""Keep the encoded frames of an unfinished result, so that a killed run continues.

The folder ``NAME.parts`` next to a result holds one file for each `SEGMENT_FRAMES` frames. Each segment has its own encoder and appears
complete or not at all. The result therefore does not depend on where a run was killed.
"""

import shutil
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.packet import PacketSideData, packet_sidedata_type_from_literal

from srgan.utils.errors import SrganError
from srgan.utils.files import atomic_file, one_at_a_time, read_json_or_none, write_json

SEGMENT_FRAMES = 48
HEADER = struct.Struct("<qqbqq")  # start, duration, key frame, bytes of the packet, bytes of its transparency
ALPHA: Any = "matroska_block_additional"  # where encoders of VP8 and VP9 put the transparency
SIDE_DATA: Any = PacketSideData  # its type and size are arguments, which its types leave out


@dataclass(frozen=True)
class Segments:
    """The finished segments of a result, in a folder of their own."""

    folder: Path

    def count(self) -> int:
        """Return the number of finished segments."""
        number = 0
        while self._path(number).exists():
            number += 1
        return number

    def frames(self) -> int:
        """Return the number of frames in the finished segments."""
        return sum(len(self._headers(number)) for number in range(self.count()))

    def write(self, number: int, packets: Iterable[Any]) -> None:
        """Write a segment as its packets come."""
        with atomic_file(self._path(number)) as temporary, temporary.open("wb") as file:
            for packet in packets:
                data = bytes(packet)
                alpha = bytes(packet.get_sidedata(ALPHA)) if packet.has_sidedata(ALPHA) else b""
                file.write(HEADER.pack(packet.pts, packet.duration, packet.is_keyframe, len(data), len(alpha)))
                file.write(data)
                file.write(alpha)

    def packets(self, time_base: Any) -> Iterator[Any]:
        """Yield all packets in the order of decoding.

        The time of decoding is the start of the frame that is shown as many frames earlier as the encoder reorders, so it increases
        over the borders of segments.
        """
        count = self.count()
        delay = max(order - shown for number in range(count) for order, shown in enumerate(_ranks(self._headers(number))))
        waiting: list[int] = []
        for number in range(count):
            segment = self._headers(number)
            starts = sorted(start for start, *_ in segment)
            waiting += starts if number else [*(starts[0] - segment[0][1] * (delay - early) for early in range(delay)), *starts]
            with self._path(number).open("rb") as file:
                for start, duration, is_key, size, alpha in segment:
                    file.seek(HEADER.size, 1)
                    packet: Any = av.Packet(file.read(size))
                    packet.pts, packet.dts, packet.duration, packet.time_base = start, waiting.pop(0), duration, time_base
                    packet.is_keyframe = bool(is_key)
                    if alpha:
                        side = SIDE_DATA(packet_sidedata_type_from_literal(ALPHA), alpha)
                        side.update(file.read(alpha))
                        packet.set_sidedata(side)
                    yield packet

    def last_duration(self) -> int:
        """Return the duration of the last frame."""
        _, duration, *_ = max(self._headers(self.count() - 1))
        return duration

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06}.packets"

    def _headers(self, number: int) -> list[tuple[int, int, int, int, int]]:
        found = []
        with self._path(number).open("rb") as file:
            while header := file.read(HEADER.size):
                found.append(HEADER.unpack(header))
                file.seek(found[-1][3] + found[-1][4], 1)
        return found


def _ranks(segment: list[tuple[int, int, int, int, int]]) -> list[int]:
    """Return the place of each packet in the order of display."""
    places = {start: place for place, start in enumerate(sorted(start for start, *_ in segment))}
    return [places[start] for start, *_ in segment]


@contextmanager
def open_segments(target: Path, identity: dict[str, Any]) -> Iterator[Segments]:
    """Open the folder of an unfinished result. It is removed when the block succeeds.

    Args:
        target: the file of the result.
        identity: everything that changes the frames. Segments of another identity are removed.

    Raises:
        SrganError: another process writes the same result.
    """
    folder = target.with_name(f"{target.name}.parts")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with one_at_a_time(folder / "lock", timeout=0):
            if read_json_or_none(folder / "identity.json") != identity:
                for left in folder.glob("*.packets"):
                    left.unlink()
                write_json(folder / "identity.json", identity)
            yield Segments(folder)
    except TimeoutError as error:
        raise SrganError(f"{target}: another process is writing this result. Wait for it, or choose another name") from error
    shutil.rmtree(folder, ignore_errors=True)
