"""Exits with 0 if the monitor in this container is ready, else with 1 and the reasons: its health check.

It reads what the monitor itself reads: SSONDO_HTTP__PORT and, to be told reasons, SSONDO_HTTP__TOKEN_FILE.
"""

import http.client
import os
import sys
from pathlib import Path

SECONDS = 4.0


def main() -> int:
    """Ask `/ready` on loopback, say what it says."""
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("SSONDO_HTTP__PORT") or 9108), SECONDS)
    try:
        connection.request("GET", "/ready", headers=_login())
        answer = connection.getresponse()
        sys.stdout.write(f"{answer.status} {answer.read(4096).decode(errors='replace')}\n")
    except (OSError, http.client.HTTPException) as error:
        sys.stdout.write(f"no answer: {error}\n")
        return 1
    return 0 if answer.status == http.client.OK else 1


def _login() -> dict[str, str]:
    file = os.environ.get("SSONDO_HTTP__TOKEN_FILE")
    return {"Authorization": f"Bearer {Path(file).read_text().strip()}"} if file else {}


if __name__ == "__main__":
    sys.exit(main())
