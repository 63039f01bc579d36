#!/bin/sh
# usage: guard.sh NAME DIRECTORY
#
# Waits for the end of its standard input, then removes everything that the lab NAME made: processes, network
# namespaces, and DIRECTORY. A lab holds the other end of that pipe, so the end comes when the lab is closed
# and also when its owner dies in any way, kill -9 included.
trap '' HUP INT TERM PIPE
name=$1
directory=$2

case $name in
  dl-[0-9]*-*-*) ;;
  *) echo "guard.sh: not the name of a lab: '$name'" >&2; exit 2 ;;
esac
if [ "${directory##*/}" != "$name" ]; then
  echo "guard.sh: '$directory' is not the directory of lab $name" >&2
  exit 2
fi

cat >/dev/null

namespaces() {
  for file in /run/netns/"$name"-*; do
    [ -e "$file" ] && echo "${file##*/}"
  done
}

# By namespace, and by a mark in the environment for those that moved to a namespace of their own (vsftpd's).
processes() {
  for namespace in $(namespaces); do ip netns pids "$namespace"; done
  grep -lszx "DIAPER_LAB=$name" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3
}

round=0
while pids=$(processes) && [ -n "$pids" ]; do
  round=$((round + 1))
  if [ "$round" -gt 200 ]; then
    echo "guard.sh: processes of lab $name do not end: $(echo $pids)" >&2
    exit 1
  fi
  kill -KILL $pids 2>/dev/null
  sleep 0.02
done

for namespace in $(namespaces); do ip netns delete "$namespace"; done
rm -rf --one-file-system -- "$directory"

if [ -n "$(namespaces)" ] || [ -e "$directory" ]; then
  echo "guard.sh: lab $name was not removed wholly" >&2
  exit 1
fi
