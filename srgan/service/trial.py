"""A challenger next to the current model: a share of the requests goes through both. It is rolled back if its results are worse."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from srgan.config.delivery import Promote
from srgan.monitoring.comparison import Pair, breach
from srgan.monitoring.log import RequestLog
from srgan.monitoring.measure import Observed
from srgan.service.model import Identity, Loaded, ServedModel
from srgan.utils.errors import SrganError

PENDING = 5  # images of the share that are not compared yet. While there are more, the champion answers

Mode = Literal["shadow", "canary"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Draw:
    """The models of a request in the share."""

    champion: Loaded
    challenger: Loaded


class Trial:
    """The comparison of two models. Its methods may be called in any thread.

    Args:
        champion: the current model.
        challenger: the other one, of the same scale and task.
        share: of the requests that go through both, 0..1.
        mode: ``shadow`` returns the champion's result, ``canary`` the challenger's.
        records: keep the pairs and the verdicts, also for the next start.
        rules: of a promotion, which allow small rises of figures.
        on_rollback: gets the identity of a challenger that was rolled back, and the reason.

    Raises:
        SrganError: the challenger is for another scale or task.
    """

    def __init__(
        self,
        champion: ServedModel,
        challenger: ServedModel,
        share: float,
        mode: Mode,
        records: RequestLog,
        rules: Promote,
        on_rollback: Callable[[Identity, str], None] = lambda identity, reason: None,
    ) -> None:
        self.champion, self.challenger, self.share, self.mode = champion, challenger, share, mode
        self._records, self._rules, self._on_rollback = records, rules, on_rollback
        self._lock = threading.Lock()
        self._credit, self._pending = 0.0, 0
        self._models: tuple[str, str] = "", ""  # digests of champion and challenger that `_pairs` compares
        self._pairs: list[Pair] = []
        self.verdict: str | None = None
        if not fits(champion.current, challenger.current):
            names = challenger.current.identity, champion.current.identity
            raise SrganError(f"{names[0]}: another scale or task than {names[1]}. Name another --challenger")
        self.refresh()

    @property
    def pairs(self) -> int:
        """Images that both models upscaled."""
        return len(self._pairs)

    @property
    def active(self) -> bool:
        """Return whether requests are drawn."""
        champion, challenger = self.champion.current, self.challenger.current
        same = champion.upscaler.sha256 == challenger.upscaler.sha256
        return self.verdict is None and not same and fits(champion, challenger)

    def refresh(self) -> None:
        """Begin again with the recorded pairs if one of the models was replaced."""
        models = self.champion.current.upscaler.sha256, self.challenger.current.upscaler.sha256
        if models == self._models:
            return
        pairs, verdict = self._records.pairs(*models), self._records.verdict(models[1])
        with self._lock:
            self._models, self._pairs, self.verdict = models, pairs, verdict
        name = self.challenger.current.identity
        if verdict:
            log.warning("%s gets no requests: it was rolled back (%s)", name, verdict)
        elif self.active:
            log.info("%s: %s for %g %% of the requests, %d images compared before", name, self.mode, 100 * self.share, len(pairs))
        else:
            log.info("%s gets no requests: it is the champion, or is for another scale or task", name)

    def draw(self) -> Draw | None:
        """Return the models if a request is in the share. Then `take`, `fail` or `release` follows."""
        if not self.active:
            return None
        with self._lock:
            self._credit += self.share
            if self._credit < 1:
                return None
            self._credit -= 1
            if self._pending >= PENDING:
                return None
            self._pending += 1
        return Draw(self.champion.current, self.challenger.current)

    def release(self) -> None:
        """End a draw without a comparison."""
        with self._lock:
            self._pending -= 1

    def fail(self, drawn: Draw, error: Exception) -> None:
        """Roll back a challenger that failed on an image that the champion upscaled."""
        self.release()
        self._roll_back(drawn, f"it failed: {error}")

    def take(self, drawn: Draw, observed: Observed | None) -> None:
        """Take the figures of both models."""
        self.release()
        if observed is None or self._models != (drawn.champion.upscaler.sha256, drawn.challenger.upscaler.sha256):
            return
        if observed.failure and self.mode == "shadow":
            self._roll_back(drawn, f"it failed: {observed.failure}")
        elif observed.rival:
            roles = ("champion", "challenger") if self.mode == "shadow" else ("challenger", "champion")
            pair = dict(zip(roles, ({name: observed.figures[name] for name in observed.rival}, observed.rival), strict=True))
            self._records.add_pair(*self._models, pair)
            self._pairs.append(pair)
            if reason := breach(self._pairs, self._rules):
                self._roll_back(drawn, reason)

    def _roll_back(self, drawn: Draw, reason: str) -> None:
        with self._lock:
            if self.verdict is not None:
                return
            self.verdict = reason
        log.error("%s is rolled back: %s", drawn.challenger.identity, reason)
        threading.Thread(target=self._record, args=(drawn.challenger, reason)).start()  # no request waits for a registry

    def _record(self, challenger: Loaded, reason: str) -> None:
        try:
            self._records.add_verdict(challenger.upscaler.sha256, reason)
        except SrganError as error:
            log.warning("%s. After a restart the challenger is tried again", error)
        self._on_rollback(challenger.identity, reason)


def fits(champion: Loaded, challenger: Loaded) -> bool:
    """Return whether two models answer a request alike: by scale and task."""
    first, second = champion.upscaler, challenger.upscaler
    return (first.scale, first.adds_colour) == (second.scale, second.adds_colour)
