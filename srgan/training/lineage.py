"""Lineage of a training: the entries `sr.continued_from` and `sr.loss_weights` of the weights, and their sentences."""

import json
from typing import Any

KEY = "sr.continued_from"
LOSS_WEIGHTS = "sr.loss_weights"


def entry(stage: str, state: str, training: str, changes: dict[str, tuple[Any, Any]]) -> dict[str, Any]:
    """Return the entry of one continuation.

    Args:
        stage: ``pretrain`` or ``train``.
        state: ``RUN@STEP``.
        training: key of the training of that state.
        changes: old and new value of each option that differs.
    """
    return {"stage": stage, "state": state, "training": training, "changes": {key: list(pair) for key, pair in changes.items()}}


def metadata(entries: list[dict[str, Any]]) -> dict[str, str]:
    """Return the metadata for the header of the weights. Empty without a continuation."""
    return {KEY: json.dumps(entries)} if entries else {}


def read(known: dict[str, str]) -> list[dict[str, Any]]:
    """Return the entries in the metadata of weights, the oldest first."""
    return json.loads(known.get(KEY, "[]"))


def sentences(known: dict[str, str]) -> list[str]:
    """Return a sentence for each entry in the metadata of weights."""
    return [
        f"{each['stage']} continues from state {each['state']} of training {each['training']}, with "
        + ", ".join(f"{key} {old} -> {new}" for key, (old, new) in each["changes"].items())
        for each in read(known)
    ]


def loss_weights(known: dict[str, str], files: list[str]) -> dict[str, str]:
    """Return the metadata for files of weights that replace those of the losses. Empty if a training has none.

    Args:
        known: metadata of the weights that the training starts from.
        files: name and SHA-256 of each file.
    """
    earlier = known.get(LOSS_WEIGHTS, "")
    found = sorted({*(earlier.split(", ") if earlier else ()), *files})
    return {LOSS_WEIGHTS: ", ".join(found)} if found else {}
