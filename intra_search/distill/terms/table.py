"""The table of terms."""

from intra_search.distill.term import Term
from intra_search.distill.terms.affinity import AffinityTerm
from intra_search.distill.terms.at import ATTerm
from intra_search.distill.terms.attention import AttentionTerm
from intra_search.distill.terms.cirkd import CIRKDTerm
from intra_search.distill.terms.cwd import CWDTerm
from intra_search.distill.terms.dist import DISTTerm
from intra_search.distill.terms.dks import DKSTerm
from intra_search.distill.terms.fitnet import FitNetTerm
from intra_search.distill.terms.fsp import FSPTerm
from intra_search.distill.terms.ifvd import IFVDTerm
from intra_search.distill.terms.irg import IRGTerm
from intra_search.distill.terms.kd import KDTerm
from intra_search.distill.terms.neighbour import NeighbourTerm
from intra_search.distill.terms.sad import SADTerm
from intra_search.distill.terms.skd import SKDTerm

TERMS: dict[str, type[Term]] = {
    "affinity": AffinityTerm,
    "attention": AttentionTerm,
    "kd": KDTerm,
    "cwd": CWDTerm,
    "at": ATTerm,
    "skd": SKDTerm,
    "fitnet": FitNetTerm,
    "ifvd": IFVDTerm,
    "cirkd": CIRKDTerm,
    "dist": DISTTerm,
    "fsp": FSPTerm,
    "irg": IRGTerm,
    "neighbour": NeighbourTerm,
    "sad": SADTerm,
    "dks": DKSTerm,
}
"""Every term, by the name of its settings in `DistillSettings`."""
