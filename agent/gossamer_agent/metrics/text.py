"""From a running node to the text that Prometheus reads (text format 0.0.4).

A registry of its own holds one collector, which reads the node when it is asked: nothing is counted
twice, and several nodes of one process do not meet.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from gossamer_agent.metrics.catalogue import CATALOGUE, Kind
from gossamer_agent.metrics.samples import Scene, samples
from gossamer_agent.node.portrait import portray

if TYPE_CHECKING:
    from gossamer_agent.node.node import Node

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def exposition(node: Node) -> bytes:
    """All metrics of `node` now. Its core must be at rest: `Node.metrics` sees to that.

    Raises NetworkError while its network closes.
    """
    return render(_scene(node))


def render(scene: Scene) -> bytes:
    """The text for one scene."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(scene))
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        found = samples(self._scene)
        for metric in CATALOGUE:
            family = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
            exposed = family(metric.name, metric.help, labels=metric.labels)
            for labels, value in found[metric.name]:
                exposed.add_metric(labels, value)
            yield exposed

    def describe(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        return iter(())


def _scene(node: Node) -> Scene:
    device, means, pausing = node.device, node.means, node.pausing
    return Scene(
        status=portray(node),
        python=platform.python_version(),
        model=device.config.device.model,
        rule=means.swarm.policy.rule,
        profile=device.config.device.profile,
        view_size=means.swarm.view_size,
        memory_bytes_max=means.memory_mb_max * 1_000_000,
        store_failures=node.life.store_failures,
        pauses_begun={str(kind): begun for kind, begun in pausing.begun.items()},
        flash_bytes=pausing.readings.flash_bytes,
    )
