"""Make sure that names of files and what is printed may have any letter."""

import sys

from chestxray.errors import UserError


def require_utf8() -> None:
    """Refuse a locale in which names of files are not UTF-8.

    Raises:
        UserError: it is one, such as `LC_ALL=C` with `PYTHONUTF8=0`.
    """
    encoding = sys.getfilesystemencoding()
    if encoding != "utf-8":
        raise UserError(f"the locale has the encoding {encoding}; utf-8 is needed: set LC_ALL=C.UTF-8 or PYTHONUTF8=1")
