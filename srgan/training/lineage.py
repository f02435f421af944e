"""Lineage of a training: `sr.started_from`, `sr.continued_from` and `sr.loss_weights` of the weights, and their sentences."""

import json
from typing import Any

KEY = "sr.continued_from"
STARTED = "sr.started_from"
LOSS_WEIGHTS = "sr.loss_weights"
INHERITED = (STARTED, "sr.origin", "sr.origin_license")  # entries that the second stage copies from the first


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


def started(known: dict[str, str], network: str, source: str, sha256: str, weights: str, license: str = "") -> dict[str, str]:
    """Return the metadata of a training that starts from weights.

    Args:
        known: metadata of the weights of the stage before, whose starts are kept.
        network: ``generator`` or ``discriminator``.
        source: address, name of a starter or name of a file.
        sha256: of the file.
        weights: phrase about the weights that were copied and those that are new.
        license: of these weights, empty if it is unknown.
    """
    entries = json.loads(known.get(STARTED, "[]"))
    entry = {"network": network, "source": source, "sha256": sha256, "weights": weights}
    return {STARTED: json.dumps([*entries, entry | ({"license": license} if license else {})])}


def starts(known: dict[str, str]) -> list[str]:
    """Return a sentence for each file of weights that a training started from."""
    return [
        f"the {each['network']} starts from {each['source']} (SHA-256 {each['sha256'][:12]}): {each['weights']}"
        + (f". Their licence: {each['license']}" if "license" in each else "")
        for each in json.loads(known.get(STARTED, "[]"))
    ]
