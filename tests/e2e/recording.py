"""Video and audio that is known frame by frame: encoded by ffmpeg, cut into fragments, put with
PutMedia; and a reader of the Matroska that comes back."""
import subprocess

import kvgtest
from kvgtest import element, number


def vint(data, at, keep_marker):
    """(value, next position) of one EBML number; None for an unknown size."""
    width = 9 - data[at].bit_length()
    value = int.from_bytes(data[at:at + width], "big")
    if not keep_marker:
        value &= (1 << 7 * width) - 1
        if value == (1 << 7 * width) - 1:
            value = None
    return value, at + width


CONTAINERS = {0x18538067, 0x1f43b675, 0x1654ae6b, 0xa0, 0x1254c367, 0x7373, 0x67c8}


def elements(data, at=0, end=None):
    """(id, start, content start, content) of all elements, flat: containers are walked into."""
    end = len(data) if end is None else end
    while at < end:
        start = at
        identifier, at = vint(data, at, True)
        size, at = vint(data, at, False)
        if identifier in CONTAINERS:
            yield identifier, start, at, None
            continue
        yield identifier, start, at, data[at:at + size]
        at += size


def documents(data):
    """What GetMedia sent: one dictionary per EBML header, with the frames and tags in it. A frame
    is (track, time in ms, key, bytes)."""
    found, name = [], None
    for identifier, start, _, content in elements(data):
        if identifier == 0x1a45dfa3:
            found.append({"frames": [], "tags": {}, "order": [], "start": start, "codecs": []})
        document = found[-1]
        if identifier == 0x1f43b675:
            document["order"].append("Cluster")
        elif identifier == 0x1254c367:
            document["order"].append("Tags")
        elif identifier == 0x86:
            document["codecs"].append(content.decode())
        elif identifier == 0xe7:
            timecode = int.from_bytes(content, "big")
            document["timecode"] = timecode
        elif identifier in (0xa3, 0xa1):
            relative = int.from_bytes(content[1:3], "big", signed=True)
            document["frames"].append((content[0] & 127, timecode + relative,
                                       bool(content[3] & 128), content[4:]))
        elif identifier == 0x45a3:
            name = content.decode()
        elif identifier == 0x4487:
            document["tags"][name] = content.decode()
    return found


class Recording:
    """@sources: (inputs, codec) of ffmpeg each. Each fragment is (start in ms, frames with times from
    zero)."""

    def __init__(self, folder, *sources):
        path = f"{folder}/recording.mkv"
        subprocess.run(["ffmpeg", "-v", "error", "-y", *sum((i for i, _ in sources), []),
                        *sum((o for _, o in sources), []), path], check=True)
        with open(path, "rb") as file:
            data = file.read()
        self.tracks = [content for identifier, _, _, content in elements(data) if identifier == 0xae]
        frames = documents(data)[0]["frames"]
        while len(self.tracks) > 1 and frames[0][0] != 1:
            frames.pop(0)  # sound before the first picture
        zero = frames[0][1]
        self.fragments = []
        for track, at, key, data in frames:
            at -= zero
            if not self.fragments or (track == 1 and key and at >= self.fragments[-1][0] + 500):
                self.fragments.append((at, []))
            self.fragments[-1][1].append((track, at, key, data))

    def header(self, tags=None):
        ebml = element("1a45dfa3", number("4286", 1, 1) + number("42f7", 1, 1) +
                       number("42f2", 4, 1) + number("42f3", 8, 1) + element("4282", b"matroska") +
                       number("4287", 2, 1) + number("4285", 2, 1))
        info = element("1549a966", number("2ad7b1", 1000000, 8))
        tracks = element("1654ae6b", b"".join(element("ae", track) for track in self.tracks))
        return ebml + bytes.fromhex("18538067ff") + info + tracks + (tags or b"")

    def clusters(self, start_ms):
        for start, frames in self.fragments:
            out = bytes.fromhex("1f43b675ff") + number("e7", start_ms + start, 8)
            for track, time, key, data in frames:
                out += element("a3", bytes([0x80 | track]) + (time - start).to_bytes(2, "big", signed=True)
                               + (b"\x80" if key else b"\0") + data)
            yield out

    def put(self, site, stream, start_ms, tags=None):
        """Fragment numbers in order, once all are persisted."""
        upload = kvgtest.PutMedia(site, stream)
        upload.send(self.header(tags))
        for cluster in self.clusters(start_ms):
            upload.send(cluster)
        upload.finish()
        upload.close()
        persisted = upload.persisted()
        assert len(persisted) == len(self.fragments), upload.acks
        return [persisted[start_ms + start] for start, _ in self.fragments]


def tag(name, value):
    return element("1254c367", element("7373", element("67c8", element("45a3", name.encode()) +
                                                       element("4487", value.encode()))))


def h264(size="320x180", seconds=4, rate=25, bframes=0):
    return (["-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}:duration={seconds}"],
            ["-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast", "-g", str(rate),
             "-keyint_min", str(rate), "-sc_threshold", "0", "-bf", str(bframes), "-threads", "1"])


def h265(size="320x180", seconds=4, rate=25):
    return (h264(size, seconds, rate)[0],
            ["-pix_fmt", "yuv420p", "-c:v", "libx265", "-preset", "ultrafast", "-x265-params",
             f"keyint={rate}:min-keyint={rate}:scenecut=0:bframes=0:open-gop=0:log-level=none:pools=none"])


def sound(codec="aac", seconds=4, rate=48000):
    return (["-f", "lavfi", "-i", f"sine=sample_rate={rate}:duration={seconds}"], ["-c:a", codec])
