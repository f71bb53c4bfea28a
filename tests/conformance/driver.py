"""The AWS CLI, driven over stdin and stdout: one call a line in, one answer a line out. It runs in a
process of its own because its botocore takes the place of Debian's, and in one process because
starting it anew for each call would take minutes."""
import base64
import contextlib
import io
import json
import os
import sys

from awscli.clidriver import create_clidriver
from botocore import httpsession

answers = os.fdopen(os.dup(1), "w")
last = []


def recording(send):
    def record(self, request):
        response = send(self, request)
        last.append(response)
        return response
    return record


httpsession.URLLib3Session.send = recording(httpsession.URLLib3Session.send)


def call(words, environment):
    # awscli itself needs its data path.
    for name in [name for name in os.environ if name.startswith("AWS_") and name != "AWS_DATA_PATH"]:
        del os.environ[name]
    os.environ.update(environment)
    last.clear()
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = create_clidriver().main(words)
    exchange = None
    if last:
        # Read by the CLI already; of a stream nothing is kept.
        body = last[-1]._content if last[-1]._content is not None else b""
        exchange = {"status": last[-1].status_code, "headers": dict(last[-1].headers),
                    "body": base64.b64encode(body).decode()}
    return {"status": status, "out": out.getvalue(), "err": err.getvalue(), "exchange": exchange}


for line in sys.stdin:
    request = json.loads(line)
    answers.write(json.dumps(call(request["words"], request["environment"])) + "\n")
    answers.flush()
