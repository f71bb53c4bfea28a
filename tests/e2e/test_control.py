"""Cameras are switched and tuned through their device shadows, from here and from afar; what was said
while the agent was down is obeyed at its start; what cannot be done is reported and changes nothing."""
import json
import time
import urllib.error
import urllib.request

import kvgtest

site = kvgtest.Site()
site.start_server()
site.start_cameras(2)
site.write_config("  pattern: { source: \"test:width=320,height=176,fps=10\" }\n")
site.provision()
site.start_agent()
site.wait_live()
data = site.client("iot-data")
gate = site.names[0]
agent_url = f"http://127.0.0.1:{site.agent.ready['api_port']}"


def shadow(name):
    return json.loads(data.get_thing_shadow(thingName=name)["payload"].read())


def desire(name, **state):
    payload = json.dumps({"state": {"desired": state}}).encode()
    return json.loads(data.update_thing_shadow(thingName=name, payload=payload)["payload"].read())


def reported(name):
    return shadow(name)["state"].get("reported", {})


def wait_reported(what, name, **members):
    return kvgtest.wait_for(what, lambda: all(
        reported(name).get(key) == value for key, value in members.items()) and reported(name))


def camera(name):
    return site.status()[name]


def steady(name):
    """What must not change for a camera that nobody touches."""
    now = camera(name)
    assert now["state"] == "live" and now["restarts"] == 0 and now["frames_dropped"] == 0, now


# ---- every camera has said what it does
for name in (*site.names, "pattern"):
    wait_reported("the first report of " + name, name, streaming=True, state="live")

# ---- off and on through the shadow
since = time.monotonic()
desire(gate, streaming=False)
kvgtest.wait_for("the camera to be off", lambda: camera(gate)["state"] == "off")
print(f"off after {time.monotonic() - since:.2f} s")
wait_reported("the report", gate, streaming=False, state="off")
assert "delta" not in shadow(gate)["state"], shadow(gate)
frames = camera(gate)["frames"]
kvgtest.wait_for("the rest to be stored", lambda: camera(gate)["frames_persisted"] == frames)
steady(site.names[1])
time.sleep(1)
assert camera(gate)["frames"] == frames, "frames of a camera that is off"

since = time.monotonic()
desire(gate, streaming=True)
kvgtest.wait_for("the camera to be live", lambda: camera(gate)["state"] == "live")
print(f"on after {time.monotonic() - since:.2f} s")
wait_reported("the report", gate, streaming=True, state="live")

# ---- tuning: a passed-through camera is encoded when somebody asks for it
desire(gate, width=160, height=90, fps=5, bitrate_kbps=200, fragment_ms=2000)
kvgtest.wait_for("the new size", lambda: camera(gate)["mode"] == "encoded"
                 and camera(gate)["width"] == 160 and camera(gate)["state"] == "live")
wait_reported("the report", gate, width=160, height=90, fps=5, bitrate_kbps=200, fragment_ms=2000)
assert "delta" not in shadow(gate)["state"], shadow(gate)
kvgtest.wait_for("longer fragments", lambda: any(
    length >= 1.5 for _, start, length in site.playlist(gate)[-3:]))
steady(site.names[1])

# ---- what cannot be done changes nothing and is said
desire(gate, bitrate_kbps=5)
problem = kvgtest.wait_for("the problem", lambda: reported(gate).get("problem"))
assert "bitrate_kbps" in problem and "32" in problem, problem
assert reported(gate)["bitrate_kbps"] == 200 and camera(gate)["state"] == "live", camera(gate)
desire(gate, bitrate_kbps=None, width=None, height=None, fps=None, fragment_ms=None, welcome="aws-iot")
kvgtest.wait_for("passthrough again", lambda: camera(gate)["mode"] == "passthrough"
                 and camera(gate)["state"] == "live")
kvgtest.wait_for("the note", lambda: reported(gate).get("ignored") == ["welcome"])
assert "problem" not in reported(gate) and "width" not in reported(gate), reported(gate)
desire(gate, welcome=None)


# ---- the same from here: the command, the API, and what they refuse
def kvg(*words, check=True):
    return site.kvg("camera", *words, "-c", site.path("kvg.yaml"), "--agent", agent_url, check=check)


kvg("off", "pattern")
kvgtest.wait_for("the camera to be off", lambda: camera("pattern")["state"] == "off")
kvgtest.wait_for("the shadow to know", lambda: shadow("pattern")["state"].get("desired") == {"streaming": False})
wait_reported("the report", "pattern", streaming=False)
kvg("on", "pattern")
kvgtest.wait_for("the camera to be live", lambda: camera("pattern")["state"] == "live")
assert "pattern" in kvg("list").stdout and "settings" in kvg("show", "pattern").stdout
refused = kvg("set", "pattern", "fps=1000", check=False)
assert refused.returncode == 1 and "fps" in refused.stderr, refused
refused = kvg("set", "pattern", "frames=3", check=False)
assert refused.returncode == 1 and "frames" in refused.stderr, refused
assert kvg("set", "pattern", "fps", check=False).returncode == 2
assert kvg("off", "nobody", check=False).returncode == 1
site.kvg("camera", "off", "pattern", "--remote", "-c", site.path("kvg.yaml"))
kvgtest.wait_for("the camera to be off", lambda: camera("pattern")["state"] == "off")
assert "desired" in site.kvg("camera", "show", "pattern", "--remote", "-c", site.path("kvg.yaml")).stdout


def patch(body, **headers):
    request = urllib.request.Request(agent_url + "/api/cameras/pattern", data=body, method="PATCH",
                                     headers=headers)
    try:
        return urllib.request.urlopen(request, timeout=30).status
    except urllib.error.HTTPError as error:
        return error.code


assert patch(b'{"streaming":true}', **{"Content-Type": "text/plain"}) == 415
assert patch(b'{"streaming":1}', **{"Content-Type": "application/json"}) == 400
assert patch(b'x' * 100000, **{"Content-Type": "application/json"}) == 413
assert camera("pattern")["state"] == "off"

# ---- said while the agent was down: obeyed at its start
site.agent.stop()
desire(gate, streaming=False)
desire("pattern", streaming=True)
site.start_agent()
kvgtest.wait_for("gate to be off", lambda: camera(gate)["state"] == "off")
kvgtest.wait_for("pattern to be live", lambda: camera("pattern")["state"] == "live")

# ---- no network at the start: what was known last counts, and what is said here is not forgotten
site.agent.stop()
site.server.stop()
site.start_agent()
agent_url = f"http://127.0.0.1:{site.agent.ready['api_port']}"
kvgtest.wait_for("pattern to be live", lambda: camera("pattern")["state"] == "live")
assert camera(gate)["state"] == "off", camera(gate)
kvg("off", "pattern")
kvgtest.wait_for("pattern to be off", lambda: camera("pattern")["state"] == "off")
site.start_server()
kvgtest.wait_for("the shadow to hear of it", lambda: shadow("pattern")["state"]["desired"]["streaming"] is False)
assert camera("pattern")["state"] == "off"
site.agent.stop()
