import asyncio
import gc
import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monitor.backoff import Backoff
from monitor.clock import Clock, SystemClock
from monitor.config import MqttSettings
from monitor.errors import ConfigError, SinkRejected, SinkUnavailable
from monitor.events import Event
from monitor.mqtt import MqttSink, Publish
from monitor.mqtt_link import Message
from monitor.mqtt_parameters import parameters
from monitor.sinks import deliver
from monitor.spool import Spool
from tests.fakes import FakeClock
from tests.parts import free_port
from tests.parts_events import event
from tests.parts_mqtt import Authority, Inbox, Mosquitto, subscriber

EVENTS = "ssondo/pi1/yard/event"


def _settings(**settings: Any) -> MqttSettings:
    return MqttSettings(**{"host": "127.0.0.1", **settings})


def _sink(port: int, clock: Clock | None = None, **settings: Any) -> MqttSink:
    return MqttSink(_settings(port=port, **settings), "pi1", clock or SystemClock(), backoff=Backoff(0.02, 0.1))


@asynccontextmanager
async def _running(sink: MqttSink) -> AsyncIterator[MqttSink]:
    task = asyncio.create_task(sink.run())
    try:
        yield sink
    finally:
        await sink.close()
        async with asyncio.timeout(5):
            await task


@asynccontextmanager
async def _connected(port: int, **settings: Any) -> AsyncIterator[MqttSink]:
    async with _running(_sink(port, **settings)) as sink, asyncio.timeout(20):
        await sink.ready()
        yield sink


async def _detail(sink: MqttSink, seconds: float = 15.0) -> str:
    """Why the first attempt failed."""
    before = sink.detail
    async with _running(sink):
        await _until(lambda: sink.detail != before, seconds)
        return sink.detail or ""


async def _until(done: Callable[[], bool], seconds: float = 15.0) -> None:
    async with asyncio.timeout(seconds):
        while not done():  # noqa: ASYNC110  # what is waited for has no event to wait on
            await asyncio.sleep(0.01)


def _seqs(inbox: Inbox) -> list[int]:
    return [Event.from_json(body).seq or 0 for body in inbox.on(EVENTS)]


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with Mosquitto(tmp_path / "broker") as running:
        yield running


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), "another authority")


async def test_topics_qos_and_payloads_are_those_of_the_contract(broker: Mosquitto) -> None:
    made = event()
    async with subscriber(broker.port) as inbox:
        async with _connected(broker.port) as sink:
            sink.retain("yard/availability", "online")
            sink.retain("yard/label/dog_bark", "ON")
            sink.retain("status", json.dumps({"version": "0.1.0"}))
            sink.level("yard", -31.24, 52.06)
            await sink.send(made)
            assert (sink.published, sink.acked) == (1, 1)
        await inbox.see("ssondo/pi1/availability", b"offline")

    heard = {str(message.topic): (message.payload, message.qos) for message in inbox.messages}
    assert heard == {
        "ssondo/pi1/availability": (b"offline", 1),
        "ssondo/pi1/yard/availability": (b"online", 1),
        "ssondo/pi1/yard/label/dog_bark": (b"ON", 1),
        "ssondo/pi1/status": (b'{"version": "0.1.0"}', 1),
        "ssondo/pi1/yard/level": (b'{"dbfs": -31.2, "laeq_dba": 52.1}', 0),
        EVENTS: (made.to_json(), 1),
    }


async def test_states_are_retained_and_events_and_levels_are_not(broker: Mosquitto) -> None:
    async with _connected(broker.port) as sink:
        sink.retain("yard/availability", "online")
        sink.level("yard", -30.0, None)
        await sink.send(event())
    async with subscriber(broker.port) as inbox:
        await inbox.until(lambda inbox: len(inbox.messages) >= 2)
        assert {str(message.topic): message.payload for message in inbox.messages} == {
            "ssondo/pi1/availability": b"offline",
            "ssondo/pi1/yard/availability": b"online",
        }
        assert all(message.retain for message in inbox.messages)


async def test_on_connect_states_come_first_then_the_announcements_then_online(broker: Mosquitto) -> None:
    async def announce(publish: Publish) -> None:
        await publish(Message("homeassistant/device/pi1_yard/config", b"{}", retain=True))

    settings = MqttSettings(host="127.0.0.1", port=broker.port)
    sink = MqttSink(settings, "pi1", SystemClock(), on_connect=announce)
    for number in range(40):
        sink.retain(f"yard/label/sound_{number}", "OFF")
    async with subscriber(broker.port) as inbox, _running(sink):
        await inbox.see("ssondo/pi1/availability", b"online")

    topics = [str(message.topic) for message in inbox.messages[:42]]
    assert topics == [
        *(f"ssondo/pi1/yard/label/sound_{number}" for number in range(40)),
        "homeassistant/device/pi1_yard/config",
        "ssondo/pi1/availability",
    ]


async def test_unchanged_state_is_not_published_again_and_an_empty_one_is_cleared(broker: Mosquitto) -> None:
    async with subscriber(broker.port, "ssondo/pi1/yard/#") as inbox, _connected(broker.port) as sink:
        for payload in ("ON", "ON", "OFF", "OFF", ""):
            sink.retain("yard/label/siren", payload)
            sink.retain("yard/done", payload)
            await inbox.see("ssondo/pi1/yard/done", payload.encode())
    assert inbox.on("ssondo/pi1/yard/label/siren") == [b"ON", b"OFF", b""]
    async with subscriber(broker.port) as late:
        await late.see("ssondo/pi1/availability", b"offline")
        assert late.on("ssondo/pi1/yard/#") == []


async def test_levels_are_dropped_without_a_connection_and_the_latest_state_is_kept(broker: Mosquitto) -> None:
    sink = _sink(broker.port)
    sink.level("yard", -30.0, None)
    for payload in ("ON", "OFF", "ON"):
        sink.retain("yard/label/siren", payload)
    async with subscriber(broker.port) as inbox, _running(sink):
        await inbox.see("ssondo/pi1/availability", b"online")

    assert inbox.on("ssondo/pi1/yard/+/siren") == [b"ON"]
    assert inbox.on("ssondo/pi1/yard/level") == []


async def test_digital_silence_has_a_level_that_json_can_say(broker: Mosquitto) -> None:
    async with subscriber(broker.port) as inbox, _connected(broker.port) as sink:
        sink.level("yard", float("-inf"), float("-inf"))
        await inbox.see("ssondo/pi1/yard/level", b'{"dbfs": -200.0, "laeq_dba": -200.0}')


async def test_sending_without_a_connection_is_unavailable_and_says_why() -> None:
    with pytest.raises(SinkUnavailable, match="not connected"):
        await _sink(free_port()).send(event())


async def test_event_that_no_broker_takes_is_rejected(broker: Mosquitto) -> None:
    async with _connected(broker.port) as sink:
        with pytest.raises(SinkRejected, match="cannot be published"):
            await sink.send(replace(event(), source="a/#"))
        await sink.send(event())


async def test_broker_killed_while_events_flow_gets_all_of_them_in_order(broker: Mosquitto, tmp_path: Path) -> None:
    clock, wake = FakeClock(time.time()), asyncio.Event()
    spool = Spool(tmp_path / "spool.sqlite", clock=clock)
    sink = _sink(broker.port, clock)
    delivery = asyncio.create_task(deliver(spool, sink, clock, wake=wake))

    async def flow(count: int) -> None:
        for _ in range(count):
            spool.append(event().to_json())
            wake.set()
            await asyncio.sleep(0.001)

    async with _running(sink):
        # QoS 0: what the broker has acknowledged to us and still holds for a slow subscriber dies with it
        async with subscriber(broker.port, EVENTS, qos=0) as before:
            flowing = asyncio.create_task(flow(400))
            await before.until(lambda inbox: len(inbox.messages) >= 100)
            broker.kill()
            await _until(lambda: not sink.connected)
        await flowing
        await broker.start()
        async with subscriber(broker.port, EVENTS, qos=0) as after:
            while not sink.connected:
                await clock.advance(1)
                await asyncio.sleep(0.01)
            await clock.advance(60)
            await after.until(lambda inbox: b'"seq":400,' in b"".join(inbox.on(EVENTS)[-1:]))
    delivery.cancel()

    heard = list(dict.fromkeys(_seqs(before) + _seqs(after)))
    assert heard == list(range(1, 401))
    await _until(lambda: spool.depth == 0)


async def test_retained_states_are_right_again_within_5_s_of_a_broker_that_forgot_them(broker: Mosquitto) -> None:
    settings = MqttSettings(host="127.0.0.1", port=broker.port)
    async with _running(MqttSink(settings, "pi1", SystemClock())) as sink:
        await sink.ready()
        sink.retain("yard/label/siren", "ON")
        broker.kill()
        await _until(lambda: not sink.connected)
        sink.retain("yard/label/siren", "OFF")
        await broker.start()
        async with subscriber(broker.port) as inbox:
            await inbox.see("ssondo/pi1/availability", b"online", seconds=5)
            assert inbox.on("ssondo/pi1/yard/label/siren") == [b"OFF"]


async def test_half_open_link_is_noticed_by_a_missing_acknowledgement_and_renewed(
    broker: Mosquitto, tmp_path: Path
) -> None:
    clock, wake = SystemClock(), asyncio.Event()
    spool = Spool(tmp_path / "spool.sqlite", clock=clock)
    async with _connected(broker.port, timeout_seconds=0.5) as sink:
        delivery = asyncio.create_task(deliver(spool, sink, clock, wake=wake, backoff=Backoff(0.05, 0.1)))
        broker.freeze()
        spool.append(event().to_json())
        wake.set()
        await _until(lambda: not sink.connected, seconds=3)
        assert "acknowledged nothing for 0.5 s" in (sink.detail or "") or "does not answer" in (sink.detail or "")
        assert spool.depth == 1

        broker.thaw()
        await _until(lambda: spool.depth == 0)
        async with subscriber(broker.port) as inbox:
            await inbox.see("ssondo/pi1/availability", b"online")
        delivery.cancel()


async def test_half_open_link_is_noticed_without_any_event(broker: Mosquitto) -> None:
    async with _connected(broker.port, keepalive_seconds=5) as sink:
        broker.freeze()
        await _until(lambda: not sink.connected, seconds=14)
        broker.thaw()
        await _until(lambda: sink.connected)


async def test_broker_that_is_stopped_is_noticed_at_once_and_told_in_one_line(
    broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "monitor")
    async with _connected(broker.port) as sink:
        broker.stop()
        await _until(lambda: (sink.detail or "").startswith("nothing listens"), seconds=3)
        for _ in range(20):
            await asyncio.sleep(0.02)  # several attempts

    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert lines == [("INFO", "mqtt connected"), *[("WARNING", "mqtt unavailable, events wait in the spool")] * 2]


async def test_nothing_that_listens_is_told(tmp_path: Path) -> None:
    assert "nothing listens at 127.0.0.1" in await _detail(_sink(free_port()))


async def test_host_that_has_no_address_is_told() -> None:
    assert "'no.such.host.invalid' has no address" in await _detail(_sink(1883, host="no.such.host.invalid"))


async def test_host_that_can_be_no_name_is_told() -> None:
    assert "is no host name: check [mqtt] host" in await _detail(_sink(1883, host=f"{'a' * 70}.org"))


async def test_broker_that_does_not_answer_is_told(broker: Mosquitto) -> None:
    broker.freeze()

    assert "does not answer" in await _detail(_sink(broker.port, timeout_seconds=0.3))


@pytest.mark.parametrize(
    "login", [{}, {"username": "pi"}, {"username": "pi", "password": "wrong"}, {"username": "x", "password": "right"}]
)
async def test_refused_user_or_password_is_told(
    tmp_path: Path, login: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with Mosquitto(tmp_path, users={"pi": "right"}) as broker:
        detail = await _detail(_sink(broker.port, **login))

    assert "refuses user or password: check [mqtt] username and password" in detail
    assert "wrong" not in caplog.text + detail


async def test_password_file_is_read_at_each_connection(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("wrong\n")
    async with (
        Mosquitto(tmp_path / "broker", users={"pi": "right"}) as broker,
        _running(_sink(broker.port, username="pi", password_file=password)) as sink,
    ):
        await _until(lambda: "refuses" in (sink.detail or ""))
        password.write_text("right\n")
        await _until(lambda: sink.connected)


async def test_broker_that_allows_each_node_its_own_topics_suffices(tmp_path: Path) -> None:
    acl = "user pi\ntopic readwrite ssondo/pi1/#\nuser reader\ntopic read #\n"
    async with (
        Mosquitto(tmp_path, users={"pi": "p", "reader": "r"}, acl=acl) as broker,
        subscriber(broker.port, user="reader", password="r") as inbox,
        _connected(broker.port, username="pi", password="p") as sink,
    ):
        await sink.send(event())
        await inbox.see("ssondo/pi1/availability", b"online")
        await inbox.until(lambda inbox: len(inbox.on(EVENTS)) == 1)


async def test_tls_with_our_authority_and_a_client_certificate_connects(tmp_path: Path, authority: Authority) -> None:
    client = authority.issue("client")
    async with (
        Mosquitto(tmp_path, tls=authority.issue("server"), client_certificates=True) as broker,
        _connected(
            broker.port, tls=True, ca_file=authority.file, cert_file=client.certificate, key_file=client.key
        ) as sink,
    ):
        await sink.send(event())
        assert sink.acked == 1


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # the library leaves a failed handshake's socket to gc
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("system's authorities", "certificate that does not hold: self-signed certificate in certificate chain"),
        ("another authority", "check [mqtt] host, and ca_file, which names the authority to trust"),
        ("another name", "certificate is not valid for 'localhost'"),
        ("no TLS", "ended the connection at once: check [mqtt] port and tls"),
        ("no client certificate", "refuses us at TLS"),
        ("a stranger's client certificate", "check [mqtt] port, tls, cert_file and key_file"),
    ],
)
async def test_certificate_that_does_not_hold_on_either_side_is_told_at_once(
    tmp_path: Path, authority: Authority, stranger: Authority, fault: str, told: str
) -> None:
    client = stranger.issue("client")
    secure = {"tls": True, "ca_file": authority.file}
    settings: dict[str, dict[str, Any]] = {
        "system's authorities": {"tls": True},
        "another authority": {"tls": True, "ca_file": stranger.file},
        "another name": {**secure, "host": "localhost"},
        "no TLS": {},
        "no client certificate": {**secure},
        "a stranger's client certificate": {**secure, "cert_file": client.certificate, "key_file": client.key},
    }
    server = authority.issue("server")
    async with Mosquitto(tmp_path, tls=server, client_certificates="client" in fault) as broker:
        detail = await _detail(_sink(broker.port, **settings[fault]), seconds=5)
        gc.collect()

    assert told in detail
    assert str(broker.port) in detail


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
async def test_tls_to_a_port_without_it_is_told(broker: Mosquitto) -> None:
    assert "check [mqtt] port and tls" in await _detail(_sink(broker.port, tls=True))
    gc.collect()


CHILD = """
import asyncio, sys
from monitor.clock import SystemClock
from monitor.config import MqttSettings
from monitor.mqtt import MqttSink

async def main():
    sink = MqttSink(MqttSettings(host="127.0.0.1", port=int(sys.argv[1])), "pi1", SystemClock())
    task = asyncio.create_task(sink.run())
    await sink.ready()
    print("ready", flush=True)
    await task

asyncio.run(main())
"""


async def test_broker_says_offline_for_a_process_that_was_killed(broker: Mosquitto) -> None:
    async with subscriber(broker.port) as inbox:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CHILD, str(broker.port), stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        async with asyncio.timeout(20):
            assert await child.stdout.readline() == b"ready\n"
        await inbox.see("ssondo/pi1/availability", b"online")
        child.send_signal(signal.SIGKILL)
        await child.wait()
        await inbox.see("ssondo/pi1/availability", b"offline")


async def test_cancelling_says_offline_after_the_states_that_changed(broker: Mosquitto) -> None:
    async with subscriber(broker.port) as inbox:
        sink = _sink(broker.port)
        task = asyncio.create_task(sink.run())
        await sink.ready()
        sink.retain("yard/availability", "offline")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await inbox.see("ssondo/pi1/availability", b"offline")

    assert [str(message.topic) for message in inbox.messages[-2:]] == [
        "ssondo/pi1/yard/availability",
        "ssondo/pi1/availability",
    ]


@pytest.mark.parametrize("backlog", [0, 64_000_000], ids=["idle", "full of unsent bytes"])
@pytest.mark.parametrize("way", ["close", "cancel"])
async def test_ending_is_bounded_when_the_broker_hangs(broker: Mosquitto, backlog: int, way: str) -> None:
    sink = _sink(broker.port)
    task = asyncio.create_task(sink.run())
    await sink.ready()
    broker.freeze()
    if backlog:
        sink.retain("large", bytes(backlog))
        await asyncio.sleep(0.2)  # the kernel takes what it can
    async with asyncio.timeout(4):
        if way == "close":
            await sink.close()
        else:
            task.cancel()
        await asyncio.wait({task})


async def test_closing_before_a_connection_ends_the_run() -> None:
    sink = _sink(free_port())
    task = asyncio.create_task(sink.run())
    await asyncio.sleep(0)
    async with asyncio.timeout(3):
        await sink.close()
        await task


async def test_two_nodes_of_one_base_topic_have_different_names_for_the_broker() -> None:
    settings = MqttSettings(base_topic="home/sound")

    assert [parameters(settings, node).client_id for node in ("a", "b")] == ["home-sound-a", "home-sound-b"]


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({}, "127.0.0.1:1883"),
        ({"embedded_port": 1999}, "127.0.0.1:1999"),
        ({"embedded_port": 1999, "port": 9}, "127.0.0.1:1999"),
        ({"host": "broker"}, "broker:1883"),
        ({"host": "broker", "tls": True}, "broker:8883"),
        ({"host": "broker", "tls": True, "port": 9}, "broker:9"),
    ],
)
def test_address_follows_from_host_port_and_tls(settings: dict[str, Any], address: str) -> None:
    assert parameters(MqttSettings(**settings), "pi1").address == address


def _mistakes(folder: Path, authority: Authority) -> dict[str, tuple[dict[str, Any], str]]:
    noise, client, other = folder / "noise", authority.issue("client"), authority.issue("other")
    noise.write_bytes(b"\xff no certificate")
    encrypted = folder / "encrypted.key"
    command = ["openssl", "ec", "-aes256", "-passout", "pass:x", "-in", str(client.key), "-out", str(encrypted)]
    subprocess.run(command, check=True, capture_output=True)
    absent = folder / "absent"
    pair = {"tls": True, "cert_file": client.certificate, "key_file": client.key}
    return {
        "ca absent": ({"tls": True, "ca_file": absent}, f"ca_file {absent}: No such file"),
        "ca noise": ({"tls": True, "ca_file": noise}, f"ca_file {noise}: holds no PEM certificate"),
        "ca folder": ({"tls": True, "ca_file": folder}, f"ca_file {folder}: Is a directory"),
        "cert absent": ({**pair, "cert_file": absent}, f"cert_file {absent}: No such file"),
        "key absent": ({**pair, "key_file": absent}, f"key_file {absent}: No such file"),
        "key of another": ({**pair, "key_file": other.key}, f"key_file {other.key}: does not hold"),
        "key encrypted": ({**pair, "key_file": encrypted}, f"key_file {encrypted}: does not hold, unencrypted"),
        "cert noise": ({**pair, "cert_file": noise}, str(noise)),
        "key alone": ({"tls": True, "key_file": client.key}, "key_file needs cert_file"),
        "no host": ({"tls": True, "host": None}, "tls needs host"),
        "no tls": ({"ca_file": client.authority}, "ca_file needs tls = true"),
        "password absent": ({"password_file": absent}, f"password_file {absent}: No such file"),
        "password noise": ({"password_file": noise}, f"password_file {noise}"),
        "two passwords": ({"password": "secret", "password_file": absent}, "both set: keep one"),
    }


@pytest.mark.parametrize(
    "mistake",
    [
        *("ca absent", "ca noise", "ca folder", "cert absent", "key absent", "key of another", "key encrypted"),
        *("cert noise", "key alone", "no host", "no tls", "password absent", "password noise", "two passwords"),
    ],
)
def test_files_that_cannot_be_used_are_named(tmp_path: Path, authority: Authority, mistake: str) -> None:
    settings, told = _mistakes(tmp_path, authority)[mistake]

    with pytest.raises(ConfigError) as caught:
        parameters(_settings(**settings), "pi1")
    assert told in str(caught.value)
    assert str(caught.value).startswith("[mqtt] ")


def test_password_is_not_shown() -> None:
    shown = repr(parameters(MqttSettings(username="pi", password="secret"), "pi1"))

    assert "secret" not in shown
