"""Predicts without a server: `python -m serve.predict FILE…` prints a line of JSON for each, as `/predict` answers."""

import argparse
import sys
import uuid
from pathlib import Path

from pydantic import ValidationError

from chestxray.analysis import analyse
from chestxray.prediction import Options
from chestxray.radiograph import RadiographError
from serve.predictor import Predictor
from serve.problems import problem_of
from serve.settings import Settings


def main(arguments: list[str]) -> int:
    """Returns 1 if a file could not be used, 2 if there is no model."""
    parser = argparse.ArgumentParser(prog="python -m serve.predict", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="PNG, JPEG or DICOM")
    parser.add_argument("--heatmaps", choices=("none", "inline", "raw"), default="none")
    parser.add_argument("--heatmaps-for", choices=("positive", "all"), default="positive")
    parser.add_argument("--threshold", type=float, help="instead of every operating point, 0–1")
    given = parser.parse_args(arguments)
    try:
        options = Options.model_validate(vars(given))
    except ValidationError as error:
        parser.error(str(error))
    settings, code = Settings(), 0
    predictor = Predictor(settings)
    predictor.refresh()
    if predictor.model is None:
        print(predictor.problem, file=sys.stderr)
        return 2
    for file in given.files:
        request_id = uuid.uuid4().hex
        try:
            answer = analyse(predictor.model, file.read_bytes(), options, None, settings.max_pixels, request_id)
            print(answer.model_dump_json())
        except RadiographError as error:
            print(problem_of(error).details(request_id).model_dump_json())
            code = 1
        except OSError as error:
            print(f"{file}: {error.strerror}", file=sys.stderr)
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
