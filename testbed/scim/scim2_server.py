"""Runs the command of scim2-server, with its arguments, on a free port that it says, until standard input ends."""

import os
import sys
import threading

from scim2_server.testserver import cli

make_server = cli.make_server


def on_a_free_port(host, port, application, **options):
    server = make_server(host, 0, application, **options)
    print(f"listening on {server.server_port}", flush=True)
    return server


def end_with_stdin() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


cli.make_server = on_a_free_port
threading.Thread(target=end_with_stdin, daemon=True).start()
cli.main()
