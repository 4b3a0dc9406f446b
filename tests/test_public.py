"""The public surface: sorted, complete, loadable, and light."""

from __future__ import annotations

import subprocess
import sys

import motion_ray


def test_public_names_are_sorted_and_load():
    assert motion_ray.__all__ == sorted(motion_ray.__all__)
    for name in motion_ray.__all__:
        assert getattr(motion_ray, name).__doc__, f"{name} has no docstring"


def test_an_unknown_name_is_an_attribute_error():
    try:
        motion_ray.finetune  # noqa: B018
    except AttributeError as error:
        assert "finetune" in str(error)
    else:
        raise AssertionError("no error")


def test_importing_is_light_and_free_of_ray():
    code = (
        "import motion_ray, sys; "
        "heavy = {'torch', 'ray', 'deepspeed', 'diffusers'} & set(sys.modules); "
        "assert not heavy, heavy; motion_ray.customize; "
        "assert 'ray' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
