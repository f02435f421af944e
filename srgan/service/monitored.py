"""Make results that are observed, with the models of a trial."""

import time
from functools import partial

from srgan.images.suffixes import FORMATS
from srgan.monitoring.measure import Task
from srgan.monitoring.observer import Observer, Seen
from srgan.service import work
from srgan.service.model import Loaded, ServedModel
from srgan.service.trial import Draw, Trial
from srgan.service.work import Cancelled, Decoder, OnTile, Order, Result, Stop


class Monitored:
    """A function that makes a result and hands it to an observer.

    Args:
        kind: of the requests in the log: ``request`` or ``job``.
        model: the current model.
        observer: measures the results later.
        trial: a share of the requests goes through two models.
    """

    def __init__(self, kind: str, model: ServedModel, observer: Observer, trial: Trial | None = None) -> None:
        self._kind, self._model, self._observer, self._trial = kind, model, observer, trial

    def __call__(self, order: Order, decoder: Decoder, stop: Stop, on_tile: OnTile) -> Result:
        """Upscale an image, see `srgan.service.work.upscale`."""
        drawn = self._trial.draw() if self._trial else None
        if not self._trial or not drawn:
            result = work.upscale(self._model.current, order, decoder, stop, on_tile)
            self._observer.note(self._seen(order, result, stop))
            return result
        try:
            result, failure = self._answer(drawn, order, decoder, stop, on_tile)
        except BaseException:
            self._trial.release()
            raise
        if failure:
            self._trial.fail(drawn, failure)
            self._observer.note(self._seen(order, result, stop))
        else:
            self._observer.note(self._seen(order, result, stop, drawn))
        return result

    def _answer(self, drawn: Draw, order: Order, decoder: Decoder, stop: Stop, on_tile: OnTile) -> tuple[Result, Exception | None]:
        """Return the result, and the error if the challenger has none. An image at which both fail is no failure of the challenger."""
        assert self._trial
        failure: Exception | None = None
        if self._trial.mode == "canary":
            try:
                return work.upscale(drawn.challenger, order, decoder, stop.half(), on_tile), None
            except Cancelled:
                raise
            except Exception as error:  # a damaged model may raise anything
                failure = error
        return work.upscale(drawn.champion, order, decoder, stop, on_tile), failure

    def _seen(self, order: Order, result: Result, stop: Stop, drawn: Draw | None = None) -> Seen:
        rival: Loaded | None = None
        if drawn:
            rival = drawn.champion if result.model is drawn.challenger else drawn.challenger
        identity, upscaler = result.model.identity, result.model.upscaler
        row = {
            "at": time.time(),
            "kind": self._kind,
            "role": "challenger" if drawn and result.model is drawn.challenger else "champion",
            "model": identity.name,
            "alias": identity.alias,
            "version": identity.version,
            "sha256": upscaler.sha256,
            "width": result.source_size[0],
            "height": result.source_size[1],
            "result_width": result.size[0],
            "result_height": result.size[1],
            "format": result.path.suffix[1:],
            "seconds": stop.passed,
        }
        task = Task(
            order.source,
            result.path,
            FORMATS[result.path.suffix],
            order.options,
            upscaler.adds_colour,
            (rival.upscaler.path, rival.upscaler.sha256) if rival else None,
        )
        return Seen(row, task, partial(self._trial.take, drawn) if self._trial and drawn else None)
