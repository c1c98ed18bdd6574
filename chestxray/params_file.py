"""Editing `params.yaml` line by line: what is not edited stays as it was, to the byte, comments included."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from chestxray.params import Params, ParamsError

PLAIN = re.compile(r"[A-Za-z_./][A-Za-z0-9_./-]*")


def edited(text: str, edits: Mapping[str, str]) -> str:
    """Applies edits to the text of `params.yaml`.

    Args:
        text: of the file.
        edits: dotted key → value: `batches.<name>` → root adds a batch as the last one; another key, of a section and
            a scalar that are there, gets the value as given.

    Raises:
        ParamsError: the text is not written in the way that can be edited, or the result is not valid.
    """
    for key, value in edits.items():
        section, name = key.split(".", 1)
        before = YAML().load(text)
        try:
            text = (
                _with_batch(text, before, name, value)
                if section == "batches"
                else _with_value(text, before[section], name, value)
            )
            after = YAML(typ="safe").load(text)
            expected = {"root": value} if section == "batches" else None if value == "null" else value
            right = after[section][name] == expected
        except Exception as error:  # the file's layout is a person's: there is no list of how it may surprise
            raise ParamsError(f"params.yaml: {key} can't be edited by machine ({error}): edit it by hand") from error
        if not right:
            raise ParamsError(f"params.yaml: {key} can't be edited by machine: edit it by hand, one key a line")
    Params.model_validate(YAML(typ="safe").load(text))
    return text


def replace_file(path: Path, text: str) -> None:
    """Writes a file beside `path` and renames it."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8", newline="")
    partial.replace(path)


def _with_batch(text: str, params: Any, name: str, root: str) -> str:
    lines = text.splitlines(keepends=True)
    batches = params["batches"]
    last = batches[list(batches)[-1]]
    end = max(last.lc.value(key)[0] for key in last)
    outer, inner = batches.lc.key(list(batches)[-1])[1], last.lc.key(next(iter(last)))[1]
    return "".join([*lines[: end + 1], f"{' ' * outer}{name}:\n{' ' * inner}root: {_shown(root)}\n", *lines[end + 1 :]])


def _with_value(text: str, section: Any, name: str, value: str) -> str:
    lines = text.splitlines(keepends=True)
    line = section.lc.key(name)[0]
    key, rest = lines[line].split(":", 1)
    given = re.match(r" *([^#\s]\S*)?", rest)  # nothing is null too
    after = rest[given.end() :] if given else rest
    lines[line] = f"{key}: {value}{' ' if after.startswith('#') else ''}{after}"
    return "".join(lines)


def _shown(value: str) -> str:
    """As YAML reads it back: plain where that is the same text, else quoted."""
    return (
        value
        if PLAIN.fullmatch(value) and YAML(typ="safe").load(value) == value
        else json.dumps(value, ensure_ascii=False)
    )
