"""The documents of deploy/: links, pictures, the reference of the settings, and the messages that they quote."""

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest
from pydantic import BaseModel

from deploy.reference import PAGE, page
from monitor.config import LabelSettings, Settings
from monitor.config_wording import _kinds
from tests import parts_messages
from tests.parts import PATIENCE
from tests.parts_docs import ROOT, anchors, blocks, files, links, prose

DOCUMENTS = [ROOT / name for name in files() if name.endswith(".md") and not name.startswith("ssondo_stream/")]
DEPLOYED = [path for path in DOCUMENTS if path.is_relative_to(ROOT / "deploy")]
TROUBLES = ROOT / "deploy" / "docs" / "troubleshooting.md"
MADE = "deploy/container/site"  # by a command, in a folder that git ignores


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_link_leads_somewhere(document: Path) -> None:
    wrong = [
        f"{name_of(document)}: {path}#{anchor}"
        for path, anchor in links(document)
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path))
    ]
    assert wrong == []


def test_every_document_of_deploy_can_be_reached() -> None:
    front = ROOT / "deploy" / "README.md"
    reached, found = {front}, [front]
    while found:
        new = {path.resolve() for path, _ in links(found.pop()) if path.suffix == ".md"} - reached
        reached |= new
        found += [path for path in new if path.exists()]
    assert [name_of(path) for path in DEPLOYED if path not in reached] == []


@pytest.mark.parametrize("document", DEPLOYED, ids=name_of)
def test_every_command_is_one_that_a_shell_understands(document: Path) -> None:
    for block in blocks(document):
        done = subprocess.run(
            ["bash", "-n"], input=block.text, capture_output=True, text=True, check=False, timeout=PATIENCE * 10
        )
        assert (done.returncode, done.stderr) == (0, ""), block.text


@pytest.mark.parametrize("document", DEPLOYED, ids=name_of)
def test_everything_that_a_command_names_is_there(document: Path) -> None:
    text = "\n".join(block.text for language in ("sh", "console") for block in blocks(document, language))
    paths = set(re.findall(r"(?<![\w/.])deploy/[\w./-]*\w", text))
    assert [path for path in paths if not path.startswith(MADE) and not (ROOT / path).exists()] == []
    modules = set(re.findall(r"python -m ([\w.]+)", text))
    assert [module for module in modules if importlib.util.find_spec(module) is None] == []


def test_everything_that_make_is_asked_for_is_there() -> None:
    offered = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    for document in DOCUMENTS:
        code = re.findall(r"```.*?```|`[^`\n]+`", document.read_text(encoding="utf-8"), re.S)
        asked = {name for text in code for name in re.findall(r"(?:^|\n|sudo |`|\$ )make ([a-z-]+)", text)}
        assert asked <= offered, name_of(document)


def test_pictures_are_small() -> None:
    pictures = [path for path in (ROOT / "deploy").rglob("*") if path.suffix in (".png", ".svg", ".jpg")]
    assert pictures
    assert [name_of(path) for path in pictures if path.stat().st_size > 300_000] == []


def test_reference_is_what_the_settings_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m deploy.reference"


def test_every_setting_is_described() -> None:
    models: list[type[BaseModel]] = [LabelSettings, *_kinds().values()]
    models += [type(section) for _, section in Settings() if isinstance(section, BaseModel)]
    for model in models:
        nameless = [key for key, field in model.model_fields.items() if not field.description and key != "kind"]
        assert nameless == [], model.__name__


# troubleshooting quotes the code


def quoted() -> set[str]:
    """The messages in the first columns of the tables of troubleshooting."""
    rows = re.findall(r"^\| (.*?) \|", prose(TROUBLES), re.M)
    return {text for row in rows for text in re.findall(r"`([^`]+)`", row)} - {"outage", "lost", "overrun"}


def test_every_message_that_is_quoted_exists() -> None:
    known = sorted(parts_messages.spoken())
    assert [text for text in quoted() if not any(sounds_like(text, message) for message in known)] == []


def test_every_trouble_and_warning_has_its_line() -> None:
    told = sorted(quoted())
    missing = parts_messages.troubles() | parts_messages.warnings()
    assert sorted(text for text in missing if not any(text.strip() in message for message in told)) == []


def sounds_like(text: str, message: str) -> bool:
    """Whether the code says a text, or begins or ends with what the text has beside its values."""
    if text in message:
        return True
    fixed = [part.strip(" ;:") for part in text.split(parts_messages.GAP)]
    return any(len(part) > 12 and part in message for part in fixed)
