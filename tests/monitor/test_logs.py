"""The log, as people, the journal and programs read it."""

import io
import json
import logging
import os
import re
import socket
import warnings
from collections.abc import Iterator

import pytest

from monitor import logs
from monitor.config import LogSettings

log = logging.getLogger("monitor.mqtt")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level, {name: logging.getLogger(name).level for name in logs.QUIET}
    yield
    root.handlers[:], level, quiet = before
    root.setLevel(level)
    logging.captureWarnings(False)
    for name, level in quiet.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def test_text_line_has_time_level_logger_phrase_and_fields(stream: io.StringIO) -> None:
    logs.configure(LogSettings(), stream, {})
    log.info("connected", extra={"fields": {"host": "broker.local", "port": 1883}})
    line = stream.getvalue()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} INFO    monitor\.mqtt +connected host=broker\.local port=1883\n", line
    )


def test_phrases_of_all_levels_and_loggers_are_aligned(stream: io.StringIO) -> None:
    logs.configure(LogSettings(), stream, {})
    log.info("phrase")
    log.warning("phrase")
    logging.getLogger("monitor.source_task").error("phrase")
    assert len({line.index("phrase") for line in stream.getvalue().splitlines()}) == 1


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("yard", "yard"),
        ("two words", '"two words"'),
        ("", '""'),
        ("a=b", '"a=b"'),
        ("two\nlines", '"two\\nlines"'),
        ("\x1b[31m", '"\\u001b[31m"'),
        (0.123456789, "0.123457"),
        (None, "None"),
        ("größe", "größe"),
    ],
)
def test_field_is_one_word_or_quoted(stream: io.StringIO, value: object, shown: str) -> None:
    logs.configure(LogSettings(), stream, {})
    log.info("phrase", extra={"fields": {"field": value}})
    assert stream.getvalue().endswith(f"phrase field={shown}\n")


def test_message_cannot_forge_a_line(stream: io.StringIO) -> None:
    logs.configure(LogSettings(), stream, {})
    log.warning("strange\n2026-01-01 all is well")
    assert len(stream.getvalue().splitlines()) == 1


@pytest.mark.parametrize("style", ["text", "json"])
def test_traceback_is_shown(stream: io.StringIO, style: str) -> None:
    logs.configure(LogSettings.model_validate({"format": style}), stream, {})
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        log.exception("failed")
    assert "RuntimeError: broken" in stream.getvalue()


def test_json_line_is_one_object_with_the_fields(stream: io.StringIO) -> None:
    logs.configure(LogSettings(format="json"), stream, {})
    log.warning("source lost", extra={"fields": {"source": "yard", "level": 3, "path": os}})
    document = json.loads(stream.getvalue())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", document.pop("time"))
    assert document.pop("path") == str(os)
    assert document == {
        "level": "warning",
        "logger": "monitor.mqtt",
        "message": "source lost",
        "source": "yard",
        "level_": 3,
    }


def test_json_stays_on_one_line_with_a_traceback(stream: io.StringIO) -> None:
    logs.configure(LogSettings(format="json"), stream, {})
    try:
        raise RuntimeError("two\nlines")
    except RuntimeError:
        log.exception("failed")
    assert len(stream.getvalue().splitlines()) == 1


def test_journal_gets_priorities_instead_of_time() -> None:
    ours, journal = socket.socketpair()
    with ours, journal, ours.makefile("w", encoding="utf-8") as stream:
        stat = os.fstat(stream.fileno())
        logs.configure(LogSettings(level="debug"), stream, {"JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"})
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
            log.log(level, "phrase", extra={"fields": {"n": level}})
        lines = journal.recv(4096).decode().splitlines()
    assert [re.sub(" +", " ", line) for line in lines] == [
        "<7>monitor.mqtt phrase n=10",
        "<6>monitor.mqtt phrase n=20",
        "<4>monitor.mqtt phrase n=30",
        "<3>monitor.mqtt phrase n=40",
        "<3>monitor.mqtt phrase n=50",
    ]


def test_stream_other_than_the_journals_is_not_taken_for_it(stream: io.StringIO) -> None:
    assert not logs.is_journal(stream, {"JOURNAL_STREAM": "1:2"})
    with socket.socket() as other, other.makefile("w") as file:
        assert not logs.is_journal(file, {"JOURNAL_STREAM": "1:2"})
        assert not logs.is_journal(file, {})


def test_level_holds_and_libraries_are_quiet(stream: io.StringIO) -> None:
    logs.configure(LogSettings(level="info"), stream, {})
    log.debug("ours, too fine")
    logging.getLogger("amqtt.broker").info("theirs")
    logging.getLogger("aiohttp.access").info("theirs")
    assert stream.getvalue() == ""
    logging.getLogger("amqtt.broker").warning("theirs")
    assert "theirs" in stream.getvalue()


def test_configuring_twice_shows_each_line_once(stream: io.StringIO) -> None:
    logs.configure(LogSettings(), io.StringIO(), {})
    logs.configure(LogSettings(), stream, {})
    log.info("phrase")
    assert stream.getvalue().count("phrase") == 1


def test_warnings_of_python_go_to_the_log(stream: io.StringIO) -> None:
    logs.configure(LogSettings(), stream, {})
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old ways", stacklevel=1)
        logging.captureWarnings(False)
    assert "old ways" in stream.getvalue()
