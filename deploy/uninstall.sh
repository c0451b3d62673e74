#!/bin/sh
# Removes the service. Configuration, bundles and state stay, so that it can come back as it was; --purge removes them.
set -eu

usage="usage: deploy/uninstall.sh [--purge] [--root DIR]"
root=""
purge=""
while [ $# -gt 0 ]; do
    case $1 in
        --root) root=$(realpath -m "${2:?$usage}") && shift ;;
        --purge) purge=yes ;;
        *) printf '%s\n' "$usage" >&2 && exit 2 ;;
    esac
    shift
done

if [ -z "$root" ] && [ "$(id -u)" -ne 0 ]; then
    echo "Removing a service needs root: sudo make uninstall" >&2
    exit 1
fi

home=$root/opt/ssondo-monitor
units=$root/etc/systemd/system

if [ -z "$root" ] && [ -d /run/systemd/system ]; then
    systemctl disable -q --now ssondo-monitor 2>/dev/null || systemctl stop ssondo-monitor 2>/dev/null || true
fi
rm -f "$units/multi-user.target.wants/ssondo-monitor.service" "$units/ssondo-monitor.service" \
    "$root/etc/tmpfiles.d/ssondo-monitor.conf" "$root/usr/local/bin/ssondo-monitor"
[ -n "$root" ] || [ ! -d /run/systemd/system ] || systemctl daemon-reload
rm -rf "$home/current" "$home/previous" "$home/releases" "$home/.lock"

if [ -n "$purge" ]; then
    rm -rf "$home" "$root/etc/ssondo-monitor" "$root/etc/udev/rules.d/90-ssondo-microphones.rules" \
        "$root/var/lib/ssondo-monitor" "$root/var/lib/private/ssondo-monitor"
    echo "Removed the monitor, its configuration, bundles and state."
else
    rmdir "$home" 2>/dev/null || true
    echo "Removed the monitor. Configuration ($root/etc/ssondo-monitor), bundles ($home/bundles) and state" \
        "($root/var/lib/ssondo-monitor) stay; to remove them too: make uninstall ARGS=--purge"
fi
