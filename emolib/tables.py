"""A summary table and its values as a reader sees them: text, intervals with bars, names of columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

ABBREVIATIONS = {"auc", "ece", "f1", "nll", "sd", "uar"}


def present(table: pd.DataFrame, *, protocol: str | None, where: str) -> dict[str, Any]:
    """A summary table as the index shows it: columns, rows of cells, and whether there are intervals.

    A column ``x`` beside ``x_low`` and ``x_high`` (or ``value`` beside ``low`` and ``high``) becomes one column with an
    interval and a bar; ``p_...`` are p-values, ``difference...`` are signed. Without a column ``protocol`` the run's
    own `protocol` is added.

    Raises
    ------
    ValueError
        There are intervals but no protocol: a number is never shown without it.
    """
    table = table.reset_index(drop=isinstance(table.index, pd.RangeIndex))
    bounds = {c: names for c in table.columns if (names := _bounds(c, table.columns))}
    if "protocol" not in table.columns:
        if bounds and protocol is None:
            raise ValueError(f"{where}: summary has intervals but neither a column nor a parameter 'protocol'")
        if protocol is not None:
            table = table.assign(protocol=protocol)
    hidden = {name for names in bounds.values() for name in names}
    shown = [name for name in table.columns if name not in hidden]
    kinds = {name: _kind(name, table[name], bounds) for name in shown}
    cells = {
        name: _intervals(table, name, *bounds[name]) if name in bounds
        else [{"kind": kinds[name], "text": format_value(value, name)} for value in table[name]]
        for name in shown
    }  # fmt: skip
    return {
        "columns": [{"title": _title(str(name)), "kind": kinds[name]} for name in shown],
        "rows": [[cells[name][i] for name in shown] for i in range(len(table))],
        "has_interval": bool(bounds),
        "has_zero": any(cell.get("bar") and cell["bar"]["zero"] is not None for row in cells.values() for cell in row),
    }


def _title(name: str) -> str:
    """``p_value`` -> "p", ``p_holm`` -> "p (Holm)", ``frames_kept`` -> "Frames kept", ``uar`` -> "UAR"."""
    if name.startswith("p_"):
        return "p" if name == "p_value" else f"p ({name[2:].replace('_', ' ').replace('holm', 'Holm')})"
    words = " ".join(word.upper() if word in ABBREVIATIONS else word for word in name.split("_"))
    return words[:1].upper() + words[1:]


def _bounds(name: str, names: Iterable[str]) -> tuple[str, str] | None:
    pair = ("low", "high") if name == "value" else (f"{name}_low", f"{name}_high")
    return pair if set(pair) <= set(names) else None


def _kind(name: str, values: pd.Series, bounds: Mapping[str, Any]) -> str:
    if name in bounds:
        return "interval"
    if name == "variant":
        return "name"
    return "number" if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values) else "text"


def _intervals(table: pd.DataFrame, name: str, low: str, high: str) -> list[dict[str, Any]]:
    """Cells with text, bounds and a bar; positions are percent of the column's common scale."""
    columns = table[[name, low, high]].astype("float64")
    left, right = columns.min().min(), columns.max().max()
    signed = name.startswith("difference")
    if signed:
        left, right = min(left, 0.0), max(right, 0.0)
    width = (right - left) or 1.0

    def place(value: float) -> float:
        return round(2 + 96 * (value - left) / width, 2)

    cells = []
    for value, lower, upper in columns.itertuples(index=False):
        whole = all(map(math.isfinite, (value, lower, upper)))
        bar = {"low": place(lower), "high": place(upper), "value": place(value), "zero": place(0.0) if signed else None}
        cells.append(
            {
                "kind": "interval",
                "text": format_value(value, name),
                "low": format_value(lower, name),
                "high": format_value(upper, name),
                "bar": bar if whole else None,
            }
        )
    return cells


def format_value(value: Any, name: str = "") -> str:
    """A value as text: p-values (``p_...``) and shares with three decimals, differences signed, nothing as a dash."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return "yes" if value else "no"
    if isinstance(value, int) or pd.api.types.is_integer(value):
        return str(value) if name == "seed" else f"{int(value):,}"  # a seed is a name, no quantity
    if not pd.api.types.is_number(value):
        return str(value)
    value = float(value)
    if str(name).startswith("p_"):
        return "<0.001" if value < 0.001 else f"{value:.3f}"
    if str(name).startswith("difference"):
        return f"{value:+.3f}".replace("-", "−")
    places = ".3f" if abs(value) <= 1 else ".4g" if abs(value) < 1000 else ",.0f"
    return f"{value:{places}}".replace("-", "−")


def format_duration(seconds: float) -> str:
    """12.3 -> "12 s", 83 -> "1 min 23 s", 3700 -> "1 h 02 min"."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
