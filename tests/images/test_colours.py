"""What a file says of its colours, its transparency and its pages is kept, converted, or refused in words."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import pyvips
import skimage.data
import tifffile
from PIL import Image, ImageCms

from srgan.images.alpha import fill_transparent
from srgan.images.read import open_image, read_image
from srgan.inference.photo import upscale_file
from srgan.utils.errors import SrganError
from tests.helpers.commands import environment, run

CAT = skimage.data.chelsea()[100:160, 100:192]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
DISPLAY_P3 = bytes(pyvips.Operation.call("profile_load", "p3"))


def saved(path, image=CAT, **options):
    Image.fromarray(image).save(path, **options)
    return path


def with_chunks(path, *chunks):
    """A PNG with chunks before its pixels."""
    content = path.read_bytes()
    added = b"".join(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks)
    path.write_bytes(content[:33] + added + content[33:])
    return path


def avif(path, primaries, transfer):
    """An AVIF whose colour box says these numbers."""
    content = saved(path).read_bytes()
    place = content.index(b"colrnclx") + 8
    path.write_bytes(content[:place] + struct.pack(">HH", primaries, transfer) + content[place + 4 :])
    return path


def in_srgb(pixels, profile, mode="RGB"):
    """What a colour-managed viewer shows."""
    source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    exact = ImageCms.Flags.NOOPTIMIZE
    return np.asarray(ImageCms.profileToProfile(Image.fromarray(pixels), source, target, outputMode=mode, flags=exact)).astype(int)


@pytest.mark.parametrize("suffix", [".avif", ".png", ".jpg", ".webp", ".tif"])
def test_display_p3_by_numbers_becomes_a_profile(upscaler, tmp_path, suffix):
    sources = (avif(tmp_path / "in.avif", 12, 13), with_chunks(saved(tmp_path / "in.png"), (b"cICP", bytes([12, 13, 0, 1]))))
    for source in sources:
        upscale_file(upscaler, source, tmp_path / f"out{suffix}")
        profile = open_image(tmp_path / f"out{suffix}").icc_profile
        shown = in_srgb(CAT, profile)
        assert np.abs(shown - in_srgb(CAT, DISPLAY_P3)).max() <= 4
        assert np.abs(shown - CAT).max() > 15  # it is not sRGB


def test_srgb_by_numbers_needs_no_profile(tmp_path):
    chromaticities = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
    for source in (
        avif(tmp_path / "in.avif", 1, 13),
        with_chunks(saved(tmp_path / "a.png"), (b"cICP", bytes([1, 13, 0, 1]))),
        with_chunks(saved(tmp_path / "b.png"), (b"gAMA", struct.pack(">I", 45455)), (b"cHRM", chromaticities)),
        with_chunks(saved(tmp_path / "c.png"), (b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 100000))),  # sRGB counts
        with_chunks(saved(tmp_path / "d.png"), (b"gAMA", struct.pack(">I", 45455)), (b"cHRM", bytes(32))),  # of no meaning
    ):
        assert open_image(source).icc_profile is None


@pytest.mark.parametrize("grey", [False, True])
def test_the_gamma_of_a_png_becomes_a_profile(upscaler, tmp_path, grey):
    pixels = CAT[..., 0] if grey else CAT
    source = with_chunks(saved(tmp_path / "in.png", pixels), (b"gAMA", struct.pack(">I", 100000)))  # linear light
    upscale_file(upscaler, source, tmp_path / "out.png")
    profile = open_image(tmp_path / "out.png").icc_profile
    linear = pixels / 255
    expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255
    shown = in_srgb(pixels, profile)
    assert np.abs((shown[..., 1] if grey else shown) - expected).max() < 2


def test_hdr_is_refused_by_its_name(upscaler, tmp_path):
    for source, name in (
        (avif(tmp_path / "pq.avif", 9, 16), "PQ"),
        (avif(tmp_path / "hlg.avif", 9, 18), "HLG"),
        (with_chunks(saved(tmp_path / "pq.png"), (b"cICP", bytes([9, 16, 0, 1]))), "PQ"),
    ):
        with pytest.raises(SrganError, match=rf"its colours are HDR \({name}\), which is not supported. Convert the file to sRGB"):
            upscale_file(upscaler, source, tmp_path / "out.png")


def grey_profile(tmp_path):
    """Gamma 1: the strongest difference from sRGB."""
    return open_image(with_chunks(saved(tmp_path / "gamma.png", CAT[..., 0]), (b"gAMA", struct.pack(">I", 100000)))).icc_profile


@pytest.mark.parametrize("suffix", [".webp", ".avif", ".jpg", ".png", ".tif"])
def test_a_grey_profile_is_kept_or_the_tones_become_srgb(upscaler, tmp_path, suffix):
    profile = grey_profile(tmp_path)
    upscale_file(upscaler, saved(tmp_path / "in.png", np.full((40, 40), 60, np.uint8), icc_profile=profile), tmp_path / f"out{suffix}")
    result = open_image(tmp_path / f"out{suffix}")
    before = in_srgb(np.full((40, 40), 60, np.uint8), profile)[..., 1]
    level = np.full((1, 1), round(result.pixels.mean()), np.uint8)
    plain = np.abs(upscaler.upscale(np.full((40, 40), 60, np.uint8)).mean() - 60)  # what the untrained network does to a flat area
    after = in_srgb(level, result.icc_profile)[..., 1] if result.icc_profile else level
    assert (result.icc_profile == profile) == (suffix in (".jpg", ".png", ".tif"))
    assert abs(int(after.mean()) - before.mean()) < 3 + 3 * plain


def test_deep_grey_with_alpha_and_a_profile_in_a_tiff(upscaler, tmp_path):
    profile = grey_profile(tmp_path)
    pixels = np.dstack([np.full((40, 40), 60 * 257, np.uint16), np.full((40, 40), 65535, np.uint16)])
    image = pyvips.Image.new_from_array(pixels).copy(interpretation="grey16")
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    image.pngsave(str(tmp_path / "in.png"))
    upscale_file(upscaler, tmp_path / "in.png", tmp_path / "out.tif")
    result = open_image(tmp_path / "out.tif")
    srgb = in_srgb(np.full((1, 1), 60, np.uint8), profile)[0, 0, 1]
    assert result.pixels.ndim == 3
    assert result.icc_profile is None
    assert np.array_equal(result.pixels[..., 0], upscaler.upscale(np.full((40, 40), srgb * 257, np.uint16)))


def test_a_profile_that_does_not_fit_is_left_out_with_a_word(upscaler, tmp_path, caplog):
    upscale_file(upscaler, saved(tmp_path / "a.jpg", icc_profile=grey_profile(tmp_path)), tmp_path / "out.png")
    assert "a.jpg: its colour profile is for GRAY, its pixels are RGB. It is left out" in caplog.text
    upscale_file(upscaler, saved(tmp_path / "c.jpg", CAT[..., 0], icc_profile=SRGB), tmp_path / "out.png")
    assert open_image(tmp_path / "out.png").icc_profile is None
    other = SRGB[:16] + b"HSV " + SRGB[20:]
    upscale_file(upscaler, saved(tmp_path / "e.jpg", icc_profile=other), tmp_path / "out.png")
    assert "e.jpg: its colour profile is for HSV, its pixels are RGB. It is left out" in caplog.text
    Image.fromarray(CAT).convert("CMYK").save(tmp_path / "d.jpg", icc_profile=SRGB)
    with pytest.raises(SrganError, match=r"d\.jpg: its pixels are CMYK, but its colour profile is for RGB"):
        read_image(tmp_path / "d.jpg")


DEEP = (CAT.astype(np.uint16) * 257 + np.arange(92, dtype=np.uint16)[None, :, None]).transpose(2, 0, 1)


@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "deflate"}, {"rowsperstrip": 16, "byteorder": ">"}, {"tile": (32, 32)}],
    ids=["plain", "deflate", "strips", "tiles"],
)
def test_a_tiff_with_its_channels_apart_is_read_rightly(tmp_path, options):
    for bits, pixels in ((16, DEEP), (8, CAT.transpose(2, 0, 1).copy())):
        tifffile.imwrite(tmp_path / "in.tif", pixels, photometric="rgb", planarconfig="separate", metadata=None, **options)
        picture = open_image(tmp_path / "in.tif")
        assert picture.pixels.dtype == (np.uint16 if bits == 16 else np.uint8)
        assert np.array_equal(picture.pixels, pixels.transpose(1, 2, 0))
        assert np.abs(read_image(tmp_path / "in.tif").astype(int) - CAT).max() <= 1  # as for training
    alpha = np.concatenate([DEEP, np.full((1, *DEEP.shape[1:]), 40000, np.uint16)])
    tifffile.imwrite(tmp_path / "in.tif", alpha, photometric="rgb", planarconfig="separate", extrasamples=["unassalpha"], **options)
    picture = open_image(tmp_path / "in.tif")
    assert np.array_equal(picture.pixels, DEEP.transpose(1, 2, 0))
    assert (picture.alpha == 40000).all()


def test_a_tiff_that_would_be_read_wrongly_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "cmyk.tif", np.concatenate([DEEP, DEEP[:1]]), photometric="separated", planarconfig="separate")
    with pytest.raises(SrganError, match="separate channels of 16 bits and photometric interpretation 5, is not supported"):
        read_image(tmp_path / "cmyk.tif")


def test_a_preview_is_not_taken_for_the_picture(upscaler, tmp_path):
    with tifffile.TiffWriter(tmp_path / "raw.dng") as file:
        file.write(CAT[::4, ::4].copy(), photometric="rgb", subfiletype=1, extratags=[(50706, 1, 4, (1, 4, 0, 0), True)])
    with tifffile.TiffWriter(tmp_path / "raw.tif") as file:
        file.write(CAT[::4, ::4].copy(), photometric="rgb", subfiletype=1)
        file.write(CAT, photometric="rgb")
    with pytest.raises(SrganError, match=r"raw\.dng: LibRaw cannot read it"):
        upscale_file(upscaler, tmp_path / "raw.dng", tmp_path / "out.png")
    with pytest.raises(SrganError, match=r"raw\.tif: its first page is a reduced-size copy of another"):
        upscale_file(upscaler, tmp_path / "raw.tif", tmp_path / "out.png")


def test_pages_and_frames_beyond_the_first_are_said(upscaler, tmp_path, caplog):
    with tifffile.TiffWriter(tmp_path / "scan.tif") as file:
        for _ in range(3):
            file.write(CAT, photometric="rgb")
        file.write(CAT[::4, ::4].copy(), photometric="rgb", subfiletype=1)  # a preview is no page
    Image.fromarray(CAT).save(tmp_path / "moving.gif", save_all=True, append_images=[Image.fromarray(CAT[::-1])])
    for name in ("scan.tif", "moving.gif"):
        upscale_file(upscaler, tmp_path / name, tmp_path / "out.png")
    assert "scan.tif: only the first of 3 pages is read, 2 left out" in caplog.text
    assert "moving.gif: only the first of 2 frames is read, 1 left out" in caplog.text
    caplog.clear()
    upscale_file(upscaler, saved(tmp_path / "one.png"), tmp_path / "out.png")
    assert "left out" not in caplog.text


def test_a_damaged_second_page_does_not_cost_the_first(upscaler, tmp_path):
    Image.fromarray(CAT).save(tmp_path / "a.tif")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    (directory,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, directory)
    for place in (len(content) + 1000, 10):  # behind the file, and in its pixels
        struct.pack_into("<I", content, directory + 2 + 12 * entries, place)
        (tmp_path / "b.tif").write_bytes(content)
        assert np.array_equal(read_image(tmp_path / "b.tif"), CAT)
        upscale_file(upscaler, tmp_path / "b.tif", tmp_path / "out.png")


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_the_transparent_grey_of_a_png_with_few_bits(tmp_path, bits):
    levels = np.arange(64).reshape(8, 8) % 2**bits
    packed = np.packbits(((levels[..., None] >> np.arange(bits)[::-1]) & 1).astype(np.uint8).reshape(8, -1), axis=1)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", 8, 8, bits, 0, 0, 0, 0)), (b"tRNS", struct.pack(">H", 1)))
    (tmp_path / "in.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(25))
    with_chunks(tmp_path / "in.png", *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    content = (tmp_path / "in.png").read_bytes()
    (tmp_path / "in.png").write_bytes(content[:8] + content[33:])
    picture = open_image(tmp_path / "in.png")
    assert np.array_equal(picture.pixels, levels * (255 // (2**bits - 1)))
    assert np.array_equal(picture.alpha, np.where(levels == 1, 0, 255))


def test_a_bmp_of_sixteen_bits_a_pixel(tmp_path):
    red, green, blue = (CAT[..., channel].astype(np.uint16) for channel in range(3))
    pixels = (((red >> 3) << 11) | ((green >> 2) << 5) | (blue >> 3))[::-1].astype("<u2").tobytes()
    header = struct.pack("<IiiHHIIiiII", 40, 92, 60, 1, 16, 3, len(pixels), 2835, 2835, 0, 0) + struct.pack("<III", 0xF800, 0x7E0, 0x1F)
    (tmp_path / "in.bmp").write_bytes(b"BM" + struct.pack("<IHHI", 66 + len(pixels), 0, 0, 66) + header + pixels)
    assert np.abs(read_image(tmp_path / "in.bmp").astype(int) - CAT).max() < 8


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"8BPS\0\1", "Photoshop"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript"),
        (b"\0\0\0\x20ftypisom", r"video \(MP4, QuickTime\)"),
    ],
)
def test_a_format_that_is_not_read_is_named(tmp_path, content, name):
    (tmp_path / "photo.jpg").write_bytes(content + bytes(100))  # whatever its name says
    with pytest.raises(SrganError, match=rf"photo\.jpg: the format {name} is not read. Convert the file to PNG, JPEG, "):
        read_image(tmp_path / "photo.jpg")


def test_an_eps_starts_no_other_program(upscaler, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (tmp_path / "bin" / "gs").chmod(0o755)
    (tmp_path / "a.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\nshowpage\n%%EOF\n")
    path = f"{tmp_path}/bin:{environment()['PATH']}"
    done = run("srgan", "upscale", "a.png", "-o", "b.png", "--model", upscaler.path, cwd=tmp_path, check=False, PATH=path)
    assert done.returncode == 1
    assert "a.png: the format PostScript is not read" in done.stderr
    assert not (tmp_path / "started").exists()


def test_what_the_memory_does_not_hold_is_refused_before_it_is_decoded(upscaler, tmp_path):
    """A header is enough: 90 gigapixels."""
    saved(tmp_path / "huge.png", CAT[..., 0])
    content = bytearray((tmp_path / "huge.png").read_bytes())
    content[16:24] = struct.pack(">II", 300_000, 300_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "huge.png").write_bytes(content)
    done = run("srgan", "upscale", "huge.png", "-o", "b.png", "--model", upscaler.path, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "huge.png: 300000x300000 pixels need up to 2520.0 GB of memory to decode" in done.stderr
    saved(tmp_path / "wide.avif")
    content = bytearray((tmp_path / "wide.avif").read_bytes())
    place = content.index(b"ispe") + 8
    content[place : place + 8] = struct.pack(">II", 30_000, 20_000)
    (tmp_path / "wide.avif").write_bytes(content)
    done = run("srgan", "upscale", "wide.avif", "-o", "b.png", "--model", upscaler.path, cwd=tmp_path, check=False)
    assert "wide.avif: 30000x20000 pixels. The AVIF decoder allows 268,435,456 pixels" in done.stderr


def test_filling_what_is_hidden_needs_little_memory():
    colours, alpha = np.zeros((1500, 2000, 3), np.uint8), np.full((1500, 2000), 255, np.uint8)
    alpha[:400] = 0
    tracemalloc.start()
    fill_transparent(colours, alpha)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak / alpha.size < 18  # bytes a pixel, three of them the result
