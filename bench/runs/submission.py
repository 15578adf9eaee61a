"""What somebody says of a run that they send: submission.json in its folder, which goes with its archive."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.errors import BenchError, UsageError, describe_invalid
from bench.runs.folder import RunFolder
from bench.system.files import read_json, write_json
from bench.system.text import Line

FILE_NAME = "submission.json"
LONGEST = 300  # characters of one statement


class Submission(BaseModel):
    """Who sends a run, where its code is, and what they want to say of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    submitter: Annotated[Line, Field(min_length=1, max_length=LONGEST)]
    code: Annotated[Line, Field(max_length=LONGEST)] = ""  # address of a repository or paper
    note: Annotated[Line, Field(max_length=LONGEST)] = ""


def write_submission(folder: RunFolder, submitter: str, code: str, note: str) -> Submission:
    """Put what is said of a run into its folder and return it. Raises UsageError for what is empty or too long."""
    try:
        said = Submission(submitter=submitter, code=code, note=note)
    except ValidationError as error:
        raise UsageError(f"--{describe_invalid(error)}") from error
    write_json(folder.root / FILE_NAME, said.model_dump())
    return said


def read_submission(folder: RunFolder) -> Submission | None:
    """Return what is said of a run, None where nothing is. Raises BenchError for a damaged file."""
    path = folder.root / FILE_NAME
    if not path.exists():
        return None
    try:
        return Submission.model_validate(read_json(path))
    except ValidationError as error:
        raise BenchError(f"{path}, {describe_invalid(error)}") from error
