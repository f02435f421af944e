"""Upscale a GeoTIFF with its georeference. It needs the extra ``geotiff`` (rasterio).

============================  =====================================================================================
CRS, transform, GCPs, RPCs    kept, with the smaller pixels of the result
bands                         the same number and type. Three bands of colours go through an RGB model together, and
                              every other band alone
values                        uint8 as 0..255, other types from the smallest to the largest valid value of the band
nodata, mask, alpha, NaN      each pixel of these becomes `scale` x `scale` pixels, and the model does not see it
tags, units, scales, offsets  kept. Statistics, overviews and colour tables are not
============================  =====================================================================================
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio import Affine
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError
from rasterio.rpc import RPC
from rasterio.windows import Window

from srgan import __version__
from srgan.images.write import Options
from srgan.inference.levels import HONEST, Levels, upscale_values
from srgan.inference.upscaler import Upscaler
from srgan.utils.errors import SrganError
from srgan.utils.files import atomic_file, final_name

COLOURS = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]


def upscale_geotiff(
    upscaler: Upscaler, source: Path, target: Path, options: Options, on_tile: Callable[[int, int], None] = lambda done, total: None
) -> tuple[int, int]:
    """Upscale a GeoTIFF with its georeference, by the rules of the table above.

    The bands are processed one after the other, so memory holds one of them, or three of colours.

    Args:
        upscaler: the model.
        source: the file.
        target: the GeoTIFF to write. It is replaced as a whole or not at all.
        options: `provenance` names the model in the tags.
        on_tile: gets the number of finished tiles and of all tiles.

    Returns:
        Width and height of the result.

    Raises:
        SrganError: the file cannot be read or written, or holds a colour table or complex numbers.
    """
    try:
        # Without sidecar files, because GDAL would write them next to the temporary file.
        with rasterio.Env(GDAL_PAM_ENABLED="NO"), rasterio.open(source, driver="GTiff") as scene:
            _check(scene, source)
            size = scene.width * upscaler.scale, scene.height * upscaler.scale
            with atomic_file(target) as temporary, rasterio.open(temporary, "w", **_profile(scene, upscaler.scale)) as result:
                _describe(scene, result, upscaler, options)
                _write_bands(scene, result, upscaler, on_tile)
    except RasterioError as error:
        raise SrganError(
            f"{source}: GDAL failed ({final_name(' '.join(str(error).split())[:200])}). Check the file and the disk"
        ) from error
    return size


def _check(scene: Any, source: Path) -> None:
    if ColorInterp.palette in scene.colorinterp:
        raise SrganError(f"{source}: holds classes with a color table, between which no model can interpolate. Convert it to RGB first")
    if any(np.dtype(name).kind not in "iuf" for name in scene.dtypes):
        raise SrganError(f"{source}: holds values of type {scene.dtypes[0]}. Whole and real numbers are supported. Convert it first")


def _profile(scene: Any, scale: int) -> dict[str, Any]:
    """Return the layout of the result: the georeference with smaller pixels."""
    kind = np.dtype(scene.dtypes[0]).kind
    rgb = list(scene.colorinterp[:3]) == COLOURS and scene.dtypes[0] in ("uint8", "uint16")
    layout = {
        "driver": "GTiff",
        "width": scene.width * scale,
        "height": scene.height * scale,
        "count": scene.count,
        "dtype": scene.dtypes[0],  # all bands of a GeoTIFF have one type
        "nodata": scene.nodata,
        "compress": "deflate",
        "predictor": 3 if kind == "f" else 2,
        "interleave": "band",
        "bigtiff": "if_safer",
    }
    if rgb:
        layout["photometric"] = "rgb"
    gcps, crs = scene.gcps
    if gcps:
        scaled = [
            GroundControlPoint(scale * point.row, scale * point.col, point.x, point.y, point.z, point.id, point.info) for point in gcps
        ]
        return layout | {"gcps": scaled, "crs": crs}
    a, b, c, d, e, f = scene.transform[:6]
    return layout | {"crs": scene.crs, "transform": Affine(a / scale, b / scale, c, d / scale, e / scale, f)}


def _describe(scene: Any, result: Any, upscaler: Upscaler, options: Options) -> None:
    """Copy what describes the scene and its bands, and name the model."""
    result.colorinterp = scene.colorinterp
    if scene.rpcs:
        result.rpcs = _rpcs(scene.rpcs, upscaler.scale)
    model = {"SRGAN_MODEL": f"{upscaler.path.name}, sha256 {upscaler.sha256}, srgan {__version__}"} if options.provenance else {}
    result.update_tags(**scene.tags(), **model, SRGAN_NOTE=HONEST)
    result.scales, result.offsets = scene.scales, scene.offsets
    for band in scene.indexes:
        result.update_tags(band, **{key: text for key, text in scene.tags(band).items() if not key.startswith("STATISTICS_")})
        if scene.descriptions[band - 1]:
            result.set_band_description(band, scene.descriptions[band - 1])
        if scene.units[band - 1]:
            result.set_band_unit(band, scene.units[band - 1])


def _rpcs(rpcs: RPC, scale: int) -> RPC:
    """Return rational polynomials for smaller pixels. Their lines and samples count from the centre of the first pixel."""
    fields = rpcs.to_dict()
    for axis in ("line", "samp"):
        fields[f"{axis}_off"] = (fields[f"{axis}_off"] + 0.5) * scale - 0.5
        fields[f"{axis}_scale"] *= scale
    return RPC(**fields)


def _write_bands(scene: Any, result: Any, upscaler: Upscaler, on_tile: Callable[[int, int], None]) -> None:
    scale, done = upscaler.scale, 0
    masks = [band for band, kind in zip(scene.indexes, scene.colorinterp, strict=True) if kind is ColorInterp.alpha]
    groups = _groups(scene, upscaler)
    total = len(groups) * upscaler.tile_count(np.empty((scene.height, scene.width), np.bool_))

    def finish_tile() -> None:
        nonlocal done
        done += 1
        on_tile(done, max(total, done))

    on_tile(0, total)
    for bands in groups:
        values = np.moveaxis(scene.read(bands), 0, 2) if len(bands) > 1 else scene.read(bands[0])
        valid = (scene.read_masks(bands) > 0).all(axis=0)
        if values.dtype.kind == "f":
            valid &= np.isfinite(values) if values.ndim == 2 else np.isfinite(values).all(axis=2)
        levels = Levels.of(values, valid if values.ndim == 2 else valid[..., None])
        for top, strip in upscale_values(upscaler, values, valid, levels, finish_tile, scene.nodata):
            window = Window(0, top, strip.shape[1], len(strip))
            if len(bands) > 1:
                result.write(np.moveaxis(strip, 2, 0), bands, window=window)
            else:
                result.write(strip, bands[0], window=window)
    for band in masks:
        result.write(scene.read(band).repeat(scale, 0).repeat(scale, 1), band)
    if any(MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags for flags in scene.mask_flag_enums):
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"):
            result.write_mask(scene.dataset_mask().repeat(scale, 0).repeat(scale, 1))


def _groups(scene: Any, upscaler: Upscaler) -> list[list[int]]:
    """Return the bands that the model upscales together: red, green and blue with an RGB model, every other one alone."""
    bands = {kind: band for band, kind in zip(scene.indexes, scene.colorinterp, strict=True) if kind in COLOURS}
    together = [bands[colour] for colour in COLOURS] if upscaler.channels == 3 and len(bands) == 3 else []
    alone = [band for band, kind in zip(scene.indexes, scene.colorinterp, strict=True) if kind is not ColorInterp.alpha]
    return ([together] if together else []) + [[band] for band in alone if band not in together]
