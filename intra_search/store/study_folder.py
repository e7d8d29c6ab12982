"""A study's own files beside the ledger: its settings and their changes, the generation, the artefacts of its steps."""

import functools
import tomllib
from collections.abc import Iterable
from typing import Any

import tomli_w

from intra_search.config.parsing import parse_settings
from intra_search.config.space import Point
from intra_search.config.student import NETWORK, family_of
from intra_search.config.study import StudySettings
from intra_search.config.traits import Trait, traits_of
from intra_search.config.upgrades import DEFAULTS_OF_2, base_network, is_older, moved, upgrade_point, upgrade_stored
from intra_search.errors import SettingError, StudyError
from intra_search.store.artefacts import (
    ArtefactFile,
    Baselines,
    Comparison,
    KnowledgeChoiceRecord,
    KnowledgeSpending,
    PlainRecord,
    TeacherRecord,
    TwinRecord,
)
from intra_search.store.ledger import Ledger, TrialRecord, now
from intra_search.store.lock import lock_owner
from intra_search.store.storage import Storage

STUDY_VERSION = 3
"""Version of a study's files. Older ones are upgraded when they are read; the next `begin` writes them upgraded."""

OTHER_RELEASE = "run it with the release that made it, or start a new study"

PLAIN_FOLDER = "plain"
"""Home of the plain student trained for the comparison only."""

TWINS = "twins"


def twin_folder(trial: int) -> str:
    """Home of a trial's plain twin."""
    return f"{TWINS}/{trial:05d}"


class StudyFolder:
    """The study at a URI. Opening it writes nothing; `begin` needs the study's lock."""

    def __init__(self, uri: str) -> None:
        self.storage = Storage(uri)
        self.ledger = Ledger(self.storage, self._upgraded_point)
        self.baselines = ArtefactFile(self.storage, "baselines.json", Baselines)
        self.plain_student = ArtefactFile(self.storage, f"{PLAIN_FOLDER}/record.json", PlainRecord)
        self.knowledge_spending = ArtefactFile(self.storage, "knowledge.json", KnowledgeSpending)
        self.knowledge_choice = ArtefactFile(self.storage, "knowledge_mode.json", KnowledgeChoiceRecord)

    def teacher(self, home: str) -> ArtefactFile[TeacherRecord]:
        """The teacher whose home is this folder of the study."""
        return ArtefactFile(self.storage, f"{home}/record.json", TeacherRecord)

    def comparison(self, home: str) -> ArtefactFile[Comparison]:
        """That teacher beside the plain student."""
        return ArtefactFile(self.storage, f"{home}/comparison.json", Comparison)

    def twin(self, trial: int) -> ArtefactFile[TwinRecord]:
        """The plain twin of a trial."""
        return ArtefactFile(self.storage, f"{twin_folder(trial)}/record.json", TwinRecord)

    @property
    def teacher_homes(self) -> list[str]:
        """Homes of the study's teachers; more than one where settings of an unfinished study were changed."""
        return [f"teacher/{name}" for name in self.storage.names("teacher")]

    def nested(self, name: str) -> "StudyFolder":
        """A whole study of its own inside this one, with its own ledger, generations and lock."""
        return StudyFolder(self.storage.full_path(name))

    def device_seconds(self, records: Iterable[TrialRecord]) -> dict[str, float]:
        """Device seconds spent so far, by purpose; the plain student of the comparison counts as the teacher's,
        plain twins as trials.

        `records` are those of all trials.
        """
        teachers = [record for home in self.teacher_homes if (record := self.teacher(home).find())]
        plain, knowledge = self.plain_student.find(), self.knowledge_spending.find()
        stored = [self.twin(int(name)) for name in self.storage.names(TWINS) if name.isdigit()]
        twins = [file.read() for file in stored if file.exists]
        spent = {
            "teacher": sum(record.device_seconds for record in teachers) + (plain.device_seconds if plain else 0.0),
            "knowledge": knowledge.device_seconds if knowledge else 0.0,
            "trials": sum(one.device_seconds for one in records) + sum(twin.device_seconds for twin in twins),
        }
        return {purpose: round(float(seconds), 3) for purpose, seconds in spent.items()}

    @property
    def exists(self) -> bool:
        return self.storage.exists("study.toml")

    def stored(self) -> dict[str, Any]:
        """The stored study.toml in today's form: settings, space, points, and under "study" the file's own
        version, data set and changes."""
        tree = self._stored()
        return tree if tree["study"]["version"] == STUDY_VERSION else upgrade_stored(tree)

    def _stored(self) -> dict[str, Any]:
        where = self.storage.full_path("study.toml")
        if not self.exists:
            if (owner := lock_owner(self.storage)) is not None:
                found = f"a driver (pid {owner.get('pid')}) that has just begun"
                raise StudyError(where, "must be written first", found, "try again in a moment")
            remedy = "check the path, start one with `run`, or wait: a run checks its scenes before it writes"
            raise StudyError(where, "must exist", "no study there", remedy)
        try:
            tree = tomllib.loads(self.storage.read_bytes("study.toml").decode())
            about, _ = dict(tree["study"]), dict(tree["settings"])
            version, _, _ = about["version"], about["scenes"], about["changes"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            found = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise StudyError(where, "must be a study's settings", found, "restore the file") from None
        if version not in range(1, STUDY_VERSION + 1):
            raise StudyError(where, f"must be of version 1 to {STUDY_VERSION}", f"version {version}", OTHER_RELEASE)
        return tree

    @property
    def settings(self) -> StudySettings:
        """The stored study's settings, with the default of every one that came after it had been stored."""
        return self._parsed(self.stored())

    @property
    def defaults(self) -> dict[str, Any]:
        """Paths and values that count where this study's file says nothing, as far as today's defaults differ: those of
        the release that began the study."""
        return DEFAULTS_OF_2 if self._defaults_version < STUDY_VERSION else {}

    @property
    def _defaults_version(self) -> int:
        if not self.exists:
            return STUDY_VERSION
        about = self._stored()["study"]
        return int(about.get("defaults", about["version"]))

    def _parsed(self, stored: dict[str, Any]) -> StudySettings:
        try:
            return parse_settings(stored["settings"], self.storage.full_path("study.toml"))
        except SettingError as error:
            raise StudyError(error.where, error.rule, error.found, OTHER_RELEASE) from None

    def check(self, settings: dict[str, Any], fingerprint: str) -> None:
        """Refuses settings that would make a stored study's trials incomparable, before anything is written."""
        if not self.exists:
            if self.storage.names("trials"):
                where = self.storage.full_path()
                raise StudyError(
                    where, "must be empty or a study", "trials without study.toml", "choose another folder"
                )
            return
        stored = self.stored()
        where = self.storage.full_path()
        for path, (old, new) in self._changes(stored, settings).items():
            if Trait.CHANGEABLE not in traits_of(StudySettings, path) and not self._is_unused(path):
                found = f"{path} = {new!r} instead of {old!r}"
                remedy = f"set {path} back, or start a new study for it"
                raise StudyError(where, "must keep the settings of its trials", found, remedy)
        if stored["study"]["scenes"] != fingerprint:
            found = f"data set {fingerprint[:12]} instead of {stored['study']['scenes'][:12]}"
            raise StudyError(where, "must keep the scenes of its trials", found, "start a new study for other data")

    def begin(self, settings: dict[str, Any], space: dict[str, Any], fingerprint: str) -> int:
        """Stores the settings, records what changed since the last start, and returns the new generation number.

        `space` holds the tables `space` and `points` of the study file.
        """
        generation = self.generation + 1
        settings = without_none(settings)
        changes: list[dict[str, Any]] = []
        if self.exists:
            stored = self.stored()
            changed = self._changes(stored, settings)
            if (version := stored["study"]["version"]) != STUDY_VERSION:
                self.ledger.upgrade()  # before study.toml, whose version says that all is done
                changed = {"study.version": (version, STUDY_VERSION), **moved(self._stored()["settings"]), **changed}
            changes = stored["study"]["changes"]
            changes += [
                {"time": now(), "path": path, "old": repr(a), "new": repr(b)} for path, (a, b) in changed.items()
            ]
        about = {"version": STUDY_VERSION, "defaults": self._defaults_version, "scenes": fingerprint}
        about["changes"] = changes
        tree = {"study": about, "settings": settings, **without_none(space)}
        self.storage.write_bytes("study.toml", tomli_w.dumps(tree).encode())
        self.storage.write_bytes("generation", f"{generation}\n".encode())
        return generation

    def _changes(self, stored: dict[str, Any], settings: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Paths of these settings that differ from the stored ones, with both values."""
        return differences(without_none(self._parsed(stored).model_dump(mode="json")), without_none(settings))

    def _is_unused(self, path: str) -> bool:
        """Whether a setting belongs to a family of students of which the study has none."""
        family = family_of(path)
        if family in (None, self._base_network):
            return False
        return all(record.point.get(NETWORK, self._base_network) != family for record in self.ledger.records())

    def _upgraded_point(self, point: Point) -> Point:
        return upgrade_point(point, self._base_network) if is_older(point) else point

    @functools.cached_property
    def _base_network(self) -> str:
        """Cached: it never changes, and each older record needs it."""
        return base_network(self._stored()["settings"])

    @property
    def generation(self) -> int:
        """Number of the newest driver start; 0 before the first."""
        if not self.storage.exists("generation"):
            return 0
        text = self.storage.read_bytes("generation").strip()
        if not text.isdigit():
            where, remedy = self.storage.full_path("generation"), "write the highest gen- number below trials/ into it"
            raise StudyError(where, "must hold a whole number", repr(text.decode(errors="replace")), remedy)
        return int(text)


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted paths whose values differ, with both values (None where a side has none)."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found.update(differences(a, b, f"{prefix}{key}."))
        elif a != b:
            found[f"{prefix}{key}"] = (a, b)
    return found


def without_none(tree: Any) -> Any:
    """A copy without None values, which TOML cannot hold; their absence means the same."""
    if isinstance(tree, dict):
        return {key: without_none(value) for key, value in tree.items() if value is not None}
    if isinstance(tree, list | tuple):
        return [without_none(value) for value in tree]
    return tree
