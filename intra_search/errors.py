"""Errors that a user can correct. The command line prints such an error as one line and exits with code 2.

Any other exception is a bug of ours and keeps its traceback.
"""

LONGEST_TEXT = 1000
"""Characters of a message in the terminal: a damaged file may hold a name of any length."""
KEPT_END = 300


def tamed(text: str) -> str:
    """Text from a file as it may be shown in a terminal: in one line, characters that would steer the terminal
    escaped, and a long one without its middle."""
    left_out = len(text) - LONGEST_TEXT
    if left_out > 0:
        start = LONGEST_TEXT - KEPT_END
        text = f"{text[:start]} […{left_out} characters left out…] {text[-KEPT_END:]}"
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line)


class IntraSearchError(Exception):
    """Says where something is wrong, which rule it breaks, what was found, and how to correct it.

    All four parts go to `super().__init__`, so that the error can be pickled between Ray's processes.
    """

    def __init__(self, where: str, rule: str, found: object, remedy: str) -> None:
        super().__init__(where, rule, found, remedy)
        self.where = where
        self.rule = rule
        self.found = found
        self.remedy = remedy

    def __str__(self) -> str:
        return tamed(f"{self.where}: {self.rule}, found {self.found}; {self.remedy}")


class SettingError(IntraSearchError):
    """A setting is unknown, of the wrong type, or breaks a rule."""


class SpaceError(IntraSearchError):
    """A search space cannot be searched."""


class SceneError(IntraSearchError):
    """A road scene, its labels or the split of scenes cannot be used."""


class StudyError(IntraSearchError):
    """A study on disk is in use by another driver, not a study, damaged, or of another version."""


class CheckpointError(IntraSearchError):
    """A checkpoint is missing, damaged, or belongs to another network."""


class KnowledgeError(IntraSearchError):
    """Stored knowledge is missing, truncated, or about another teacher, other scenes or other views."""


class ClusterError(IntraSearchError):
    """The Ray cluster cannot be reached, or a trial does not fit it."""


class StorageError(IntraSearchError):
    """A file cannot be written or read: no space, no permission, no such place."""


class MissingFileError(StorageError):
    """A file does not exist."""


class NotJSONError(StorageError):
    """A file that should hold JSON holds something else."""
