"""The agent's API beyond a browser on this machine: token, HTTPS, sessions, pages of other sites, history.
test_monitoring.py does what needs no token."""
import http.client
import json
import os
import ssl
import subprocess

import jsonschema

import kvgtest

TOKEN = "0123456789abcdef0123456789abcdef"
site = kvgtest.Site()
site.start_server()
with open(os.open(site.path("token"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as out:
    out.write(TOKEN + "\n")
subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-days", "2", "-subj", "/CN=kvg", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout",
                site.path("api.key"), "-out", site.path("api.crt")], check=True, capture_output=True)
os.chmod(site.path("api.key"), 0o600)
site.write_config('  yard: { source: "test:width=320,height=176,fps=10" }\n')
config = open(site.path("kvg.yaml")).read().replace(
    "api: { address: 127.0.0.1, port: 0 }",
    "api: { address: 127.0.0.1, port: 0, token_file: token, certificate: api.crt, private_key: api.key }")
open(site.path("kvg.yaml"), "w").write(config)
site.provision()
site.start_agent()
port = site.agent.ready["api_port"]
context = ssl.create_default_context(cafile=site.path("api.crt"))


def ask(path, method="GET", body=None, bearer=TOKEN, **headers):
    """(status, headers, body)"""
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=30)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if bearer:
        headers["Authorization"] = "Bearer " + bearer
    if body is not None:
        body = json.dumps(body)
        headers.setdefault("Content-Type", "application/json")
    connection.request(method, path, body, headers)
    reply = connection.getresponse()
    data = reply.read()
    connection.close()
    return reply.status, reply.headers, data


kvgtest.wait_for("the camera to be stored", lambda: json.loads(
    ask("/api/cameras/yard")[2]).get("fragments_persisted", 0) >= 2)

# ---- answers are as described
document = json.loads(ask("/openapi.json", bearer=None)[2])


def fits(pattern, path):
    status, headers, data = ask(path)
    described = document["paths"][pattern]["get"]["responses"][str(status)]
    schema = described["content"]["application/json"]["schema"]
    jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(json.loads(data))
    return json.loads(data)


fits("/api/cameras", "/api/cameras")
assert fits("/api/cameras/{camera}", "/api/cameras/yard")["state"] == "live"
changes = fits("/api/cameras/{camera}/history", "/api/cameras/yard/history")["changes"]
assert changes[-1]["state"] == "live" and changes[0]["at_ms"] <= changes[-1]["at_ms"], changes
assert fits("/api/site", "/api/site")["version"]
assert ask("/healthz", bearer=None)[0] == 200

# ---- who is let in
for path in ("/api/cameras", "/api/site", "/metrics", "/api/cameras/yard/history"):
    assert ask(path, bearer=None)[0] == 401, path
status, headers, _ = ask("/api/session", "POST", {"token": TOKEN}, bearer=None)
cookie = headers["Set-Cookie"]
assert status == 200 and all(part in cookie for part in ("HttpOnly", "SameSite=Strict", "Secure")), cookie
session = cookie.split(";")[0]
assert ask("/api/cameras", bearer=None, Cookie=session)[0] == 200
assert ask("/api/cameras", bearer=None, Cookie=session[:-1] + ("0" if session[-1] != "0" else "1"))[0] == 401
assert "Max-Age=0" in ask("/api/session", "DELETE", {}, bearer=None)[1]["Set-Cookie"]

# ---- pages of other sites
own = f"https://127.0.0.1:{port}"
change = {"streaming": True}
assert ask("/api/cameras/yard", "PATCH", change, Origin=own)[0] == 200
assert ask("/api/cameras/yard", "PATCH", change, Origin="https://evil.example")[0] == 403
assert ask("/api/cameras/yard", "PATCH", change, Sec_Fetch_Site="cross-site")[0] == 403
assert ask("/api/cameras/yard", "PATCH", change, **{"Content-Type": "text/plain"})[0] == 415
assert ask("/api/cameras", Host="evil.example")[0] == 403
assert "GET" in ask("/api/site", "PUT", {})[1]["Allow"]

# ---- the command line finds token and certificate in the configuration
words = ("-c", site.path("kvg.yaml"), "--agent", own)
assert "yard" in site.kvg("camera", "list", *words).stdout

shown = site.kvg("status", *words).stdout
assert shown.startswith("CAMERA") and "yard" in shown and "live" in shown and "\033" not in shown, shown
assert json.loads(site.kvg("status", "--output", "json", *words).stdout)["cameras"][0]["name"] == "yard"
assert site.kvg("status", "--output", "xml", *words, check=False).returncode == 2

# ---- on a terminal: another screen, colours, q ends it
import pty  # noqa: E402
pid, terminal = pty.fork()
if pid == 0:
    site.environment.pop("NO_COLOR", None)
    program = os.path.join(kvgtest.BUILD, "kvg")
    os.execve(program, [program, "status", *words], site.environment)
seen = b""
while b"yard" not in seen:
    seen += os.read(terminal, 4096)
os.write(terminal, b"q")
try:
    while chunk := os.read(terminal, 4096):
        seen += chunk
except OSError:
    pass  # its end is gone
assert os.waitpid(pid, 0)[1] == 0
assert b"\033[?1049h" in seen and b"\033[32m" in seen and b"\033[?1049l" in seen, seen
os.close(terminal)

# ---- last, for it shuts this address out for a while
answers = [ask("/api/cameras", bearer="wrong-wrong-wrong-wrong")[0] for _ in range(12)]
assert answers[:10] == [401] * 10 and answers[-1] == 429, answers
assert site.agent.stop() == 0
assert TOKEN not in open(site.path("agent.log"), errors="replace").read()
