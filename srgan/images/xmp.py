"""Read, update and write XMP packets."""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from io import StringIO
from xml.etree import ElementTree

from srgan.images.geometry import Geometry

RDF, META, XML = "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "adobe:ns:meta/", "http://www.w3.org/XML/1998/namespace"
TIFF, EXIF, DC = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/exif/1.0/", "http://purl.org/dc/elements/1.1/"
XAP, NOTE = "http://ns.adobe.com/xap/1.0/", "http://ns.adobe.com/xmp/note/"
EXT = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
PANORAMA = "http://ns.google.com/photos/1.0/panorama/"
RECTANGLE = "LargestValidInteriorRect"
PANORAMA_PIXELS = (
    ("CroppedAreaImageWidthPixels", "FullPanoWidthPixels", "CroppedAreaLeftPixels", f"{RECTANGLE}Left", f"{RECTANGLE}Width"),
    ("CroppedAreaImageHeightPixels", "FullPanoHeightPixels", "CroppedAreaTopPixels", f"{RECTANGLE}Top", f"{RECTANGLE}Height"),
)
REGIONS, AREA = "http://www.metadataworkinggroup.com/schemas/regions/", "http://ns.adobe.com/xmp/sType/Area#"
DIMENSIONS, MICROSOFT = "http://ns.adobe.com/xap/1.0/sType/Dimensions#", "http://ns.microsoft.com/photo/1.2/t/Region#"
# Namespaces of properties that refer to data which the result does not hold.
GAIN_MAP = ("http://ns.adobe.com/hdr-gain-map/1.0/", "http://ns.apple.com/HDRGainMap/1.0/", "http://ns.apple.com/pixeldatainfo/1.0/")
DIRECTORY = ("http://ns.google.com/photos/1.0/container/", "http://ns.google.com/photos/dd/1.0/container/")
EXTENDED = tuple(f"http://ns.google.com/photos/1.0/{kind}/" for kind in ("depthmap", "image", "audio"))  # their data exceed 64 kB
# Properties that describe how the input stores its pixels.
STORAGE = {"BitsPerSample", "Compression", "PhotometricInterpretation", "SamplesPerPixel", "PlanarConfiguration"}
STORAGE |= {"YCbCrSubSampling", "YCbCrPositioning", "YCbCrCoefficients", "ReferenceBlackWhite", "TransferFunction"}

MAX_DEPTH, MAX_ELEMENTS = 200, 500_000  # real packets have a dozen and some thousands
RATIONAL = re.compile(r"[0-9]{1,10}(/[0-9]{1,10}|\.[0-9]{1,10})?")  # `Fraction` would compute 1e999999999 for hours
NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # XML 1.0, section 2.2


@dataclass
class Slot:
    """A simple value: an attribute of an element, or its text."""

    element: ElementTree.Element
    attribute: str | None

    @property
    def text(self) -> str:
        """Return the value."""
        return self.element.attrib[self.attribute] if self.attribute else "".join(self.element.itertext()).strip()

    @text.setter
    def text(self, value: object) -> None:
        if self.attribute:
            self.element.set(self.attribute, str(value))
        else:
            self.element.text = str(value)


def slots(elements: Iterable[ElementTree.Element], name: str) -> Iterator[Slot]:
    """Yield the values of a property of these elements in both notations of RDF, attribute and child."""
    for element in elements:
        if name in element.attrib:
            yield Slot(element, name)
        for child in element.findall(name):
            yield Slot(child, None)


class Packet:
    """A packet as a tree whose namespaces keep their prefixes.

    Args:
        xmp: the stored packet. It is empty for a new one.

    Raises:
        ValueError: the packet is damaged or no XMP.
    """

    def __init__(self, xmp: bytes = b"") -> None:
        self.prefixes = {XML: "xml", META: "x", RDF: "rdf", EXT: "Iptc4xmpExt"}  # by namespace
        self.root = self._parsed(xmp) if xmp else ElementTree.Element(f"{{{META}}}xmpmeta")
        rdf = self.root if self.root.tag == f"{{{RDF}}}RDF" else self.root.find(f"{{{RDF}}}RDF")
        if rdf is None:
            rdf = ElementTree.SubElement(self.root, f"{{{RDF}}}RDF")
        self.descriptions = rdf.findall(f"{{{RDF}}}Description")
        if not self.descriptions:
            self.descriptions = [ElementTree.SubElement(rdf, f"{{{RDF}}}Description", {f"{{{RDF}}}about": ""})]

    def _parsed(self, xmp: bytes) -> ElementTree.Element:
        try:
            text = _decoded(xmp)
            if "<!DOCTYPE" in text:  # entities can exhaust the stack or memory of the parser
                raise ValueError("it has a document type declaration")
            events, depth, number = ElementTree.iterparse(StringIO(text), events=("start-ns", "start", "end")), 0, 0
            taken, others = set(self.prefixes.values()), (f"ns{index}" for index in itertools.count())
            for event, value in events:
                if event == "start-ns":
                    prefix, address = value
                    if address not in self.prefixes:
                        while not prefix or prefix in taken:  # a default namespace, or two of one prefix
                            prefix = next(others)
                        taken.add(prefix)
                        self.prefixes[address] = prefix
                    continue
                depth += 1 if event == "start" else -1
                if depth > MAX_DEPTH:
                    raise ValueError(f"more than {MAX_DEPTH} nested elements")
                number += event == "start"
                if number > MAX_ELEMENTS:
                    raise ValueError(f"more than {MAX_ELEMENTS:,} elements")
        except ElementTree.ParseError as error:
            raise ValueError(str(error)) from error
        return events.root  # type: ignore[attr-defined]

    def slots(self, namespace: str, *names: str) -> Iterator[Slot]:
        """Yield the values of top-level properties."""
        for name in names:
            yield from slots(self.descriptions, f"{{{namespace}}}{name}")

    def remove(self, gone: Callable[[str, str], bool]) -> list[str]:
        """Remove the top-level properties for which `gone(namespace, name)` is true, and return their values."""
        values = []
        for description in self.descriptions:
            values += [description.attrib.pop(name) for name in list(description.attrib) if gone(*_split(name))]
            removed = [child for child in description if gone(*_split(child.tag))]
            values += ["".join(child.itertext()).strip() or child.get(f"{{{RDF}}}resource", "") for child in removed]
            if removed:  # one by one would take quadratic time
                description[:] = [child for child in description if not gone(*_split(child.tag))]
        return values

    def declare(self, namespace: str, prefix: str) -> None:
        """Give a namespace that the packet may lack a prefix, or another one if the packet uses this prefix."""
        while namespace not in self.prefixes and prefix in self.prefixes.values():
            prefix += "0"
        self.prefixes.setdefault(namespace, prefix)

    def add(self, namespace: str, name: str, value: str) -> None:
        """Add a top-level property without the characters that XML excludes."""
        ElementTree.SubElement(self.descriptions[0], f"{{{namespace}}}{name}").text = NOT_IN_XML.sub("", value)

    def tobytes(self) -> bytes:
        """Return the packet for a file. Its root declares the namespaces, because ElementTree's table of prefixes is global."""
        used = set()

        def named(name: str) -> str:
            address, local = _split(name)
            used.add(address)
            return f"{self.prefixes[address]}:{local}" if address else local

        def renamed(element: ElementTree.Element) -> ElementTree.Element:
            copy = ElementTree.Element(named(element.tag), {named(name): value for name, value in element.attrib.items()})
            copy.text, copy.tail = element.text, element.tail
            copy.extend(map(renamed, element))
            return copy

        root = renamed(self.root)
        root.attrib |= {f"xmlns:{prefix}": address for address, prefix in self.prefixes.items() if address in used - {XML}}
        packet = ElementTree.tostring(root, encoding="unicode").encode()
        return b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>' + packet + b'<?xpacket end="w"?>'


def _decoded(xmp: bytes) -> str:
    """Decode a packet. XMP is UTF-8 or UTF-16 (specification, part 1, 7.1), even if the XML declaration names another encoding."""
    if xmp[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = xmp.decode("utf-16")
    elif b"<\0" in xmp[:8] or b"\0<" in xmp[:8]:
        text = xmp.decode("utf-16-be" if b"\0<" in xmp[: 1 + xmp.index(b"<")] else "utf-16-le")
    else:
        text = xmp.decode("utf-8-sig")
    return text.strip("\0 \r\n\t")  # packets may be padded


def _split(name: str) -> tuple[str, str]:
    """Return namespace and local name."""
    address, _, local = name.rpartition("}")
    return address[1:], local


# -- updates for the upscaled image ----------------------------------------------------------------------------------------


def adjust(packet: Packet, geometry: Geometry, media_type: str, has_gain_map: bool = False) -> list[str]:
    """Change properties that refer to pixels. Remove properties that refer to data which the result does not hold.

    Args:
        packet: the packet to change.
        geometry: the change of the pixels.
        media_type: media type of the result, such as ``image/png``.
        has_gain_map: whether the gain map was read. The writer describes it if the result holds it.

    Returns:
        Names of removed properties for a message.
    """
    for names, value in (
        (((TIFF, "Orientation"),), 1),
        (((TIFF, "ImageWidth"), (EXIF, "PixelXDimension")), geometry.size[0]),
        (((TIFF, "ImageLength"), (EXIF, "PixelYDimension")), geometry.size[1]),
        (((DC, "format"),), media_type),
    ):
        for slot in (slot for name in names for slot in packet.slots(*name)):
            slot.text = value
    for name, factor in zip(("FocalPlaneXResolution", "FocalPlaneYResolution"), geometry.factors, strict=True):
        for slot in packet.slots(EXIF, name):
            if RATIONAL.fullmatch(slot.text):
                with suppress(ZeroDivisionError):
                    resolution = (Fraction(slot.text) * factor).limit_denominator(10_000)
                    slot.text = f"{resolution.numerator}/{resolution.denominator}"
    for slot in packet.slots(EXIF, "SubjectArea", "SubjectLocation"):
        items = list(slot.element.iter(f"{{{RDF}}}li"))
        with suppress(ValueError, TypeError, OverflowError):
            for item, value in zip(items, geometry.subject([float(item.text or "") for item in items]), strict=False):
                item.text = str(value)
    lost = _adjust_panorama(packet, geometry) + _adjust_regions(packet, geometry)
    packet.remove(lambda address, name: (address == TIFF and name in STORAGE) or (address == XAP and name == "Thumbnails"))
    if packet.remove(lambda address, name: address == NOTE and name == "HasExtendedXMP"):
        packet.remove(lambda address, name: address in EXTENDED)
        lost.append("the extended XMP")
    if packet.remove(lambda address, name: address in GAIN_MAP) and not has_gain_map:
        lost.append("the gain map (the result is not HDR)")
    if packet.remove(lambda address, name: name.startswith(("MotionPhoto", "MicroVideo"))):
        lost.append("the video of the motion photo")
    if packet.remove(lambda address, name: address in DIRECTORY) and not (lost or has_gain_map):
        lost.append("embedded files (Container:Directory)")
    return lost


def _adjust_panorama(packet: Packet, geometry: Geometry) -> list[str]:
    if geometry.orientation != 1:
        return ["the panorama (GPano): the image was turned"] if packet.remove(lambda address, name: address == PANORAMA) else []
    for axis, names in enumerate(PANORAMA_PIXELS):
        _scale(packet.slots(PANORAMA, *names), geometry.factors[axis])
    return []


def _adjust_regions(packet: Packet, geometry: Geometry) -> list[str]:
    """Change faces and other areas in the notations of the Metadata Working Group, Microsoft and the IPTC."""
    for slot in packet.slots(REGIONS, "Regions"):
        applied = _sides(slot.element)
        given = geometry
        if applied and geometry.sideways and _like(applied, geometry.sides(*geometry.stored)) < _like(applied, geometry.stored):
            given = Geometry(1, (round(applied[0]), round(applied[1])), geometry.size)  # the areas refer to the upright image
        for element in slot.element.iter():
            area = {name: found[0] for name in "xywh" if (found := list(slots([element], f"{{{AREA}}}{name}")))}
            unit = [found.text for found in slots([element], f"{{{AREA}}}unit")]
            with suppress(ValueError, OverflowError, KeyError):
                _move(area, given, pixels=unit == ["pixel"])
        for axis, name in enumerate("wh"):
            for side in slots(slot.element.iter(), f"{{{DIMENSIONS}}}{name}"):
                side.text = geometry.size[axis]
    for slot in slots(packet.root.iter(), f"{{{MICROSOFT}}}Rectangle"):
        with suppress(ValueError):
            left, top, width, height = map(float, slot.text.split(","))
            x, y = geometry.turned(left + width / 2, top + height / 2)
            width, height = geometry.sides(width, height)
            slot.text = ", ".join(f"{value:.6g}" for value in (x - width / 2, y - height / 2, width, height))
    if geometry.orientation != 1:
        return ["the image regions of the IPTC"] if packet.remove(lambda address, name: address == EXT and name == "ImageRegion") else []
    for boundary in (found for slot in packet.slots(EXT, "ImageRegion") for found in slot.element.iter(f"{{{EXT}}}RegionBoundary")):
        if "pixel" in [unit.text for unit in slots(boundary.iter(), f"{{{EXT}}}rbUnit")]:
            for axis, name in ((0, "rbX"), (1, "rbY"), (0, "rbW"), (1, "rbH"), (0, "rbRx")):
                _scale(slots(boundary.iter(), f"{{{EXT}}}{name}"), geometry.factors[axis])
    return []


def _scale(found: Iterable[Slot], factor: Fraction) -> None:
    """Multiply integers."""
    for slot in found:
        with suppress(ValueError, OverflowError):
            slot.text = round(float(slot.text) * factor)


def _sides(regions: ElementTree.Element) -> tuple[float, float] | None:
    """Return width and height of the image that regions refer to."""
    try:
        width, height = (float(next(slots(regions.iter(), f"{{{DIMENSIONS}}}{name}")).text) for name in "wh")
    except (ValueError, StopIteration, RuntimeError):
        return None
    return (width, height) if 0 < width < 1e9 and 0 < height < 1e9 else None


def _like(sides: tuple[float, float], others: tuple[float, float]) -> float:
    """Return the relative difference of two aspect ratios."""
    return abs(sides[0] * others[1] - sides[1] * others[0]) / (others[0] * others[1])


def _move(area: dict[str, Slot], geometry: Geometry, pixels: bool) -> None:
    """Move an area, which is stored as centre and sides. A point has no sides."""
    x, y = float(area["x"].text), float(area["y"].text)
    sides = (float(area["w"].text), float(area["h"].text)) if "w" in area and "h" in area else (0.0, 0.0)
    x, y = geometry.moved(x, y) if pixels else geometry.turned(x, y)
    width, height = geometry.resized(*sides) if pixels else geometry.sides(*sides)
    for name, value in zip("xywh", (x, y, width, height), strict=True):
        if name in area:
            area[name].text = f"{value:.6g}"
