"""Selection of the best weights of a training by its validations."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

Weights = dict[str, Tensor]
Row = Mapping[str, float]

FORMER_GUARD = 0.5  # levels: the only value of former versions. It is no part of the identity, so that their checkpoints fit


class ModelSelection:
    """Keeps the weights with the best validation.

    The pixel stage selects by PSNR, or by CIEDE2000 if the network changes colours alone. The GAN stage selects by LPIPS, or by the loss
    where LPIPS is not measured. There the PSNR must stay within `psnr_guard` of the start, because a low LPIPS alone allows false detail.
    The hatch must stay within `hatch_guard`, because LPIPS hardly measures a faint pattern in flat regions. A network that keeps the luma
    invents no detail, and its PSNR-Y only measures how its colours are rounded.

    Args:
        criterion: the metric that decides.
        psnr_guard: dB of PSNR-Y that the best weights may lose. Not used in the pixel stage.
        hatch_guard: levels that the hatch of the best weights may rise. Not used in the pixel stage.
        keeps_luma: the network keeps the luma, so that `psnr_guard` is not used.
        patience: steps without a better validation after which the training is over. 0: never.
    """

    def __init__(
        self,
        criterion: Literal["PSNR", "CIEDE2000", "LPIPS", "loss"],
        psnr_guard: float = 0.0,
        hatch_guard: float = FORMER_GUARD,
        keeps_luma: bool = False,
        patience: int = 0,
    ) -> None:
        self.criterion, self.psnr_guard, self.hatch_guard, self.keeps_luma = criterion, psnr_guard, hatch_guard, keeps_luma
        self.patience = patience
        self.best: dict[str, Any] | None = None  # step, score and weights

    def score(self, row: Row, start: Row) -> tuple[float, float]:
        """Return the selection score of a validation. Higher is better.

        Args:
            row: metrics of the validation.
            start: metrics of the validation before the first step. A run of a former version has no hatch there.
        """
        psnr = row["val_psnr_y"]
        if self.criterion == "PSNR":
            return 1.0, psnr
        if self.criterion == "CIEDE2000":
            return 1.0, -row["val_ciede2000"]
        if (not self.keeps_luma and psnr < start["val_psnr_y"] - self.psnr_guard) or self._hatched(row, start):
            return 0.0, psnr
        return 1.0, -row["val_lpips" if self.criterion == "LPIPS" else "val_loss"]

    def _hatched(self, row: Row, start: Row) -> bool:
        return {"val_hatch"} <= row.keys() & start.keys() and row["val_hatch"] > start["val_hatch"] + self.hatch_guard

    @property
    def needs_rescoring(self) -> bool:
        """True if each comparison scores the best weights again, because the loss depends on the present discriminator."""
        return self.criterion == "loss"

    def offer(self, row: Row, start: Row, weights: Weights, rescore: Callable[[Weights], Row]) -> None:
        """Keep the weights of a validation if they are the best so far.

        The state before the first step is a candidate with `patience` alone: a training that may end early may end where it began.

        Args:
            row: metrics of the validation, with its step.
            start: metrics of the validation before the first step.
            weights: of the averaged generator.
            rescore: validates weights with the present discriminator.
        """
        if not row["step"] and not self.patience:
            return
        score = self.score(row, start)
        if self.best is None or score > self._best_score(start, rescore):
            self.best = {"step": row["step"], "merit": list(score), "weights": {key: value.cpu() for key, value in weights.items()}}

    def _best_score(self, start: Row, rescore: Callable[[Weights], Row]) -> tuple[float, ...]:
        assert self.best
        return self.score(rescore(self.best["weights"]), start) if self.needs_rescoring else tuple(self.best["merit"])

    def is_over(self, rows: Sequence[Row]) -> bool:
        """Return True if the last validation is `patience` steps after the best one.

        Args:
            rows: all validations so far.
        """
        return bool(self.patience and self.best and rows and rows[-1]["step"] - self.best["step"] >= self.patience)

    def identity(self) -> list[str | float]:
        """Return the criterion, for the comparison with that of a checkpoint."""
        return [self.criterion, self.psnr_guard, *([self.hatch_guard] if self.hatch_guard != FORMER_GUARD else [])]
