"""Importing the library changes nothing of the process; entry points alone may."""

import subprocess
import sys

from tests.repository import TOP

# Other packages change variables and filters when they are imported. So all is imported twice: in the second round,
# which begins with those of a fresh process, the modules of the library alone run again.
SCRIPT = """
import importlib, os, pkgutil, sys, warnings
import pydicom, PIL.PngImagePlugin, starlette.formparsers
import chestxray

def settings():
    return {
        "os.environ": dict(os.environ),
        "warnings.filters": list(warnings.filters),
        "pydicom's reading": pydicom.config.settings.reading_validation_mode,
        "pydicom's log": pydicom.config.logger.level,
        "MAX_TEXT_MEMORY": PIL.PngImagePlugin.MAX_TEXT_MEMORY,
        "spool_max_size": starlette.formparsers.MultiPartParser.spool_max_size,
    }

def import_all():
    names = ["chestxray", *(module.name for module in pkgutil.walk_packages(chestxray.__path__, "chestxray."))]
    for name in names:
        importlib.import_module(name)
    return names

fresh = settings()
names = import_all()
assert len(names) > 50, names
for name in names:
    del sys.modules[name]
os.environ.clear()
os.environ.update(fresh["os.environ"])
warnings.filters[:] = fresh["warnings.filters"]
import_all()
after = settings()
import serve.api  # which may set variables
after["spool_max_size"] = settings()["spool_max_size"]
for name, value in fresh.items():
    if name == "os.environ":  # whose values may be secrets
        print(*{changed for changed, _ in value.items() ^ after[name].items()}, end="")
    elif after[name] != value:
        print(f"{name}: {value} became {after[name]}")
"""


def test_no_module_changes_the_environment_or_the_settings_of_a_library() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=TOP, check=True, capture_output=True, text=True)
    assert done.stdout == ""
