"""Teacher and students. The public names stand here; every network has a file of its own."""

from intra_search.networks.build import build_network
from intra_search.networks.output import NetworkOutput

__all__ = ["NetworkOutput", "build_network"]
