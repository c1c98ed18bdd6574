"""Find the repository, and the commit that is checked out where this process works."""

import os
import subprocess
from pathlib import Path


def repository() -> Path:
    """Return the top of the repository: where DVC says, else this folder if it is one, else where this code lies.

    Of an experiment that DVC runs in a temporary copy (`--queue`, `--temp`) this is the repository that was copied.
    """
    here = Path.cwd()
    top = here if (here / "dvc.yaml").is_file() else Path(__file__).parents[2]
    return Path(os.environ.get("DVC_ROOT", top))


def workspace() -> Path:
    """Return the folder whose code, params and data a stage works with: the repository, or DVC's temporary copy."""
    here, top = Path.cwd(), repository()
    return here if (top / ".dvc" / "tmp").resolve() in here.parents else top


def git_commit() -> str:
    """Return the commit that is checked out, with `+changes` where files differ from it; "unknown" outside git."""
    try:
        commit = _git("rev-parse", "HEAD")
        return f"{commit}+changes" if _git("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def committed(file: str) -> str:
    """Return the text of a file, named from the top of the repository, as it is committed; empty if there is none."""
    try:
        return _git("show", f"HEAD:./{file}")
    except (OSError, UnicodeDecodeError, subprocess.CalledProcessError):
        return ""


def changed(*paths: str) -> list[str]:
    """Return the files at or below some paths that are not as in the commit, those that git doesn't know included."""
    lines = _git("status", "--porcelain", "--no-renames", "--", *paths).splitlines()
    return [line.strip().partition(" ")[2].strip() for line in lines]


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=workspace(), check=True, capture_output=True, text=True)
    return done.stdout.strip()
