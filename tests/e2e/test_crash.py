"""Nothing that was acknowledged is lost, whoever is killed; and nothing that a camera sent."""
import os
import random
import signal
import struct
import sys
import threading
import time

import kvgtest

KILLS = int(os.environ.get("KVG_KILLS", "20"))
STREAMS = ["known-1", "known-2", "known-3", "known-4"]
OUTAGE_S = 60 if os.environ.get("KVG_LONG") else 15
FRAMES, STEP_MS = 10, 100

site = kvgtest.Site()
site.start_all(cameras=2)
for known in STREAMS:
    site.client("kinesisvideo").create_stream(StreamName=known, DataRetentionInHours=24)
chance = random.Random(int(os.environ.get("SEED", "2026")))


def cluster_of(stream, timecode):
    """A fragment that can be made again from its stream and timecode."""
    source = random.Random(f"{stream} {timecode}")
    frames = []
    for i in range(FRAMES):
        nal = bytes([0x65 if i == 0 else 0x41]) + source.randbytes(source.randrange(200, 6000))
        frames.append(struct.pack(">I", len(nal)) + nal)
    return kvgtest.mkv_cluster(timecode, frames, STEP_MS)


class Producer:
    """Uploads to a stream, one call between two kills, and remembers what it was told is stored."""

    def __init__(self, stream):
        # Media goes up faster than it was "recorded", so it begins in the past.
        self.stream, self.timecode, self.persisted = stream, int(time.time() * 1000) - 5 * 86400000, {}

    def run(self, ending):
        try:
            upload = kvgtest.PutMedia(site, self.stream)
        except OSError:
            return
        try:
            upload.send(kvgtest.mkv_header())
            while not ending.is_set():
                upload.send(cluster_of(self.stream, self.timecode))
                self.timecode += FRAMES * STEP_MS
                time.sleep(0.05)
            if site.server.process.poll() is None:
                upload.finish()
        except OSError:
            pass
        upload.close()
        self.persisted.update(upload.persisted())

    def check(self):
        """All of it is listed, with its time, and comes back as it was sent."""
        client = site.client("kinesis-video-archived-media")
        ever = {"StartTimestamp": 0, "EndTimestamp": time.time() + 86400}
        pages = client.get_paginator("list_fragments").paginate(
            StreamName=self.stream, FragmentSelector={"FragmentSelectorType": "SERVER_TIMESTAMP",
                                                      "TimestampRange": ever})
        stored = {one["FragmentNumber"]: one["ProducerTimestamp"].timestamp()
                  for page in pages for one in page["Fragments"]}
        told = sorted(self.persisted.items())
        for at in range(0, len(told), 100):
            part = told[at:at + 100]
            media = client.get_media_for_fragment_list(
                StreamName=self.stream, Fragments=[number for _, number in part])["Payload"].read()
            for sent, number in part:
                assert number in stored, f"fragment {number} of {self.stream} is not listed"
                assert abs(stored[number] - sent / 1000) < 0.001, (number, stored[number], sent)
                blocks = cluster_of(self.stream, sent).partition(kvgtest.number("e7", sent, 8))[2]
                assert blocks in media, f"fragment {number} of {self.stream} is not what was sent"
        return len(told)


def run_producers(seconds, end):
    """Uploads to all streams for so long; @end is called while they go on."""
    ending = threading.Event()
    threads = [threading.Thread(target=one.run, args=(ending,)) for one in producers]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    end()
    ending.set()
    for thread in threads:
        thread.join()


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


# ---- kill -9 of the server, at random moments of uploads to several streams
producers = [Producer(known) for known in STREAMS]
for kill in range(KILLS):
    run_producers(chance.uniform(0.1, 1.5), lambda: site.server.stop(signal.SIGKILL))
    site.start_server()
run_producers(0.5, lambda: None)
kept = [producer.check() for producer in producers]
print(f"{sum(kept)} fragments persisted over {KILLS} kills")
assert min(kept) > KILLS, kept
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
