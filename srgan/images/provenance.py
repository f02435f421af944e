"""Write XMP properties that name the model of an upscaled image."""

import re
from dataclasses import dataclass
from pathlib import Path

from srgan import __version__
from srgan.images.xmp import EXT, Packet

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
# The source types from weak to strong. A stronger type of the image is kept.
STRENGTH = ("algorithmicallyEnhanced", "compositeWithTrainedAlgorithmicMedia", "trainedAlgorithmicMedia")
WRITTEN = re.compile(rb"sha256 ([0-9a-f]{64}), settings ([a-z0-9. ]+)")
SEARCHED_BYTES = 2 << 20  # of the begin and of the end of a file, where its XMP is


@dataclass(frozen=True)
class MadeBy:
    """The origin of a result.

    Attributes:
        metadata: the model's `sr.*` entries.
        digest: SHA-256 of the model file.
        settings: size and quality of the result, such as ``x4 quality 95``.
    """

    metadata: dict[str, str]
    digest: str
    settings: str


def written_by(path: Path) -> tuple[str, str] | None:
    """Return digest of the model and settings that the XMP of a result names. It is None if there are none.

    The XMP of all formats is stored as plain text, so no decoder has to open the file.
    """
    with path.open("rb") as file:
        content = file.read(SEARCHED_BYTES)
        if file.seek(0, 2) > SEARCHED_BYTES:
            file.seek(max(file.tell() - SEARCHED_BYTES, SEARCHED_BYTES))
            content += file.read()
    found = WRITTEN.findall(content)
    return (found[-1][0].decode(), found[-1][1].decode().strip()) if found else None  # the last of several upscalings


def add_provenance(packet: Packet, made_by: MadeBy, former: bytes = b"") -> None:
    """Add the model to a packet. The other properties stay.

    ``Iptc4xmpExt:DigitalSourceType`` becomes ``compositeWithTrainedAlgorithmicMedia`` for a GAN, which adds detail, and for a model that
    adds colours. It becomes ``algorithmicallyEnhanced`` for other models with pixel losses only. ``AISystemUsed`` and
    ``AISystemVersionUsed`` name model, version, digest and settings (IPTC Photo Metadata Standard 2025.1). A stronger source type of the
    image, such as ``trainedAlgorithmicMedia``, is kept.

    Args:
        packet: is changed.
        made_by: the model and the settings.
        former: a damaged packet, of which only the source type is kept.
    """
    metadata, digest = made_by.metadata, made_by.digest

    def taken(name: str) -> list[str]:
        return [value.strip() for value in packet.remove(lambda address, other: (address, other) == (EXT, name)) if value.strip()]

    kind = source_type(metadata)
    kinds = [re.split(r"[/:]", value.rstrip("/"))[-1] for value in taken("DigitalSourceType")]
    kinds += [name for name in STRENGTH if re.search(rf"(?<![A-Za-z]){name}".encode(), former.replace(b"\0", b""))]
    kind = max([kind, *kinds], key=lambda name: STRENGTH.index(name) if name in STRENGTH else -1)
    version = f"srgan {metadata.get('sr.tool_version', __version__)}, run {metadata.get('sr.train_run', 'unknown')}, sha256 {digest}"
    version += f", settings {made_by.settings}"
    # Several systems may have changed the image.
    systems, versions = dict.fromkeys([*taken("AISystemUsed"), system(metadata)]), dict.fromkeys([*taken("AISystemVersionUsed"), version])
    packet.add(EXT, "DigitalSourceType", SOURCE_TYPES + kind)
    packet.add(EXT, "AISystemUsed", "; ".join(systems))
    packet.add(EXT, "AISystemVersionUsed", "; ".join(versions))


def source_type(metadata: dict[str, str]) -> str:
    """Return the source type of a result: whether the model adds detail or colours."""
    return STRENGTH[metadata.get("sr.objective") != "psnr" or "sr.color_out" in metadata]


def system(metadata: dict[str, str]) -> str:
    """Return the name of the program with that of the model."""
    scale, arch = metadata.get("sr.scale", "?"), metadata.get("sr.arch", "unknown")
    return f"srgan {scale}x-{metadata.get('sr.name', 'unnamed')}-{arch}-{metadata.get('sr.precision', 'fp32')}"
