"""``reports/report.html``: one file that opens from disk and shows in a minute whether the model is any good."""

import base64
import io
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from srgan.evaluation import evaluate
from srgan.evaluation.history import Curves
from srgan.images.read import read_rgb
from srgan.metrics.registry import FIGURES, goodness
from srgan.utils import files

LOSSLESS = 3_000_000  # pixels, all views together, that are stored without loss
QUALITY = 95  # of JPEG, beyond that
CARD_FIGURES = ("psnr_y", "ssim_y", "lpips")  # beside each picture


def write_report(
    path: Path,
    title: str,
    main: str,
    table: pd.DataFrame,
    statistics: dict[str, Any],
    pictures: Path,
    runs: dict[str, Curves],
    manifest: dict[str, Any],
    origin: dict[str, Any],
    cost: list[dict[str, Any]],
) -> None:
    """Write the page, self-contained.

    Args:
        path: of the page.
        title: its heading.
        main: the model that it is about, of those in `table`.
        table: a row for each set, model and image (`srgan.evaluation.evaluate.score`).
        statistics: what they say (`srgan.evaluation.evaluate.statistics`).
        pictures: folder that `srgan.evaluation.evaluate.write_pictures` wrote.
        runs: by name; several are compared.
        manifest: of the prepared data.
        origin: where all this comes from: name -> value.
        cost: of using the exported files (`srgan.inference.benchmark.measure`).
    """
    columns = [name for name in FIGURES if table[name].notna().any()]
    images = [{key: None if isinstance(value, float) and not np.isfinite(value) else value for key, value in row.items()}
              for row in table.to_dict("records")]  # fmt: skip
    cards, encoding = _cards(pictures, images, main, columns)
    stored = {name: run.parameters for name, run in runs.items()}
    names = list(dict.fromkeys(key for parameters in stored.values() for key in parameters))
    rows = [(name, [parameters.get(name, "") for parameters in stored.values()]) for name in names]
    compared = [(name, values, len({_plain(value) for value in values if value != ""}) > 1) for name, values in rows]
    loader = jinja2.PackageLoader("srgan.evaluation", "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    text = environment.get_template("report.html").render(
        title=title,
        verdict=evaluate.verdict(statistics, main),
        scale=manifest["scale"],
        figures=FIGURES,
        columns=columns,
        sortable=[name for name in ("lpips", "psnr_y") if name in columns],
        missing=[FIGURES[name].label for name in FIGURES if name not in columns],
        sets=[_set(name, models, main, columns) for name, models in statistics.items()],
        models=list(dict.fromkeys([main, *table["model"]])),
        main=main,
        total=len(table[["set", "image"]].drop_duplicates()),
        cards=cards,
        shown={f"{card['set']}/{card['image']}" for card in cards},
        encoding=encoding,
        curves=jinja2.utils.markupsafe.Markup(_curves(runs)),
        images=images,
        origin=origin,
        parameters=stored,
        parameter_rows=sorted(compared, key=lambda row: not row[2]),
        data=[image for image in manifest["images"] if image["part"] == "test"] + [i for i in manifest["images"] if i["part"] != "test"],
        cost=cost,
    )
    files.write_text(path, text)


def _plain(value: Any) -> Any:
    """A value as it compares: one run's file says 2e-4, another's record 0.0002."""
    try:
        return float(str(value))  # and True is no 1
    except ValueError:
        return str(value)


def _set(name: str, models: dict[str, Any], main: str, columns: list[str]) -> dict[str, Any]:
    best = {}
    for figure in columns:
        worths = {model: goodness(figure, row["figures"][figure]["mean"]) for model, row in models.items() if figure in row["figures"]}
        best[figure] = [model for model, worth in worths.items() if worth == max(worths.values())]
    references = list(dict.fromkeys(reference for row in models.values() for reference in row["against"]))
    judged = [figure for figure in ("lpips", "psnr_y") if models[main]["figures"].get(figure, {}).get("worst")]
    return {
        "name": name,
        "images": max(row["images"] for row in models.values()),
        "columns": columns,
        "rows": models,
        "best": best,
        "against": {to: {model: row["against"][to] for model, row in models.items() if to in row["against"]} for to in references},
        "worst": {figure: models[main]["figures"][figure]["worst"] for figure in judged},
        "best_images": {figure: models[main]["figures"][figure]["best"] for figure in judged},
    }


# -- pictures --------------------------------------------------------------------------------------------------------------


def _cards(folder: Path, images: list[dict[str, Any]], main: str, columns: list[str]) -> tuple[list[dict[str, Any]], str]:
    """What is shown of each image, and how the pictures are stored."""
    index = files.read_json(folder / "index.json", made_by="evaluate")
    for record in index:
        for name in (record["set"], record["image"], *record["views"]):
            files.plain_name(name, f"{folder / 'index.json'}")
    rows: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in images:
        rows.setdefault((row["set"], row["image"]), {})[row["model"]] = row
    paths = [folder / record["set"] / record["image"] / f"{view}.png" for record in index for view in record["views"]]
    lossless = sum(_pixels(path) for path in paths) <= LOSSLESS
    cards = []
    for record in index:
        place, models = folder / record["set"] / record["image"], rows[record["set"], record["image"]]
        views = [{"name": view, "source": _data_uri(place / f"{view}.png", lossless)} for view in record["views"]]
        with Image.open(place / "original.png") as original:
            shown = original.height, original.width
        worth = {}
        for figure in [name for name in ("lpips", "psnr_y") if name in columns]:
            for model, row in models.items():
                if row[figure] is not None:
                    worth[f"{figure}|{model}"] = round(float(goodness(figure, row[figure])), 4)
        card_columns = [name for name in CARD_FIGURES if name in columns]
        cards.append(record | {"views": views, "shown": shown, "rows": models, "columns": card_columns, "worth": worth})
    return cards, "without loss" if lossless else f"as JPEG of quality {QUALITY}"


def _pixels(path: Path) -> int:
    with Image.open(path) as image:
        return image.width * image.height


def _data_uri(path: Path, lossless: bool) -> str:
    kind, buffer = "webp" if lossless else "jpeg", io.BytesIO()
    options = {"lossless": True, "quality": 0, "method": 1, "exact": True} if lossless else {"quality": QUALITY, "subsampling": 0}
    Image.fromarray(read_rgb(path)).save(buffer, format=kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


# -- curves ----------------------------------------------------------------------------------------------------------------


def _curves(runs: dict[str, Curves]) -> str:
    """Losses and validation scores over the steps, as an SVG element; several runs share the axes. Equal tables make equal text."""
    stages = list(dict.fromkeys(stage for run in runs.values() for stage in run.validation))
    if not stages:
        return ""
    figure = Figure(figsize=(10, 3.2 * len(stages)), layout="constrained")
    alone = len(runs) == 1
    for (left, middle), stage in zip(figure.subplots(len(stages), 2, squeeze=False), stages, strict=True):
        for name, run in runs.items():
            losses, validation = run.losses.get(stage), run.validation.get(stage)
            if losses is not None:
                for column in [column for column in losses if column.startswith("loss_") and (alone or column == "loss_pixel")]:
                    left.plot(losses["step"], losses[column], label=column.removeprefix("loss_").replace("_", " ") if alone else name)
            if validation is not None:
                middle.plot(validation["step"], validation["val_psnr_y"], marker=".", label="PSNR-Y" if alone else name)
                if alone and "val_lpips" in validation:
                    right = middle.twinx()
                    right.plot(validation["step"], validation["val_lpips"], marker=".", color="C3", label="LPIPS")
                    right.legend(loc="lower right")
        left.set(title=f"{stage}: losses" if alone else f"{stage}: pixel loss", xlabel="step", yscale="log")
        middle.set(title=f"{stage}: validation, PSNR-Y in dB", xlabel="step")
        for axis in (left, middle):
            if axis.get_lines():
                axis.legend()
            axis.grid(alpha=0.3)
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "srgan", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :].replace("<svg ", '<svg style="width:100%;height:auto;background:#fff" ', 1)
