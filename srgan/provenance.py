"""What a picture says of itself: XMP that names the model which made it."""

import re
from io import BytesIO
from xml.etree import ElementTree

from srgan import __version__
from srgan.errors import SrganError

RDF, META, EXT = "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "adobe:ns:meta/", "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
# What a picture may already say that would be less than the truth if ours replaced it, the strongest last.
STRENGTH = ("algorithmicallyEnhanced", "compositeWithTrainedAlgorithmicMedia", "trainedAlgorithmicMedia")


def upright(xmp: bytes) -> bytes:
    """The packet with its orientation, if it names one, set to upright, and without the pointer to a second packet, which is not kept."""
    xmp = re.sub(rb"\s*xmpNote:HasExtendedXMP=([\"'])[0-9A-Fa-f]*\1", b"", xmp)
    return re.sub(rb"(tiff:Orientation(?:>|=[\"']))[0-9](?=[<\"'])", rb"\g<1>1", xmp)


def add_provenance(xmp: bytes | None, metadata: dict[str, str], digest: str, former: bytes = b"") -> bytes:
    """Say in XMP that a model enlarged the picture, and which; everything else that the packet says stays.

    ``Iptc4xmpExt:DigitalSourceType`` becomes ``compositeWithTrainedAlgorithmicMedia`` for a model trained as a GAN, which adds detail, and
    ``algorithmicallyEnhanced`` for one trained on pixels; ``AISystemUsed`` and ``AISystemVersionUsed`` name model, version and digest
    (IPTC Photo Metadata Standard 2025.1). A picture that already says more, such as ``trainedAlgorithmicMedia``, keeps that.

    Args:
        xmp: the packet of the picture; None if it has none.
        metadata: the model's `sr.*` entries.
        digest: SHA-256 of the model file.
        former: a packet that cannot be kept, but whose word on the picture's origin counts.

    Raises:
        SrganError: `xmp` cannot be read.
    """
    root = _parsed(xmp) if xmp else ElementTree.Element(f"{{{META}}}xmpmeta")
    rdf = root if root.tag == f"{{{RDF}}}RDF" else root.find(f"{{{RDF}}}RDF")
    if rdf is None:
        rdf = ElementTree.SubElement(root, f"{{{RDF}}}RDF")
    descriptions = rdf.findall(f"{{{RDF}}}Description")
    if not descriptions:
        descriptions = [ElementTree.SubElement(rdf, f"{{{RDF}}}Description", {f"{{{RDF}}}about": ""})]
    kind = STRENGTH[metadata.get("sr.objective") != "psnr"]
    said_before = [re.split(r"[/:]", value.rstrip("/"))[-1] for value in _taken(descriptions, "DigitalSourceType")]
    said_before += [name for name in STRENGTH if re.search(rf"(?<![A-Za-z]){name}".encode(), former.replace(b"\0", b""))]
    kind = max([kind, *said_before], key=lambda name: STRENGTH.index(name) if name in STRENGTH else -1)
    name = f"{metadata['sr.scale']}x-{metadata.get('sr.name', 'unnamed')}-{metadata['sr.arch']}-{metadata.get('sr.precision', 'fp32')}"
    version = f"srgan {metadata.get('sr.tool_version', __version__)}, run {metadata.get('sr.train_run', 'unknown')}, sha256 {digest}"
    # A picture may have gone through several systems.
    systems = dict.fromkeys([*_taken(descriptions, "AISystemUsed"), f"srgan {name}"])
    versions = dict.fromkeys([*_taken(descriptions, "AISystemVersionUsed"), version])
    for key, value in (
        ("DigitalSourceType", SOURCE_TYPES + kind),
        ("AISystemUsed", "; ".join(systems)),
        ("AISystemVersionUsed", "; ".join(versions)),
    ):
        ElementTree.SubElement(descriptions[0], f"{{{EXT}}}{key}").text = value
    for prefix, address in (("x", META), ("rdf", RDF), ("Iptc4xmpExt", EXT)):
        ElementTree.register_namespace(prefix, address)
    packet = ElementTree.tostring(root, encoding="unicode").encode()
    return b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>' + packet + b'<?xpacket end="w"?>'


def _parsed(xmp: bytes) -> ElementTree.Element:
    try:
        # In UTF-8 it may be padded with zeros; in UTF-16 they are half of the letters.
        text = xmp if xmp[:2] in (b"\xff\xfe", b"\xfe\xff") or b"<\0" in xmp[:8] or b"\0<" in xmp[:8] else xmp.strip(b"\x00 \r\n\t")
        events = ElementTree.iterparse(BytesIO(text), events=("start-ns",))
        for _, (prefix, address) in events:
            if prefix and not re.fullmatch(r"ns\d+", prefix):  # reserved by ElementTree
                ElementTree.register_namespace(prefix, address)
        assert events.root is not None
        return events.root
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise SrganError(f"its XMP is damaged ({error})") from error


def _taken(descriptions: list[ElementTree.Element], key: str) -> list[str]:
    """Take a property out, in either notation of RDF; its values."""
    values = []
    for description in descriptions:
        if (value := description.attrib.pop(f"{{{EXT}}}{key}", None)) is not None:
            values.append(value)
        for element in description.findall(f"{{{EXT}}}{key}"):
            values.append("".join(element.itertext()).strip() or element.get(f"{{{RDF}}}resource", ""))
            description.remove(element)
    return [value.strip() for value in values if value.strip()]
