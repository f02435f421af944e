"""Where a training began that goes on from a state of another: `sr.continued_from` of the weights, and its words for people."""

import json
from typing import Any

KEY = "sr.continued_from"


def entry(stage: str, state: str, training: str, changes: dict[str, tuple[Any, Any]]) -> dict[str, Any]:
    """One continuation.

    Args:
        stage: ``pretrain`` or ``train``.
        state: ``RUN@STEP``.
        training: key of the training that the state is of.
        changes: old and new value of each option that differs from there on.
    """
    return {"stage": stage, "state": state, "training": training, "changes": {key: list(pair) for key, pair in changes.items()}}


def metadata(entries: list[dict[str, Any]]) -> dict[str, str]:
    """For the header of the weights; empty if the training was not continued."""
    return {KEY: json.dumps(entries)} if entries else {}


def read(known: dict[str, str]) -> list[dict[str, Any]]:
    """The entries in the metadata of weights, the oldest first."""
    return json.loads(known.get(KEY, "[]"))


def sentences(known: dict[str, str]) -> list[str]:
    """A sentence for each entry in the metadata of weights."""
    return [
        f"{each['stage']} goes on from state {each['state']} of training {each['training']}, with "
        + ", ".join(f"{key} {old} -> {new}" for key, (old, new) in each["changes"].items())
        for each in read(known)
    ]
