#!/bin/sh
# Installs the monitor as a systemd service, or upgrades it: a release of its own under /opt, switched to when all of it
# is there. Until then nothing changes for the one that runs, whatever fails and whenever this is killed.
#
# Settings named SSONDO_… in the environment of the first installation are kept for the service.
set -eu
umask 022
cd "$(dirname "$0")/.."

usage="usage: deploy/install.sh [--no-sound] [--rollback] [--root DIR]
  --no-sound  install before there is a microphone
  --rollback  go back to the release before this one
  --root DIR  install into a folder, as a user, without starting anything"

root=""
sound=""
service=""
task=install
python=${PYTHON:-python3}

say() { printf '%s\n' "$*" >&2; }
fail() {
    say "$@"
    exit 1
}

while [ $# -gt 0 ]; do
    case $1 in
        --root) root=$(realpath -m "${2:?$usage}") && shift ;;
        --no-sound) sound=--no-sound ;;
        --rollback) task=rollback ;;
        --help) printf '%s\n' "$usage" && exit 0 ;;
        *) say "$usage" && exit 2 ;;
    esac
    shift
done

home=$root/opt/ssondo-monitor
settings=$root/etc/ssondo-monitor
release="" # being built: removed unless it is finished
before=""  # the release in use so far
older=""   # the one before that
made=""    # what was not there before

# Where a link leads; nothing where there is none. Whoever cannot tell must not go on
target() {
    [ ! -L "$home/$1" ] || readlink "$home/$1"
}

need_root() {
    [ -n "$root" ] || [ "$(id -u)" -eq 0 ] ||
        fail "Installing a service needs root: sudo make install. To only try the monitor, make run needs no root."
}

check_machine() {
    command -v "$python" >/dev/null || fail "There is no $python. Install Python 3.11 or newer: apt-get install python3"
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        fail "Python 3.11 or newer is needed, but $python is $("$python" -V 2>&1)." \
            "Debian has it from release 12 on; name another by: make install PYTHON=/usr/bin/python3.12"
    fi
    if [ -z "$root" ] && [ ! -d /run/systemd/system ]; then
        fail "systemd does not run here, and the service needs it. Without it: make run, or the container (deploy/container)."
    fi
    if [ -z "$before" ]; then # else the service that runs has the ports and the microphone
        config=$settings/monitor.toml
        [ -e "$config" ] || config=deploy/monitor.toml
        [ -n "$root" ] || service=--service
        "$python" deploy/preflight.py "$config" "$settings/environment" $sound $service ||
            fail "Nothing was installed: see to this, then run it again."
    fi
}

install_system_packages() {
    missing=""
    for package in libportaudio2 python3-venv; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
    done
    if [ -n "$root" ] || [ -z "$missing" ] || ! command -v apt-get >/dev/null; then return 0; fi
    say "Installing system packages:$missing"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086 # a list of words
    if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing >/dev/null; }; then
        fail "System packages could not be installed:$missing. Is their archive reachable? Nothing was installed."
    fi
}

lock() {
    mkdir -p "$home"
    exec 9>"$home/.lock"
    flock -n 9 || fail "Another installation is under way; wait for its end."
}

# What a failure, or a kill of an earlier run, left; and releases older than the one before
sweep() {
    current=$(target current)
    previous=$(target previous)
    for old in "$home"/releases/*; do
        case releases/${old##*/} in
            "$current" | "$previous") ;;
            *) rm -rf "$old" ;;
        esac
    done
}

clean_up() {
    [ -z "$release" ] || rm -rf "$release"
    # shellcheck disable=SC2086 # a list of words
    [ -z "$made" ] || rm -f $made
    rm -f "$settings/.checked.toml"
    if [ ! -e "$home/current" ]; then
        rm -rf "$home/releases" "$home/.lock"
        rmdir "$settings/secrets" "$settings" "$home/bundles" "$home" 2>/dev/null || true
    fi
}

build_release() {
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
    release=$home/releases/$version-$(date -u +%Y%m%dT%H%M%S)-$$
    say "Building $release"
    mkdir -p "$home/releases"
    "$python" -m venv "$release" ||
        fail "$python cannot make a virtual environment: apt-get install python3-venv. Nothing was installed."
    "$release/bin/pip" install -q --no-input --disable-pip-version-check ".[broker,network]" ||
        fail "Python packages could not be installed: see the last lines above. Is the package registry reachable from here?" \
            "Another is named by PIP_INDEX_URL. Nothing was installed; what was there runs on."
    mkdir -p "$release/share"
    cp deploy/systemd/* deploy/uninstall.sh "$release/share"
    (cd "$release/share" && ln -s ../lib/python3*/site-packages/ssondo_stream/bundles/default bundle)
    sed -e "s|^# bundle = \"default\"|bundle = \"$home/bundles/current\"|" -e 's|^# events = true|events = false|' \
        deploy/monitor.toml >"$release/share/monitor.toml"
    (env | grep '^SSONDO_' || true) | sed "s|=\(.*\)|='\1'|" >"$release/share/environment"
    chmod 600 "$release/share/environment"
}

# Prints what is wrong, as the service would see it
check_configuration() {
    config=$settings/monitor.toml
    variables=$settings/environment
    [ -e "$variables" ] || variables=$release/share/environment
    if [ -e "$config" ]; then
        sed "s|/run/credentials/ssondo-monitor.service/secrets_|$settings/secrets/|" "$config" >"$settings/.checked.toml"
        config=$settings/.checked.toml
    else
        config=$release/share/monitor.toml
    fi
    [ -e "$home/bundles/current" ] || export SSONDO_MODEL__BUNDLE="$release/share/bundle"
    export program="$release/bin/ssondo-monitor" config
    # shellcheck disable=SC2016 # for the inner shell
    (grep '^SSONDO_' "$variables" || true) | xargs sh -c 'exec env "$@" "$program" check "$config" >/dev/null' check ||
        fail "The configuration has mistakes: correct them in $settings, then run it again. Nothing was changed."
    unset SSONDO_MODEL__BUNDLE
    rm -f "$settings/.checked.toml"
}

# A file that the user may change: put there once, whole
put() {
    [ ! -e "$2" ] || return 0
    mkdir -p "$(dirname "$2")"
    made="$made $2 $2.new"
    cp -p "$1" "$2.new"
    mv "$2.new" "$2"
}

# A link that is there at every moment, to the one or the other
point() {
    mkdir -p "$(dirname "$1")"
    [ -L "$1" ] || made="$made $1"
    made="$made $1.new"
    ln -sfn "$2" "$1.new"
    mv -T "$1.new" "$1"
}

# Through `current`, so that one switch changes all of it
connect() {
    put "$release/share/monitor.toml" "$settings/monitor.toml"
    put "$release/share/environment" "$settings/environment"
    put "$release/share/90-ssondo-microphones.rules" "$root/etc/udev/rules.d/90-ssondo-microphones.rules"
    mkdir -p "$settings/secrets" "$home/bundles"
    chmod 700 "$settings/secrets"
    [ -L "$home/bundles/current" ] || point "$home/bundles/current" ../current/share/bundle
    share=/opt/ssondo-monitor/current/share
    point "$root/etc/tmpfiles.d/ssondo-monitor.conf" "$share/ssondo-monitor.tmpfiles"
    point "$root/usr/local/bin/ssondo-monitor" /opt/ssondo-monitor/current/bin/ssondo-monitor
    point "$root/etc/systemd/system/ssondo-monitor.service" "$share/ssondo-monitor.service"
    point "$root/etc/systemd/system/multi-user.target.wants/ssondo-monitor.service" ../ssondo-monitor.service
}

switch() {
    sync -f "$home"
    [ -z "$before" ] || point "$home/previous" "$before"
    point "$home/current" "releases/${release##*/}"
    release=""
    made=""
    sync -f "$home"
}

start_service() {
    [ -z "$root" ] || return 0
    systemd-tmpfiles --create ssondo-monitor.conf
    systemctl daemon-reload
    systemctl reset-failed ssondo-monitor 2>/dev/null || true
    systemctl restart ssondo-monitor
}

take_back() {
    say "The service does not start:"
    journalctl -u ssondo-monitor -n 10 --no-pager -o cat >&2
    if [ -n "$before" ]; then
        point "$home/current" "$before"
        if [ -n "$older" ]; then point "$home/previous" "$older"; else rm -f "$home/previous"; fi
        start_service || true
        sweep
        fail "Went back to ${before#*/}."
    fi
    sh deploy/uninstall.sh >/dev/null
    fail "Nothing was installed but the configuration in $settings."
}

roll_back() {
    need_root
    lock
    [ -n "$older" ] || fail "There is no release before this one in $home."
    [ "$older" != "$before" ] || fail "The release before this one is already in use: ${older#*/}."
    point "$home/current" "$older"
    start_service || take_back
    say "Went back from ${before#*/} to ${older#*/}."
}

install() {
    need_root
    check_machine
    install_system_packages
    lock
    trap clean_up EXIT
    trap 'exit 130' INT TERM HUP
    sweep
    build_release
    check_configuration
    connect
    switch
    start_service || take_back
    sweep
    say "Installed: $(readlink "$home/current"). Configure it in $settings/monitor.toml, then: systemctl restart ssondo-monitor"
    say "Listen: journalctl -fu ssondo-monitor    Ready: curl -s localhost:9108/ready    Guide: $home/current/share/README.md"
}

before=$(target current)
older=$(target previous)
if [ "$task" = rollback ]; then roll_back; else install; fi
