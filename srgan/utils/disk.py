"""Lists and dictionaries in private files of SQLite, so that those of a million images take no memory.

A file is in the folder of temporary files and disappears with its object, also after a kill. Values are JSON. A read returns a copy.
"""

import json
import operator
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

CACHE = 256  # KiB of memory for each file


def _database(table: str) -> sqlite3.Connection:
    database = sqlite3.connect("", isolation_level=None, check_same_thread=False)  # "" is a file without a name
    for statement in (f"PRAGMA cache_size = -{CACHE}", "PRAGMA journal_mode = OFF", table, "BEGIN"):  # one transaction, never undone
        database.execute(statement)
    return database


class DiskDict:
    """A dictionary with numbers or texts as keys."""

    def __init__(self) -> None:
        self._database = _database("CREATE TABLE items (key PRIMARY KEY, value TEXT) WITHOUT ROWID")

    def __setitem__(self, key: int | str, value: Any) -> None:
        self._database.execute("INSERT OR REPLACE INTO items VALUES (?, ?)", (key, json.dumps(value)))

    def get(self, key: int | str, default: Any = None) -> Any:
        """Return a value."""
        found = self._database.execute("SELECT value FROM items WHERE key = ?", (key,)).fetchone()
        return json.loads(found[0]) if found else default

    def __contains__(self, key: int | str) -> bool:
        return self._database.execute("SELECT 1 FROM items WHERE key = ?", (key,)).fetchone() is not None

    def setdefault(self, key: int | str, value: Any) -> Any:
        """Return the value of a key, after setting it if the key is new."""
        self._database.execute("INSERT OR IGNORE INTO items VALUES (?, ?)", (key, json.dumps(value)))
        return self.get(key)

    def values(self) -> Iterator[Any]:
        """Yield the values in the order of their keys."""
        for (value,) in self._database.execute("SELECT value FROM items ORDER BY key"):
            yield json.loads(value)


class DiskList(Sequence[Any]):
    """A list that grows at its end."""

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self._items, self._length = DiskDict(), 0
        self.extend(items)

    def append(self, item: Any) -> None:
        """Add an item."""
        self._items[self._length] = item
        self._length += 1

    def extend(self, items: Iterable[Any]) -> None:
        """Add some items."""
        for item in items:
            self.append(item)

    def __len__(self) -> int:
        return self._length

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(operator.eq, self, other))

    def __iter__(self) -> Iterator[Any]:
        return self._items.values()

    @overload
    def __getitem__(self, place: int) -> Any: ...
    @overload
    def __getitem__(self, place: slice) -> list[Any]: ...
    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(self._length))]
        if not -self._length <= place < self._length:
            raise IndexError(f"item {place} of {self._length}")
        return self._items.get(place % self._length)


def sorted_texts(texts: Iterable[str]) -> Iterator[str]:
    """Yield texts in the order of `sorted`."""
    database = _database("CREATE TABLE texts (text TEXT)")
    database.executemany("INSERT INTO texts VALUES (?)", ((text,) for text in texts))
    for (text,) in database.execute("SELECT text FROM texts ORDER BY text"):
        yield text
