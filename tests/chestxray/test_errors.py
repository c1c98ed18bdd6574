"""Errors that are shown hide what is secret."""

import pytest

from chestxray.errors import UserError, masked, one_line

MASKED = {
    "no store at https://me:secret@host/path today": "no store at https://***@host/path today",
    "'postgresql://me:se/c@ret@host:5432/db'": "'postgresql://***@host:5432/db'",
    "https://host/blob?sig=secret&se=2026 failed": "https://host/blob?*** failed",
    "sqlite:////data/mlflow.db is locked": "sqlite:////data/mlflow.db is locked",
    "models:/chest-xray@champion is not there": "models:/chest-xray@champion is not there",
}


@pytest.mark.parametrize("text", MASKED)
def test_credentials_of_uris_are_masked(text: str) -> None:
    assert masked(text) == one_line(UserError(text)) == MASKED[text]


def test_credentials_of_a_known_uri_are_masked_wherever_they_stand() -> None:
    uri = "postgresql://me:se%40cret@host/db"
    assert masked("password 'se@cret' of me:se%40cret at host", uri) == "password '***' of *** at host"
