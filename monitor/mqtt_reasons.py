"""Why there is no connection to the broker, in words that say what to do."""

import socket
import ssl
from collections.abc import Iterator, Mapping

from monitor.mqtt_parameters import Parameters


def reason(error: Exception, parameters: Parameters) -> str:
    """Why there is no connection, and what to do."""
    if code(error) in _REFUSED:
        return f"{parameters.address} refuses user or password: check [mqtt] username and password"
    for cause in _causes(error):
        for kind, text in _TROUBLES.items():
            if isinstance(cause, kind):
                return text.format(address=parameters.address, host=parameters.host, cause=cause)
    text = next((text for sign, text in _SIGNS.items() if sign in str(error)), "{address}: {cause}")
    return text.format(address=parameters.address, cause=error)


def code(error: Exception) -> object:
    """What the broker answered to a connection, by the number in its answer; None where it answered nothing."""
    answer = getattr(error, "rc", None)
    return getattr(answer, "value", answer)


UNSUPPORTED = 132  # this version of MQTT
_REFUSED = (4, 5, 134, 135)  # bad user name or password, not authorised: CONNACK codes of MQTT 3 and 5
_AT_TLS = "check [mqtt] port, tls, cert_file and key_file"
_CUT_OFF = "{address} ended the connection at once: check [mqtt] port and tls, and the broker's log"
_TROUBLES: Mapping[type[Exception], str] = {  # the special before the general
    ssl.SSLCertVerificationError: "{address} shows a certificate that does not hold: {cause.verify_message}; "
    "check [mqtt] host, and ca_file, which names the authority to trust",
    ssl.SSLError: "{address} fails at TLS: {cause.reason}; " + _AT_TLS,
    ConnectionRefusedError: "nothing listens at {address}: start the broker, or check [mqtt] host and port",
    ConnectionResetError: _CUT_OFF,
    socket.gaierror: "host {host!r} has no address: check [mqtt] host and the name service",
    TimeoutError: "{address} does not answer: check [mqtt] host and port, and the network",
}
_SIGNS: Mapping[str, str] = {  # in lines that the library logs
    "[SSL": "{address} refuses us at TLS: {cause}; " + _AT_TLS,
    "reset by peer": _CUT_OFF,
}


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
