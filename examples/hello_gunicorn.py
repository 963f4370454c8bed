"""An app for gunicorn, which takes the listeners that --listen-fds passes, and reports to --ready=notify that it is ready: with
--preload, when it has loaded the app; without, before that. On TERM it answers accepted connections, then exits.

    start_server --port=8000 --listen-fds --ready=notify -- gunicorn --preload --chdir=examples hello_gunicorn:app

START_UP is how many seconds the app takes to load.
"""

import os
import sys
import time

version = os.environ.get("VERSION", "unknown")
body = f"version {version}\n".encode()
time.sleep(float(os.environ.get("START_UP", 0)))
sys.stderr.write(f"version {version} has started\n")


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
