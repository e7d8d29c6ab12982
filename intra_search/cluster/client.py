"""A whole driver run on a cluster that is reached through a Ray client (`ray://...`)."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.util.queue import Empty, Queue

from intra_search.cluster.connect import check_listening
from intra_search.errors import ClusterError

CLIENT_ATTEMPTS = 5


def run_on_head(address: str, function: Callable[[Any], None], observer: Any) -> None:
    """Runs `function(observer)` as a task on the cluster behind a Ray client address (`ray://...`).

    A client cannot hold a search: Tune would run on the cluster and the ledger's only writer here. So the whole driver
    goes there, this package with it, and the observer's calls come back through a queue. SIGINT once lets the study
    leave after the epoch, twice ends it.
    """
    check_listening(address)
    _connect_client(address)
    try:
        queue = Queue(actor_options={"num_cpus": 0})
        task = ray.remote(_told_through_queue).options(num_cpus=0, max_retries=0).remote(function, queue)
        _relay(queue, task, observer)
    finally:
        ray.shutdown()


def _connect_client(address: str) -> None:
    package = Path(__file__).parents[1]
    for attempt in range(CLIENT_ATTEMPTS):
        try:
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


def _relay(queue: Any, task: Any, observer: Any) -> None:
    interrupted = False
    while True:
        try:
            event = queue.get(timeout=1.0)
            if event is None:
                break
            name, arguments = event
            getattr(observer, name)(*arguments)
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


def _told_through_queue(function: Callable[[Any], None], queue: Any) -> None:
    try:
        function(_QueueObserver(queue))
    finally:
        queue.put(None)


class _QueueObserver:
    """An observer on the cluster whose calls are made again by `_relay`."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def note(self, *arguments: Any) -> None:
        self._queue.put(("note", arguments))

    def teacher_epoch(self, *arguments: Any) -> None:
        self._queue.put(("teacher_epoch", arguments))

    def extracted(self, *arguments: Any) -> None:
        self._queue.put(("extracted", arguments))

    def trial_event(self, *arguments: Any) -> None:
        self._queue.put(("trial_event", arguments))
