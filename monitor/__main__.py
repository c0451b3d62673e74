"""`python -m monitor` is the command `ssondo-monitor`."""

from monitor.cli import main

main()
