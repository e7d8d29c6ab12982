"""What the steps of a study leave behind, each a typed model in a file of its own; `StudyFolder` says which file."""

from typing import Any, Generic, Literal, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from intra_search.errors import StudyError
from intra_search.store.inside import InsidePath
from intra_search.store.ledger import HistoryRow
from intra_search.store.storage import Storage


class Artefact(BaseModel):
    """Base of all artefacts: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Baselines(Artefact):
    """The first objective on `val` for two networks that learned nothing; None where it has no value there."""

    background: float | None
    """Predicts class 0 everywhere."""
    untrained: float | None
    """The student of trial 0 with its initial weights."""


class Teacher(Artefact):
    """A study's trained teacher."""

    folder: InsidePath
    """Its home in the study."""
    checkpoint: InsidePath
    """Path of its checkpoint in the study."""
    score: float | None
    """The first objective on `val`; None when it has no value there."""


class TeacherRecord(Artefact):
    """How the study came by its teacher, and what it cost."""

    teacher: Teacher
    history: list[HistoryRow]
    """Empty for a teacher that was given."""
    device_seconds: float
    source: str | None = Field(
        default=None, validation_alias=AliasChoices("from", "source"), serialization_alias="from"
    )
    """Path or URI of a teacher that was given."""


class Comparison(Artefact):
    """The teacher beside the plain student, settled once."""

    teacher: float | None
    plain: float
    """The plain student's best value so far."""
    trial: int | None
    """The plain trial; None for a plain student trained for this comparison."""
    epochs: int
    """That the plain student was trained for by then."""
    better: bool
    """Whether the teacher was better."""


class PlainRecord(Artefact):
    """A plain student that was trained for the comparison only."""

    history: list[HistoryRow]
    device_seconds: float


class TwinRecord(PlainRecord):
    """The plain twin of a trial: the same settings and seed, trained without distillation."""

    trial: int


class KnowledgeSpending(Artefact):
    """What this study spent on stored knowledge, which other studies may share."""

    device_seconds: float


class KnowledgeChoice(Artefact):
    """The decision of `knowledge.mode = auto`."""

    mode: Literal["stored", "live"]
    why: str
    """Its reason in one line."""


class KnowledgeChoiceRecord(Artefact):
    """The decision, and the numbers behind it."""

    choice: KnowledgeChoice
    seconds_per_view: dict[str, float] | None = None
    amount: dict[str, float] | None = None
    """Scenes, views, trials and epochs of the whole search."""


Model = TypeVar("Model", bound=Artefact)


class ArtefactFile(Generic[Model]):
    """One artefact's file in a study."""

    def __init__(self, storage: Storage, path: str, model: type[Model]) -> None:
        self._storage = storage
        self._path = path
        self._model = model

    @property
    def exists(self) -> bool:
        return self._storage.exists(self._path)

    def find(self) -> Model | None:
        """The artefact; None when it is not made yet. Raises as `read` for a damaged file."""
        return self.read() if self.exists else None

    def read(self) -> Model:
        """The artefact. Raises `StorageError` when it is missing or no JSON, `StudyError` when it has another form."""
        try:
            return self._model.model_validate(self._storage.read_json(self._path))
        except ValidationError as error:
            first: Any = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            where, found = self._storage.full_path(self._path), f"{field}: {first['msg']}" if field else first["msg"]
            raise StudyError(where, "must be an artefact of this version", found, "restore the file") from None

    def write(self, artefact: Model) -> Model:
        """Stores the artefact in one step, and returns it."""
        self._storage.write_json(self._path, artefact.model_dump(mode="json", by_alias=True, exclude_unset=True))
        return artefact
