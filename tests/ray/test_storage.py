"""Where Ray is told to write."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pyarrow.fs

from motion_ray.cluster.fitting import ray_storage


def test_a_folder_stays_a_folder(tmp_path: Path) -> None:
    assert ray_storage(f"{tmp_path}/.ray") == {"storage_path": f"{tmp_path}/.ray"}
    assert ray_storage(f"file://{tmp_path}/.ray") == {"storage_path": f"{tmp_path}/.ray"}


def test_an_address_goes_through_fsspec(tmp_path: Path) -> None:
    storage = ray_storage(f"memory:/{tmp_path}/.ray")
    filesystem, root = storage["storage_filesystem"], storage["storage_path"]
    assert isinstance(filesystem, pyarrow.fs.PyFileSystem)
    filesystem.create_dir(root)
    with filesystem.open_output_stream(f"{root}/marker") as stream:
        stream.write(b"here")
    assert fsspec.filesystem("memory").cat_file(f"{root}/marker") == b"here"
