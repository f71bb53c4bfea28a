"""The configuration is changed under 16 running cameras: what changed starts again, all others go on
without a gap and in the sessions they had; a file that is not right changes nothing."""
import json
import os
import signal
import socket
import threading
import urllib.error
import urllib.request
import time

import kvgtest

N = 16
site = kvgtest.Site()
site.start_server()
site.start_cameras(N, "--loop", "--no-mjpeg")
urls = {camera["name"]: camera["url"] for camera in site.cameras.ready["cameras"]}


def secret(name, text):
    """Replaced as an editor would."""
    path = site.path(name)
    with open(os.open(path + "~", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(text)
    os.rename(path + "~", path)


def write(cameras, top="", spool="spool", **changed):
    """kvg.yaml with these cameras; @changed: more keys of some."""
    lines = [f"region: {kvgtest.REGION}", f"endpoint: {site.endpoint}", f"ca_bundle: {site.path('server/ca.pem')}",
             "identity: { directory: certs }", f"spool: {{ path: {spool}, limit: 1GiB, memory_path: memory }}",
             "api: { address: 127.0.0.1, port: 0 }", top, "cameras:"]
    for name in cameras:
        own = "own-password" if name == "shop" else "camera-password"
        lines.append(f"  {name}: {{ source: \"{urls[name]}\", username: viewer, password_file: {own}"
                     f"{changed.get(name, '')} }}")
    with open(site.path("kvg.yaml~"), "w") as out:
        out.write("\n".join(lines) + "\n")
    os.rename(site.path("kvg.yaml~"), site.path("kvg.yaml"))


def log():
    with open(site.path("agent.log"), errors="replace") as file:
        return file.read()


def wait_log(text, seen):
    kvgtest.wait_for(f"'{text}' in the log", lambda: text in log()[seen:])


def ask_reload():
    """(status, answer) of the API."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{site.agent.ready['api_port']}/api/reload", method="POST", data=b"{}",
        headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def last_reload():
    return json.loads(kvgtest.fetch(f"http://127.0.0.1:{site.agent.ready['api_port']}/api/site"))["reload"]


def wait_live(names):
    kvgtest.wait_for("the cameras to be live", lambda: sorted(site.status()) == sorted(names) and all(
        camera["state"] == "live" for camera in site.status().values()))


names = list(urls)
urls["lounge"] = urls["lobby"]  # a camera under another name is another camera
secret("own-password", "p$ss word")
write(names + ["lounge"])
site.provision()
write(names)

# What systemd would be told.
told = []
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.bind(site.path("notify"))
site.environment.update(NOTIFY_SOCKET=site.path("notify"), WATCHDOG_USEC="1000000")


def listen():
    while "STOPPING=1" not in told:
        told.append(manager.recv(4096).decode())


threading.Thread(target=listen, daemon=True).start()
site.start_agent()
site.wait_live()
kvgtest.wait_for("the status", lambda: "STATUS=16 cameras, all live" in told)
assert told[0] == "READY=1" and "WATCHDOG=1" in told, told
first = site.status()
assert len({camera["process"] for camera in first.values()}) == 2, "eight cameras a process"

# ---- one of 16 is changed
seen = len(log())
write(names, gate=", fragment: 2s")
wait_log("configuration read: changed gate", seen)
wait_live(names)

# ---- another is renamed: one goes, one comes
names[names.index("lobby")] = "lounge"
write(names, gate=", fragment: 2s")
status, answer = ask_reload()
assert status == 200 and answer["ok"] and answer["added"] == ["lounge"] and answer["removed"] == ["lobby"], answer
assert answer["message"] == "added lounge; removed lobby" and answer["changed"] == [], answer
wait_live(names)

# ---- only a secret changes, first to a wrong one
seen = len(log())
secret("own-password", "wrong")
wait_log("configuration read: changed shop", seen)
kvgtest.wait_for("the camera to be refused", lambda: "refuses" in (site.status()["shop"]["reason"] or ""))
seen = len(log())
secret("own-password", "p$ss word")
wait_log("configuration read: changed shop", seen)
wait_live(names)

# ---- all this time nothing has happened to the others
untouched = [name for name in names if name not in ("gate", "lounge", "shop")]
kvgtest.wait_for("new fragments", lambda: all(
    site.status()[name]["fragments_persisted"] > first[name]["fragments_persisted"] + 5 for name in untouched))
now = site.status()
for name in untouched:
    assert now[name]["sessions"] == first[name]["sessions"], (name, now[name])
    assert now[name]["restarts"] == 0 and now[name]["frames_dropped"] == 0, now[name]
    assert now[name]["process"] == first[name]["process"], now[name]
    gaps = kvgtest.find_gaps(site.playlist(name))
    assert not gaps, (name, gaps)

# ---- a file that is not right changes nothing and says why, once
seen = len(log())
write(names, gate=", fragmnt: 2s")
wait_log("did you mean 'fragment'?", seen)
first_refusal = kvgtest.wait_for("the answer", lambda: not last_reload()["ok"] and last_reload()["at_ms"])
site.agent.process.send_signal(signal.SIGHUP)
kvgtest.wait_for("another attempt", lambda: last_reload()["at_ms"] > first_refusal)
assert log()[seen:].count("did you mean") == 1, log()[seen:]

status, answer = ask_reload()
assert status == 400 and not answer["ok"] and "kvg.yaml:9:" in answer["message"], answer
assert last_reload() == answer, (last_reload(), answer)

# A worker that dies meanwhile comes back by the configuration that was accepted.
dead = site.status()["yard"]["process"]
beside = [name for name, camera in site.status().items() if camera["process"] == dead]
os.kill(dead, signal.SIGKILL)
kvgtest.wait_for("the cameras of the dead worker", lambda: all(
    site.status()[name]["state"] == "live" and site.status()[name]["process"] != dead for name in beside))

# ---- right again; SIGHUP reads it at once
seen = len(log())
write(names, gate=", fragment: 2s", top="upload: { catch_up: live-first }")
site.agent.process.send_signal(signal.SIGHUP)
wait_log("changed keys of the site: all cameras start again", seen)
kvgtest.wait_for("all cameras in new processes", lambda: all(
    camera["state"] == "live" and camera.get("process") not in (None, now["yard"]["process"], now["gate"]["process"])
    for camera in site.status().values()))

# ---- keys of the API are said to need a start of the agent; another spool is used; a process a camera
seen = len(log())
few = names[:3]
write(few, top="workers: per-camera", spool="other-spool")
wait_log("workers: all cameras start again", seen)
wait_live(few)
kvgtest.wait_for("a process for each camera", lambda: len(kvgtest.children(site.agent.process.pid)) == 3)
kvgtest.wait_for("new fragments", lambda: all(
    camera.get("fragments_persisted", 0) >= 2 for camera in site.status().values()))
assert os.path.exists(site.path("other-spool/.agent.lock"))
seen = len(log())
with open(site.path("kvg.yaml")) as file:
    text = file.read()
with open(site.path("kvg.yaml"), "w") as out:
    out.write(text.replace("port: 0", "port: 1"))
wait_log("they take effect when the agent is restarted", seen)
assert all(camera["state"] == "live" for camera in site.status().values())
assert site.agent.stop() == 0
kvgtest.wait_for("the end", lambda: "STOPPING=1" in told)
reloading = [i for i, state in enumerate(told) if state.startswith("RELOADING=1\nMONOTONIC_USEC=")]
assert len(reloading) >= 7 and all("READY=1" in told[i + 1:] for i in reloading), told
assert any("the configuration has an error" in state for state in told), told
manager.close()
print("passed")
