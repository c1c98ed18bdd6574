"""Look up paths by how they end, in a time that hardly grows with their number."""

import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

ENOUGH = 2
"""Paths of one name; more say no more."""


def key(name: str) -> str:
    """Return a name for comparison: case and the composition of letters make no difference."""
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name).casefold()


@dataclass(frozen=True)
class PathEnds:
    """Paths sorted by their parts from the last to the first, so that those with the same end stand together.

    Attributes:
        texts: the paths in a form, backwards, each part with a slash after it.
        paths: the same as they are.
    """

    texts: tuple[str, ...]
    paths: tuple[str, ...]

    @classmethod
    def of(cls, forms: Mapping[str, str]) -> "PathEnds":
        """Sort paths, each with its form, by the ends of the forms."""
        pairs = sorted((_backwards(form), path) for path, form in forms.items())
        return cls(tuple(text for text, _ in pairs), tuple(path for _, path in pairs))

    def ending(self, name: str, whole: bool = False) -> list[str]:
        """Return two at most of the paths that end in a name, or that are one from the first part on (`whole`)."""
        end = _backwards(name)
        first = bisect_left(self.texts, end)
        near = range(first, min(first + ENOUGH, len(self.texts)))
        return [self.paths[i] for i in near if (self.texts[i] == end if whole else self.texts[i].startswith(end))]


@dataclass(frozen=True)
class NamedPaths:
    """Paths in two forms.

    Attributes:
        written: as they are written.
        folded: by their key.
    """

    written: PathEnds
    folded: PathEnds

    @classmethod
    def of(cls, paths: Iterable[str], form: Callable[[str], str]) -> "NamedPaths":
        """Index paths, each in a form."""
        forms = {path: form(path) for path in paths}
        folded = {path: key(text) for path, text in forms.items()}
        return cls(PathEnds.of(forms), PathEnds.of(folded))

    def named(self, name: str) -> list[str]:
        """Return the path that ends in a name; two where several do and neither place nor case tells which."""
        found = self.folded.ending(key(name))
        if len(found) < ENOUGH:
            return found
        if exact := self.written.ending(name, whole=True):
            return exact
        other_case = self.folded.ending(key(name), whole=True)
        written = self.written.ending(name)
        if other_case and written:
            return [other_case[0], written[0]]
        return other_case or (written if len(written) == 1 else found)

    def whole(self, name: str) -> list[str]:
        """Return the path that is a name; as it is written, else in another case; two where it is not clear."""
        return self.written.ending(name, whole=True) or self.folded.ending(key(name), whole=True)


def _backwards(path: str) -> str:
    return "/".join(reversed(path.split("/"))) + "/"
