"""Edit `params.yaml` for a person: what is not edited stays as it was, to the byte, comments included."""

import io
from collections.abc import Mapping
from difflib import SequenceMatcher
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.tokens import CommentToken

from chestxray.params import Params, ParamsError

VALUE = 2
"""Where ruamel keeps the comment behind a value, among those of its key."""
BYTE_ORDER_MARK = "\ufeff"


class _Representer(RoundTripRepresenter):
    """Of its own, since a representer is added to the class, for all of the process."""


_Representer.add_representer(type(None), lambda self, _: self.represent_scalar("tag:yaml.org,2002:null", "null"))


def apply_edits(text: str, edits: Mapping[str, Any]) -> str:
    """Apply edits to the text of `params.yaml`.

    ruamel writes the document with and without the edits; the lines that differ go into the text, whatever its style.

    Args:
        text: of the file.
        edits: dotted key → value: `batches.<name>` → entry adds a batch as the last one; another key, of a section and
            a value that are there, gets that value.

    Returns:
        The new text, which is valid.

    Raises:
        ParamsError: the text has a style into which the lines don't fit, has no such key, or that batch already.
        ValidationError: the result is not valid.
    """
    mark = BYTE_ORDER_MARK if text.startswith(BYTE_ORDER_MARK) else ""
    line_end = "\r\n" if "\r\n" in text else "\n"
    lines = text.removeprefix(mark).replace("\r\n", "\n").removesuffix("\n").split("\n")
    try:
        before, after = _written_lines(lines, edits)
        if len(before) != len(lines):
            raise ParamsError("params.yaml is written in a style that a program can't keep: edit it by hand")
        edited: list[str] = []
        for kind, first, last, new_first, new_last in SequenceMatcher(
            None, before, after, autojunk=False
        ).get_opcodes():
            edited += lines[first:last] if kind == "equal" else after[new_first:new_last]
        values = YAML(typ="safe").load("\n".join(edited))
        if values != YAML(typ="safe").load("\n".join(after)):
            raise ParamsError("params.yaml is written in a style that a program can't keep: edit it by hand")
    except (YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ParamsError(f"params.yaml can't be edited by a program ({error!r}): edit it by hand") from error
    Params.model_validate(values)
    return mark + line_end.join(edited) + (line_end if text.endswith("\n") else "")


def _written_lines(lines: list[str], edits: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the lines that ruamel writes for a document, without and with the edits."""
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.preserve_quotes = True
    yaml.width = 2**16
    yaml.explicit_start = lines[:1] == ["---"]
    document = yaml.load("\n".join([*lines, ""]))
    batches = document["batches"]
    yaml.indent(mapping=batches.lc.key(next(iter(batches)))[1] if batches.fa.flow_style() is not True else 2)
    before = _written(yaml, document)
    for key, value in edits.items():
        section, name = key.split(".", 1)
        if section == "batches":
            if name in batches:
                raise ParamsError(f"params.yaml has batches.{name} by now: choose another name")
            _append(batches, name, _entry(value))
        else:
            document[section][name] = value
    return before, _written(yaml, document)


def _written(yaml: YAML, document: Any) -> list[str]:
    stream = io.StringIO(newline="")
    yaml.dump(document, stream)
    return stream.getvalue().removesuffix("\n").split("\n")


def _append(section: CommentedMap, name: str, entry: CommentedMap) -> None:
    """Add an entry behind the last one, before the empty lines and comments that lead over to the next section."""
    owner, key = _last(section)
    section[name] = entry
    comment = owner.ca.items.get(key, [None] * 4)[VALUE]
    if comment is not None:
        own, _, rest = comment.value.partition("\n")
        comment.value = f"{own}\n"
        owner, key = _last(entry)
        owner.ca.items[key] = [None, None, CommentToken(f"\n{rest}", comment.start_mark), None]


def _last(section: CommentedMap) -> tuple[CommentedMap, Any]:
    """Return the mapping and the key of the last value of a section, however deep."""
    key = list(section)[-1]
    value = section[key]
    return _last(value) if isinstance(value, CommentedMap) else (section, key)


def _entry(values: Mapping[str, Any]) -> CommentedMap:
    """Return a mapping, and those within it, as ruamel keeps them."""
    return CommentedMap({key: _entry(value) if isinstance(value, Mapping) else value for key, value in values.items()})
