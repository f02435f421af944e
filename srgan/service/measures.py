"""Counters and gauges of a service for Prometheus."""

import time
from collections.abc import Callable
from functools import partial

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    Summary,
    disable_created_metrics,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from srgan.monitoring.figures import INPUT, RESULT
from srgan.monitoring.log import Row
from srgan.monitoring.observer import Observer
from srgan.service.model import Loaded
from srgan.service.trial import Trial

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Measures:
    """The measures of one service."""

    def __init__(self) -> None:
        disable_created_metrics()  # they double the number of lines
        self.registry = CollectorRegistry()
        for collector in (GC_COLLECTOR, PLATFORM_COLLECTOR):
            self.registry.register(collector)
        ProcessCollector(registry=self.registry)
        self.requests = Counter("srgan_requests", "Requests.", ("method", "path", "status"), registry=self.registry)
        self.seconds = Histogram("srgan_request_seconds", "Time of a request.", ("path",), buckets=SECONDS, registry=self.registry)
        self.pixels = Counter("srgan_result_pixels", "Pixels of the results.", registry=self.registry)
        self.reloads = Counter("srgan_model_reloads", "Models that replaced another.", registry=self.registry)
        self._model = Gauge("srgan_model", "The current model.", ("name", "alias", "version", "sha256"), registry=self.registry)

    def gauge(self, name: str, description: str, value: Callable[[], float]) -> None:
        """Add a value that is read at each scrape."""
        Gauge(name, description, registry=self.registry).set_function(value)

    def set_model(self, model: Loaded) -> None:
        """Name the current model."""
        self._model.clear()
        identity = model.identity
        self._model.labels(identity.name, identity.alias, identity.version, model.upscaler.sha256).set(1)

    def observe(self, observer: Observer) -> None:
        """Add the measures of an observer."""

        def raised(figure: str) -> float:
            return float(figure in observer.alarms.raised)

        figures = Summary("srgan_figure", "Figures of the results, see srgan monitor.", ("figure",), registry=self.registry)
        alarms = Gauge("srgan_drift", "1 if a figure of the images differs from the training.", ("figure",), registry=self.registry)
        for figure in INPUT:
            alarms.labels(figure).set_function(partial(raised, figure))

        def on_row(row: Row) -> None:
            for name in (*INPUT, *RESULT):
                if row.get(name) is not None:
                    figures.labels(name).observe(row[name])

        observer.on_row = on_row
        self.gauge("srgan_observations_waiting", "Results that are still to be measured.", lambda: observer.waiting)
        self.gauge("srgan_observations_left_out", "Results that were not measured since the start.", lambda: observer.left_out)
        self.gauge("srgan_observations_lost", "Results that were not logged since the start.", lambda: observer.lost)

    def try_out(self, trial: Trial) -> None:
        """Add the measures of a trial."""
        self.gauge("srgan_trial_active", "1 while requests go through the challenger.", lambda: float(trial.active))
        self.gauge("srgan_trial_pairs", "Images that champion and challenger upscaled.", lambda: trial.pairs)

    def text(self) -> bytes:
        """Return all values in the text format of Prometheus."""
        return generate_latest(self.registry)


class Measured:
    """Middleware that counts requests and measures their time.

    Args:
        app: the application.
        measures: gets the values.
    """

    def __init__(self, app: ASGIApp, measures: Measures) -> None:
        self._app, self._measures = app, measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, began = "500", time.perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            route = scope.get("route")
            path = route.path if route else "other"  # unknown paths would be labels without number
            self._measures.requests.labels(scope["method"] if route else "other", path, status).inc()
            self._measures.seconds.labels(path).observe(time.perf_counter() - began)
