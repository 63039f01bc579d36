"""Prints how many seconds netmiko's send_config_set takes for the lines on stdin.

usage: netmiko_config.py TYPE PORT    stdin: the password, then the lines
"""
import sys
import time
import warnings

warnings.filterwarnings("ignore")
from netmiko import ConnectHandler  # noqa: E402

kind, port = sys.argv[1:]
password, *lines = sys.stdin.read().split("\n")
lines = [line for line in lines if line]
junos = kind == "juniper_junos"
device = ConnectHandler(
    device_type=kind, host="127.0.0.1", port=int(port), username="diaper", password=password,
    secret=password, timeout=120,
)
if not junos:
    device.enable()
before = time.monotonic()
device.send_config_set(lines, exit_config_mode=not junos)
if junos:
    device.commit(and_quit=True)
print(time.monotonic() - before)
device.disconnect()
