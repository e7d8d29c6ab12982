"""Which prediction belongs to which true lane: the maximum-similarity matching of CULane's official tool.

It is the primal-dual method of Kuhn and Munkres, with one deviation that is part of the metric: a pair counts as tight
when its slack is below 0.01. Of two matchings whose sums of IoU differ by less, either may be chosen, though a pair may
be above the threshold in only one of them. There an exact solver would not give the official counts.
"""

from collections.abc import Sequence
from itertools import product

TIGHT = 1e-2
Table = Sequence[Sequence[float]]


def match_lanes(similarity: Table) -> list[tuple[int, int]]:
    """Matched pairs (row, column) of a similarity table, sorted; NaN marks a pair that cannot be compared.

    The lanes of the shorter side are matched one after the other, each by depth-first search along tight pairs.
    """
    if not similarity or not similarity[0]:
        return []
    if len(similarity) > len(similarity[0]):
        return sorted((row, column) for column, row in _Matching(list(zip(*similarity, strict=True))).pairs())
    return sorted(_Matching(similarity).pairs())


class _Matching:
    """One run of the method on a table that is at least as wide as high."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.height, self.width = len(table), len(table[0])
        self.row_price = [max((value for value in row if value == value), default=-1e5) for row in table]
        self.column_price = [0.0] * self.width
        self.owner: list[int | None] = [None] * self.width
        self.seen_rows: set[int] = set()
        self.seen_columns: set[int] = set()

    def pairs(self) -> list[tuple[int, int]]:
        for row in range(self.height):
            while not self._place(row):
                if not self._lower_prices():
                    return self._owned()  # all other pairs are NaN: the tool does not look at later rows either
        return self._owned()

    def _owned(self) -> list[tuple[int, int]]:
        return [(row, column) for column, row in enumerate(self.owner) if row is not None]

    def _place(self, row: int) -> bool:
        self.seen_rows, self.seen_columns = set(), set()
        return self._search(row)

    def _slack(self, row: int, column: int) -> float:
        return self.row_price[row] + self.column_price[column] - self.table[row][column]

    def _search(self, row: int) -> bool:
        """Finds a column for the row, and moves earlier rows to other tight columns where needed."""
        self.seen_rows.add(row)
        for column in range(self.width):
            if column in self.seen_columns or not abs(self._slack(row, column)) < TIGHT:
                continue
            self.seen_columns.add(column)
            owner = self.owner[column]
            if owner is None or self._search(owner):
                self.owner[column] = row
                return True
        return False

    def _lower_prices(self) -> bool:
        """Makes one more pair tight; False when all other pairs are NaN."""
        unseen = [column for column in range(self.width) if column not in self.seen_columns]
        slacks = [self._slack(row, column) for row, column in product(self.seen_rows, unseen)]
        step = min((slack for slack in slacks if slack == slack), default=None)
        if step is None:
            return False
        for row in self.seen_rows:
            self.row_price[row] -= step
        for column in self.seen_columns:
            self.column_price[column] += step
        return True
