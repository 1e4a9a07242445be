"""Removals of a CSV upload, as spreadsheets write it: other separators, other encodings, capitalized headers, forms."""

import codecs
import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

from api_schemas.batches import CSV_COLUMNS
from api_schemas.edits import MAX_REMOVALS
from service.errors import MalformedCsv

MULTI_VALUE_COLUMNS = {"aliases", "titles", "preserve", "exclude"}
VALUE_SEPARATOR = "|"
NO_REPLACEMENT = "null"
"""The cell of a removal whose `replacement` is null. An empty cell leaves the default."""
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
MAX_SHOWN_COLUMNS, MAX_SHOWN_CHARACTERS = 20, 40
"""Columns, and characters of each, in an error message."""
BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
CHARSETS = {"utf-8", "utf-16", "utf-16-le", "utf-16-be", "iso8859-1", "cp1252", "ascii"}
_SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n?", re.IGNORECASE)


@dataclass(frozen=True)
class CsvUpload:
    """The bytes of a CSV file, its declared encoding if it has one, and the model that the form names, if it does."""

    content: bytes
    charset: str = ""
    model: str | None = None


def parse_form(content_type: str, content: bytes) -> CsvUpload:
    """Return the file of a multipart/form-data upload, and its field `model`. Raises `MalformedCsv`."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    parts = list(BytesParser(policy=HTTP).parsebytes(head + content).iter_parts())
    files = [
        part for part in parts if part.get_filename() or part.get_param("name", header="content-disposition") == "file"
    ]
    if len(files) != 1:
        raise MalformedCsv(
            f"The form has {len(files)} files.", remedy="Send one CSV file: curl -F file=@removals.csv …/v1/batches"
        )
    models = [part for part in parts if part.get_param("name", header="content-disposition") == "model"]
    model = _bytes_of(models[0]).decode(errors="replace").strip() if models else None
    return CsvUpload(_bytes_of(files[0]), files[0].get_content_charset(""), model)


def _bytes_of(part: Message) -> bytes:
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def parse_csv(content: bytes, charset: str = "") -> list[dict[str, Any]]:
    """Return the removals of a CSV file: a header of `CSV_COLUMNS` names and one removal a row.

    Cells are read as plain text: a spreadsheet formula is just a name.

    Args:
        charset: The declared encoding. Without it, and without a byte order mark, the file is read as UTF-8 or, if it is not
            UTF-8, as Windows-1252, which contains Latin-1.

    Raises:
        MalformedCsv: The upload is not valid CSV, has unknown columns or has too many rows.
    """
    text, separator = _split_separator_line(_decode(content, charset))
    separator = separator or _find_separator(text)
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        header = [name.strip().lower() for name in next(rows, [])]
        _check_header(header, separator)
        removals = []
        for number, row in enumerate((row for row in rows if any(cell.strip() for cell in row)), start=1):
            _check_row(header, row, number, separator)
            removals.append(_parse_cells(dict(zip(header, row, strict=True))))
    except csv.Error as error:
        raise MalformedCsv(f"The upload cannot be parsed: {error}.", remedy="Send RFC 4180 CSV.") from error
    return removals


def _decode(content: bytes, charset: str) -> str:
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            return _decode_as(content.removeprefix(mark), [encoding])
    return _decode_as(content, [_known_charset(charset)] if charset else ["utf-8", "cp1252"])


def _decode_as(content: bytes, encodings: Sequence[str]) -> str:
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise MalformedCsv(f"The upload is not text in {' or '.join(encodings)}.", remedy="Save it as UTF-8.")


def _known_charset(name: str) -> str:
    try:
        found = codecs.lookup(name).name
    except LookupError:
        found = ""
    if found not in CHARSETS:
        raise MalformedCsv(f"The charset {name} is not supported.", remedy="Save the file as UTF-8.")
    return found


def _split_separator_line(text: str) -> tuple[str, str]:
    """Return the text without Excel's first line `sep=;`, and the separator that it names."""
    named = _SEPARATOR_LINE.match(text)
    if named is None or named[1] in ('"', "\r", "\n"):
        return text, ""
    return text[named.end() :], named[1]


def _find_separator(text: str) -> str:
    """Return the separator that splits the first line into the most known columns; a comma if none splits it."""
    first = text[: text.find("\n") + 1 or len(text)]

    def count_columns(separator: str) -> int:
        return sum(name.strip().strip('"').lower() in CSV_COLUMNS for name in first.split(separator))

    return max(SEPARATORS, key=lambda one: (count_columns(one), first.count(one)))


def _check_header(header: Sequence[str], separator: str) -> None:
    unknown = [name for name in header if name not in CSV_COLUMNS]
    if "concept" in header and not unknown and len(set(header)) == len(header):
        return
    shown = ", ".join(f'"{name[:MAX_SHOWN_CHARACTERS]}"' for name in header[:MAX_SHOWN_COLUMNS])
    raise MalformedCsv(
        f"The first line must name the columns, each once, and include `concept`. Split at {_name_of(separator)}, it has "
        f"{shown or 'no columns'}{', …' if len(header) > MAX_SHOWN_COLUMNS else ''}.",
        remedy=f"Known columns: {', '.join(CSV_COLUMNS)}.",
    )


def _name_of(separator: str) -> str:
    return SEPARATORS.get(separator, f'"{separator}"')


def _check_row(header: Sequence[str], row: Sequence[str], number: int, separator: str) -> None:
    if number > MAX_REMOVALS:
        raise MalformedCsv(f"The upload has more than {MAX_REMOVALS} rows.", remedy="Split it into several batches.")
    if len(row) != len(header):
        raise MalformedCsv(
            f"Row {number}, split at {_name_of(separator)}, has {len(row)} cells, but the header has {len(header)}.",
            remedy=f"Quote cells that contain {_name_of(separator)}.",
        )


def _parse_cells(cells: Mapping[str, str]) -> dict[str, Any]:
    return {name: _parse_cell(name, cell.strip()) for name, cell in cells.items() if cell.strip()}


def _parse_cell(name: str, cell: str) -> str | list[str] | None:
    if name in MULTI_VALUE_COLUMNS:
        return [part.strip() for part in cell.split(VALUE_SEPARATOR)]
    return None if name == "replacement" and cell.lower() == NO_REPLACEMENT else cell
