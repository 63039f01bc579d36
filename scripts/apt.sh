# Sourced by scripts that need Debian packages; $0 names them in messages.

fail() {
  echo "${0##*/}: $1" >&2
  echo "  next: $2" >&2
  exit 1
}

# Those of the named packages that are not installed, one a line.
missing() {
  for package in "$@"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || state=
    [ "$state" = installed ] || echo "$package"
  done
}

# Servers must not start because a package with one was installed.
forbid_services() {
  policy=/usr/sbin/policy-rc.d
  [ ! -e "$policy" ] || return 0
  trap 'rm -f "$policy"' EXIT
  trap 'exit 1' HUP INT TERM
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
}

install_packages() {
  [ "$(id -u)" = 0 ] || fail "these packages are missing: $*" "as root: apt-get install $*"
  forbid_services
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q
  apt-get install -q -y --no-install-recommends "$@"
}
