"""Writes the rows of rows.json as the Parquet files that the tests read, in the way the Hub has them.

python -m venv .venv && .venv/bin/pip install pyarrow && .venv/bin/python parquet.py

Every file is packed with Snappy, as `datasets` does it, except one with Zstandard.
"""

import json
import pathlib

import pyarrow
import pyarrow.parquet

FOLDER = pathlib.Path(__file__).parent
ROWS = json.loads((FOLDER / "rows.json").read_text())

for name, rows in ROWS.items():
    if "of its authors" not in name:
        table = pyarrow.Table.from_pylist(rows)
        packing = "zstd" if name == "boolq" else "snappy"
        pyarrow.parquet.write_table(table, FOLDER / f"{name}.parquet", compression=packing)
