"""A whole driver run on a cluster that is reached through a Ray client (`ray://...`)."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.util.queue import Empty, Queue

from intra_search.cluster.connect import check_listening
from intra_search.cluster.interrupts import own_handlers
from intra_search.errors import ClusterError
from intra_search.store.events import Tell

CLIENT_ATTEMPTS = 5


def run_on_head(address: str, function: Callable[[Tell], None], tell: Tell) -> None:
    """Runs `function(tell)` as a task on the cluster behind a Ray client address (`ray://...`).

    A client cannot hold a search: Tune would run on the cluster and the ledger's only writer here. So the whole driver
    goes there, this package with it, and its events come back through a queue. SIGINT or SIGTERM once lets
    the study leave after the epoch, twice ends it.
    """
    check_listening(address)
    _connect_client(address)
    try:
        queue = Queue(actor_options={"num_cpus": 0})
        task = ray.remote(_told_through_queue).options(num_cpus=0, max_retries=0).remote(function, queue)
        _relay(queue, task, tell)
    finally:
        ray.shutdown()


def _connect_client(address: str) -> None:
    package = Path(__file__).parents[1]
    for attempt in range(CLIENT_ATTEMPTS):
        try:
            with own_handlers():
                ray.init(
                    address=address,
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                    runtime_env={"py_modules": [str(package)], "env_vars": {"OMP_WAIT_POLICY": "PASSIVE"}},
                )
            return
        except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
            # The head forks a server for each client; now and then the child dies (ray-project/ray issue 63202).
            if "Starting Ray client server failed" in str(error) and attempt + 1 < CLIENT_ATTEMPTS:
                continue
            remedy = "check the address, or run on one of the cluster's nodes with --address auto"
            raise ClusterError(f"--address {address}", "must be a running Ray cluster", str(error), remedy) from None


def _relay(queue: Any, task: Any, tell: Tell) -> None:
    interrupted = False
    while True:
        try:
            event = queue.get(timeout=1.0)
            if event is None:
                break
            tell(event)
        except Empty:
            if ray.wait([task], timeout=0)[0]:
                break
        except KeyboardInterrupt:
            ray.cancel(task, force=interrupted)
            if interrupted:
                raise
            interrupted = True
    try:
        ray.get(task)
    except ray.exceptions.TaskCancelledError:
        raise KeyboardInterrupt from None
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None


def _told_through_queue(function: Callable[[Tell], None], queue: Any) -> None:
    try:
        function(queue.put)
    finally:
        queue.put(None)
