"""Tables appended to Parquet files of a moderate size: `Parts` writes one folder of them, row groups of some MB. Imports nothing of ours."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

FILE_BYTES = 512 << 20  # of Arrow: some 200 MB on disk, which the hub shows and streams well
GROUP_BYTES = 8 << 20


class Parts:
    """00000.parquet, 00001.parquet, ... of one schema; files are begun when there is something to write."""

    def __init__(self, folder: Path, schema: pa.Schema, name: str = "") -> None:
        """`name`: of the one file, where there is to be one only."""
        self.folder, self.schema, self.rows, self.files = folder, schema, 0, list[str]()
        self._name, self._waiting, self._waiting_bytes, self._file_bytes = name, list[pa.Table](), 0, 0
        self._writer: pq.ParquetWriter | None = None

    def add(self, table: pa.Table) -> None:
        if table.num_rows:
            self.rows += table.num_rows
            self._waiting.append(table.select(self.schema.names).cast(self.schema))
            self._waiting_bytes += table.nbytes
            if self._waiting_bytes >= GROUP_BYTES:
                self._flush()

    def close(self) -> None:
        """Write what waits. A single named file is there even without a row."""
        if self._waiting or (self._name and not self.files):
            self._flush()
        self._end()

    def _flush(self) -> None:
        if self._writer is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.files.append(self._name or f"{len(self.files):05d}.parquet")
            self._writer = pq.ParquetWriter(self.folder / self.files[-1], self.schema, compression="zstd", version="2.6")
        if self._waiting:
            whole = pa.concat_tables(self._waiting).combine_chunks()
            self._writer.write_table(whole, row_group_size=max(1, whole.num_rows))
            self._file_bytes += self._waiting_bytes
            self._waiting, self._waiting_bytes = [], 0
        if self._file_bytes >= FILE_BYTES and not self._name:
            self._end()

    def _end(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer, self._file_bytes = None, 0
