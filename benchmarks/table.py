"""Write results as a Markdown table and as JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, str]
"""A line of the table: column → cell."""


def markdown(rows: Sequence[Row]) -> str:
    """Return a Markdown table with the columns of the first row; a cell that a row lacks is empty."""
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns), *([row.get(column, "") for column in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def publish(name: str, heading: str, rows: Sequence[Row], record: Mapping[str, Any], out: Path | None) -> None:
    """Print heading and table, and write them to a folder if one is given, as `<name>.md` and `<name>.json`.

    Args:
        name: of the files.
        heading: what was measured, on what machine.
        rows: of the table.
        record: the figures behind the table, for the JSON file.
        out: the folder.
    """
    text = f"{heading}\n\n{markdown(rows)}\n"
    print(text)
    content = json.dumps({"heading": heading, "rows": rows, **record}, indent=2) + "\n"
    if out is None:
        print(content)
        return
    out.mkdir(parents=True, exist_ok=True)
    for suffix, written in (("md", text), ("json", content)):
        temporary = out / f".{name}.{suffix}"
        temporary.write_text(written, encoding="utf-8")
        temporary.replace(out / f"{name}.{suffix}")
