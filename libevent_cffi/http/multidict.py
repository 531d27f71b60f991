"""Pairs of texts in order, where a name may come more than once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Optional

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Self

    from ..types import HeadersLike

__all__ = ["MultiDict"]


class MultiDict(MutableMapping[str, str]):
    """
    Pairs of texts in order, where a name may come more than once.

    ``m[name]`` is the first value of that name, and ``m[name] = value`` puts one value in the place of them
    all.  Iteration and len() are over distinct names, as a mapping's are; multi_items() gives every pair.
    Two are equal when they have the same pairs in the same order.

    *items* is a mapping or pairs; another MultiDict gives all its pairs.  Raises TypeError for what is not
    str.
    """

    __slots__ = ("__weakref__", "_index", "_pairs")

    #: Mutable, so no key of a dict.
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, items: HeadersLike = ()) -> None:
        #: Every pair, in order.
        self._pairs: list[tuple[str, str]] = []
        #: The values by what _key() makes of their name; None until somebody looks for one.
        self._index: Optional[dict[str, list[str]]] = None
        for name, value in _pairs_of(items):
            self.add(name, value)

    @classmethod
    def _from_pairs(cls, pairs: list[tuple[str, str]]) -> Self:
        """Make one of *pairs*, which it keeps, without checking them: they may be what a peer sent."""
        made = cls.__new__(cls)
        made._pairs = pairs
        made._index = None
        return made

    @staticmethod
    def _key(name: str) -> str:
        """Return what names that mean the same have in common."""
        return name

    @staticmethod
    def _check(name: str, value: str) -> None:
        """Raise for a pair that cannot stand here."""
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"names and values must be str, not {name!r}: {value!r}")

    def _by_key(self) -> dict[str, list[str]]:
        index = self._index
        if index is None:
            index = {}
            for name, value in self._pairs:
                index.setdefault(self._key(name), []).append(value)
            self._index = index
        return index

    # -- what only it can do ---------------------------------------------------------------------------------

    def add(self, name: str, value: str) -> None:
        """Put a pair at the end, beside those that have the same name.  Raises TypeError, ValueError."""
        self._check(name, value)
        self._pairs.append((name, value))
        if self._index is not None:
            self._index.setdefault(self._key(name), []).append(value)

    def get_list(self, name: str) -> list[str]:
        """Return every value of *name*, in order; an empty list when there is none.  Raises TypeError."""
        if not isinstance(name, str):
            raise TypeError(f"names are str, not {name!r}")
        return list(self._by_key().get(self._key(name), ()))

    def multi_items(self) -> list[tuple[str, str]]:
        """Return every pair, in order."""
        return list(self._pairs)

    def copy(self) -> Self:
        """Return another one with the same pairs."""
        return self._from_pairs(list(self._pairs))

    # -- as a mapping ----------------------------------------------------------------------------------------

    def __getitem__(self, name: str, /) -> str:
        values = self._by_key().get(self._key(name)) if isinstance(name, str) else None
        if values is None:
            raise KeyError(name)
        return values[0]

    def __setitem__(self, name: str, value: str, /) -> None:
        self._check(name, value)
        key = self._key(name)
        values = self._by_key().get(key)
        if values is None:
            self.add(name, value)
            return
        if len(values) == 1 and (name, values[0]) in self._pairs:
            self._pairs[self._pairs.index((name, values[0]))] = (name, value)
            values[0] = value
            return
        kept = []
        placed = False
        for pair in self._pairs:
            if self._key(pair[0]) != key:
                kept.append(pair)
            elif not placed:
                kept.append((name, value))
                placed = True
        self._pairs, self._index = kept, None

    def __delitem__(self, name: str, /) -> None:
        key = self._key(name) if isinstance(name, str) else None
        if key is None or key not in self._by_key():
            raise KeyError(name)
        values = self._by_key().pop(key)
        if len(values) == 1 and (name, values[0]) in self._pairs:  # which takes no Python for each pair
            self._pairs.remove((name, values[0]))
        else:
            self._pairs = [pair for pair in self._pairs if self._key(pair[0]) != key]

    def clear(self) -> None:
        """Remove every pair."""
        self._pairs, self._index = [], None

    def __contains__(self, name: object, /) -> bool:
        return isinstance(name, str) and self._key(name) in self._by_key()

    def __iter__(self) -> Iterator[str]:
        names: dict[str, str] = {}
        for name, _ in self._pairs:
            names.setdefault(self._key(name), name)
        return iter(names.values())

    def __len__(self) -> int:
        return len(self._by_key())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, MultiDict):
            return self._comparable() == other._comparable()
        if isinstance(other, Mapping):
            mine = {self._key(name): value for name, value in self._pairs}
            return len(mine) == len(self._pairs) and mine == {
                self._key(name) if isinstance(name, str) else name: value for name, value in other.items()
            }
        return NotImplemented

    def _comparable(self) -> list[tuple[str, str]]:
        return [(self._key(name), value) for name, value in self._pairs]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._pairs!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return self._from_pairs, (list(self._pairs),)


def _pairs_of(items: HeadersLike) -> Iterable[tuple[str, str]]:
    if isinstance(items, MultiDict):
        return items.multi_items()
    if isinstance(items, Mapping):
        return items.items()
    if isinstance(items, (str, bytes)):
        raise TypeError(f"a mapping or pairs of names and values, not {items!r}")
    return items
