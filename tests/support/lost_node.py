"""Questions asked on three nodes of Ray, of which one is lost in the middle of its work; in processes of their own.

    python -m tests.support.lost_node DSN QUESTIONS FOLDER

writes a row of the answers as a line of JSON each, and keeps in FOLDER what `Witness` saw. Where the service is, the
environment says.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from llama_cloud_chat import PostgresLedger
from llama_cloud_chat.ray import Ask

BATCH = 6
_QUICK = {  # a lost node is given up after two seconds, and one that is only slow is not
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 10_000,
    "health_check_failure_threshold": 4,
}


def _node(number: int, **more: Any) -> dict[str, Any]:
    """Nodes have addresses of this machine alone; 127.0.0.1 is one that Ray replaces by the network's."""
    return {
        "include_dashboard": False,
        "node_ip_address": f"127.0.0.{2 + number}",
        "object_store_memory": 80_000_000,
        **more,
    }


class Witness(Ask):
    """Writes down each batch before it is asked: the node, the process, and the questions."""

    def __init__(self, *, folder: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._file = Path(folder) / f"{os.getpid()}.jsonl"

    def __call__(self, batch: Any) -> Any:
        seen = [ray.get_runtime_context().get_node_id(), os.getpid(), batch.column("id").to_pylist()]
        with self._file.open("a") as file:
            file.write(json.dumps(seen) + "\n")
        return super().__call__(batch)


def batches(folder: Path) -> list[tuple[str, int, list[str]]]:
    """Return what was witnessed."""
    lines = [line for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]
    return [(node, pid, ids) for node, pid, ids in map(json.loads, lines)]


def lose(cluster: Cluster, nodes: dict[str, Any], folder: Path) -> None:
    """Kill the node that began with a batch last: the process that asks, and then all else."""
    newest = max(folder.glob("*.jsonl"), key=lambda file: file.stat().st_mtime_ns)
    victim, pid, _ = json.loads(newest.read_text().splitlines()[-1])
    os.kill(pid, signal.SIGKILL)
    cluster.remove_node(nodes[victim], allow_graceful=False)


def main(dsn: str, questions: str, folder: str) -> None:
    """Ask as many questions as are told, and lose a node once the first are answered."""
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as temporary:
        head = _node(0, num_cpus=0, _system_config=_QUICK, temp_dir=temporary)
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            nodes = {node.node_id: node for node in [cluster.add_node(**_node(n, num_cpus=1)) for n in (1, 2, 3)]}
            ray.init(cluster.address, _node_ip_address="127.0.0.2", logging_level=logging.ERROR, log_to_driver=False)
            ray.data.DataContext.get_current().enable_progress_bars = False
            asked = [{"id": str(number), "question": f"Question {number}?"} for number in range(int(questions))]
            answers = ray.data.from_items(asked, override_num_blocks=len(asked) // BATCH).map_batches(
                Witness,
                fn_constructor_kwargs={
                    "folder": folder, "run": "tonight", "ledger": PostgresLedger(dsn), "concurrency": 2,
                },
                batch_size=BATCH,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(size=3),
            )  # fmt: skip
            for number, row in enumerate(answers.iter_rows()):
                if number == 0:
                    lose(cluster, nodes, Path(folder))
                print(json.dumps(row), flush=True)
            ray.shutdown()
        finally:
            with contextlib.suppress(Exception):
                cluster.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
