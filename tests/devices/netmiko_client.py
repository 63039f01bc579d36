"""Logs in to a simulated device with netmiko, adds entries, and prints its ACLs: a client that we did not write.

usage: netmiko_client.py TYPE PORT COMMAND [LINE...]    the password is on stdin
"""
import sys
import warnings

warnings.filterwarnings("ignore")
from netmiko import ConnectHandler  # noqa: E402

kind, port, command, *lines = sys.argv[1:]
password = sys.stdin.readline().strip()
device = ConnectHandler(
    device_type=kind,
    host="127.0.0.1",
    port=int(port),
    username="diaper",
    password=password,
    secret=password,
    timeout=20,
    global_delay_factor=0.2,  # its pauses are for slow devices
)
if kind != "juniper_junos":
    device.enable()
if lines:
    junos = kind == "juniper_junos"
    device.send_config_set(lines, exit_config_mode=not junos)
    if junos:
        device.commit(and_quit=True)
print(device.send_command(command))
device.disconnect()
