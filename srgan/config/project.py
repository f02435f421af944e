"""The files of a project: every path that the stages, the tracking and the flows share."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srgan.utils.errors import SrganError
from srgan.utils.files import plain_name, read_json, require, sha256

if TYPE_CHECKING:
    from srgan.config.schema import Params

TRAINING_STAGES = ("pretrain", "train")


@dataclass(frozen=True)
class Project:
    """Name the files of one project. Two projects in one process share nothing.

    Attributes:
        root: the folder of ``params.yaml`` and ``dvc.yaml``. A relative folder starts at the working directory.

    Example:
        >>> from srgan import Project
        >>> Project("photos").generator
        PosixPath('photos/models/generator.safetensors')
    """

    root: Path = Path()

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root))

    @classmethod
    def open(cls, root: str | Path = ".") -> "Project":
        """Return the project in `root`, with an absolute root.

        Raises:
            SrganError: the folder holds no ``dvc.yaml``.
        """
        project = cls(Path(root).resolve())
        if not (project.root / "dvc.yaml").is_file():
            raise SrganError(f"{project.root}/dvc.yaml: no such file. Run this in the project's folder")
        return project

    @property
    def working_copy(self) -> "Project":
        """The project whose files last.

        ``dvc exp run --temp`` and ``dvc queue start`` run the stages in a copy below ``.dvc/tmp/exps``. DVC deletes the copy afterwards.
        """
        root = self.root.resolve()
        return next((Project(path.parents[2]) for path in root.parents if path.parts[-3:] == (".dvc", "tmp", "exps")), self)

    def resolve(self, path: str | Path) -> Path:
        """Return a path of ``params.yaml``: a relative one starts at the root."""
        return self.root / path

    # -- files of the user --------------------------------------------------------------------------------------------------

    @property
    def params(self) -> Path:
        """Parameters of all stages."""
        return self.root / "params.yaml"

    @property
    def dvc_lock(self) -> Path:
        """Digests that DVC records."""
        return self.root / "dvc.lock"

    @property
    def checksums(self) -> Path:
        """Digests of the first download of each data set."""
        return self.root / "checksums.json"

    @property
    def mlflow(self) -> Path:
        """Folder of the local MLflow store."""
        return self.root / "mlflow"

    @property
    def chosen_model(self) -> Path:
        """Name of the starter that `srgan models use` made the model of this project. Without the file it is the exported model."""
        return self.root / ".srgan-model"

    # -- data ---------------------------------------------------------------------------------------------------------------

    @property
    def raw(self) -> Path:
        """Folder of the downloaded images, with ``manifest.json``."""
        return self.root / "data/raw"

    @property
    def prepared(self) -> Path:
        """Folder of the prepared images, with ``manifest.json``."""
        return self.root / "data/prepared"

    # -- models -------------------------------------------------------------------------------------------------------------

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints, with a folder for each training stage."""
        return self.root / "checkpoints"

    @property
    def models(self) -> Path:
        """Folder of the weights and the exported float32 model."""
        return self.root / "models"

    @property
    def reduced(self) -> Path:
        """Folder of the exported models of lower precision."""
        return self.models / "reduced"

    @property
    def pretrained(self) -> Path:
        """Weights of the stage `pretrain`."""
        return self.models / "pretrained.safetensors"

    @property
    def generator(self) -> Path:
        """Weights of the stage `train`."""
        return self.models / "generator.safetensors"

    # -- reports ------------------------------------------------------------------------------------------------------------

    @property
    def reports(self) -> Path:
        """Folder of the reports."""
        return self.root / "reports"

    @property
    def losses(self) -> dict[str, Path]:
        """Logged losses of each training stage. `srgan.utils.csv_table.validation_csv` names the file of its validations."""
        return {stage: self.reports / f"{stage}.csv" for stage in TRAINING_STAGES}

    @property
    def loss_tables(self) -> Path:
        """Folder of a table for each loss, for the plots of DVC."""
        return self.reports / "losses"

    @property
    def metrics(self) -> Path:
        """Mean scores of each model and test set."""
        return self.reports / "metrics.json"

    @property
    def scores(self) -> Path:
        """Scores of each model and test image."""
        return self.reports / "metrics.csv"

    @property
    def gan_scores(self) -> Path:
        """Scores of the GAN alone, for the plots of DVC."""
        return self.reports / "gan.csv"

    @property
    def statistics(self) -> Path:
        """Differences between the models, with their intervals."""
        return self.reports / "statistics.json"

    @property
    def pictures(self) -> Path:
        """Folder of the comparison images."""
        return self.reports / "pictures"

    @property
    def comparison(self) -> Path:
        """Details of the comparison images, side by side."""
        return self.reports / "comparison.png"

    @property
    def export_record(self) -> Path:
        """Names, sizes and digests of the exported models."""
        return self.reports / "export.json"

    @property
    def report(self) -> Path:
        """Page of scores and comparison images."""
        return self.reports / "report.html"

    @property
    def costs(self) -> Path:
        """Time and memory of the exported models on this machine."""
        return self.reports / "speed.json"

    @property
    def data_card(self) -> Path:
        """Page of the prepared images and of those left out."""
        return self.reports / "data.html"

    @property
    def registration(self) -> Path:
        """Record of the registered model."""
        return self.reports / "registration.json"

    @property
    def model_card(self) -> Path:
        """Model card of the registered model."""
        return self.reports / "MODEL_CARD.md"

    @property
    def promotion(self) -> Path:
        """Page of the last promotion."""
        return self.reports / "promotion.md"

    # -- the exported model -------------------------------------------------------------------------------------------------

    @property
    def is_exported(self) -> bool:
        """True if the stage `export` has written a model, which may be damaged by now."""
        return self.export_record.is_file() or any(self.models.glob("*-fp32.onnx"))

    def exported_model(self) -> Path:
        """Return the float32 model that the stage `export` wrote. Without a record it is the only one in ``models/``.

        Raises:
            SrganError: there is none, there are several, or the file differs from the record.
        """
        if self.export_record.is_file():
            exported = read_json(self.export_record, made_by="export")
            name = exported.get("file") if isinstance(exported, dict) else None
            path = self.models / plain_name(name, f"{self.export_record}: file", ".onnx")
            self.check_export(require(path, "export"), exported)
            return path
        found = sorted(self.models.glob("*-fp32.onnx"))
        if not found:
            raise SrganError(f"{self.models}/*-fp32.onnx: no exported model. Export one with: dvc repro export, or name one with --model")
        if len(found) > 1:
            raise SrganError(f"{self.models}: several models ({', '.join(path.name for path in found)}). Name one with --model")
        return found[0]

    def check_export(self, path: Path, exported: dict[str, Any]) -> None:
        """Compare an exported model with the record of the stage `export`.

        Raises:
            SrganError: the digests differ.
        """
        if exported.get("sha256") != sha256(path):
            raise SrganError(
                f"{path}: damaged or replaced: not the file that {self.export_record} records. Export it again with: dvc repro -f export"
            )


def registered_name(params: "Params", scale: int) -> str:
    """Return the name of the model in the registry."""
    return f"{params.register.name}-x{scale}"
