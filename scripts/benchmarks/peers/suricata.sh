#!/bin/sh
# Gets Suricata 7 for the benchmark of the NI into .tools/suricata: from Debian's backports, at the mirror
# that this system uses, or the distribution's own where there are none. Nothing is installed.
# Prints the command that runs it. Needs root.
set -eu
cd "$(dirname -- "$0")/../../.."
. scripts/apt.sh

directory=$PWD/.tools/suricata
if [ ! -e "$directory/root/usr/bin/suricata" ]; then
  codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
  mirror=$(apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" "Codename: $codename" | head -n 1)
  [ -n "$mirror" ] || fail "apt knows no mirror of $codename" "apt-get update"
  rm -rf "$directory"
  mkdir -p "$directory/lists/partial" "$directory/cache/archives/partial" "$directory/new"
  apt_private() {
    apt-get -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$directory/sources" \
      -o Dir::State::lists="$directory/lists" -o Dir::Cache="$directory/cache" \
      -o APT::Sandbox::User=root -o Debug::NoLocking=true "$@"
  }
  mkdir "$directory/sources"
  for suites in "$codename $codename-backports" "$codename"; do
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' "$mirror" "$suites" \
      /usr/share/keyrings/debian-archive-keyring.gpg >"$directory/sources/debian.sources"
    apt_private update -q >&2 && break
    echo "suricata: no $suites at this system's mirror" >&2
  done
  release=
  case $suites in *backports) release="-t $codename-backports" ;; esac
  # shellcheck disable=SC2086 # two words or none
  apt_private install -q -y --no-install-recommends --download-only $release suricata >&2
  for package in "$directory"/cache/archives/*.deb; do
    dpkg -x "$package" "$directory/new"
  done
  mv "$directory/new" "$directory/root"
  rm -rf "$directory/lists" "$directory/cache"
fi
libraries=$(find "$directory/root" -name '*.so.*' -printf '%h\n' | sort -u | tr '\n' ':')
echo "env LD_LIBRARY_PATH=$libraries $directory/root/usr/bin/suricata"
