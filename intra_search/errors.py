"""Errors that a user can correct. The command line prints such an error as one line and exits with code 2.

Any other exception is a bug of ours and keeps its traceback.
"""


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
        text = f"{self.where}: {self.rule}, found {self.found}; {self.remedy}"
        return " ".join(text.split())


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
