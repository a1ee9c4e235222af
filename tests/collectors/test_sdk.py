"""SDKs that several collectors need at once."""

import subprocess
import sys
import threading
from pathlib import Path

from collectors.sdk import importing

ROOT = Path(__file__).parents[2]


def test_collectors_that_start_side_by_side_get_their_sdks_whole() -> None:
    """In a fresh interpreter, whose threads change places at every module that is looked for. Without `importing`
    this fails in one of about seven runs; that every import is within it, tests/test_architecture.py sees to."""
    script = """
import sys, threading, time
from types import SimpleNamespace
from collectors.billing import aws_session, gcp_client
from collectors.cluster.api import Api

class Slow:
    def find_spec(self, name, path=None, target=None):
        time.sleep(0.0005)

sys.meta_path.insert(0, Slow())
cluster = SimpleNamespace(api_server="http://127.0.0.1:1", ca_file="", token_file="", timeout=1)
google = gcp_client.Access("127.0.0.1:1", insecure=True, seconds=1)
amazon = aws_session.Access(region="us-east-1", endpoint_url="http://127.0.0.1:1")

def ask_google():
    with gcp_client._reasons(google, "USD"), gcp_client._client(google):
        pass

failed = []
def run(begin):
    ready.wait()
    try:
        begin()
    except Exception as error:
        failed.append(repr(error))

starts = [lambda: Api(cluster).close(), ask_google, lambda: aws_session.client("s3", amazon).close()]
ready = threading.Barrier(len(starts))
threads = [threading.Thread(target=run, args=(start,)) for start in starts]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(failed or "")
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.stdout.strip(), done.returncode) == ("", 0), done.stderr


def test_one_thread_imports_at_a_time_and_may_nest() -> None:
    entered, first_left = threading.Event(), []

    def second() -> None:
        with importing():
            first_left.append(left.is_set())
            entered.set()

    left = threading.Event()
    other = threading.Thread(target=second)
    with importing(), importing():
        other.start()
        assert not entered.wait(0.2)  # too short a wait could only let a fault through, never make one up
        left.set()
    other.join()
    assert first_left == [True]
