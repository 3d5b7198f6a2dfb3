"""Cells of text files: what is read, and how each fault is named."""

from __future__ import annotations

import numpy as np
import pytest

from emolib import text_cells


def test_columns_are_read_as_text_and_numbers_as_they_stand(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('b;a;list\n 1 ;NA;"[1, 2.5]"\n-2e3;;[3]\n')
    cells = text_cells.read_text(path, separator=";", columns=["a", "b", "list"])
    assert cells["a"].tolist() == ["NA", ""], "no text is taken for a missing value"
    np.testing.assert_array_equal(text_cells.number_columns(cells, path, ["b"]), [[1.0], [-2000.0]])
    np.testing.assert_array_equal(text_cells.number_list(cells["list"][0], path, 0, "list"), [1, 2.5])
    with pytest.raises(ValueError, match=r"a.csv, line 2, column a: 'NA' found, a finite number is allowed"):
        text_cells.number_columns(cells, path, ["b", "a"])


@pytest.mark.parametrize(
    "text", ["", "[]", "1", "[1, [2]]", '["a"]', "[Infinity]", "[1] + [2]", "{}", "[null]", "[" * 9999]
)
def test_what_is_no_list_of_numbers_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match="line 7, column c: .* a list of finite numbers is allowed"):
        text_cells.number_list(text, tmp_path / "a.csv", 5, "c")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x;y\n1;2\n", r"column\(s\) a missing; there are x, y"),
        ("a\n", "no rows"),
        ("a;b\n1;2;\n3;4;\n", "a.csv: .*match length of data"),
        ("a;b\n1;2;5\n3;4;5\n", "a.csv: .*match length of data"),
        ("", "a.csv"),
        ("a\n\xff\n", "a.csv"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, content, message):
    path = tmp_path / "a.csv"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match=message):
        text_cells.read_text(path, separator=";", columns=["a"])
    with pytest.raises(FileNotFoundError, match="b.csv"):
        text_cells.read_text(tmp_path / "b.csv", separator=";", columns=["a"])
