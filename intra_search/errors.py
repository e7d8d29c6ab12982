"""Errors that a user can correct. The command line prints such an error as one line and exits with code 2.

Any other exception is a bug of ours and keeps its traceback.
"""

import re

MOST_SHOWN = 400
"""Characters of a part of a message; the middle of a longer one is left out."""


def printable(text: str) -> str:
    """Text from files and other programs as a terminal may show it: whatever could steer it is escaped."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def shortened(text: str, most: int = MOST_SHOWN) -> str:
    """The text's beginning and end, with the number of characters left out between them, where it is longer."""
    if len(text) <= most:
        return text
    return f"{text[: most // 2]} … {len(text) - most:,} characters left out … {text[len(text) - most // 2 :]}"


def _shown(part: object) -> str:
    return shortened(printable(re.sub(r"\s+", " ", str(part))))


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
        where, rule, found, remedy = (_shown(part) for part in (self.where, self.rule, self.found, self.remedy))
        return " ".join(f"{where}: {rule}, found {found}; {remedy}".split())


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
