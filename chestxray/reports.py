"""Report files: small, readable, each whole or not at all."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the service reads reports of its own and has no use for pandas
    import pandas as pd

FLOAT_FORMAT = "%.6f"


def write_json(path: Path, value: Any) -> None:
    """Writes JSON with a stable order of keys.

    Raises:
        ValueError: a number is not finite, which JSON has no word for.
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def write_csv(path: Path, table: "pd.DataFrame") -> None:
    """Writes a table, floats with six decimals."""
    write_text(path, table.to_csv(index=False, float_format=FLOAT_FORMAT, lineterminator="\n"))


def write_parquet(path: Path, table: "pd.DataFrame") -> None:
    """Writes a table with its index, floats to the bit."""
    temporary = path.with_name(f".{path.name}")
    table.to_parquet(temporary)
    temporary.replace(path)


def read_json(path: Path) -> Any:
    """Reads what `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
