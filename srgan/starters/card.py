"""The card of a starter: its purpose, its training, its scores and its limits."""

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from srgan.utils.errors import SrganError

_STRICT = ConfigDict(extra="forbid")
Text = Annotated[str, Field(min_length=1)]
Scores = dict[str, dict[str, dict[str, float | None]]]  # set -> model -> metric -> mean


@dataclass(frozen=True, config=_STRICT)
class TrainingSet:
    """A data set of the training."""

    set: Text
    images: int
    sha256: Text  # of the digests of its images, see `srgan.data.download.datasets.digest_of`
    licences: tuple[str, ...]


@dataclass(frozen=True, config=_STRICT)
class Card:
    """The content of ``NAME.json``, the card of ``NAME.safetensors``.

    Attributes:
        purpose: one sentence.
        licence: of the weights.
        scale: HR size / LR size.
        network: name in `srgan.models.registry`.
        options: of the network.
        parameters: number of weights.
        bytes: size of the file of weights.
        sha256: of the file of weights.
        recipe: of the LR images.
        data: sets of the training images.
        train_sha256: digest of the training images and their recipe.
        profile: the profile of the parameters, or the closest one.
        params_sha256: of the ``params.yaml``.
        training: key of the training (`srgan.tracking.training_record`).
        steps: training stage -> steps.
        started_from: sentences about the weights that the training started from.
        scores: content of ``reports/metrics.json``.
        float16: PSNR in dB of each test set that the float16 weights have, less that of `scores`.
        validation: training stage -> column of its validations -> values.
        not_better: what the starter is not better than, a sentence each.
    """

    purpose: Text
    licence: Text
    scale: Annotated[int, Field(ge=1, le=16)]
    network: Text
    options: dict[str, Any]
    parameters: int
    bytes: int
    sha256: Text
    recipe: str
    data: tuple[TrainingSet, ...]
    train_sha256: str
    profile: str
    params_sha256: str
    training: str
    steps: dict[str, int]
    started_from: tuple[str, ...]
    scores: Scores
    float16: dict[str, float]
    validation: dict[str, dict[str, list[int | float | None]]]
    not_better: tuple[str, ...]


_ADAPTER = TypeAdapter(Card)


def read_card(path: Path) -> Card:
    """Read a card.

    Raises:
        SrganError: the file is not a card.
    """
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        found = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        place = ".".join(map(str, found["loc"]))
        raise SrganError(f"{path}: not the card of a starter ({place}: {found['msg']}). Write it with: srgan models make") from error


def card_json(card: Card) -> str:
    """Return a card as the text of its file, a line for each entry."""
    lines = [
        f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in _ADAPTER.dump_python(card, mode="json").items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"
