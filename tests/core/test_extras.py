"""Where a package of an extra is missing, it is said what to install."""

from __future__ import annotations

import pytest

from llama_cloud_chat._extras import MissingExtraError, needing


@pytest.mark.parametrize(
    ("package", "extra"),
    [
        ("nh3", "notebook"),
        ("fastapi.routing", "local"),
        ("typer", "cli"),
        ("llama_index.core", "llama-index"),
        ("pyarrow", "parquet"),
        ("ray", "ray"),
    ],
)
def test_who_needs_it_and_what_to_install_is_one_sentence_each(package: str, extra: str) -> None:
    with pytest.raises(MissingExtraError) as caught, needing("Views need"):
        raise ModuleNotFoundError(name=package)
    assert caught.value.name == package
    assert str(caught.value) == (
        f"Views need {package}, which is not installed. Install it with: pip install 'llama-cloud-chat[{extra}]'"
    )


@pytest.mark.parametrize("package", ["numpy", "", None])
def test_what_no_extra_brings_is_left_as_it_is(package: str | None) -> None:
    with pytest.raises(ModuleNotFoundError) as caught, needing("Views need"):
        raise ModuleNotFoundError("as it was", name=package)
    assert str(caught.value) == "as it was"


def test_who_is_nearest_to_what_is_missing_says_it() -> None:
    with (
        pytest.raises(MissingExtraError, match="Views need nh3"),
        needing("This command needs"),
        needing("Views need"),
    ):
        raise ModuleNotFoundError(name="nh3")
