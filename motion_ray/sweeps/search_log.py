"""What searchers have suggested and what they were told, in the order in which it happened.

A searcher's next suggestion follows from its seed and from exactly this sequence. So the sequence
is the searcher's state: whoever plays it again has the same searcher, on any machine, and no
pickle of one is ever kept. It lies beside the trials of the record as ``search/000001.json``, ...;
one process extends it, and a killed one leaves an entry or none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from motion_ray.errors import LedgerError
from motion_ray.manifest import canonical_json
from motion_ray.sweeps.place import open_place
from motion_ray.sweeps.studies import Study

DAMAGED = "restore the file, or start the sweep in a new folder"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    study: str = Field(pattern=r"^[0-9a-f]{64}$")


class Asked(_Entry):
    """A searcher picked a trial.

    Attributes:
        study: identity of the search.
        number: 1, 2, ... within the search.
        trial: identity of the trial; a searcher may pick the same one again.
        settings: that were picked, dotted name to value.
    """

    kind: Literal["asked"] = "asked"
    number: int = Field(ge=1)
    trial: str = Field(pattern=r"^[0-9a-f]{64}$")
    settings: dict[str, Any]


class Told(_Entry):
    """A searcher was told what came of a trial.

    Attributes:
        study: identity of the search.
        number: of the suggestion.
        value: share of the loss on the motion that is left; what is lowest is best.
        yardstick: of the trial's losses.
        untrained: the loss that ``value`` is a share of; null if the trial had none.
    """

    kind: Literal["told"] = "told"
    number: int = Field(ge=1)
    value: float = Field(ge=0, le=1)
    yardstick: str
    untrained: float | None = None


class Declined(_Entry):
    """A searcher was asked and wanted to know more first; the asking may have changed it."""

    kind: Literal["declined"] = "declined"


Entry = Annotated[Asked | Told | Declined, Field(discriminator="kind")]
_READ: TypeAdapter[Asked | Told | Declined] = TypeAdapter(Entry)


@dataclass
class StudyRecord:
    """Where a search stands.

    Attributes:
        study: the search.
        asked: suggestions so far.
        told: number of a suggestion to what came of it.
        declined: it was asked in vain since it was last told something.
    """

    study: Study
    asked: list[Asked] = field(default_factory=list)
    told: dict[int, Told] = field(default_factory=dict)
    declined: bool = False

    def take(self, entry: Asked | Told | Declined) -> None:
        """One entry later.

        Raises:
            ValueError: it cannot follow.
        """
        match entry:
            case Asked(number=number):
                if number != len(self.asked) + 1:
                    raise ValueError(f"suggestion {number} follows number {len(self.asked)}")
                self.asked.append(entry)
            case Told(number=number):
                if number > len(self.asked) or number in self.told:
                    raise ValueError(f"there is no suggestion {number} that awaits a result")
                self.told[number] = entry
                self.declined = False
            case Declined():
                self.declined = True

    @property
    def unasked(self) -> int:
        """Suggestions that are still to come; none from a searcher that knows everything and still
        declines.
        """
        exhausted = self.declined and len(self.told) == len(self.asked)
        return 0 if exhausted else max(0, self.study.samples - len(self.asked))

    def scales(self) -> dict[str, float]:
        """Yardstick to the untrained loss that this search uses there: the first one it met."""
        scales: dict[str, float] = {}
        for told in self.told.values():
            if told.untrained is not None:
                scales.setdefault(told.yardstick, told.untrained)
        return scales


class SearchLog:
    """Reads and extends the sequence.

    Args:
        uri: folder of the sweep's record; a local path or an fsspec URI.
    """

    def __init__(self, uri: str | Path) -> None:
        self._uri, self._place = str(uri), open_place(uri)
        self._entries: list[Asked | Told | Declined] = []

    def entries(self) -> tuple[Asked | Told | Declined, ...]:
        """Everything so far, oldest first.

        Raises:
            LedgerError: it cannot be read, or is damaged.
        """
        while (data := self._place.read(self._path(len(self._entries) + 1))) is not None:
            try:
                self._entries.append(_READ.validate_json(data))
            except ValidationError as fault:
                where = f"{self._uri}/{self._path(len(self._entries) + 1)}"
                raise LedgerError(where, f"is damaged: {fault}", DAMAGED) from fault
        return tuple(self._entries)

    def append(self, entry: Asked | Told | Declined) -> None:
        """Write an entry durably.

        Raises:
            LedgerError: it cannot be written, or another process has extended the sequence.
        """
        data = canonical_json(entry.model_dump(mode="json")).encode()
        path = self._path(len(self._entries) + 1)
        if not self._place.create(path, data):
            rule = "another process searches in this record"
            raise LedgerError(f"{self._uri}/{path}", rule, "wait for it, or choose another --out")
        self._entries.append(entry)

    def records(self, studies: Iterable[Study]) -> dict[str, StudyRecord]:
        """Where each of these searches stands; those of other sweeps are left out.

        Raises:
            LedgerError: the sequence cannot be read, or is damaged.
        """
        records = {study.identity: StudyRecord(study) for study in studies}
        for number, entry in enumerate(self.entries(), 1):
            try:
                if entry.study in records:
                    records[entry.study].take(entry)
            except ValueError as fault:
                where = f"{self._uri}/{self._path(number)}"
                raise LedgerError(where, f"is damaged: {fault}", DAMAGED) from fault
        return records

    @staticmethod
    def _path(number: int) -> str:
        return f"search/{number:06d}.json"
