"""The agent's playback: low latency, recorded, ranges, clips and pictures, and how each refuses."""
import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import kvgtest

site = kvgtest.Site()
site.start_all(cameras=1)
name = site.names[0]
base = f"http://127.0.0.1:{site.agent.ready['api_port']}"


def get(path):
    try:
        with urllib.request.urlopen(base + path, timeout=60) as reply:
            return reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def message(path, status):
    got, _, body = get(path)
    assert got == status, (path, got, body)
    return json.loads(body)["message"]


def ranges(start, end):
    status, _, body = get(f"/api/cameras/{name}/ranges?from={start}&to={end}")
    assert status == 200, body
    return json.loads(body)["ranges"]


def now():
    return int(time.time() * 1000)


# ---- ranges: what the playlist says, and they grow
start = now() - 3600000
kvgtest.wait_for("six seconds of recording", lambda: sum(e - s for s, e in ranges(start, now())) > 6000)
first = ranges(start, now())
assert len(first) == 1, first
entries = site.playlist(name)
assert abs(first[0][0] - entries[0][1] * 1000) < 2, (first, entries[0])
kvgtest.wait_for("ranges that grow", lambda: ranges(start, now())[0][1] > first[0][1] + 2000)
assert ranges(start - 86400000, start) == []
inside = ranges(first[0][0] + 1000, first[0][0] + 2000)
assert inside == [[first[0][0] + 1000, first[0][0] + 2000]], inside

# ---- recorded: a session's playlist, with names of our own and no token
begin, end = first[0][0], first[0][1]
status, _, master = get(f"/play/{name}/recorded.m3u8?from={begin}&to={end}")
assert status == 200 and b"SessionToken" not in master, master
media_name = master.decode().splitlines()[-1]
assert media_name.startswith(f"{begin}-{end}-"), master
status, _, media = get(f"/play/{name}/{media_name}")
assert status == 200 and b"#EXT-X-ENDLIST" in media and b"SessionToken" not in media, media
segments = [line for line in media.decode().splitlines() if line and not line.startswith("#")]
assert len(segments) >= 5, media
status, headers, segment = get(f"/play/{name}/{segments[0]}")
assert status == 200 and b"moof" in segment[:4096], headers
# more sessions at once than are kept: the first one's names still work
for i in range(12):
    assert get(f"/play/{name}/recorded.m3u8?from={begin + i}&to={end}")[0] == 200
assert get(f"/play/{name}/{segments[1]}")[0] == 200
assert message(f"/play/{name}/recorded.m3u8?from={begin - 9000000}&to={begin - 8000000}", 404) == "no video yet"

# ---- low latency: parts, and a reload that is held back
status, _, master = get(f"/play/{name}/low.m3u8")
assert status == 200, master
low = master.decode().splitlines()[-1]
assert low.startswith("low-"), master
playlist = kvgtest.wait_for("parts", lambda: (lambda text: text if "#EXT-X-PART:" in text else None)(
    get(f"/play/{name}/{low}")[2].decode()))
part = [line for line in playlist.splitlines() if line.startswith("#EXT-X-PART:")][-1]
status, _, data = get(f"/play/{name}/" + part.split('URI="')[1].split('"')[0])
assert status == 200 and b"moof" in data[:4096]
sequence = int(playlist.split("#EXT-X-MEDIA-SEQUENCE:")[1].split()[0]) + playlist.count("#EXTINF:")
status, _, held = get(f"/play/{name}/{low}&_HLS_msn={sequence}&_HLS_part=1")
assert status == 200 and b"#EXT-X-PART:" in held, held

# ---- clips: a real MP4 of the length asked for, and the limit in words
status, headers, clip = get(f"/api/cameras/{name}/clip.mp4?from={begin}&to={begin + 4000}")
assert status == 200 and headers["Content-Type"] == "video/mp4", (status, clip[:200])
assert headers["Content-Disposition"].startswith(f'attachment; filename="{name}-20'), headers
with open(site.path("clip.mp4"), "wb") as out:
    out.write(clip)
probe = json.loads(subprocess.run(
    ["ffprobe", "-v", "error", "-show_format", "-of", "json", site.path("clip.mp4")],
    check=True, capture_output=True, text=True, timeout=60).stdout)
assert 3.5 < float(probe["format"]["duration"]) < 6.5, probe
assert "nothing is recorded" in message(f"/api/cameras/{name}/clip.mp4?from={begin - 90000}&to={begin - 80000}", 404)

# ---- pictures
status, headers, image = get(f"/api/cameras/{name}/image.jpg?at={begin + 1500}")
assert status == 200 and headers["Content-Type"] == "image/jpeg" and image[:3] == b"\xff\xd8\xff", (status, image[:200])
assert "nothing is recorded" in message(f"/api/cameras/{name}/image.jpg?at={begin - 90000}", 404)

# ---- what is refused, in words
for path in ("ranges", "clip.mp4"):
    assert "from must be a time" in message(f"/api/cameras/{name}/{path}", 400)
    assert "to must be a time" in message(f"/api/cameras/{name}/{path}?from=1&to=x", 400)
    assert "to must be after from" in message(f"/api/cameras/{name}/{path}?from=5&to=5", 400)
    assert "24 hours" in message(f"/api/cameras/{name}/{path}?from=1&to=99999999", 400)
    assert message(f"/api/cameras/nobody/{path}?from=1&to=2", 404) == "there is no such camera"
assert "at must be a time" in message(f"/api/cameras/{name}/image.jpg", 400)
assert "at must be a time" in message(f"/api/cameras/{name}/image.jpg?at=99999999999999999999", 400)
message(f"/play/{name}/..%2f..%2fx.mp4", 404)
message(f"/play/{name}/x.exe", 404)

# ---- a clip beyond the service's limits names them and what would fit
long = kvgtest.PutMedia(site, name)
past = now() - 7200000
long.send(kvgtest.mkv_header())
for i in range(260):
    long.send(kvgtest.mkv_cluster(past + i * 1000, [b"\0\0\0\2\x65\0"], 100))
long.finish()
refused = json.loads(get(f"/api/cameras/{name}/clip.mp4?from={past}&to={past + 259500}")[2])
assert "at most 200 fragments" in refused["message"] and "choose at most 199 s" in refused["message"], refused
assert abs(refused["fits_to_ms"] - (past + 200000)) <= 2, refused

# ---- the server goes and comes: words, then all is as before
site.server.stop()
kvgtest.wait_for("a refusal", lambda: get(f"/api/cameras/{name}/image.jpg?at={begin}")[0] == 502)
site.start_server()
kvgtest.wait_for("recorded playback again", lambda: get(f"/play/{name}/{segments[2]}")[0] == 200)
print("ok")
