#!/bin/sh
# Prepares this folder for `run` or `test`: system packages, virtual environment, Python packages.
# Does only what is missing, so that a second call takes no time.
set -eu
cd "$(dirname "$0")/.."

purpose=${1:?usage: deploy/setup.sh run|test}
python=${PYTHON:-python3}

case $purpose in
    run)
        system="libportaudio2"
        extras="broker,network"
        ;;
    test)
        system="libportaudio2 mosquitto mosquitto-clients pulseaudio pulseaudio-utils libasound2-plugins prometheus
            ffmpeg gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-base gstreamer1.0-plugins-good
            espeak-ng iproute2 openssl strace curl jq lsof procps systemd debootstrap"
        extras="dev"
        ;;
    *)
        echo "setup.sh: expected run or test, got $purpose" >&2
        exit 2
        ;;
esac

say() { printf '%s\n' "$*" >&2; }

has_package() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

install_system_packages() {
    missing=""
    for package in $system; do has_package "$package" || missing="$missing $package"; done
    # Debian ships python3 without what makes virtual environments
    if command -v "$python" >/dev/null && ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        missing="$missing python3-venv"
    fi
    command -v "$python" >/dev/null || missing="$missing python3 python3-venv"
    if [ "$purpose" = test ] && ! command -v npm >/dev/null; then missing="$missing nodejs npm"; fi
    [ -n "$missing" ] || return 0
    if ! command -v apt-get >/dev/null; then
        say "This is no Debian or Ubuntu. Install what corresponds to these packages, then run make again:$missing"
        exit 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        say "Some system packages are missing. Run this line, then make again:"
        say "  sudo apt-get install -y --no-install-recommends$missing"
        exit 1
    fi
    say "Installing system packages:$missing"
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

check_python() {
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        say "Python 3.11 or newer is needed, but $python is $("$python" -V 2>&1). Name another: make $purpose PYTHON=python3.12"
        exit 1
    fi
}

install_python_packages() {
    stamp=.venv/.ready-$purpose
    wanted=$(cksum pyproject.toml deploy/setup.sh)
    [ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ] && return 0
    say "Installing Python packages for '$purpose' into .venv"
    [ -x .venv/bin/pip ] || { rm -rf .venv && "$python" -m venv .venv; }
    pip="env PIP_DISABLE_PIP_VERSION_CHECK=1 .venv/bin/pip install -q"
    # the newest torch may bring gigabytes of GPU libraries: tests need one known release
    [ "$purpose" = run ] || $pip "torch==2.13.0"
    if ! $pip -e ".[$extras]"; then
        say "Python packages could not be installed: is the package registry reachable? Nothing was left half done: run make again."
        exit 1
    fi
    # what tests install from, in clean environments and without a network
    [ "$purpose" = run ] || .venv/bin/pip download -q --disable-pip-version-check -d .venv/wheels . "hatchling>=1.25"
    # Grafana's own types, which the dashboards are checked against
    [ "$purpose" = run ] || npm install --loglevel error --no-audit --no-fund --prefix .venv/grafana-schema \
        @grafana/schema@11.6.0 typescript@5.9.3
    printf '%s' "$wanted" >"$stamp"
}

install_system_packages
check_python
install_python_packages
