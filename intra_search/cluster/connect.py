"""The Ray cluster of one driver: started on this machine, or joined by its address."""

import errno
import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

import ray

from intra_search.cluster.capacity import Cluster, capacity
from intra_search.cluster.interrupts import own_handlers
from intra_search.cluster.surroundings import rays_folder
from intra_search.config.resources import ResourcesSettings
from intra_search.errors import ClusterError, IntraSearchError

CONNECT_SECONDS = 10.0


@contextmanager
def connected(address: str | None, resources: ResourcesSettings) -> Iterator[Cluster]:
    """Connects to Ray for the time of the block; a cluster started here ends with it.

    Raises `ClusterError` when the address cannot be reached, or when a trial does not fit the cluster.
    """
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # our own table shows the trials
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Threads that spin while they wait for each other take the core from the one that works: on a shared machine of
    # two cores a step of the quickstart's teacher took 1.8 s spinning and 0.25 s sleeping (measured).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if ray.is_initialized():  # this driver is itself a task on the cluster
        yield _connected_capacity(resources)
        return
    if address is not None and ":" in address:
        check_listening(address)
    with _workers_folder() as folder, full_disk_in_one_line():
        try:
            with chdir(folder), own_handlers():
                _start(address, resources)
        except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
            remedy = "check the address, or leave --address out to use this machine"
            raise ClusterError(f"--address {address}", "must be a running Ray cluster", str(error), remedy) from None
        except Exception as error:
            if address is None and type(error) is Exception:  # what Ray raises where its processes do not come up
                remedy = f"see the logs below {rays_folder()[1]}/ray/session_latest/logs"
                raise ClusterError("this machine", "must let Ray start a cluster", str(error), remedy) from None
            raise
        try:
            yield _connected_capacity(resources)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, IntraSearchError):
                raise error.cause from None  # a task's own one-line error, without Ray's wrapping
            raise
        finally:
            ray.shutdown()


def _start(address: str | None, resources: ResourcesSettings) -> None:
    # The dashboard serves Ray Train's clean-up, which one-worker trials do not need; it costs seconds.
    dashboard = None if address else resources.workers > 1
    # Workers' decisions come with their reports; their raw output stays in Ray's own logs.
    ray.init(
        address=address or "local",  # None would follow RAY_ADDRESS
        logging_level=logging.ERROR,
        include_dashboard=dashboard,
        log_to_driver=False,
    )


@contextmanager
def full_disk_in_one_line() -> Iterator[None]:
    """Ray writes into its own folder as it goes, and raises a bare OSError there when the disk is full. The study's own
    files raise `StorageError`."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        name, folder = rays_folder()
        remedy = "free some, or set RAY_TMPDIR to a folder with more, and run again"
        raise ClusterError(f"{name or 'RAY_TMPDIR'} = {folder}", "needs space", "none left", remedy) from None


@contextmanager
def _workers_folder() -> Iterator[Path]:
    """The folder to start Ray from: its workers start there and import modules from there, before all others.

    It is empty, since the user may stand in a study of somebody else, with a `pyarrow.py` in it. Only a user who stands
    in the folder that this package is in runs it from there, and so do the workers.
    """
    here = Path.cwd()
    if here == Path(__file__).parents[2]:
        yield here
        return
    with tempfile.TemporaryDirectory(prefix="intra-search-workers-") as empty:
        yield Path(empty)


def check_listening(address: str) -> None:
    """Ray tries a dead address for minutes; one connection tells in seconds."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        remedy = "check the address, or leave --address out to use this machine"
        raise ClusterError(f"--address {address}", "must be a running Ray cluster", str(error), remedy) from None


def _connected_capacity(resources: ResourcesSettings) -> Cluster:
    return capacity([node["Resources"] for node in ray.nodes() if node["Alive"]], resources)
