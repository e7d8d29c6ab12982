"""Teacher and students: the public names. Every network has its own file."""

from intra_search.networks.build import build_network
from intra_search.networks.output import NetworkOutput

__all__ = ["NetworkOutput", "build_network"]
