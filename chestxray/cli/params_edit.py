"""Edit `params.yaml` for a person: what is not edited stays as it was, to the byte, comments included."""

import io
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.tokens import CommentToken

from chestxray.params import Params, ParamsError

NULLS = ("null", "")
"""How null may be written; `dvc exp run -S` rewrites the file and leaves its place empty."""
VALUE = 2
"""Where ruamel keeps the comment behind a value, among those of its key."""


def apply_edits(text: str, edits: Mapping[str, Any]) -> str:
    """Apply edits to the text of `params.yaml`.

    Args:
        text: of the file.
        edits: dotted key → value: `batches.<name>` → root adds a batch as the last one; another key, of a section and
            a value that are there, gets that value.

    Returns:
        The new text, which is valid.

    Raises:
        ParamsError: the text has a style that can't be kept, or has no such key.
        ValidationError: the result is not valid.
    """
    try:
        yaml, document = _loaded(text)
        for key, value in edits.items():
            section, name = key.split(".", 1)
            if section == "batches":
                _append(document["batches"], name, CommentedMap(root=value))
            else:
                document[section][name] = value
        result = _written(yaml, document)
        Params.model_validate(YAML(typ="safe").load(result))
    except (YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ParamsError(f"params.yaml can't be edited by a program ({error!r}): edit it by hand") from error
    return result


def _loaded(text: str) -> tuple[YAML, Any]:
    """Return a reader and writer that keeps the style of a text, and the document.

    Raises:
        ParamsError: there is none.
    """
    for null in NULLS:
        yaml = _round_trip(null)
        document = yaml.load(text)
        if _written(yaml, document) == text:
            return yaml, document
    raise ParamsError("params.yaml is written in a style that a program can't keep: edit it by hand")


def _round_trip(null: str) -> YAML:
    """Return a reader and writer that writes null as given."""

    class Representer(RoundTripRepresenter):
        """Of its own, since ruamel adds a representer to the class, for all of the process."""

    Representer.add_representer(type(None), lambda self, _: self.represent_scalar("tag:yaml.org,2002:null", null))
    yaml = YAML()
    yaml.Representer = Representer
    yaml.preserve_quotes = True
    yaml.width = 2**16
    return yaml


def _written(yaml: YAML, document: Any) -> str:
    stream = io.StringIO(newline="")
    yaml.dump(document, stream)
    return stream.getvalue()


def _append(section: CommentedMap, name: str, entry: CommentedMap) -> None:
    """Add an entry behind the last one, before the empty lines and comments that lead over to the next section."""
    last = section
    while isinstance(last, CommentedMap):
        owner = last
        key = list(owner)[-1]
        last = owner[key]
    section[name] = entry
    comment = owner.ca.items.get(key, [None] * 4)[VALUE]
    if comment is not None:
        own, _, rest = comment.value.partition("\n")
        comment.value = f"{own}\n"
        entry.ca.items[list(entry)[-1]] = [None, None, CommentToken(f"\n{rest}", comment.start_mark), None]
