"""A list of splits that a person brings is read or refused in one line that says what is wrong."""

from pathlib import Path

import pytest

from bench.data.splits import keep_split_file, own_split
from bench.errors import UsageError

TEXT = "case,split\na,train\nb,validation\nc,test\n"
SPLITS = {"a": "train", "b": "validation", "c": "test"}
READ = {
    "as it is": TEXT.encode(),
    "from a spreadsheet": b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode(),
    "of an old Macintosh": TEXT.replace("\n", "\r").encode(),
    "with spaces and more columns": b"case,age,split,\n"
    + b"".join(f" {name} ,9, {split} ,\n".encode() for name, split in SPLITS.items()),
}
REFUSED = {
    "empty": (b"", "has the columns none"),
    "semicolons": (TEXT.replace(",", ";").encode(), "separated by commas"),
    "UTF-16": (TEXT.encode("utf-16"), "cannot read"),
    "a spreadsheet": (b"PK\x03\x04" + bytes(range(256)), "cannot read"),
    "an open quote": (b'case,split\n"a,train\n', "cannot be read as CSV"),
    "a book in a cell": (b"case,split\n" + b"x" * 200_000 + b",train\n", "cannot be read as CSV"),
    "a word that is no split": (TEXT.replace("test", "\x1b[31mtset").encode(), "'tset' of 'c' is none of train"),
    "two splits of one case": ((TEXT + "a,test\n").encode(), "a is in train and test"),
    "a line that was cut": (b"case,split\na\n", "'' of 'a' is none of train"),
}


@pytest.mark.parametrize("kind", READ)
def test_a_list_is_read_however_it_was_saved(kind: str, tmp_path: Path, data_folder: Path) -> None:
    (tmp_path / "list.csv").write_bytes(READ[kind])
    keep_split_file("toy", tmp_path / "list.csv")
    own = own_split("toy")
    assert own is not None
    assert own.entries == SPLITS


@pytest.mark.parametrize("kind", REFUSED)
def test_a_list_that_cannot_be_used_is_refused_where_it_comes_from_and_where_it_lies(
    kind: str, tmp_path: Path, data_folder: Path
) -> None:
    content, words = REFUSED[kind]
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(UsageError) as caught:
        keep_split_file("toy", tmp_path / "list.csv")
    assert words in str(caught.value)
    assert str(caught.value).isprintable()
    kept = data_folder / "toy" / "real" / "splits.csv"
    assert not kept.exists()
    kept.parent.mkdir(parents=True)
    kept.write_bytes(content)
    with pytest.raises(UsageError):
        own_split("toy")
