"""Flatten nested params and metrics into the keys under which MLflow keeps them."""

from collections.abc import Mapping
from typing import Any

Nested = Mapping[str, Any]


def flatten(nested: Nested, joint: str = ".", prefix: str = "") -> dict[str, Any]:
    """Join nested keys: {"a": {"b": 1}} → {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, joint, f"{name}{joint}") if isinstance(value, Mapping) else {name: value}
    return flat
