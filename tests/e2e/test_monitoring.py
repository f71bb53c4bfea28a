"""What is known of a running site: every GET of the API answers as docs/openapi.json says and says nothing that is not
described; /metrics is what Prometheus reads; dashboard and alerts name only what is there; history, health."""
import json
import os
import re
import time
import urllib.error
import urllib.request

import jsonschema
import yaml
from prometheus_client.parser import text_string_to_metric_families

import kvgtest

DOCS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs")
site = kvgtest.Site()
site.start_server()
site.start_cameras(2)
site.write_config('  depot: { source: "test:width=320,height=176,fps=10", mode: on-demand, keep: 10m }\n')
site.provision()
site.start_agent()
url = f"http://127.0.0.1:{site.agent.ready['api_port']}"
first, second = site.names


def ask(path, method="GET", body=None):
    """(status, type, body)"""
    request = urllib.request.Request(url + path, method=method, headers={"Content-Type": "application/json"},
                                     data=None if body is None else json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, reply.headers.get_content_type(), reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get_content_type(), error.read()


def is_live(name):
    return site.status()[name].get("state") == "live"


# ---- health
assert ask("/healthz")[0] == 200
kvgtest.wait_for("cameras to be stored", lambda: all(
    site.status()[name].get("fragments_persisted", 0) >= 3 for name in site.names) and is_live("depot"))
kvgtest.wait_for("the agent to be ready", lambda: ask("/readyz")[0] == 200)

# ---- every answer is described, every member of it, too
document = json.loads(ask("/openapi.json")[2])
assert document == json.load(open(os.path.join(DOCS, "openapi.json")))


def closed(schema):
    """The same, but members that it does not name are errors: nothing may be said undescribed."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        schema.setdefault("additionalProperties", False)
    return schema


components = closed(document["components"])


def fits(pattern, path, method="get", body=None, expect=200):
    status, kind, data = ask(path, method.upper(), body)
    assert status == expect, (path, status, data[:300])
    described = document["paths"][pattern][method]["responses"][str(status)]
    if "$ref" in described:
        described = document["components"]["responses"][described["$ref"].rpartition("/")[2]]
    kinds = {name.lower(): content for name, content in described["content"].items()}
    assert kind in kinds, (path, kind, list(kinds))
    if kind != "application/json":
        return data
    value = json.loads(data)
    if "schema" in kinds[kind] and pattern != "/openapi.json":
        jsonschema.Draft202012Validator({**closed(kinds[kind]["schema"]), "components": components}).validate(value)
    return value


entries = kvgtest.wait_for("fragments to play", lambda: site.playlist(first))
at = round(entries[0][1] * 1000)
end = round((entries[-1][1] + entries[-1][2]) * 1000)
seen = set()
for pattern, path in [
        ("/healthz", "/healthz"), ("/readyz", "/readyz"), ("/metrics", "/metrics"), ("/openapi.json", "/openapi.json"),
        ("/api/site", "/api/site"), ("/api/cameras", "/api/cameras"), ("/api/cameras/{camera}", f"/api/cameras/{first}"),
        ("/api/cameras/{camera}/history", f"/api/cameras/{first}/history"),
        ("/api/cameras/{camera}/uploads", "/api/cameras/depot/uploads"),
        ("/api/cameras/{camera}/ranges", f"/api/cameras/{first}/ranges?from={at}&to={end}"),
        ("/api/cameras/{camera}/clip.mp4", f"/api/cameras/{first}/clip.mp4?from={at}&to={end}"),
        ("/api/cameras/{camera}/image.jpg", f"/api/cameras/{first}/image.jpg?at={at}"),
        ("/play/{camera}/{file}", f"/play/{first}/live.m3u8")]:
    assert fits(pattern, path), path
    seen.add(pattern)
assert seen == {pattern for pattern, item in document["paths"].items() if "get" in item}, seen
for pattern, path, status in [
        ("/api/cameras/{camera}", "/api/cameras/nobody", 404),
        ("/api/cameras/{camera}/history", "/api/cameras/nobody/history", 404),
        ("/api/cameras/{camera}/ranges", f"/api/cameras/{first}/ranges?from=1", 400),
        ("/api/cameras/{camera}/clip.mp4", f"/api/cameras/{first}/clip.mp4?from=1000&to=2000", 404),
        ("/api/cameras/{camera}/image.jpg", f"/api/cameras/{first}/image.jpg?at=soon", 400),
        ("/play/{camera}/{file}", f"/play/{first}/recorded.m3u8", 400)]:
    assert fits(pattern, path, expect=status)["message"], path
now = round(time.time() * 1000)
fits("/api/cameras/{camera}/uploads", "/api/cameras/depot/uploads", "post",
     {"from_ms": now - 1000, "to_ms": now}, expect=202)
assert fits("/api/cameras/{camera}/uploads", "/api/cameras/depot/uploads")["uploads"]
fits("/api/cameras/{camera}/uploads", "/api/cameras/depot/uploads", "post", {"from_ms": 2, "to_ms": 1}, expect=400)
assert fits("/api/reload", "/api/reload", "post", {})["ok"]
assert fits("/api/site", "/api/site")["reload"]["ok"]
fits("/api/session", "/api/session", "post", {"token": "no token is asked for"}, expect=409)

# ---- history and counters: off with its reason, and on again
fits("/api/cameras/{camera}", f"/api/cameras/{second}", "patch", {"streaming": False})
kvgtest.wait_for("the camera to be off", lambda: site.status()[second]["state"] == "off")


def metrics():
    """{family: {frozenset of labels: value}}; twice the same series is an error."""
    families = {}
    for family in text_string_to_metric_families(ask("/metrics")[2].decode()):
        assert family.name.startswith("kvg_") and family.documentation, family
        assert family.type in ("counter", "gauge"), family
        rows = families.setdefault(family.name + ("_total" if family.type == "counter" else ""), {})
        for sample in family.samples:
            labels = frozenset(sample.labels.items())
            assert labels not in rows, sample
            rows[labels] = sample.value
    return families


figures = metrics()


def value(name, **labels):
    return figures[name][frozenset(labels.items())]


def states(camera):
    return {dict(labels)["state"]: count for labels, count in figures["kvg_camera_state"].items()
            if dict(labels)["camera"] == camera}


names = document["components"]["schemas"]["Camera"]["properties"]["state"]["enum"]
for camera, state in ((first, "live"), (second, "off"), ("depot", "live")):
    assert states(camera) == {name: float(name == state) for name in names}, (camera, states(camera))
assert value("kvg_camera_streaming", camera=first) == 1 and value("kvg_camera_streaming", camera=second) == 0
for name in ("frames", "bytes", "frames_persisted", "media_persisted_seconds", "fragments", "fragments_persisted",
             "upload_bytes", "upload_sessions"):
    assert value(f"kvg_camera_{name}_total", camera=first) > 0, name
assert value("kvg_camera_frames_persisted_total", camera=first) <= value("kvg_camera_frames_total", camera=first)
for name in ("certificate", "credentials"):
    assert value(f"kvg_camera_{name}_expiry_timestamp_seconds", camera=first) > time.time(), name
assert 0 <= value("kvg_camera_last_persisted_age_seconds", camera=first) < kvgtest.PATIENCE_S
assert value("kvg_spool_limit_bytes") == 1 << 30
processes = {dict(labels)["pid"]: dict(labels)["process"] for labels in figures["kvg_process_resident_bytes"]}
assert processes.pop(str(site.agent.process.pid)) == "supervisor" and set(processes.values()) == {"worker"}, processes
assert all(rss > 1e6 for rss in figures["kvg_process_resident_bytes"].values())
assert all(cpu > 0 for labels, cpu in figures["kvg_process_cpu_seconds_total"].items() if ("process", "worker") in labels)

fits("/api/cameras/{camera}", f"/api/cameras/{second}", "patch", {"streaming": True})
kvgtest.wait_for("the camera to be live again", lambda: is_live(second))
changes = fits("/api/cameras/{camera}/history", f"/api/cameras/{second}/history")["changes"]
words = [change["state"] for change in changes]
off = words.index("off")
assert "live" in words[:off] and words[-1] == "live" and changes[off]["reason"], changes
assert [change["at_ms"] for change in changes] == sorted(change["at_ms"] for change in changes)

# ---- dashboard and alerts name what is there
absent = {"kvg_camera_process_ends_total"}  # until a worker has ended
there = {name for name, rows in figures.items() if rows} | absent
assert absent <= set(figures)
board = json.load(open(os.path.join(DOCS, "grafana/kvg.json")))
assert any(one["type"] == "datasource" for one in board["templating"]["list"])
rules = yaml.safe_load(open(os.path.join(DOCS, "grafana/alerts.yml")))["groups"][0]["rules"]
queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
queries += [one["definition"] for one in board["templating"]["list"] if one["type"] == "query"]
assert len(board["panels"]) >= 10 and len(rules) >= 5
for query in queries + [rule["expr"] for rule in rules]:
    named = set(re.findall(r"kvg_[a-z_]+", query))
    assert named <= there, (query, named - there)
    assert named or "up{" in query, query
for panel in board["panels"]:
    assert all(one["datasource"]["uid"] == "${datasource}" for one in [panel, *panel["targets"]]), panel["title"]
text = open(os.path.join(DOCS, "monitoring.md")).read()
assert set(re.findall(r"`(kvg_[a-z_]+)`", text)) <= there
assert all(f"`{rule['alert']}`" in text for rule in rules)

# ---- the network is asked for without token and HTTPS
open(site.path("open.yaml"), "w").write(open(site.path("kvg.yaml")).read().replace(
    "address: 127.0.0.1, port: 0", "address: 0.0.0.0, port: 0"))
done = site.kvg("check", "-c", site.path("open.yaml"), check=False)
assert done.returncode == 1, done
for word in ("0.0.0.0", "token_file", "certificate", "private_key", "127.0.0.1"):
    assert word in done.stdout + done.stderr, (word, done.stdout, done.stderr)
assert site.agent.stop() == 0
