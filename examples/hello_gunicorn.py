"""An app for gunicorn, which takes the listeners that --listen-fds passes, and tells --ready=notify that it is ready: with
--preload, when it has loaded the app; without, before that. On TERM it answers whom it has accepted, then leaves.

    start_server --port=8000 --listen-fds --ready=notify -- gunicorn --preload --chdir=examples hello_gunicorn:app

START_UP is how many seconds it takes to load, to see that.
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
