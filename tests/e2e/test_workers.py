"""Processes of the agent are killed, stopped and made to end again and again: the cameras come back, the
others notice nothing, and what was recorded while the server was away is lost by none of it."""
import json
import os
import signal
import time
import urllib.request

import kvgtest

site = kvgtest.Site()
site.start_server()
site.start_cameras(4, "--loop", "--no-mjpeg")
site.write_config()
config = site.path("kvg.yaml")


def write(top="workers: 2", keys=""):
    with open(config) as file:
        lines = [line for line in file if not line.startswith("workers")]
    lines = [line.replace(" }", keys + " }") if line.startswith("  gate:") else line for line in lines]
    with open(config + "~", "w") as out:
        out.write("".join([top + "\n"] + lines))
    os.rename(config + "~", config)


def processes():
    return {name: camera.get("process") for name, camera in site.status().items()}


def is_live(names, not_in=()):
    return all(camera["state"] == "live" and camera["frames"] > 0 and camera["process"] not in not_in
               for name, camera in site.status().items() if name in names)


def kill(pid, number=signal.SIGKILL):
    os.kill(pid, number)
    return time.monotonic(), time.time()


def back(what, names, pid, since):
    kvgtest.wait_for(what, lambda: is_live(names, [pid]))
    took = time.monotonic() - since[0]
    print(f"{what}: {took:.1f} s")
    return took


write()
site.provision()
site.start_agent()
site.wait_live()
agent = site.agent.process.pid
kills = []

# ---- two processes; one is killed while the server is away
first, *rest = site.names
shared = processes()
assert len(set(shared.values())) == 2 and sorted(kvgtest.children(agent)) == sorted(set(shared.values())), shared
mine = [name for name in site.names if shared[name] == shared[first]]
others = [name for name in site.names if name not in mine]
site.server.stop(signal.SIGKILL)
time.sleep(2)
kills.append(kill(shared[first]))
assert back("a killed worker", mine, shared[first], kills[-1]) < 15
assert "was ended by signal 9 (Killed)" in open(site.path("agent.log")).read()

# ---- the other hangs: it is killed, too
kills.append(kill(shared[others[0]], signal.SIGSTOP))
back("a hanging worker", others, shared[others[0]], kills[-1])
assert "did not answer for 10 s and was killed" in open(site.path("agent.log")).read()

# ---- the supervisor is killed: its workers end with it; another finds everything
old = set(processes().values())
kills.append(kill(agent))
site.agent.process.wait(timeout=30)
site.start_agent()
kvgtest.wait_for("all cameras", lambda: is_live(site.names))
print(f"a killed supervisor: {time.monotonic() - kills[-1][0]:.1f} s")
assert not any(kvgtest.is_running(pid) for pid in old)
agent = site.agent.process.pid
second = site.kvg("agent", "-c", config, check=False)
assert second.returncode == 1 and f"another kvg agent (process {agent}) uses the spool" in second.stderr, second
site.start_server()
kvgtest.wait_for("the backlog", lambda: all(
    camera.get("fragments_persisted", 0) > 5 and camera.get("last_persisted_age_ms", -1) in range(0, 3000) and
    camera["spool_fragments"] < 5 for camera in site.status().values()))
for name in site.names:
    gaps = kvgtest.find_gaps(site.playlist(name))
    # Video is only missing from when a process was killed until it was back.
    for start, end in gaps:
        assert any(start - 2 < at[1] < end + 2 for at in kills) and end - start < 30, (name, gaps, kills)
    print(name, "missed", [f"{end - start:.1f} s" for start, end in gaps])

# ---- a process that ends twice within a minute: each camera gets one of its own
for _ in range(2):
    pid = processes()[first]
    since = kill(pid)
    back("a worker killed again", mine, pid, since)
apart = processes()
assert len({apart[name] for name in mine}) == len(mine), apart
assert len({apart[name] for name in others}) == 1, apart
before = site.status()


def quarantine():
    """Kills the process of the first camera whenever there is one, until it gets none any more."""
    def is_quarantined():
        camera = site.status()[first]
        if camera["state"] == "failed":
            return camera
        if camera.get("process") and kvgtest.is_running(camera["process"]):
            kill(camera["process"])
        return None
    camera = kvgtest.wait_for("quarantine", is_quarantined)
    assert "its process ended 5 times within" in camera["reason"], camera
    assert "the last was ended by signal 9 (Killed); it rests for 5 min" in camera["reason"], camera
    assert camera["process"] is None and camera["process_ends"] >= 5, camera
    assert len(kvgtest.children(agent)) == 2, "no process for it"


def switch(on):
    request = urllib.request.Request(
        f"http://127.0.0.1:{site.agent.ready['api_port']}/api/cameras/{first}", method="PATCH",
        data=json.dumps({"streaming": on}).encode(), headers={"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=30).close()


# ---- it keeps ending: quarantine, until it is switched off and on
quarantine()
switch(False)
kvgtest.wait_for("the camera to be off", lambda: site.status()[first]["state"] == "off")
switch(True)
kvgtest.wait_for("the camera", lambda: is_live([first]))

# ---- or until its configuration is changed
quarantine()
write(keys=", fragment: 2s")
kvgtest.wait_for("the camera", lambda: is_live([first]))

now = site.status()
for name in rest:
    assert now[name]["process"] == before[name]["process"] and now[name]["restarts"] == 0, now[name]
    assert now[name]["sessions"] == before[name]["sessions"], (before[name], now[name])
    assert now[name]["state"] == "live", now[name]

# ---- the end: nothing stays behind
left = kvgtest.children(agent)
assert site.agent.stop() == 0
assert left and not any(kvgtest.is_running(pid) for pid in left)
print("passed")
