"""A secret in a file of its own: the one way to read it, which never repeats what it holds."""

from pathlib import Path

from monitor.config import HttpSettings
from monitor.errors import ConfigError

_LARGEST = 4096


def read_secret(key: str, path: Path) -> str:
    """The secret that a file holds, without the end of its line.

    Raises:
        ConfigError: the file is missing, empty, or nothing that holds a secret; the message names `key` and the file.
    """
    try:
        if not path.is_file():  # a pipe would wait for its writer, a device never end
            path.stat()
            raise ConfigError(f"{key} {path}: is not a regular file")
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        text = content.decode().rstrip("\r\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise ConfigError(f"{key} {path}: {reason}") from None  # the cause would show bytes of the secret
    if not text or len(content) > _LARGEST:
        raise ConfigError(f"{key} {path}: expected one line that holds the secret, at most {_LARGEST} bytes")
    return text


def http_token(http: HttpSettings) -> str | None:
    """The token that readers of metrics must bring, if any.

    Raises:
        ConfigError: its file cannot be read.
    """
    if http.token_file is not None:
        return read_secret("[http] token_file", http.token_file)
    return None if http.token is None else http.token.get_secret_value()
