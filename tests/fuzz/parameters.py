"""`params.yaml`, through the check of the parameters and a command."""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

from srgan.commands import main
from srgan.config import profiles, schema
from srgan.data.choice import choose
from srgan.utils.errors import SrganError
from tests.fuzz import mutations
from tests.fuzz.cases import Case, Seeds, Target
from tests.helpers.project import ROOT

ODD = (
    "", "null", "~", "true", "no", "0", "-1", "1.5", "1e999", ".nan", "-.inf", "0x10", "0o7", "1_000", "2020-01-01", "12:30:45",
    "²", "٣", "1" * 5000, "[]", "{}", "[1, [2, [3]]]", "{name: x}", "&a [*a]", "*a", "<<: *b", "!!python/object:os.system x",
    "!!binary aGk=", "? x", "- x", "|", ">", "'", '"', '"\\x00"', "\t", "\0", "\ufeff", "\u2028", "%YAML 9.9", "---", "...", "@x",
    "`x`", "#", "a: b: c", "../../x", "/etc/passwd", "http://", "x" * 70_000, "[" * 500, "{a: " * 300, "=1+1", "\x1b[31m",
)  # fmt: skip


class Parameters(Target):
    """Parameter files that people, or their editors, might have written."""

    name = "params"
    count = 1_000

    def build(self, folder: Path) -> None:
        (folder / "demo.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
        for name in profiles.list_profiles():
            (folder / f"{name}.yaml").write_bytes((ROOT / "srgan" / "config" / "profiles" / f"{name}.yaml").read_bytes())

    def fixed(self) -> dict[str, Callable[[], bytes]]:
        return FIXED

    def mutate(self, rng: np.random.Generator, seeds: Seeds) -> Case:
        name = list(seeds)[rng.integers(len(seeds))]
        if rng.integers(4) == 0:
            return Case(name, mutations.mutated(rng, seeds[name], list(seeds.values())))
        lines = seeds[name].decode().splitlines()
        for _ in range(rng.integers(1, 4)):
            _edit(rng, lines)
        return Case(name, "\n".join(lines).encode("utf-8", "surrogatepass"))

    def check(self, case: Case, folder: Path) -> None:
        path = Path("params.yaml")
        path.write_bytes(case.content)
        loaded: schema.Params | None = None
        refused: SrganError | None = None
        try:
            loaded = schema.load(path)
            for split in ("train", "test"):
                choose(loaded.data.sets(split), split)
            schema.flatten(loaded)
        except SrganError as error:
            refused = error
        # The command ends with an error in any case: nothing is prepared here.
        with contextlib.redirect_stderr(io.StringIO()) as said:
            try:
                main.main(["evaluate"])
            except SystemExit as end:
                assert end.code == 1, end.code
            else:
                raise AssertionError("evaluated nothing")
        message = said.getvalue()
        assert "internal error" not in message, message
        assert loaded is not None or message.startswith("srgan evaluate: error: params.yaml"), message
        if refused:
            raise refused


def _edit(rng: np.random.Generator, lines: list[str]) -> None:
    place = int(rng.integers(len(lines)))
    line = lines[place]
    key, colon, value = line.partition(":")
    odd = ODD[rng.integers(len(ODD))]
    match rng.integers(9):
        case 0 | 1 | 2 if colon:
            lines[place] = f"{key}: {odd}"
        case 3:
            del lines[place]
            if not lines:
                lines.append("")
        case 4:
            lines.insert(int(rng.integers(len(lines))), line)
        case 5:
            lines[place] = " " * int(rng.integers(6)) + line.lstrip()
        case 6 if colon:
            lines[place] = f"{odd[:200]}{colon}{value}"
        case 7:
            lines.insert(place, odd)
        case _:
            at = int(rng.integers(len(line) + 1))
            lines[place] = line[:at] + odd + line[at:]


def _demo(old: str, new: str) -> Callable[[], bytes]:
    def made() -> bytes:
        text = (ROOT / "params.yaml").read_text()
        assert old in text, old
        return text.replace(old, new, 1).encode()

    return made


FIXED: dict[str, Callable[[], bytes]] = {
    "empty.yaml": lambda: b"",
    "digits.yaml": _demo("seed: 0", f"seed: {'9' * 5000}"),
    "exponent.yaml": _demo("grad_clip: 0.0", "grad_clip: 1e400"),
    "not-utf-8.yaml": lambda: b"data: \xff\xfe\n",
    "utf-16.yaml": lambda: (ROOT / "params.yaml").read_text().encode("utf-16"),
    "zeros.yaml": lambda: bytes(10_000),
    "nested-lists.yaml": lambda: b"data: " + b"[" * 100_000,
    "nested-sections.yaml": lambda: b"\n".join(b" " * depth + b"a:" for depth in range(3_000)),
    "itself.yaml": _demo("train: [sample]", "train: &a [*a]"),
    "laughs.yaml": lambda: ("a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))).encode(),
    "laughs-in-place.yaml": _demo("train: [sample]", f"train: {'&a [' * 1}{', '.join(['sample'] * 100_000)}]"),
    "merge.yaml": lambda: b"<<: {data: {train: [sample], test: [sample]}}\n",
    "complex-key.yaml": lambda: b"? [data, train]\n: 1\n",
    "two-documents.yaml": lambda: (ROOT / "params.yaml").read_bytes() + b"\n---\na: 1\n",
    "object.yaml": _demo("name: demo", "name: !!python/object/apply:os.system ['touch escaped']"),
    "list.yaml": lambda: b"- 1\n- 2\n",
    "null-name.yaml": _demo("train: [sample]", "train: [null, ~, '']"),
    "escape-name.yaml": _demo("train: [sample]", 'train: ["\\e[31m\\0"]'),
    "long-name.yaml": _demo("train: [sample]", f"train: [{'x' * 5000}]"),
}
