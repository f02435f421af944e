"""Ultra HDR photographs keep their gain map. libultrahdr, in libvips, is the reference reader."""

import io
import math
import struct

import numpy as np
import pytest
import pyvips
import skimage.data
from PIL import Image

from srgan.images.gain_map import ADOBE, CONTAINER, ISO_MARK, GainMap
from srgan.images.read import open_image
from srgan.images.write import Options
from srgan.inference.photo import upscale_file

WIDTH, HEIGHT = 128, 96
VALUES = [f"gainmap-{name}" for name in ("max-content-boost", "min-content-boost", "gamma", "offset-sdr", "offset-hdr", "hdr-capacity-max")]


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A photograph of ISO 21496-1 with a bright corner."""
    light = (skimage.data.chelsea()[:HEIGHT, :WIDTH] / 255.0).astype(np.float32) ** 2.2
    light[:40, :50] *= 8
    path = tmp_path_factory.mktemp("ultra") / "photo.jpg"
    pyvips.Image.new_from_array(light, interpretation="scrgb").uhdrsave(str(path), Q=90, gainmap_scale_factor=4)
    return path


@pytest.fixture
def upscale(upscaler, tmp_path, caplog):
    """Upscale a file; its result, and what is logged."""

    def named(source, name="out.jpg", **options):
        caplog.clear()
        upscale_file(upscaler, source, tmp_path / name, Options(**options))
        return tmp_path / name, caplog.text

    return named


def written_by_adobe(photo, path, orientation=1):
    """Write the photograph as Ultra HDR 1.0 says: values as XMP. The pixels are stored turned to the left if the orientation is 6."""
    former = pyvips.Image.uhdrload(str(photo))
    boost = math.log2(former.get("gainmap-max-content-boost")[0])
    described = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    described += f'xmlns:hdrgm="{ADOBE}" xmlns:Container="{CONTAINER}" xmlns:Item="{CONTAINER}item/" hdrgm:Version="1.0"'
    values = f'hdrgm:GainMapMax="{boost:.6f}" hdrgm:HDRCapacityMax="{boost:.6f}" hdrgm:OffsetSDR="0" hdrgm:OffsetHDR="0"'
    ends = "</rdf:RDF></x:xmpmeta>"

    def encoded(image, packet, **more):
        file = io.BytesIO()
        image = image.transpose(Image.Transpose.ROTATE_90) if orientation == 6 else image
        image.save(file, "JPEG", quality=95, xmp=packet.encode(), **more)
        return file.getvalue()

    gain_map = encoded(Image.open(io.BytesIO(former.get("gainmap-data"))), f"{described} {values}/>{ends}")
    items = "".join(
        f'<rdf:li rdf:parseType="Resource"><Container:Item Item:Mime="image/jpeg" Item:Semantic="{kind}"{length}/></rdf:li>'
        for kind, length in (("Primary", ""), ("GainMap", f' Item:Length="{len(gain_map)}"'))
    )
    exif = Image.Exif()
    exif[0x0112] = orientation
    packet = f"{described}><Container:Directory><rdf:Seq>{items}</rdf:Seq></Container:Directory></rdf:Description>{ends}"
    image = encoded(Image.open(photo).convert("RGB"), packet, exif=exif)
    path.write_bytes(image[:2] + GainMap(gain_map, 0).marks(2, len(image) - 2) + image[2:] + gain_map)
    return path


def test_the_gain_map_is_kept_bit_for_bit_with_its_values(photo, upscale):
    result, text = upscale(photo)
    before, after = pyvips.Image.uhdrload(str(photo)), pyvips.Image.uhdrload(str(result))
    assert (after.width, after.height) == (2 * WIDTH, 2 * HEIGHT)
    assert after.get("gainmap-data") == before.get("gainmap-data")
    assert [after.get(name) for name in VALUES] == [before.get(name) for name in VALUES]
    assert "not in the result" not in text and "frames" not in text


def test_the_result_is_as_bright_on_a_screen_with_hdr(photo, upscale):
    result, _ = upscale(photo)
    light = pyvips.Image.uhdrload(str(result)).uhdr2scRGB().numpy()
    plain = pyvips.Image.uhdrload(str(result)).colourspace("scrgb").numpy()
    corner, rest = (slice(0, 64), slice(0, 80)), (slice(120, None), slice(120, None))
    bright = pyvips.Image.uhdrload(str(photo)).uhdr2scRGB().numpy()
    expected = bright[:32, :40].mean() / pyvips.Image.uhdrload(str(photo)).colourspace("scrgb").numpy()[:32, :40].mean()
    assert light[corner].mean() / plain[corner].mean() == pytest.approx(expected, rel=0.1) and expected > 2
    assert light[rest].mean() / plain[rest].mean() < expected / 2


def test_the_directory_has_the_sizes_and_places_of_the_files(photo, upscale):
    content = upscale(photo)[0].read_bytes()
    start = content.index(b"MPF\0MM\0*") + 4
    entries = [struct.unpack_from(">III", content, start + 50 + 16 * number) for number in (0, 1)]
    image, gain_map = entries[0][1], entries[1]
    assert start + gain_map[2] == image and image + gain_map[1] == len(content)
    assert content[image - 2 : image + 2] == b"\xff\xd9\xff\xd8"


def test_a_gain_map_as_xmp_turns_with_the_image(photo, upscale, tmp_path):
    source = written_by_adobe(photo, tmp_path / "in.jpg", orientation=6)
    turned = pyvips.Image.uhdrload(str(source))
    assert (turned.width, turned.height) == (HEIGHT, WIDTH)
    result, text = upscale(source)
    after = pyvips.Image.uhdrload(str(result))
    assert (after.width, after.height) == (2 * WIDTH, 2 * HEIGHT)
    assert after.get("gainmap-max-content-boost") == pytest.approx(turned.get("gainmap-max-content-boost"))
    kept, former = (
        np.asarray(Image.open(io.BytesIO(pyvips.Image.uhdrload(str(path)).get("gainmap-data"))), int) for path in (result, photo)
    )
    assert kept.shape == former.shape and np.abs(kept - former).mean() < 3
    assert "not in the result" not in text
    packet = Image.open(result).info["xmp"]
    assert f'Item:Length="{len(after.get("gainmap-data"))}"'.encode() in packet and packet.count(b"GainMap") == 1
    assert ISO_MARK not in result.read_bytes()


def test_the_xmp_of_the_gain_map_is_there_without_provenance(photo, upscale, tmp_path):
    result, _ = upscale(written_by_adobe(photo, tmp_path / "in.jpg"), provenance=False)
    assert pyvips.Image.uhdrload(str(result)).get("gainmap-data")
    assert b"hdrgm:Version" in Image.open(result).info["xmp"]


def test_a_format_without_gain_maps_names_the_loss(photo, upscale):
    result, text = upscale(photo, "out.png")
    assert "not in the result: the gain map, which only a JPEG holds" in text and "bytes behind" not in text
    assert b"gain" not in result.read_bytes()


def test_a_video_behind_the_gain_map_is_named(photo, upscale, tmp_path):
    (tmp_path / "in.jpg").write_bytes(photo.read_bytes() + b"\0\0\0\x18ftypmp42" + bytes(range(200)) * 30)
    result, text = upscale(tmp_path / "in.jpg")
    assert "not in the result: 6,012 bytes behind the image" in text
    assert pyvips.Image.uhdrload(str(result)).get("gainmap-data")


def test_a_damaged_gain_map_costs_only_itself(photo, upscale, tmp_path):
    (tmp_path / "in.jpg").write_bytes(photo.read_bytes()[:-600])
    result, text = upscale(tmp_path / "in.jpg")
    assert "not in the result" in text
    assert Image.open(result).size == (2 * WIDTH, 2 * HEIGHT) and open_image(result).gain_map is None


def test_signed_results_keep_the_gain_map(photo, upscale, tmp_path):
    pytest.importorskip("c2pa")
    from tests.helpers.keys import write_credentials

    write_credentials(tmp_path)
    result, _ = upscale(photo, credentials=tmp_path / "credentials.pem")
    assert pyvips.Image.uhdrload(str(result)).get("gainmap-data") == pyvips.Image.uhdrload(str(photo)).get("gainmap-data")
