"""The mirrors of a study. A new one is a file beside this one and a line here."""

from intra_search.study.mirrors.mirror import Mirror
from intra_search.study.mirrors.optuna_journal import OptunaMirror
from intra_search.study.mirrors.tensorboard import TensorBoardMirror

MIRRORS: tuple[type[Mirror], ...] = (TensorBoardMirror, OptunaMirror)
