"""What every object with a C side has in common: it is open until it is closed, and says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, Optional

from ..errors import ClosedError

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["Answering", "Resource"]


class Answering:
    """A request that a handler has to answer: when the handler fails, its protocol has an answer for that."""

    __slots__ = ()

    def _fail(self, error: BaseException) -> bool:
        """Answer it; return whether *error* has been dealt with, and the loop goes on."""
        raise NotImplementedError


class Resource:
    """
    Something that is open until it is closed: by close(), at the end of a ``with``, or with its owner.

    After that no callback of it runs, and every method but close() raises ClosedError.  It is equal to itself
    only, can be referred to weakly, and cannot be pickled or copied.
    """

    __slots__ = ("__weakref__",)

    @property
    def closed(self) -> bool:
        """Is it closed?"""
        raise NotImplementedError

    def close(self) -> None:
        """End it now; any number of times, from inside any callback too."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        """Return it; the end of the with block closes it.  Raises ClosedError."""
        self._check_open()
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        tb: Optional[TracebackType],
        /,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        words = (type(self).__name__, *self._describe(), *(["closed"] if self.closed else []))
        return f"<{' '.join(words)}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} cannot be pickled or copied: it stands for something in C")

    def _describe(self) -> list[str]:
        """Return the words that tell this one from others."""
        return []

    def _after_failure(self) -> None:
        """Do what remains after a callback of it that raised."""

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedError(f"{self!r}: it was closed, by you or with its owner, as .closed tells")
