"""Two machines of a Ray cluster, as two node managers on this one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil
import ray
from ray.cluster_utils import Cluster

from srgan.utils import ray_cluster

NODE = {"num_cpus": 1, "object_store_memory": 200_000_000, "include_dashboard": False}


@dataclass
class TwoNodes:
    """The cluster, which the program is connected to. The second node may be lost."""

    cluster: Cluster
    second: Any

    def lose_the_second(self) -> None:
        """Kill the second node with its processes."""
        assert sum(node["Alive"] for node in ray.nodes()) == 2
        self.cluster.remove_node(self.second, allow_graceful=False)


@contextmanager
def two_nodes() -> Iterator[TwoNodes]:
    """Start two nodes with a core each, and connect to them within the block."""
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        second = cluster.add_node(num_cpus=1, object_store_memory=NODE["object_store_memory"])
        with ray_cluster.connected(cluster.address, cores=1):
            yield TwoNodes(cluster, second)
    finally:
        cluster.shutdown()


def workers(name: str) -> list[psutil.Process]:
    """Return the processes of Ray that have a name, such as ``_Actor``, oldest first."""
    found = [each for each in psutil.Process().children(recursive=True) if name in " ".join(each.cmdline())]
    return sorted(found, key=psutil.Process.create_time)
