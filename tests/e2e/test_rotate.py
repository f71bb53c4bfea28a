"""kvg provision --rotate while cameras stream: no frame is lost, the agent goes over by itself, and the old
certificate opens nothing any more. Then kvg destroy: after all this nothing is left."""
import json
import os
import shutil
import time

import kvgtest

site = kvgtest.Site()
site.start_server()
nothing = site.everything()
site.start_cameras(2)
site.write_config()
site.provision()
site.start_agent()
site.wait_live()
first, second = site.names[:2]
iot = site.client("iot")


def certificate(name):
    [arn] = iot.list_thing_principals(thingName=name)["principals"]
    return arn


def control(name):
    url = f"http://127.0.0.1:{site.agent.ready['api_port']}/api/cameras/{name}"
    return json.loads(kvgtest.fetch(url))["control"]


old = {name: certificate(name) for name in site.names}
for name in site.names:
    for suffix in (".cert.pem", ".private.key"):
        shutil.copy(site.path(f"certs/{name}{suffix}"), site.path(f"old-{name}{suffix}"))
        os.chmod(site.path(f"old-{name}{suffix}"), 0o600)
    assert site.camera_keys(name, certificate=site.path("old-" + name))[0] == 200
kvgtest.wait_for("the cameras' control", lambda: all(control(name).get("connected") for name in site.names))

# ---- both at once, then one of them twice more
for arguments in ((), (first,), (first,)):
    time.sleep(2)
    site.kvg("provision", "--rotate", *arguments, "-c", site.path("kvg.yaml"))
now = {name: certificate(name) for name in site.names}
assert all(now[name] != old[name] for name in site.names), (old, now)
listed = [c["certificateArn"] for c in iot.list_certificates()["certificates"]]
assert sorted(listed) == sorted(now.values()), listed
for name in site.names:
    status, answer = site.camera_keys(name, certificate=site.path("old-" + name))
    assert (status, answer["message"]) == (403, "Certificate is invalid on this endpoint"), (status, answer)
    assert site.camera_keys(name)[0] == 200

# ---- the agent: control comes back with the new certificate, video never went away
before = {name: camera["fragments_persisted"] for name, camera in site.status().items()}
kvgtest.wait_for("control with the new certificate", lambda: all(control(n).get("connected") for n in site.names))
kvgtest.wait_for("more video", lambda: all(
    camera["fragments_persisted"] >= before[name] + 3 for name, camera in site.status().items()))
doctor = site.kvg("doctor", "-c", site.path("kvg.yaml"))
assert "0 of 2 cameras broken" in doctor.stdout, doctor.stdout
for name, camera in site.status().items():
    assert camera["state"] == "live" and camera["frames_dropped"] == 0, camera
for name in site.names:
    gaps = kvgtest.find_gaps(site.playlist(name))
    assert not gaps, (name, gaps)
site.agent.stop()
with open(site.path("agent.log"), errors="replace") as log:
    text = log.read()
    assert "PRIVATE KEY" not in text
site.kvg("destroy", "--yes", "-c", site.path("kvg.yaml"))
assert site.everything() == nothing, (site.everything(), nothing)
data = site.client("iot-data")
for name in site.names:
    try:
        data.get_thing_shadow(thingName=name)
        raise AssertionError("the shadow is left")
    except data.exceptions.ResourceNotFoundException:
        pass
