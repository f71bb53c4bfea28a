"""Cameras that do not upload all the time: an event brings what was before it and what comes after, a
range that is asked for brings just that, also when everything is killed or the network is gone in
between; a schedule switches by itself."""
import datetime
import json
import os
import signal
import time
import urllib.error
import urllib.request

import kvgtest

SOURCE = 'source: "test:width=320,height=176,fps=10"'


def clock(seconds):
    """A time of day so many seconds from now, in UTC."""
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)).strftime("%H:%M:%S")


site = kvgtest.Site()
site.start_server()
site.write_config(f"""\
  door: {{ {SOURCE}, mode: event, event: {{ pre_roll: 4s, post_roll: 3s }}, keep: 10m }}
  depot: {{ {SOURCE}, mode: on-demand, keep: 1h }}
  yard: {{ {SOURCE}, mode: schedule, schedule: ["* {clock(3600)}-{clock(7200)}"], timezone: UTC }}
  always: {{ {SOURCE} }}
""")
site.provision()
site.start_agent()
data = site.client("iot-data")


def camera(name):
    return site.status()[name]


def call(method, path, body=None, status=None, content_type="application/json"):
    request = urllib.request.Request(
        f"http://127.0.0.1:{site.agent.ready['api_port']}/api/cameras/{path}", method=method,
        data=None if body is None else json.dumps(body).encode(), headers={"Content-Type": content_type})
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            got, text = reply.status, reply.read()
    except urllib.error.HTTPError as error:
        got, text = error.code, error.read()
    assert status is None or got == status, (path, body, got, text)
    return json.loads(text)


def uploads(name):
    return {one["id"]: one for one in call("GET", name + "/uploads", status=200)["uploads"]}


def wait_done(name, upload):
    return kvgtest.wait_for(f"{upload} of {name} to be done", lambda: (
        one := uploads(name).get(upload)) and one["done"] and one)


def stored(name):
    """[(start, end)] of what the server has, in ms, in order of time."""
    try:
        found = site.playlist(name)
    except AssertionError as error:  # nothing at all
        assert "no fragment" in str(error).lower() or "ResourceNotFound" in str(error), error
        return []
    return sorted((round(start * 1000), round((start + length) * 1000)) for _, start, length in found)


def expect_stored(name, *ranges):
    """Whole fragments (of a second) that cover the ranges without a gap, and nothing else."""
    found = stored(name)
    for start, end in found:
        assert any(start < to and end > since for since, to in ranges), (name, ranges, start, end)
    for since, to in ranges:
        inside = [(start, end) for start, end in found if start < to and end > since]
        assert inside and inside[0][0] <= since and inside[-1][1] >= to - 150, (name, ranges, found)
        for (_, end), (start, _) in zip(inside, inside[1:]):
            assert abs(start - end) <= 250, (name, found)
    return found


def now_ms():
    return int(time.time() * 1000)


# ---- they record, and nothing goes up
kvgtest.wait_for("live cameras", lambda: all(camera(n)["state"] == "live" for n in ("door", "depot", "always")))
begin_ms = now_ms()
kvgtest.wait_for("ten seconds of recording", lambda: camera("depot").get("held_fragments", 0) >= 10
                 and camera("door").get("held_fragments", 0) >= 10)
for name in ("door", "depot"):
    status = camera(name)
    assert status["stream_state"] == "holding" and status["sessions"] == 0, status
    assert status["spool_bytes"] == 0 and status["held_bytes"] > 0, status
yard = camera("yard")
assert yard["state"] == "off" and not yard["streaming"], yard
assert yard["reason"].startswith("outside its schedule until "), yard
kvgtest.wait_for("the other camera to upload", lambda: camera("always").get("fragments_persisted", 0) > 2)

# ---- an event: four seconds before, three after; a second one during it makes it longer
first_ms = now_ms()
event = call("POST", "door/events", {}, status=202)
assert event["from_ms"] - (first_ms - 4000) in range(0, 2000), (event, first_ms)
time.sleep(1)
again = call("POST", "door/events", {"pre_roll_ms": 0, "post_roll_ms": 4000}, status=202)
assert again["id"] == event["id"] and again["to_ms"] > event["to_ms"], (event, again)
done = wait_done("door", event["id"])
assert done["missing"] == [] and done["from_ms"] == event["from_ms"] and done["to_ms"] == again["to_ms"], done
expect_stored("door", (done["from_ms"], done["to_ms"]))
kvgtest.wait_for("the connection to end", lambda: camera("door")["stream_state"] == "holding")
assert camera("door")["frames_dropped"] == 0 and camera("door")["fragments_persisted"] == done["fragments"]

# ---- a range of time, by the command; then one before it
range_ms = (begin_ms + 5000, begin_ms + 8000)
site.kvg("camera", "upload", "depot", "--from", str(range_ms[0]), "--to", str(range_ms[1]), "-c",
         site.path("kvg.yaml"), "--agent", f"http://127.0.0.1:{site.agent.ready['api_port']}")
(asked,) = uploads("depot")
assert wait_done("depot", asked)["missing"] == []
expect_stored("depot", range_ms)
earlier = (begin_ms + 1000, begin_ms + 3000)
wait_done("depot", call("POST", "depot/uploads", {"from_ms": earlier[0], "to_ms": earlier[1]}, status=202)["id"])
expect_stored("depot", earlier, range_ms)
missing = wait_done("depot", call("POST", "depot/uploads", {
    "from_ms": begin_ms - 60000, "to_ms": begin_ms - 50000}, status=202)["id"])
assert missing["fragments"] == 0 and missing["missing"] == [[begin_ms - 60000, begin_ms - 50000]], missing
text = site.kvg("camera", "uploads", "depot", "-c", site.path("kvg.yaml"), "--agent",
                f"http://127.0.0.1:{site.agent.ready['api_port']}").stdout
assert "kept here:" in text and "not there:" in text and "done" in text, text
text = site.kvg("spool", "list", "depot", "-c", site.path("kvg.yaml")).stdout
assert "asked for" in text and "here" in text, text

# ---- what cannot be done is refused in words
for path, body, status, word in (
        ("always/events", {}, 400, "mode always"), ("always/uploads", {"from_ms": 1, "to_ms": 2}, 400, "mode"),
        ("depot/events", {}, 400, "mode: event"), ("nobody/events", {}, 404, "camera"),
        ("depot/uploads", {"from_ms": 2, "to_ms": 1}, 400, "before"), ("depot/uploads", {"from_ms": 1}, 400, "to_ms"),
        ("depot/uploads", {"from_ms": "1", "to_ms": 2}, 400, "from_ms"),
        ("door/events", {"pre_roll": 1}, 400, "pre_roll_ms"), ("door/events", {"pre_roll_ms": -1}, 400, "whole")):
    answer = call("POST", path, body, status=status)
    assert word in answer["message"], (path, answer)
call("POST", "door/events", {}, status=415, content_type="text/plain")

# ---- asked for while the server is away, and then everything is killed: it is not forgotten
site.server.stop()
late_ms = (begin_ms + 9500, begin_ms + 10500)
late = call("POST", "depot/uploads", {"from_ms": late_ms[0], "to_ms": late_ms[1]}, status=202)["id"]
event = call("POST", "door/events", {}, status=202)
workers = kvgtest.children(site.agent.process.pid)
site.agent.stop(signal.SIGKILL)
for pid in workers:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
site.start_server()
site.start_agent()
kvgtest.wait_for("the camera to be back", lambda: camera("depot")["state"] == "live" and camera("door")["state"] == "live")
assert wait_done("depot", late)["missing"] == []
expect_stored("depot", earlier, range_ms, late_ms)
wait_done("door", event["id"])
found = [pair for pair in stored("door") if pair[1] > event["from_ms"] and pair[0] < event["from_ms"] + 3000]
assert found and found[0][0] <= event["from_ms"], (event, found)  # what was recorded before it


# ---- through the shadow: each new value is one event
def desire(name, **state):
    payload = json.dumps({"state": {"desired": state}}).encode()
    return json.loads(data.update_thing_shadow(thingName=name, payload=payload)["payload"].read())


def reported(name):
    document = json.loads(data.get_thing_shadow(thingName=name)["payload"].read())
    return document["state"].get("reported", {})


def events():
    return {one for one in uploads("door") if one.startswith("event-shadow-")}


kvgtest.wait_for("the shadow", lambda: reported("door").get("state") == "live")
desire("door", event="bell 1")
kvgtest.wait_for("the event to be taken", lambda: reported("door").get("event") == "bell 1")
(first,) = events()
wait_done("door", first)
site.agent.stop()
desire("door", event=2)
desire("depot", upload={"from_ms": begin_ms, "to_ms": begin_ms + 500})
away_ms = now_ms()
time.sleep(4)
site.start_agent()
kvgtest.wait_for("the event to be taken", lambda: reported("door").get("event") == 2)
(second,) = events() - {first}
assert abs(uploads("door")[second]["from_ms"] + 4000 - away_ms) < 3000, (uploads("door")[second], away_ms)
kvgtest.wait_for("the upload to be taken", lambda: reported("depot").get("upload", {}).get("from_ms") == begin_ms)
wait_done("depot", next(one for one in uploads("depot") if one.startswith("upload-shadow-")))
site.agent.stop()
site.start_agent()
kvgtest.wait_for("the camera to be back", lambda: camera("door")["state"] == "live")
kvgtest.wait_for("the shadow", lambda: call("GET", "door")["control"]["connected"])
desire("depot", upload={"from_ms": 5, "to_ms": 4})
kvgtest.wait_for("the problem", lambda: "before to_ms" in (reported("depot").get("problem") or ""))
assert events() == {first, second}, events()  # and not once more

# ---- the configuration changes a mode, and a schedule, whose window begins and ends by itself
with open(site.path("kvg.yaml")) as file:
    lines = file.read().splitlines()
begin, end = clock(6), clock(12)
with open(site.path("kvg.yaml"), "w") as file:
    file.write("\n".join(
        f'  yard: {{ {SOURCE}, mode: schedule, schedule: ["* {begin}-{end}"], timezone: UTC }}'
        if line.startswith("  yard:") else line.replace(" }", ", mode: event, event: { post_roll: 1s } }")
        if line.startswith("  always:") else line for line in lines) + "\n")
kvgtest.wait_for("the new mode", lambda: camera("always")["upload_mode"] == "event"
                 and camera("always")["state"] == "live" and camera("always")["stream_state"] == "holding")
wait_done("always", call("POST", "always/events", {"pre_roll_ms": 0}, status=202)["id"])
kvgtest.wait_for("the window to begin", lambda: camera("yard")["state"] == "live")
assert datetime.datetime.now(datetime.timezone.utc).strftime("%H:%M:%S") >= begin or begin > end
kvgtest.wait_for("the window to end", lambda: camera("yard")["state"] == "off")
assert camera("yard")["reason"].startswith("outside its schedule until"), camera("yard")
assert camera("yard")["frames"] > 0
call("PATCH", "yard", {"streaming": True}, status=200)
kvgtest.wait_for("by hand", lambda: camera("yard")["state"] == "live")
call("PATCH", "yard", {"streaming": None}, status=200)
kvgtest.wait_for("the schedule again", lambda: camera("yard")["state"] == "off")
site.agent.stop()
