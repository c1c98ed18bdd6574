"""What README.md and docs/ say is so: every command runs, every snippet, link and named file is there."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

import httpx2
import pytest
from _pytest.mark import ParameterSet
from ruamel.yaml import YAML

from chestxray.cli.main import COMMANDS
from chestxray.params import Params
from serve.problems import KINDS
from serve.settings import Settings
from tests.repository import TOP
from tests.stages.conftest import Clone, copy_trained, make_clone, trained  # noqa: F401 # fixtures

CLUSTER = "needs a cluster; tests/chestxray/test_ray.py and tests/serve/test_ray_app.py start one"
NOT_RUN = {
    "make test": "is the suite that this test is part of",
    "make nih": "downloads gigabytes; tests/chestxray/datasets/download/ runs it against a server of its own",
    "make nih IMAGES=all": "downloads 45 GB",
    "docker build -f serve/Dockerfile -t chest-xray .": "needs Docker; tests/serve/test_container.py does its steps",
    "docker run -p 8000:8000 chest-xray": "needs Docker; tests/serve/test_container.py does its steps",
    "docker build -f serve/Dockerfile.ui -t chest-xray-page .": "needs Docker",
    "pip install -r requirements.txt -e '.[ray]'": "changes the environment",
    "ray get-auth-token --generate > /dev/null": "writes into the home folder",
    "export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0": "is for what follows",
    "ray start --head --node-ip-address 10.0.0.1 --port 6379 --include-dashboard false": CLUSTER,
    "ray start --address 10.0.0.1:6379": CLUSTER,
    "RAY_ADDRESS=10.0.0.1:6379 dvc repro": CLUSTER,
    "RAY_ADDRESS=10.0.0.1:6379 chestxray predict /mnt/archive --output scores.parquet": CLUSTER,
    "AWS_ENDPOINT_URL=https://storage.example chestxray predict s3://archive/chest --output a.parquet": "is online",
    "pip install -r serve/requirements.txt 'ray[serve]==2.60.0'": "changes the environment",
    "ray start --head --include-dashboard false": CLUSTER,
    "serve run serve.ray_app:replicated replicas=2": CLUSTER,
}
"""Commands of the documents that this test does not run, and why."""

HEAVY = {
    "docs/evaluation.md": "experiments; tests/stages/test_pipeline.py has their small sibling",
    "docs/updates.md": "an update of the shipped batch; tests/stages/test_updates.py has its small sibling",
}
"""Documents whose commands take minutes: `make test-all` runs them."""

ELSEWHERE = {
    "docs/decisions/many-files.md": "a remote, and a clone without the batch: benchmarks/many_files.py",
    "docs/remotes.md": "a bucket and servers: test_s3.py, test_mlflow_server.py, test_raw_data.py in tests/stages/",
}
"""Documents whose commands need what is not at hand here, and where they are tried."""

SERVERS = {"serve": (8000, "/readyz"), "ui": (8501, "/_stcore/health"), "mlflow": (5000, "/health")}
"""Targets of make that run until they are stopped: their port, and an address that answers once they are ready."""

SECONDS = 180
DOCUMENTS = {str(path.relative_to(TOP)): path.read_text() for path in (TOP / "README.md", *TOP.glob("docs/**/*.md"))}
DOCUMENTS = dict(sorted(DOCUMENTS.items()))
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PACKAGES = [path.parent.name for path in TOP.glob("chestxray/*/__init__.py")]


def blocks(document: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return [text for found, text in FENCED.findall(DOCUMENTS[document]) if found == language]


def commands(document: str) -> list[str]:
    """What a reader types, without comments: in `console` what stands behind a dollar, in `sh` every line."""
    typed = [line[2:] for text in blocks(document, "console") for line in text.splitlines() if line.startswith("$ ")]
    typed += [line for text in blocks(document, "sh") for line in text.splitlines() if line]
    return [re.sub(r"\s+# .*", "", line) for line in typed]


def spans(document: str) -> list[str]:
    """The code that stands in the prose."""
    return re.findall(r"`([^`\n]+)`", FENCED.sub("", DOCUMENTS[document]))


def anchors(document: str) -> set[str]:
    """The names by which GitHub links to headings."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", DOCUMENTS[document]), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def table(document: str, first_column: str) -> list[list[str]]:
    """The rows of the table whose first column has that name, without backticks."""
    found = re.search(rf"^\| {first_column} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", DOCUMENTS[document], re.MULTILINE)
    assert found, f"{document} has no table of {first_column}"
    return [[cell.strip(" `") for cell in line.strip("|").split(" | ")] for line in found[1].splitlines()]


# What reading alone can prove.


@pytest.mark.parametrize("document", DOCUMENTS)
def test_blocks_say_what_they_are(document: str) -> None:
    for language, text in FENCED.findall(DOCUMENTS[document]):
        assert language in ("", "console", "sh", "python", "yaml", "mermaid"), language
        assert language == "console" or not re.search(r"^\$ ", text, re.MULTILINE), text


def test_no_exception_is_left_of_what_no_document_says() -> None:
    assert set(NOT_RUN) <= {command for document in DOCUMENTS for command in commands(document)}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", FENCED.sub("", DOCUMENTS[document])):
        target, _, anchor = link.partition("#")
        path = (TOP / document).parent.joinpath(target).resolve() if target else TOP / document
        assert path.exists(), link
        assert (
            not anchor or str(path.relative_to(TOP)) not in DOCUMENTS or anchor in anchors(str(path.relative_to(TOP)))
        )


@pytest.mark.parametrize("document", DOCUMENTS)
def test_code_that_is_named_is_there(document: str) -> None:
    targets = re.findall(r"^([a-z-]+):", (TOP / "Makefile").read_text(), re.MULTILINE)
    for span in spans(document):
        if target := re.match(r"make ([a-z-]+)", span):
            assert target[1] in targets, span
        if subcommand := re.match(r"chestxray ([a-z-]+)", span):
            assert subcommand[1] in COMMANDS, span
        if module := re.match(r"python -m (benchmarks|stages|chestxray)\.?(\w*)", span):
            assert (TOP / module[1] / f"{module[2] or '__main__'}.py").is_file(), span
        if re.fullmatch(r"(chestxray|stages|serve|tests|benchmarks|docs)/[\w./-]*|[\w/]+/\w+\.py", span):
            assert (TOP / span).exists() or (TOP / "chestxray" / span).exists(), span


def test_the_picture_shows_the_stages_in_their_order() -> None:
    (picture,) = blocks("README.md", "mermaid")
    drawn = set()
    for line in re.sub(r"\[.*?\]", "", picture).splitlines():
        names = re.findall(r"\w+", line) if "-->" in line else []
        drawn |= set(pairwise(names))
    assert reachable(drawn) == reachable(arrows())


def arrows() -> set[tuple[str, str]]:
    """Pairs of stages of dvc.yaml, the second of which reads what the first writes."""
    stages = read_yaml(TOP / "dvc.yaml")["stages"]
    written = {name: paths(stage, outputs(stage.get("do", stage))) for name, stage in stages.items()}
    read = {name: paths(stage, stage.get("do", stage)["deps"]) for name, stage in stages.items()}
    read["decode"] += written["phantom"]  # the folders of `batches`, where phantoms are listed
    return {
        (first, second)
        for first in stages
        for second in stages
        if first != second
        if any(f"{a}/".startswith(f"{b}/") or f"{b}/".startswith(f"{a}/") for a in written[first] for b in read[second])
    }


def paths(stage: dict[str, object], listed: list[str]) -> list[str]:
    """Of a stage for each of several items the paths of all of them, of one for each batch the folders of batches."""
    each = stage.get("foreach")
    items = each.items() if isinstance(each, dict) else [("${key}", "${item}")]
    texts = [path.replace("${key}", key).replace("${item}", item) for key, item in items for path in listed]
    return [re.sub(r"/\$.*", "", path) for path in texts]


def outputs(stage: dict[str, list[str | dict[str, object]]]) -> list[str]:
    listed = [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, [])]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in listed]


def reachable(pairs: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The pairs between which there is a way."""
    while more := {(a, d) for a, b in pairs for c, d in pairs if b == c} - pairs:
        pairs = pairs | more
    return pairs


def read_yaml(path_or_text: Path | str) -> dict:  # type: ignore[type-arg] # of whatever YAML holds
    return dict(YAML(typ="safe").load(path_or_text))


def test_stages_and_packages_are_listed_from_the_top() -> None:
    stages = [name for name, *_ in table("docs/architecture.md", "stage")]
    assert stages == list(read_yaml(TOP / "dvc.yaml")["stages"])
    contracts = tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [layer for layer in contracts[0]["layers"] if layer in PACKAGES]
    assert [name for name, *_ in table("docs/architecture.md", "package")] == layers


def test_settings_and_problems_are_those_of_the_service() -> None:
    rows = {name: default for name, default, *_ in table("docs/serving.md", "variable")}
    assert list(rows) == [name.upper() for name in Settings.model_fields]
    for name, field in Settings.model_fields.items():
        if name not in ("mlflow_tracking_uri", "heatmap_folder"):  # those hang on the machine
            assert rows[name.upper()] == ("none" if field.default in (None, ()) else str(field.default))
    problems = [(name, int(status)) for name, status, *_ in table("docs/serving.md", "type")]
    assert problems == [(name, kind.status) for name, kind in KINDS.items()]


def test_params_in_the_documents_are_valid() -> None:
    for document in DOCUMENTS:
        for text in blocks(document, "yaml"):
            Params.model_validate(read_yaml(TOP / "params.yaml") | read_yaml(text))


# What has to be done.


@pytest.fixture(scope="module")
def clone(copy_trained: Callable[[], Clone]) -> Clone:  # noqa: F811 # pytest hands the fixture in by its name
    """A clone after `make reproduce`, with this environment as its `.venv`, and a gate that lets the update pass."""
    clone = copy_trained()
    clone.turn(**{"register.gate": {"margin": 0.49, "finding_margin": 0.49}})
    environment = clone.top / ".venv"
    environment.mkdir()
    for path in Path(sys.prefix).iterdir():
        if not path.name.startswith("installed"):
            (environment / path.name).symlink_to(path)
    for name in ("installed", "installed-tests"):
        (environment / name).touch()
    clone.run("make", "reproduce")
    clone.commit("a model")
    return clone


@contextmanager
def running(clone: Clone, command: str, ports: dict[int, int]) -> Iterator[None]:
    """A server that a target of make starts, on free ports instead of those in `ports`, once it answers."""
    settings, _, target = command.partition("make ")
    port, path = SERVERS[target]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ports[port] = listener.getsockname()[1]
    recipe = moved(clone.run("make", "--dry-run", target).stdout, ports)
    with subprocess.Popen(
        ["env", *settings.split(), "bash", "-c", recipe],
        cwd=clone.top,
        env=clone.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as server:
        try:
            wait_for(f"http://127.0.0.1:{ports[port]}{path}", server)
            yield
        finally:
            os.killpg(server.pid, signal.SIGTERM)


def moved(text: str, ports: dict[int, int]) -> str:
    """A command with other ports."""
    for default, port in ports.items():
        text = re.sub(rf"\b{default}\b", str(port), text)
    return text


def wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + SECONDS
    while True:
        assert server.poll() is None and time.monotonic() < end, f"{url} does not answer"
        try:
            if httpx2.get(url).status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.1)


def walked() -> list[ParameterSet]:
    """The documents that have commands to run."""
    names = [name for name in DOCUMENTS if set(commands(name)) - set(NOT_RUN) and name not in ELSEWHERE]
    return [pytest.param(name, marks=[pytest.mark.heavy] if name in HEAVY else []) for name in names]


@pytest.mark.slow
@pytest.mark.parametrize("document", walked())
def test_every_command_works(document: str, clone: Clone) -> None:
    if shutil.which("curl") is None and "curl " in " ".join(commands(document)):
        pytest.skip("curl is not installed")
    ports: dict[int, int] = {}
    with ExitStack() as servers:
        for command in commands(document):
            if command in NOT_RUN:
                continue
            if command.rpartition("make ")[2] in SERVERS:
                servers.enter_context(running(clone, command, ports))
            else:
                clone.run("bash", "-c", moved(command, ports).replace("curl ", "curl --fail "))


@pytest.mark.slow
@pytest.mark.parametrize("snippet", [text for document in DOCUMENTS for text in blocks(document, "python")])
def test_every_snippet_works(snippet: str, clone: Clone) -> None:
    clone.run("python", "-c", snippet)


@pytest.mark.slow
def test_reports_are_where_the_documents_say(clone: Clone) -> None:
    named = {span for document in DOCUMENTS for span in spans(document) if re.fullmatch(r"reports/[\w./-]*", span)}
    assert named and not [name for name in named if not (clone.top / name).exists()]
