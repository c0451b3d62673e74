"""Configurations that are loaded with a bundle of no real network, and the mistakes that are told of them."""

from pathlib import Path

import pytest

from monitor.config import Settings
from monitor.config_loading import load_settings
from monitor.errors import ConfigError
from ssondo_stream.bundle import Label, StudentSpec, save_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    labels = (Label("Dog bark"), Label("Smoke alarm", threshold=0.6, off=0.4, early=0.8))
    save_bundle(folder, StudentSpec("tiny", labels, embedding_dim=4), b"not a network")
    return folder


@pytest.fixture
def load(bundle: Path, tmp_path: Path):
    def load(text: str = "", **environ: str) -> Settings:
        path = tmp_path / "monitor.toml"
        path.write_text(text, encoding="utf-8")
        return load_settings(path, {"SSONDO_MODEL__BUNDLE": str(bundle), **environ})

    return load


@pytest.fixture
def mistakes(load, tmp_path: Path):
    def mistakes(text: str = "", **environ: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(text, **environ)
        return str(caught.value).replace(f"{tmp_path}/", "").splitlines()

    return mistakes
