"""A device's own data: reading files, checking them, keeping what arrives. Nothing here is sent.

`arrays` reads .npz files, `tabular` and `parquet` tables, `loading` whichever a device has.
`reservoir` keeps what arrives while the agent runs, `intake` is what the running agent asks.
"""

from gossamer_agent.data.arrays import (
    ARRAYS_BYTES_MAX,
    CLASSES_MAX,
    HOLDOUT_SHARE,
    LARGE_VALUE,
    ROWS_MIN,
    Columns,
    Floats,
    Labels,
    check_column,
    check_is_test,
    check_x,
    check_y,
    existing_file,
    read_columns,
    split_holdout,
)
from gossamer_agent.data.loading import DeviceData, load_device_data

__all__ = [
    "ARRAYS_BYTES_MAX",
    "CLASSES_MAX",
    "HOLDOUT_SHARE",
    "LARGE_VALUE",
    "ROWS_MIN",
    "Columns",
    "DeviceData",
    "Floats",
    "Labels",
    "check_column",
    "check_is_test",
    "check_x",
    "check_y",
    "existing_file",
    "load_device_data",
    "read_columns",
    "split_holdout",
]
