"""`chestxray check`: what a folder would be read as, without a pipeline and without changing anything."""

import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from chestxray.cli.main import main
from tests.nih_batch import noise, plain_batch, png
from tests.repository import TOP


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh clone, as far as the command sees one, and 8 images of 4 patients with columns of findings."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(TOP / "params.yaml", tmp_path)
    lines = ["file;patient;Pleural fluid;Mass;view"]
    for number in range(8):
        path = Path(f"mine/Bilder/{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(noise(number)))
        lines.append(f"{number}.PNG;{number // 2}.0;{number % 2};;{'LL' if number == 7 else 'PA'}")
    Path("mine/labels.csv").write_text("\n".join(lines))
    return tmp_path


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_says_what_it_reads_and_changes_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(here)
    assert main(["check", "mine", "--labels", "Pleural fluid=Effusion"]) == 0
    assert snapshot(here) == before
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "read as: a column a finding (labels.csv)"
    assert "  1× not frontal, such as labels.csv row 9: 7.PNG (LATERAL)" in lines
    assert "views     7 PA" in lines and "rejected  0" in lines
    counts = {words[0]: words[1:] for line in lines if (words := line.split())}
    assert counts["Effusion"] == ["3", "4", "0"] and counts["Mass"] == counts["Hernia"] == ["0", "0", "7"]
    assert counts["split"][1::2] == ["train,", "validation,", "test"]
    assert sum(map(int, counts["split"][::2])) == 7
    assert lines[-1] == "7 studies of 4 patients"


def test_the_findings_are_those_of_params_yaml(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    yaml, path = YAML(), Path("params.yaml")
    params = yaml.load(path)
    params["findings"] = {"Fluid": {"synonyms": ["pleural fluid"]}, "Mass": None}
    yaml.dump(params, path)
    assert main(["check", "mine"]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = [line.split() for line in lines[lines.index("findings  present  absent  unknown") + 1 :]]
    assert table[:2] == [["Fluid", "3", "4", "0"], ["Mass", "0", "0", "7"]] and table[2][0] == "rejected"


def test_what_is_rejected_is_counted_with_an_example(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine/Bilder/0.png").write_bytes(b"text")
    Path("mine/Bilder/stray.png").write_bytes(png(noise(50)))
    assert main(["check", "mine", "--labels", "Pleural fluid=Effusion"]) == 2
    said = capsys.readouterr()
    assert "  1× file without table row, such as Bilder/stray.png: stray.png" in said.out
    assert "  1× unreadable image, such as Bilder/0.png: 0.png" in said.out
    assert "2 of 8 entries of the batch can't be used, more than prepare.max_rejected (1.0%)" in said.err
    Path("mine/leave").write_text("0\nBilder/stray.png\n")
    assert main(["check", "mine", "--labels", "Pleural fluid=Effusion", "--exclude", "leave"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "6 studies of 4 patients"


def test_a_higher_limit_is_no_advice_where_most_is_rejected(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(6):
        Path(f"mine/Bilder/{number}.png").write_bytes(b"text")
    assert main(["check", "mine"]) == 2
    assert "raise prepare.max_rejected" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["nowhere"], "no such batch folder"),
        (["mine", "--table", "no.csv"], "the table: there is no mine/no.csv; name a file within mine"),
        (["mine", "--labels", "Pleural fluid"], "--labels: expected LABEL=FINDING"),
        (["mine", "--labels", "Pleural fluid=Fluid"], "'Pleural fluid' is said to be 'Fluid', which is no finding"),
        (["mine", "--patients", "a/b"], "--patients: must be a prefix of letters"),
        (["mine", "--exclude", "../x"], "there is no mine/../x; name a file within mine"),
    ],
)
def test_a_refusal_is_one_line_and_exit_2(
    here: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert main(["check", *options]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_nih_layout_and_an_image_a_patient(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain_batch(Path("nih"))
    assert main(["check", "nih", "--patients", "image"]) == 0
    out = capsys.readouterr().out
    assert "patients  not known: each image counts as a patient's only one" in out
    assert out.endswith("12 studies of 12 patients\n")


def test_a_folder_that_is_listed_is_read_as_its_entry_says(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    yaml, path = YAML(), Path("params.yaml")
    params = yaml.load(path)
    params["batches"]["mine"] = {"root": str(here / "mine"), "labels": {"Pleural fluid": "Effusion"}}
    yaml.dump(params, path)
    for options, count in (([], "3"), (["--labels", "Pleural fluid="], "0")):
        assert main(["check", "mine/", *options]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "listed as batches.mine in params.yaml"
        assert next(line.split() for line in lines if "Effusion" in line)[1] == count
