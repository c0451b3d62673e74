"""The sound devices of this machine, and streams from them: the one module that knows PortAudio.

PortAudio reads the list of devices once and never again. `refresh` makes it, which is safe only while no stream of this
process is open: that is checked here, and that it brings back a restarted sound server is tested.
"""

import atexit
import ctypes
import hashlib
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from monitor.errors import CaptureError

HANG_SECONDS = 5.0

_PLACE = re.compile(r" *\(hw:\d+,\d+\)")  # of a card among the others, which changes with what is plugged in first
_lock = threading.Lock()
_open: set["InputStream"] = set()
_plugins: dict[str, ctypes.CDLL] = {}


@dataclass(frozen=True, slots=True)
class Device:
    """A device that can be listened to.

    Attributes:
        index: PortAudio's, which changes as devices come and go.
        stable_id: made of host API and name, the same on every start and whatever card comes first.
        channels: most that it offers; sound servers claim many more than there are.
        sample_rate: its own, in Hz.
    """

    index: int
    name: str
    host_api: str
    channels: int
    sample_rate: int
    stable_id: str
    is_default: bool


class OnFrames(Protocol):
    """Takes frames [n, channels] on the sound system's thread; they must be copied."""

    def __call__(self, frames: NDArray[np.float32], overflow: bool, /) -> None: ...  # noqa: D102


def list_devices() -> list[Device]:
    """Every device with an input.

    Raises:
        CaptureError: PortAudio is not installed or does not start.
    """
    with _portaudio() as sound:
        apis = [api["name"] for api in sound.query_hostapis()]
        default = sound.default.device[0]
        found = [
            Device(
                index=int(entry["index"]),
                name=str(entry["name"]),
                host_api=apis[entry["hostapi"]],
                channels=int(entry["max_input_channels"]),
                sample_rate=round(entry["default_samplerate"]),
                stable_id="",
                is_default=entry["index"] == default,
            )
            for entry in sound.query_devices()
            if entry["max_input_channels"] > 0
        ]
    return identified(found)


def has_microphone() -> bool:
    """Whether there is a device to listen to by default; a sound system that hangs has none."""
    found: list[Device] = []

    def look() -> None:
        with suppress(CaptureError):
            found.extend(list_devices())

    looking = threading.Thread(target=look, name="look for a microphone", daemon=True)
    looking.start()
    looking.join(HANG_SECONDS)
    if looking.is_alive():
        leave_behind()
    return any(device.is_default for device in found)


def find_device(wanted: str | int | None) -> Device:
    """The device of that index, stable id, name or part of its name; the default one for None.

    Raises:
        CaptureError: there is none, or the part of a name fits several.
    """
    devices = list_devices()
    if wanted is None:
        matches = [device for device in devices if device.is_default]
    elif isinstance(wanted, int):
        matches = [device for device in devices if device.index == wanted]
    else:
        matches = _named(devices, wanted)
    if not matches:
        what = "default sound device" if wanted is None else f"sound device {wanted!r}"
        raise CaptureError(f"no {what} with an input; 'ssondo-monitor devices' lists what there is")
    if len(matches) > 1:
        names = ", ".join(f"{device.name!r} ({device.stable_id})" for device in matches)
        raise CaptureError(f"sound device {wanted!r} could be any of {names}: set a stable id")
    return matches[0]


class InputStream:
    """A running stream from a device."""

    def __init__(
        self,
        device: Device,
        *,
        channels: int,
        sample_rate: int,
        latency_seconds: float,
        on_frames: OnFrames,
        on_stop: Callable[[], None],
    ) -> None:
        with _portaudio() as sound:
            self._stream = sound.InputStream(
                device=device.index,
                channels=channels,
                samplerate=sample_rate,
                dtype="float32",
                latency=latency_seconds,
                callback=lambda frames, _count, _time, status: on_frames(frames, status.input_overflow),
                finished_callback=on_stop,
            )
            try:
                self._stream.start()
            except sound.PortAudioError:
                self._stream.close(ignore_errors=True)
                raise
            _open.add(self)

    def close(self) -> None:
        """Stop and close; may hang for as long as the sound server does."""
        self._stream.abort(ignore_errors=True)
        with _lock:
            self._stream.close(ignore_errors=True)
            _open.discard(self)


def refresh() -> bool:
    """Read the list of devices anew, unless a stream of this process is open; says whether it was done."""
    with _portaudio() as sound:
        if _open:
            return False
        _keep_plugins()
        sound._terminate()
        sound._initialize()
        return True


def _keep_plugins() -> None:
    """Keep ALSA's plugins in memory: each time that they were loaded again, a library of theirs would leak 13 kB."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:  # a system without ALSA
        return
    for path in {line.split(maxsplit=5)[-1] for line in lines if "/alsa-lib/" in line} - _plugins.keys():
        with suppress(OSError):  # replaced by an update meanwhile
            _plugins[path] = ctypes.CDLL(path)


def leave_behind() -> None:
    """The sound system hangs: do not wait for it at the end of the process either."""
    module = sys.modules.get("sounddevice")  # a thread may hang in its import, which must not be awaited
    if module is not None:
        atexit.unregister(module._exit_handler)


def _named(devices: list[Device], wanted: str) -> list[Device]:
    exact = [device for device in devices if wanted in (device.stable_id, device.name)]
    return exact or [device for device in devices if wanted.lower() in device.name.lower()]


def identified(devices: list[Device]) -> list[Device]:
    """The devices with ids that last; equal ones are told apart by their order."""
    seen: Counter[str] = Counter()
    named = []
    for device in devices:
        lasting = _PLACE.sub("", device.name)
        identity = hashlib.sha256(f"{device.host_api}\n{lasting}".encode()).hexdigest()[:8]
        seen[identity] += 1
        suffix = f"-{seen[identity]}" if seen[identity] > 1 else ""
        named.append(replace(device, stable_id=f"{identity}{suffix}"))
    return named


@contextmanager
def _portaudio() -> Iterator[ModuleType]:
    """The library, for one thread at a time, with its errors translated."""
    try:
        import sounddevice  # noqa: PLC0415 - importing starts PortAudio
    except OSError as error:
        raise CaptureError(f"PortAudio cannot be used ({error}); install libportaudio2") from error
    if not _lock.acquire(timeout=HANG_SECONDS):
        raise CaptureError("the sound system hangs; restart the sound server")
    try:
        yield sounddevice
    except sounddevice.PortAudioError as error:
        raise CaptureError(f"the sound device refuses: {error}") from error
    finally:
        _lock.release()
