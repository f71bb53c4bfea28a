"""hls.js and dash.js in a headless Chromium against kvg-server: live, replayed and recorded, seeking,
across a change of codec parameters; and how far behind the producer's clock live players are."""
import json
import os
import subprocess
import threading
import time

import kvgtest
from kvgtest import element, number
from recording import Recording, h264, sound

site = kvgtest.Site()
site.start_server()
kvs = site.client("kinesisvideo")
archive = site.client("kinesis-video-archived-media")
RATE = 25
HERE = os.path.dirname(os.path.abspath(__file__))

# ---- what is played: a recording with another picture size in its middle, and a live camera

START_MS = int(time.time()) * 1000 - 60000
kvs.create_stream(StreamName="recorded", DataRetentionInHours=24)
for i, size in enumerate(("320x180", "640x360", "320x180")):
    Recording(site.folder, h264(size=size, seconds=4), sound(seconds=4)).put(site, "recorded",
                                                                             START_MS + 4000 * i)
kvs.create_stream(StreamName="replayed", DataRetentionInHours=24)
Recording(site.folder, h264(seconds=45), sound(seconds=45)).put(site, "replayed", START_MS)
kvs.create_stream(StreamName="camera", DataRetentionInHours=24)


class Camera(threading.Thread):
    """Sends each frame when its time has come, stamped with that time."""

    def __init__(self):
        super().__init__(daemon=True)
        self.recording = Recording(site.folder, h264(seconds=4, rate=RATE))
        self.stopping = threading.Event()
        self.start_time = time.time()

    def run(self):
        try:
            self.send()
        except OSError:
            pass  # the server has gone: the test is over

    def send(self):
        upload = kvgtest.PutMedia(site, "camera")
        upload.send(self.recording.header())
        frames = [frame for _, fragment in self.recording.fragments for frame in fragment]
        for i in range(10**6):
            at = self.start_time + i / RATE
            if self.stopping.wait(max(at - time.time(), 0)):
                break
            _, _, key, data = frames[i % len(frames)]
            if key:
                begin_ms = int(at * 1000)
                upload.send(bytes.fromhex("1f43b675ff") + number("e7", begin_ms, 8))
            relative = int(at * 1000) - begin_ms
            upload.send(element("a3", b"\x81" + relative.to_bytes(2, "big") + (b"\x80" if key else b"\0") + data))
        upload.close()


camera = Camera()
camera.start()


def plain(url):
    return url.replace(site.endpoint, f"http://127.0.0.1:{site.ports['http']}")


def hls(stream, mode, seconds=None, **more):
    chosen = {"FragmentSelectorType": "PRODUCER_TIMESTAMP"}
    if mode != "LIVE":
        chosen["TimestampRange"] = {"StartTimestamp": START_MS / 1000}
    if mode == "ON_DEMAND":
        chosen["TimestampRange"]["EndTimestamp"] = START_MS / 1000 + 50
    return plain(archive.get_hls_streaming_session_url(
        StreamName=stream, PlaybackMode=mode, HLSFragmentSelector=chosen,
        DisplayFragmentTimestamp="ALWAYS", **more)["HLSStreamingSessionURL"])


def dash(stream, mode):
    chosen = {"FragmentSelectorType": "PRODUCER_TIMESTAMP"}
    if mode != "LIVE":
        chosen["TimestampRange"] = {"StartTimestamp": START_MS / 1000}
    if mode == "ON_DEMAND":
        chosen["TimestampRange"]["EndTimestamp"] = START_MS / 1000 + 50
    return plain(archive.get_dash_streaming_session_url(
        StreamName=stream, PlaybackMode=mode, DASHFragmentSelector=chosen)["DASHStreamingSessionURL"])


def play(*cases):
    done = subprocess.run(["node", os.path.join(HERE, "players.mjs"), f"http://127.0.0.1:{site.ports['http']}",
                           json.dumps(cases)], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    for result in results:
        print(json.dumps(result))
    return {result["name"]: result for result in results}


# ---- recorded and replayed: everything is shown, the picture changes its size, and back
recorded = play(
    *({"name": f"{player} {name}", "player": player, "url": url, "seconds": 25}
      for player, name, url in (
          ("hls", "on demand", hls("recorded", "ON_DEMAND")),
          ("hls", "on demand, discontinuities", hls("recorded", "ON_DEMAND", DiscontinuityMode="ALWAYS")),
          ("hls", "on demand, MPEG-TS", hls("recorded", "ON_DEMAND", ContainerFormat="MPEG_TS",
                                            DiscontinuityMode="ALWAYS")),
          ("dash", "on demand", dash("recorded", "ON_DEMAND")))))
for name, result in recorded.items():
    assert not result["errors"], result
    assert result["ended"] and result["frames"] >= 290, result
    assert result["sizes"] == ["320x180", "640x360", "320x180"], result

sought = play({"name": "hls seek", "player": "hls", "url": hls("recorded", "ON_DEMAND"), "seconds": 5, "seek": 9},
              {"name": "dash seek", "player": "dash", "url": dash("recorded", "ON_DEMAND"), "seconds": 5, "seek": 9},
              {"name": "hls replay", "player": "hls", "url": hls("replayed", "LIVE_REPLAY"), "seconds": 8, "frames": 60},
              {"name": "dash replay", "player": "dash", "url": dash("replayed", "LIVE_REPLAY"), "seconds": 8, "frames": 60})
for name, result in sought.items():
    assert not result["errors"] and result["frames"] > 50, result
    if "seek" in name:
        assert 9.2 < result["afterSeek"] < 11.5, result

# ---- live
# What hls.js must be told for one-second fragments, see docs/internals/playback.md.
CLOSE = {"liveSyncDurationCount": 1, "liveMaxLatencyDurationCount": 4, "maxLiveSyncPlaybackRate": 1.2}
CLOSEST = {"lowLatencyMode": True, "liveSyncDuration": 0.4}
for attempt in range(4):  # another load on the machine may delay a player for a while
    live = play({"name": "hls", "player": "hls", "url": hls("camera", "LIVE"), "seconds": 14, "frames": 210, "config": CLOSE},
                {"name": "low latency", "player": "hls",
                 "url": hls("camera", "LIVE").replace("/hls/v1/", "/ll/v1/"), "seconds": 14,
                 "frames": 210, "config": CLOSEST},
                {"name": "dash", "player": "dash", "url": dash("camera", "LIVE"), "seconds": 14, "frames": 210})
    for name, result in live.items():
        assert not result["errors"] and result["frames"] > 200, result
    if live["hls"]["delay"] <= 2 and live["low latency"]["delay"] <= 1:
        break
else:
    raise AssertionError(live)
camera.stopping.set()
camera.join()
