"""GeoTIFF files, upscaled and opened again with GDAL."""

import logging

import numpy as np
import pytest
import rasterio
from rasterio import Affine
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.rpc import RPC

from srgan.images.write import Options
from srgan.inference import batch, scientific
from srgan.inference.scientific import kept_kind, kind_of, upscale_scientific
from srgan.utils.errors import SrganError
from tests.helpers.smooth import smooth_upscaler

TRANSFORM = Affine(10.0, 0.5, 300000.0, -0.5, -10.0, 5000000.0)
HEIGHT, WIDTH = 40, 50


@pytest.fixture(scope="module", params=[1, 3])
def model(request, tmp_path_factory):
    return smooth_upscaler(tmp_path_factory.mktemp("models"), request.param)


@pytest.fixture(scope="module")
def gray(tmp_path_factory):
    return smooth_upscaler(tmp_path_factory.mktemp("models"), 1)


def slopes(bands, low, high, dtype):
    """Bands that rise from left to right and from top to bottom, each in its own way."""
    across, down = np.linspace(0, 1, WIDTH), np.linspace(0, 1, HEIGHT)[:, None]
    ramps = np.stack([(across + down * (band + 1)) / (band + 2) for band in range(bands)])
    return (low + ramps * (high - low)).astype(dtype)


def scene(path, values, colours=None, mask=None, **more):
    layout = {"driver": "GTiff", "height": HEIGHT, "width": WIDTH, "count": len(values), "dtype": values.dtype}
    layout |= {"crs": "EPSG:32632", "transform": TRANSFORM} | more
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES", GDAL_PAM_ENABLED="NO"), rasterio.open(path, "w", **layout) as file:
        file.colorinterp = colours or [ColorInterp.gray] + [ColorInterp.undefined] * (len(values) - 1)
        file.write(values)
        file.update_tags(OPERATOR="me")
        file.update_tags(1, STATISTICS_MEAN="7", FILTER="red")
        file.set_band_description(1, "first")
        file.set_band_unit(1, "m")
        file.scales, file.offsets = (0.1,) * len(values), (5.0,) * len(values)
        if mask is not None:
            file.write_mask(mask)
    return path


def upscaled(model, source, target, **options):
    upscale_scientific("geotiff", model, source, target, Options(**options))
    assert sorted(path.name for path in target.parent.iterdir() if path.suffix not in (".tif", ".safetensors")) == []  # no sidecars
    return rasterio.open(target)


def test_the_place_and_what_describes_the_bands_stay(model, tmp_path):
    source = scene(tmp_path / "a.tif", slopes(4, 100, 9000, np.uint16), nodata=0)
    with upscaled(model, source, tmp_path / "b.tif") as result, rasterio.open(source) as before:
        assert (result.count, result.dtypes, result.nodata) == (4, ("uint16",) * 4, 0)
        assert (result.width, result.height) == (2 * WIDTH, 2 * HEIGHT)
        assert result.crs == before.crs
        for corner in ((0, 0), (WIDTH, 0), (0, HEIGHT), (WIDTH, HEIGHT)):
            assert np.allclose(result.xy(2 * corner[1], 2 * corner[0], "ul"), before.xy(corner[1], corner[0], "ul"))
        tags = result.tags()
        assert tags["OPERATOR"] == "me"
        assert model.sha256 in tags["SRGAN_MODEL"]
        assert "no measurement, and this program is no diagnostic device" in tags["SRGAN_NOTE"]
        assert result.tags(1) == {"FILTER": "red"}
        assert (result.descriptions[0], result.units[0], result.scales, result.offsets) == ("first", "m", (0.1,) * 4, (5.0,) * 4)
        large, small = result.read().astype(float), before.read()
        means = large.reshape(4, HEIGHT, 2, WIDTH, 2).mean((2, 4))
        assert np.abs(means - small)[:, 4:-4, 4:-4].max() < 9000 / 255  # each band has kept its own values
        assert large.max() <= small.max()
        assert large.min() >= small.min()


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [(np.uint8, 10, 240), (np.int16, -400, 3000), (np.float32, -11.5, 8848.0), (np.int32, -70000, 90000)]
)
def test_values_of_every_type_keep_their_range(gray, tmp_path, dtype, low, high):
    source = scene(tmp_path / "a.tif", slopes(1, low, high, dtype))
    with upscaled(gray, source, tmp_path / "b.tif") as result:
        values = result.read(1)
        assert values.dtype == dtype
        small = slopes(1, low, high, dtype)[0].astype(float)
        means = values.astype(float).reshape(HEIGHT, 2, WIDTH, 2).mean((1, 3))
        assert np.abs(means - small)[4:-4, 4:-4].max() < (high - low) / 100


@pytest.mark.parametrize("hidden", [0, -9999.0, float("nan")])
def test_missing_pixels_stay_missing_and_do_not_bleed(gray, tmp_path, hidden):
    values = slopes(1, 500, 1000, np.float32)
    gone = np.zeros((HEIGHT, WIDTH), bool)
    gone[:15, :20] = gone[30, 33] = True
    values[0][gone] = hidden
    source = scene(tmp_path / "a.tif", values, nodata=hidden)
    with upscaled(gray, source, tmp_path / "b.tif") as result:
        assert np.array_equal(result.read_masks(1) == 0, gone.repeat(2, 0).repeat(2, 1))
        found = result.read(1)[result.read_masks(1) > 0]
        assert found.min() > 480  # not drawn towards the value of missing pixels
        assert found.max() < 1020


def test_a_valid_pixel_never_becomes_missing(gray, tmp_path):
    values = slopes(1, 1, 9, np.uint8)  # the model may return 0 for the 1 at the border
    with upscaled(gray, scene(tmp_path / "a.tif", values, nodata=1), tmp_path / "b.tif") as result:
        assert np.array_equal(result.read_masks(1) == 0, (values[0] == 1).repeat(2, 0).repeat(2, 1))


def test_a_scene_without_any_valid_pixel_stays_empty(gray, tmp_path):
    with upscaled(gray, scene(tmp_path / "a.tif", np.zeros((1, HEIGHT, WIDTH), np.int16), nodata=0), tmp_path / "b.tif") as result:
        assert not result.read(1).any()


def test_colours_go_through_an_rgb_model_together_in_any_order(model, tmp_path):
    bgra = [ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.alpha]
    values = slopes(4, 0, 65535, np.uint16)
    values[3] = 65535
    values[:, :8] = 0  # transparent
    source = scene(tmp_path / "a.tif", values, bgra)
    with upscaled(model, source, tmp_path / "b.tif") as result:
        assert list(result.colorinterp) == bgra
        assert np.array_equal(result.read(4), values[3].repeat(2, 0).repeat(2, 1))
        means = result.read([1, 2, 3]).astype(float).reshape(3, HEIGHT, 2, WIDTH, 2).mean((2, 4))
        assert np.abs(means - values[:3])[:, 12:-4, 4:-4].max() < 65535 / 100


def test_a_mask_is_enlarged(gray, tmp_path):
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    mask[10:20] = 0
    with upscaled(gray, scene(tmp_path / "a.tif", slopes(1, 0, 255, np.uint8), mask=mask), tmp_path / "b.tif") as result:
        assert np.array_equal(result.dataset_mask(), mask.repeat(2, 0).repeat(2, 1))


def test_control_points_and_rational_polynomials_are_scaled(gray, tmp_path):
    points = [GroundControlPoint(row, column, 9 + column, 48 - row, 0) for row, column in ((0, 0), (0, 50), (40, 0), (40, 50))]
    source = scene(tmp_path / "a.tif", slopes(1, 0, 255, np.uint8), transform=None, crs="EPSG:4326", gcps=points)
    with rasterio.open(source, "r+") as file:
        ones = [1.0] * 20
        offsets = {"height_off": 0, "lat_off": 48, "long_off": 9, "line_off": 19.5, "samp_off": 24.5}
        scales = {"height_scale": 1, "lat_scale": 1, "long_scale": 1, "line_scale": 20, "samp_scale": 25}
        terms = ("line_den_coeff", "line_num_coeff", "samp_den_coeff", "samp_num_coeff")
        file.rpcs = RPC(**offsets, **scales, **dict.fromkeys(terms, ones))
    with upscaled(gray, source, tmp_path / "b.tif") as result:
        assert [(point.row, point.col, point.x, point.y) for point in result.gcps[0]] == [
            (2 * point.row, 2 * point.col, point.x, point.y) for point in points
        ]
        assert (result.rpcs.line_off, result.rpcs.samp_off, result.rpcs.line_scale, result.rpcs.samp_scale) == (39.5, 49.5, 40, 50)


def test_classes_with_a_colour_table_are_refused(gray, tmp_path):
    source = scene(tmp_path / "a.tif", slopes(1, 0, 9, np.uint8), [ColorInterp.palette])
    with pytest.raises(SrganError, match="holds classes with a color table"):
        upscale_scientific("geotiff", gray, source, tmp_path / "b.tif")
    assert not (tmp_path / "b.tif").exists()


def test_outscale_is_refused(gray, tmp_path):
    source = scene(tmp_path / "a.tif", slopes(1, 0, 9, np.uint8))
    with pytest.raises(SrganError, match=r"a GeoTIFF file gets the scale of the model, x2\. .* resize the result with gdalwarp"):
        upscale_scientific("geotiff", gray, source, tmp_path / "b.tif", Options(outscale=3))


def test_a_truncated_file_is_a_plain_error(gray, tmp_path):
    source = scene(tmp_path / "a.tif", slopes(3, 0, 65535, np.uint16), compress="deflate")
    source.write_bytes(source.read_bytes()[:-900])
    with pytest.raises(SrganError, match=r"a\.tif: GDAL failed"):
        upscale_scientific("geotiff", gray, source, tmp_path / "b.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_a_missing_package_is_named_with_its_command(gray, tmp_path, monkeypatch):
    monkeypatch.setitem(scientific.PACKAGES, "geotiff", "no_such_package")
    with pytest.raises(
        SrganError, match=r"pip install 'srgan\[geotiff\]'. Or write another format, without the georeference: -o result.png"
    ):
        upscale_scientific("geotiff", gray, scene(tmp_path / "a.tif", slopes(1, 0, 9, np.uint8)), tmp_path / "b.tif")


def test_a_georeference_is_recognised(tmp_path, caplog):
    placed = scene(tmp_path / "a.tif", slopes(1, 0, 9, np.uint8))
    plain = scene(tmp_path / "b.tif", slopes(1, 0, 9, np.uint8), transform=None, crs=None)
    assert [kind_of(path) for path in (placed, plain, tmp_path / "none.tif")] == ["geotiff", None, None]
    plain.with_suffix(".tfw").write_text("1\n0\n0\n-1\n5\n5\n")
    assert kind_of(plain) == "geotiff"
    with caplog.at_level(logging.WARNING):
        assert kept_kind(placed, tmp_path / "x.png") is None
    assert "not in the result: the georeference" in caplog.text


def test_a_folder_of_scenes_and_photographs(gray, tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    scene(raw / "placed.tif", slopes(5, 0, 4000, np.int16))
    scene(raw / "plain.tif", slopes(1, 0, 250, np.uint8), transform=None, crs=None)
    failures = batch.run(gray, batch.plan([str(raw)], str(out)), Options())
    assert failures == []
    with rasterio.open(out / "placed.tif") as result:
        assert (result.count, result.crs.to_epsg()) == (5, 32632)
    assert (out / "plain.tif").is_file()


def test_real_scenes_keep_their_bounds(gray, mirror, tmp_path):
    for name in ("lisbon-dem-float32", "cog-ycbcr-jpeg", "rgba-uint16-geo"):
        with rasterio.open(mirror / "datasets" / "scientific" / f"{name}.tif") as whole:
            window = rasterio.windows.Window(100, 100, 48, 40)
            cut = whole.profile | {"width": 48, "height": 40, "transform": whole.window_transform(window), "tiled": False}
            cut = {key: value for key, value in cut.items() if key not in ("blockxsize", "blockysize", "compress", "photometric")}
            with rasterio.open(tmp_path / f"{name}.tif", "w", **cut) as part:
                part.colorinterp = whole.colorinterp
                part.write(whole.read(window=window))
        with (
            upscaled(gray, tmp_path / f"{name}.tif", tmp_path / f"{name}-big.tif") as result,
            rasterio.open(tmp_path / f"{name}.tif") as before,
        ):
            assert np.allclose(result.bounds, before.bounds)
            assert (result.crs, result.dtypes) == (before.crs, before.dtypes)
