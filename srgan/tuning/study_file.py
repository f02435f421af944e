"""The file of a study: base parameters, search space, sampler and objective."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

from pydantic import ValidationError, model_validator

from srgan.config import messages, yaml
from srgan.config.base import Section, option, refuse
from srgan.config.project import Project
from srgan.config.schema import Params, load, to_dict
from srgan.tuning import space
from srgan.utils.errors import SrganError

HINT = "Write one as in docs/tuning.md"


class StudyFile(Section):
    """The whole of a study file."""

    name: str = option("", "folder of the study in studies/. Empty stands for the name of the file")
    params: str = option("params.yaml", "parameter file that the space changes, relative to the project")
    trials: int = option(20, "number of trainings. The first one has the base parameters", ge=2)
    sampler: Literal["tpe", "grid", "random"] = option("tpe", "tpe (tree-structured Parzen estimator), grid or random")
    seed: int = option(0, "seed of the sampler", ge=0, lt=2**31)
    objective: Literal["lpips", "psnr_y"] = option("lpips", "lpips of the GAN stage, or psnr_y of the pixel stage, in validation")
    cost: bool = option(False, "also minimize the seconds per megapixel: the result is a Pareto front")
    prune: bool = option(True, "end trials that are behind at a validation (Hyperband). Not with cost")
    validations: int = option(6, "validations of a trial, at which it may be pruned", ge=1)
    seconds: float = option(0.0, "training time of a trial: its steps are those of this time on this machine. 0 keeps the steps", ge=0)
    set: dict[str, Any] = option({}, "parameters of all trials, such as train.steps. They are not applied to params.yaml")
    space: dict[str, Any] = option(..., "parameters to search by their dotted names", min_length=1)

    @model_validator(mode="after")
    def _check(self) -> "StudyFile":
        if self.name and not re.fullmatch(r"\w[\w.-]*", self.name):
            refuse("name", "may hold letters, digits, '_', '.' and '-' only, and begins with a letter or digit")
        return self

    @property
    def stage(self) -> Literal["pretrain", "train"]:
        """Return the stage that the objective measures."""
        return "train" if self.objective == "lpips" else "pretrain"


@dataclass(frozen=True)
class Definition:
    """A study file with its base parameters and its search space.

    Attributes:
        name: of the study.
        options: the file.
        base: the parameters of the first trial.
        space: the dimensions by dotted name.
    """

    name: str
    options: StudyFile
    base: Params
    space: space.Space

    @property
    def identity(self) -> dict[str, Any]:
        """Return what the trials depend on. More trials can be added to a study, with more workers."""
        options = {name: value for name, value in to_dict(self.options).items() if name not in ("name", "params", "trials")}
        return {"options": options, "base": {name: to_dict(getattr(self.base, name)) for name in ("data", "prepare", *space.SECTIONS)}}


def load_study(path: Path, project: Project) -> Definition:
    """Read and check a study file.

    Args:
        path: the file.
        project: whose parameters are the base.

    Returns:
        The study.

    Raises:
        SrganError: the file or the parameter file is not valid. The message names all errors with their lines.
    """
    root = yaml.read(path, HINT)
    values = yaml.plain(root, path)
    try:
        options = StudyFile.model_validate(values)
    except ValidationError as error:
        _fail(path, root, list(messages.describe(error, StudyFile, values)))
    base = load(project.resolve(options.params))
    problems: list[tuple[yaml.Keys, str]] = []
    for name, value in options.set.items():
        if found := space.problem(base, name, value):
            problems.append((("set", name), f"set.{name}: {found}"))
    if not problems:
        base = Params.model_validate(space.changed(base, options.set))
    dimensions, wrong = space.parse(options.space, base)
    problems += [(("space", name), text) for name, text in wrong]
    problems += [((key,), text) for key, text in _conflicts(options, base, dimensions)]
    if problems:
        _fail(path, root, problems)
    return Definition(options.name or path.stem, options, base, dimensions)


def _conflicts(options: StudyFile, base: Params, dimensions: space.Space) -> list[tuple[str, str]]:
    """Return the keys and the texts of options that do not fit each other."""
    found = []
    if options.sampler == "grid":
        for name, dimension in dimensions.items():
            if isinstance(dimension, space.Range) and not dimension.points:
                found.append(("space", f"space.{name}: a grid needs the number of values, such as {{range: [1, 2], points: 3}}"))
    if options.objective == "lpips" and not base.train.lpips:
        found.append(("objective", "objective: lpips needs train.lpips: true in the base parameters"))
    unused = [name for name in dimensions if options.objective == "psnr_y" and name.startswith("train.")]
    if unused:
        found.append(("objective", f"objective: psnr_y trains the pixel stage only, for which {unused[0]} has no effect"))
    if options.seconds and f"{options.stage}.steps" in dimensions:
        found.append(("seconds", f"seconds: determines {options.stage}.steps, which is in the space too"))
    return found


def _fail(path: Path, root: Any, problems: list[tuple[yaml.Keys, str]]) -> NoReturn:
    lines = [f"{path}:{line}: {text}" for line, text in sorted((yaml.line_of(root, keys), text) for keys, text in problems)]
    heading = f"{path}: {len(lines)} errors:\n  " if len(lines) > 1 else ""
    raise SrganError(heading + "\n  ".join(lines))
