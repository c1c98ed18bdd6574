"""Name a registered model: `models:/<name>@<alias>` or `models:/<name>/<version>`."""

import re
from dataclasses import dataclass
from typing import Self

from chestxray.errors import UserError

SCHEME = "models:/"
PATTERN = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[1-9]\d*))", re.ASCII)


@dataclass(frozen=True)
class ModelURI:
    """Where MLflow's registry has a model; either alias or version is None.

    Attributes:
        name: of the registered model.
        alias: that one of its versions holds, such as "champion"; which one may change.
        version: its number, which never means another.

    Example:
        >>> ModelURI.parse("models:/chest-xray@champion").alias
        'champion'
        >>> str(ModelURI("chest-xray", version="3"))
        'models:/chest-xray/3'
    """

    name: str
    alias: str | None = None
    version: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URI.

        Raises:
            UserError: it is none.
        """
        match = PATTERN.fullmatch(text)
        if not match:
            raise UserError(f"{text!r} is neither models:/<name>@<alias> nor models:/<name>/<version>")
        return cls(match["name"], match["alias"], match["version"])

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        return f"{SCHEME}{self.name}" + (f"@{self.alias}" if self.alias else f"/{self.version}")
