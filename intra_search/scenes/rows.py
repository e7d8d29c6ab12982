"""Rows of a table, stored as columns."""

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar, overload

Row = TypeVar("Row", covariant=True)


class Rows(Sequence[Row], Generic[Row]):
    """A sequence of rows, each made from its cells when it is read.

    With 100,000 tuples the garbage collector would take a second, because it visits each of them many times; it does
    not visit the strings in a list."""

    def __init__(self, make: Callable[..., Row], *columns: Sequence[str]) -> None:
        """`columns` (at least one) have one length; `make` takes one cell of each and must be picklable."""
        self._make = make
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns[0])

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> "Rows[Row]": ...

    def __getitem__(self, index: int | slice) -> "Row | Rows[Row]":
        if isinstance(index, slice):
            return Rows(self._make, *(column[index] for column in self._columns))
        return self._make(*(column[index] for column in self._columns))

    def __iter__(self) -> Iterator[Row]:
        return map(self._make, *self._columns)

    def column(self, place: int) -> Sequence[str]:
        """All cells of one column."""
        return self._columns[place]
