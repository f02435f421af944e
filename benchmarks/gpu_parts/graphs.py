"""Parts that compare training steps as CUDA graphs with usual steps."""

import copy
import logging
import warnings
from pathlib import Path
from typing import Any

import torch

from gpu_parts.measure import collect, data, rounds, side
from gpu_parts.shared import (
    CUDA,
    attempt,
    build_trainer,
    check,
    fit,
    info,
    largest_difference,
    logged_values,
    losses,
    photographs,
    state_on_cpu,
    temporary,
    wait,
    write_pairs,
    write_store,
)
from srgan.data.packed_store import Store
from srgan.data.sampler import PrefetchingSampler
from srgan.training import cuda_graph
from srgan.training.trainer import Trainer

STEPS = 20
KINDS = (
    ("compact", None, "bf16", 1),
    ("srresnet", "patch", "fp32", 1),
    ("srresnet", "vgg", "bf16", 1),
    ("compact", "patch", "fp16", 1),
    ("rrdb-checkpointing", "unet", "bf16", 2),
)  # generator, discriminator, precision, gradient accumulation steps


def graph_step(what: str) -> None:
    """Check the results of captured steps, or measure their speed."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if not CUDA:  # to test the script
        from tests.helpers.recorded_graph import RecordedGraphs

        cuda_graph.CudaGraphs, cuda_graph.obstacle = RecordedGraphs, lambda *_: ""  # type: ignore[assignment,misc]
    if what == "speed":
        _speed()
        return
    store = write_store(temporary(), photographs(256)[:2])
    for kind in KINDS[: None if CUDA else 2]:
        name = f"graph_step, {kind[0]} against {kind[1]}, {kind[2]}"
        with attempt(name):
            _compare(name, kind, store)
    with attempt("graph_step, a training"):
        _train(store)
    if CUDA:
        with attempt("graph_step, compiled"):
            _compile(store)
        with attempt("graph_step, a failed capture"):  # the last: it may disturb the device
            _fail(store)


def _subject(kind: tuple[Any, ...], store: Store, graph: bool, **more: Any) -> Trainer:
    """Return a trainer with learning rates that float32 represents, so that a graph may give equal bits."""
    generator, discriminator, precision, parts = kind
    changes: dict[str, Any] = {"precision": precision, "grad_clip": 1.0, "gradient_accumulation": parts}
    if discriminator:
        changes["losses"] = losses("relativistic", "vgg19" if discriminator == "vgg" else "feature_matching")
    runtime = {"cuda_graph": "auto" if graph else "off"} | more.pop("runtime", {})
    stage = "train" if discriminator else "pretrain"
    subject = build_trainer(stage, generator, discriminator, store, more.pop("pairs", ()), runtime, **changes | more)
    for network in subject.networks.values():
        network.max_lr = 2.0**-10
    return subject


def _after(subject: Trainer, first: int, last: int) -> dict[str, float]:
    for step in range(first, last + 1):
        subject.step(step)
    return logged_values(subject)


def _distance(first: Trainer, second: Trainer) -> float:
    """Return the largest difference of the weights of all networks and averages."""
    found = []
    for model in ("generator", "ema", "discriminator"):
        if getattr(first, model):
            states = (getattr(subject, model).state_dict().values() for subject in (first, second))
            found += [float((a.float() - b.float()).abs().max()) for a, b in zip(*states, strict=True)]
    return max(found)


def _compare(name: str, kind: tuple[Any, ...], store: Store) -> None:
    """Compare a trainer with a graph with two trainers without one, continue its state in others, and count its waits."""
    bound = 1e-2 if kind[2] == "fp32" else 5e-2
    plain, again, subject = (_subject(kind, store, graph) for graph in (False, False, True))
    expected, repeated = _after(plain, 1, STEPS), _after(again, 1, STEPS)
    first = _after(subject, 1, STEPS // 2)
    state = state_on_cpu(subject)
    second = _after(subject, STEPS // 2 + 1, STEPS)
    found = {key: (first[key] + second[key]) / 2 for key in second}
    (off, key), (noise, _) = largest_difference(found, expected), largest_difference(repeated, expected)
    text = f"values of {STEPS} steps differ by at most {100 * off:.3f} % ({key}) from usual steps, weights by "
    text += f"{_distance(subject, plain):.2g}. Two runs of usual steps: {100 * noise:.3f} %, {_distance(again, plain):.2g}"
    assert subject.graph
    check(subject.graph.captured and off <= max(5 * noise, bound) and not int(subject.divergence.step), name, text)

    parts = []
    others = {"a graph": _subject(kind, store, True), "usual steps": _subject(kind, store, False), "the same trainer": subject}
    end = {key: value.clone() for key, value in subject.ema.module.state_dict().items()}
    for label, other in others.items():
        other.load_state_dict(copy.deepcopy(state))
        _after(other, STEPS // 2 + 1, STEPS)
        distance = max(float((value.float() - end[key].float()).abs().max()) for key, value in other.ema.module.state_dict().items())
        parts.append((distance, label))
    text = "averaged weights differ by at most: " + ", ".join(f"{label} {distance:.2g}" for distance, label in parts)
    scale = max(float(value.float().abs().max()) for value in end.values())
    check(max(parts)[0] <= max(5 * _distance(again, plain), 0.02 * scale), f"{name}, resumed", text)

    if CUDA:
        subject.step(STEPS + 1)  # the state was loaded, so the graph is new
        wait()
        torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            subject.step(STEPS + 2)
        torch.cuda.set_sync_debug_mode("default")
        waits = [f"{Path(one.filename).name}:{one.lineno}" for one in caught if "synchroniz" in str(one.message)]
        check(not waits, f"{name}, waits", f"{len(waits)} waits for the device in a step {' '.join(waits)}")


def _train(store: Store) -> None:
    """Compare whole trainings, with validations and with batches from a thread, which allocates page-locked memory during the capture."""
    folder = temporary()
    pairs = write_pairs(folder / "pairs", [image[:160, :200] for image in photographs()[:2]])
    runtime = {"log_every": 5, "validate_every": 10, "checkpoint_every": 10}
    networks, rows = [], []
    for graph in (False, True):
        subject = _subject(KINDS[1], store, graph, pairs=pairs, runtime=runtime, steps=30)
        subject.batches = PrefetchingSampler(subject.sampler, subject.device)
        networks.append(fit(subject, folder / str(graph)))
        rows.append((folder / str(graph) / "losses.csv").read_text().splitlines())
    assert subject.graph
    off = max(float((a.float() - b.float()).abs().max()) for a, b in zip(*(net.state_dict().values() for net in networks), strict=True))
    last = [float(row[-1].split(",")[2]) for row in rows]
    text = f"the best weights of 30 steps with validations differ by at most {off:.2g}, "
    text += f"the last rows of the log are {rows[0][-1]} and {rows[1][-1]}"
    good = subject.graph.captured and len(rows[0]) == len(rows[1]) and abs(last[1] / last[0] - 1) < 0.05
    check(good, "graph_step, a training", text)


def _compile(store: Store) -> None:
    """Train with compiled networks in a graph. The proof at the start of the training must accept both."""
    folder = temporary()
    pairs = write_pairs(folder / "pairs", [photographs()[0][:96, :96]])
    runtime = {"log_every": 5, "validate_every": 30, "checkpoint_every": 30, "compile": "on"}
    for kind in KINDS[2:]:
        name = f"graph_step, compiled {kind[0]} against {kind[1]}, {kind[2]}"
        with attempt(name):
            subject = _subject(kind, store, True, pairs=pairs, runtime=runtime, steps=30)
            fit(subject, folder / f"{kind[0]}-{kind[1]}")
            text = f"compiled networks {'kept' if subject.compiled else 'refused'}, graph {'kept' if subject.graph else 'refused'}"
            check(subject.compiled and subject.graph and not int(subject.divergence.step), name, text)


def _fail(store: Store) -> None:
    """Let a step wait for the device, which forbids a capture. The training must continue without a graph."""
    subject = _subject(KINDS[0], store, True)
    update = subject.ema.update
    subject.ema.update = lambda: (update(), next(subject.generator.parameters()).sum().item())  # type: ignore[method-assign]
    values = _after(subject, 1, STEPS)
    assert subject.graph
    text = f"pixel loss {values['loss_l1']:.4f} after {STEPS} steps, {int(subject.divergence.step)} is the first diverged one"
    check(subject.graph.failed and not int(subject.divergence.step), "graph_step, a failed capture", text)


def _speed() -> None:
    """Measure steps as a graph, usual steps and the plain loop in turn."""
    with data() as folder:
        for batch in (16, 64) if CUDA else (1,):
            for name in ("srgan", "compact") if CUDA else ("compact",):
                for stage in ("pretrain", "train")[: 2 if CUDA else 1]:
                    label = f"graph_step, {name} {stage} batch {batch}"
                    with attempt(label):
                        _in_turn(label, name, stage, batch, folder)
                    collect()


def _in_turn(label: str, name: str, stage: str, batch: int, folder: Path) -> None:
    sides, memory = {}, {}
    for kind in ("graph", "compiled graph", "resident", "plain bf16")[: 3 if batch > 16 else 4] if CUDA else ("graph", "resident"):
        collect()
        held = torch.cuda.memory_reserved() if CUDA else 0
        step = side(kind, name, stage, batch, folder)
        for _ in range(8):
            step()
        wait()
        memory[kind] = (torch.cuda.memory_reserved() - held) / 1e9 if CUDA else 0.0
        sides[kind] = step
    times = rounds(sides, 0.15)
    parts = [f"{kind} {1e3 * seconds:.2f} ms (host {1e3 * host:.2f}), {memory[kind]:.2f} GB" for kind, (seconds, host) in times.items()]
    ratios = {kind: times[kind][0] / times["graph"][0] for kind in times if kind != "graph"}
    text = f"{', '.join(parts)}. The graph has " + " and ".join(f"{ratio:.2f} times the speed of {kind}" for kind, ratio in ratios.items())
    info(label, text, ms={kind: 1e3 * seconds for kind, (seconds, _) in times.items()}, memory_gb=memory)
