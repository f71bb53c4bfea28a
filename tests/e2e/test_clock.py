"""A wall clock that jumps a day ahead and a day back, also between two runs of the server: nothing that
is stored is lost, numbers grow, and it goes on by itself. This test lives on the same clock."""
import mmap
import os
import struct
import sys
import tempfile
import time

DAY = 86400
MAINTENANCE_S = 32  # expiry looks twice a minute

if "KVG_TEST_CLOCK" not in os.environ:
    file = tempfile.NamedTemporaryFile(prefix="kvg-clock-")
    file.write(bytes(mmap.PAGESIZE))
    file.flush()
    os.set_inheritable(file.fileno(), True)
    status = os.spawnve(os.P_WAIT, sys.executable, [sys.executable, *sys.argv], {
        **os.environ, "KVG_TEST_CLOCK": file.name,
        "LD_PRELOAD": os.path.join(os.environ["KVG_BUILD"], "tests/e2e/libtest-clock.so")})
    sys.exit(status)

import kvgtest

real = time.time()
with open(os.environ["KVG_TEST_CLOCK"], "r+b") as file:
    clock = mmap.mmap(file.fileno(), mmap.PAGESIZE)


def jump(seconds):
    clock[:8] = struct.pack("=q", seconds)


jump(7 * DAY)
assert time.time() - real > 6 * DAY, "the clock of this test does not jump"
jump(0)

site = kvgtest.Site()
site.start_server()
for stream in ("gate", "dock"):
    site.client("kinesisvideo").create_stream(StreamName=stream, DataRetentionInHours=2)
numbers = {"gate": [], "dock": []}


def put(stream):
    """Two fragments of now, by whatever clock; both are acknowledged."""
    upload = kvgtest.PutMedia(site, stream)
    start = int(time.time() * 1000) - 3000
    upload.send(kvgtest.mkv_header())
    for at in (start, start + 1000):
        upload.send(kvgtest.mkv_cluster(at, [b"\0\0\0\x05\x65abcd"], 100))
    upload.finish()
    upload.close()
    persisted = sorted(upload.persisted().items())
    assert len(persisted) == 2, upload.acks
    numbers[stream] += [number for _, number in persisted]


def assert_kept(stream, of):
    """What is readable, by the clock there is now."""
    client = site.client("kinesis-video-archived-media")
    found = client.list_fragments(StreamName=stream, MaxResults=100, FragmentSelector={
        "FragmentSelectorType": "SERVER_TIMESTAMP",
        "TimestampRange": {"StartTimestamp": 0, "EndTimestamp": time.time() + 10 * DAY}})["Fragments"]
    missing = set(of) - {one["FragmentNumber"] for one in found}
    assert not missing, (stream, missing)
    media = client.get_media_for_fragment_list(StreamName=stream, Fragments=of)["Payload"].read()
    assert media.count(b"abcd") == len(of), (stream, len(media))


def restart():
    assert site.server.stop() == 0
    site.start_server()


put("gate")
put("dock")
at_first = {stream: list(of) for stream, of in numbers.items()}

# ---- ahead, long enough for expiry to look; then a restart while it is ahead, and expiry looks again
jump(DAY)
put("gate")
assert_kept("gate", numbers["gate"][-2:])
time.sleep(MAINTENANCE_S)
restart()
put("gate")
time.sleep(MAINTENANCE_S)
jump(0)
for stream, of in at_first.items():
    assert_kept(stream, of)
put("gate")

# ---- back
jump(-DAY)
put("gate")
assert_kept("gate", numbers["gate"])
restart()
put("gate")
put("dock")
assert_kept("gate", numbers["gate"])

# ---- and right again
jump(0)
put("gate")
restart()
put("gate")
for stream, of in at_first.items():
    assert_kept(stream, of)
for of in numbers.values():
    assert of == sorted(set(of)), of
assert site.server.stop() == 0
print(f"{sum(map(len, numbers.values()))} fragments, numbers grow")
sys.exit(0)
