"""What `import chunkup` offers, name by name."""

from importlib import import_module
from importlib.resources import files

import pytest

import chunkup

PUBLIC = [
    "AsyncRun",
    "AsyncUploader",
    "BadContent",
    "Busy",
    "ChunkupError",
    "Failed",
    "Interrupted",
    "JobInfo",
    "Limits",
    "Options",
    "OutcomeUnknown",
    "Refused",
    "RemoteFile",
    "Result",
    "Run",
    "SourceChanged",
    "Split",
    "Stopped",
    "Upload",
    "Uploader",
    "Verified",
    "resume",
    "upload",
]


def test_the_public_names_are_these() -> None:
    assert chunkup.__all__ == PUBLIC
    assert sorted(chunkup._HOMES) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_each_public_name_loads_from_its_home_and_is_explained(name: str) -> None:
    value = getattr(chunkup, name)
    assert value is getattr(import_module(chunkup._HOMES[name]), name)
    assert value.__module__ == chunkup._HOMES[name]
    assert value.__doc__


def test_public_names_show_before_they_are_loaded() -> None:
    assert set(PUBLIC) <= set(dir(chunkup))


def test_a_name_that_is_not_there_is_named_in_the_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Uplaoder'"):
        getattr(chunkup, "Uplaoder")  # noqa: B009  # a type checker would refuse the attribute


def test_type_checkers_are_told_that_the_package_is_typed() -> None:
    assert files("chunkup").joinpath("py.typed").is_file()


def test_the_version_is_a_version() -> None:
    assert len(chunkup.__version__.split(".")) == 3
