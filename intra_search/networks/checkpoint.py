"""Checkpoints: the state of one training after an epoch, in folders that appear all at once."""

import io
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import nn

from intra_search.errors import CheckpointError
from intra_search.networks.build import NetworkRecipe
from intra_search.networks.existence import BRANCH, INNER
from intra_search.networks.shipped import checkpoint_storage
from intra_search.store.bundle import read_about, read_bundle, write_bundle
from intra_search.store.ledger import HistoryRow, checkpoint_epochs, checkpoint_name, generation_folders
from intra_search.store.storage import Storage

NETWORK_FILE = "network.pt"
TRAINING_FILE = "training.pt"


class Checkpoint(NamedTuple):
    """What a checkpoint folder holds."""

    network: dict[str, Any]
    """State dict of the network alone: enough for evaluation and for `init`."""
    training: dict[str, Any]
    """State dicts of student loss (under "objective", its name in older checkpoints) and optimizer."""
    about: dict[str, Any]
    """Network's name and options, classes, input size, history up to this epoch, settings, versions."""

    @property
    def history(self) -> list[HistoryRow]:
        return list(self.about["history"])


def save_checkpoint(storage: Storage, folder: str, epoch: int, checkpoint: Checkpoint) -> str:
    """Writes a checkpoint below `folder` and returns its path."""
    path = f"{folder}/{checkpoint_name(epoch)}"
    files = {NETWORK_FILE: _packed(checkpoint.network), TRAINING_FILE: _packed(checkpoint.training)}
    write_bundle(storage, path, files, {**checkpoint.about, "epoch": epoch, "torch": torch.__version__})
    return path


def load_checkpoint(storage: Storage, path: str) -> Checkpoint:
    """Reads and verifies a checkpoint. Raises `CheckpointError` when it is missing or damaged."""
    bundle = read_bundle(storage, path)
    where = storage.full_path(path)
    try:
        network = torch.load(io.BytesIO(bundle.files[NETWORK_FILE]), map_location="cpu", weights_only=True)
        packed = bundle.files.get(TRAINING_FILE)  # a shipped network has none
        training = torch.load(io.BytesIO(packed), map_location="cpu", weights_only=True) if packed is not None else {}
    except KeyError as error:
        raise CheckpointError(where, "must be a checkpoint of a training", f"no {error}", "check the path") from None
    return Checkpoint(network, training, bundle.about)


def load_newest(storage: Storage, folder: str, generation: int, note: Callable[[str], None]) -> Checkpoint | None:
    """The newest undamaged checkpoint of a training, up to a generation; `note` gets a line for each damaged newer one.

    A later generation's checkpoint counts as newer, whatever the epochs: workers of an earlier driver may still write.
    """
    for home in generation_folders(storage, folder, until=generation):
        for epoch in reversed(checkpoint_epochs(storage, home)):
            try:
                return load_checkpoint(storage, f"{home}/{checkpoint_name(epoch)}")
            except CheckpointError as error:
                note(f"falling back to an older checkpoint: {error}")
    return None


def save_network(storage: Storage, path: str, network: dict[str, Any], about: dict[str, Any]) -> None:
    """Writes a network alone, its weights in float16: half the bytes, for a checkpoint that others start from."""
    half = {name: value.half() if value.is_floating_point() else value for name, value in network.items()}
    write_bundle(storage, path, {NETWORK_FILE: _packed(half)}, {**about, "torch": torch.__version__})


def prune_checkpoints(storage: Storage, folder: str, keep_epochs: Iterable[int]) -> None:
    """Deletes checkpoints of other epochs below one folder."""
    for epoch in set(checkpoint_epochs(storage, folder)) - set(keep_epochs):
        storage.delete(f"{folder}/{checkpoint_name(epoch)}")


def initialise(network: nn.Module, uri: str, setting: str) -> list[str]:
    """Copies weights of a checkpoint into a network; returns the names of tensors left as they were.

    Tensors of another shape are left out: the classifier may have other classes (a start from drawn scenes). Either
    network may have an existence branch that the other lacks. Raises `CheckpointError` if fewer than half of the
    network's weights, without its branch, fit: then it is another network.
    """
    found = {_bare(name): value for name, value in load_checkpoint(checkpoint_storage(uri), "").network.items()}
    own = network.state_dict()
    fitting = {
        name: found[_bare(name)]
        for name, value in own.items()
        if _bare(name) in found and found[_bare(name)].shape == value.shape
    }
    # The branch is not counted: its hidden layer may have more weights than a small network.
    sizes = {name: value.numel() for name, value in own.items() if not name.startswith(BRANCH)}
    weights, total = sum(sizes.get(name, 0) for name in fitting), sum(sizes.values())
    if weights < total / 2:
        share = f"{weights / total:.0%} of the weights fit"
        raise CheckpointError(f"{setting} = {uri}", "must hold the same network", share, "use its own architecture")
    network.load_state_dict(fitting, strict=False)
    return sorted(set(own) - set(fitting))


def load_network(storage: Storage, path: str) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a checkpoint, in eval mode on the CPU, and the checkpoint's description."""
    checkpoint = load_checkpoint(storage, path)
    network = NetworkRecipe.of_json(checkpoint.about["network"]).build()
    try:
        network.load_state_dict(checkpoint.network)
    except RuntimeError as error:
        where = storage.full_path(path)
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(where, "must fit the network it names", reason, "use another checkpoint") from None
    return network.eval(), checkpoint.about


def read_checkpoint_about(storage: Storage, path: str) -> dict[str, Any]:
    """A checkpoint's description, without reading its weights."""
    return read_about(storage, path)


def _bare(name: str) -> str:
    """Name of a tensor without the prefix that a `LaneNetwork` adds."""
    return name.removeprefix(INNER)


def _packed(state: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()
