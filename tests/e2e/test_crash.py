"""Nothing that was acknowledged is lost, whoever is killed; and nothing that a camera sent."""
import os
import random
import signal
import struct
import sys
import time

import kvgtest

KILLS = 20
OUTAGE_S = 60 if os.environ.get("KVG_LONG") else 15
FRAMES, STEP_MS = 10, 100

site = kvgtest.Site()
site.start_all(cameras=2)
site.client("kinesisvideo").create_stream(StreamName="known", DataRetentionInHours=24)
chance = random.Random(2026)


def frames_of(timecode):
    """Frames that can be made again from their fragment's timecode."""
    source = random.Random(timecode)
    frames = []
    for i in range(FRAMES):
        nal = bytes([0x65 if i == 0 else 0x41]) + source.randbytes(source.randrange(200, 6000))
        frames.append(struct.pack(">I", len(nal)) + nal)
    return frames


def assert_camera_unharmed(what):
    """Every camera goes on by itself: same pipeline, no frame dropped, spool empty again, no gap."""
    kvgtest.wait_for("the spools to drain after " + what, lambda: all(
        camera["stream_state"] == "streaming" and camera["last_persisted_age_ms"] < 5000
        and camera["fragments"] - camera["fragments_persisted"] <= 2
        for camera in site.status().values()))
    for name, camera in site.status().items():
        dropped = [key for key in camera if key.startswith("frames_dropped") and camera[key] != 0]
        assert dropped == [] and "frames_dropped_evicted" in camera, (what, camera)
        ends = camera["session_ends"]
        assert ends["lost"] + ends["service"] > 0 and camera["failures"] > 0, (what, camera)
        assert camera["sessions"] > sum(ends.values()) and camera["spool_trouble"] is None, (what, camera)
        assert camera["restarts"] == 0, (what, camera)
        assert camera["fragments_dropped"] == 0, (what, camera)
        gaps = kvgtest.find_gaps(site.playlist(name))
        assert gaps == [], (what, name, gaps)


# ---- kill -9 of the server, at random moments of an upload
# Media goes up faster than it was "recorded", so it begins in the past.
persisted, timecode = {}, int(time.time() * 1000) - 3000000
for kill in range(KILLS):
    upload = kvgtest.PutMedia(site, "known")
    upload.send(kvgtest.mkv_header())
    end = time.monotonic() + chance.uniform(0.3, 2.0)
    try:
        while time.monotonic() < end:
            upload.send(kvgtest.mkv_cluster(timecode, frames_of(timecode), STEP_MS))
            timecode += FRAMES * STEP_MS
            time.sleep(0.02)
        site.server.process.send_signal(signal.SIGKILL)
    except OSError:
        pass
    site.server.stop(signal.SIGKILL)
    upload.close()
    persisted.update(upload.persisted())
    site.start_server()
upload = kvgtest.PutMedia(site, "known")
upload.send(kvgtest.mkv_header() + kvgtest.mkv_cluster(timecode, frames_of(timecode), STEP_MS))
upload.finish()
persisted.update(upload.persisted())
assert timecode in persisted, upload.acks
upload.close()
print(f"{len(persisted)} fragments persisted over {KILLS} kills")
assert len(persisted) > KILLS

stored = {number: start for number, start, _ in site.playlist("known")}
for sent, number in persisted.items():
    assert number in stored, f"fragment {number} is not listed"
    assert abs(stored[number] - sent / 1000) < 0.001, (number, stored[number], sent)
    segment = site.fragment(number)
    mdat = segment[segment.index(b"mdat") + 4:]
    assert mdat == b"".join(frames_of(sent)), f"fragment {number} is not what was sent"
assert_camera_unharmed("kill -9 of the server")

# ---- an outage
site.server.stop()
time.sleep(OUTAGE_S)
assert all(camera["spool_bytes"] > 0 for camera in site.status().values()), site.status()
site.start_server()
assert_camera_unharmed("an outage")

# ---- kill -9 of the agent and its workers, with an outage in progress, so that the spool is all there is
site.server.stop()
time.sleep(5)
agent = site.agent.process.pid
for pid in [agent] + kvgtest.children(agent):
    os.kill(pid, signal.SIGKILL)
killed_at = time.time()
site.agent.stop(signal.SIGKILL)
site.start_server()
site.start_agent()
site.wait_live()
for name in site.names:
    def arrived():
        """The end of what is stored without a gap from the beginning."""
        covered = None
        for _, start, length in sorted(site.playlist(name), key=lambda entry: entry[1]):
            if covered is not None and start > covered + 0.25:
                return covered
            covered = max(covered or 0, start + length)
        return covered
    # The camera's own buffering is a fifth of a second; a frame takes a tenth.
    kvgtest.wait_for(f"the spool of {name} to arrive", lambda: arrived() > killed_at - 1.0)
site.agent.stop()
sys.exit(0)
