"""The whole on two cores: test cameras, kvg agent and kvg-server, with RTSP in between."""
import json
import os
import subprocess
import time
import urllib.request

from programs import BUILD, TICKS, Folder, Program, choose, emit, rounded

FPS = 15
WARM_S = 10


class Site(Folder):
    """Cameras of 720p15 and 2 Mbit/s each, sent from a clip encoded once."""

    def __init__(self, n_cameras, more):
        super().__init__()
        self.n_cameras, self.more = n_cameras, more

    def start(self):
        self.kvs = self.server(mqtt_port=0)
        self.cameras = Program(self, "kvg-testcam", cameras=self.n_cameras, port=0, loop=True, bitrate=2500,
                               fps=FPS, no_mjpeg=True)
        self.cameras.ready = self.cameras.line()
        config = self.path("kvg.yaml")
        with open(config, "w") as out:
            out.write(f"region: us-east-1\nendpoint: https://127.0.0.1:{self.kvs.port}\n"
                      f"ca_bundle: {self.kvs.ca}\nidentity: {{ directory: certs }}\n"
                      f"spool: {{ path: spool, memory_path: {self.memory} }}\n"
                      f"api: {{ address: 127.0.0.1, port: 0 }}\n{self.more}\ncameras:\n")
            for camera in self.cameras.ready["cameras"]:
                out.write(f"  {camera['name']}: {{ source: \"{camera['url']}\" }}\n")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        with open(self.path("provision.log"), "w") as log:
            subprocess.run([os.path.join(BUILD, "kvg"), "provision", "-c", config], stdout=log, stderr=log,
                           env={**environment, **self.environment}, check=True)
        self.agent = Program(self, "kvg", "agent", "-c", config)
        self.agent.ready = self.agent.line()

    def status(self):
        url = f"http://127.0.0.1:{self.agent.ready['api_port']}/api/cameras"
        with urllib.request.urlopen(url, timeout=30) as reply:
            return json.load(reply)["cameras"]

    def wait_live(self):
        end = time.monotonic() + 60
        while not all(camera["state"] == "live" and camera["fragments_persisted"] > 0 for camera in self.status()):
            if time.monotonic() > end:
                raise RuntimeError("the cameras are not all live")
            time.sleep(0.2)

    def processes(self):
        """The agent's: supervisor and workers."""
        pid = self.agent.process.pid
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            return [pid] + [int(child) for child in children.read().split()]


def cpu_s(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def memory_mb(pids, what):
    """Rss counts pages that several processes share in each of them, Pss once in all."""
    kib = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup") as rollup:
            kib += sum(int(line.split()[1]) for line in rollup if line.startswith(what + ":"))
    return rounded(kib * 1024 / 1e6, 1)


def threads(pids):
    return sum(len(os.listdir(f"/proc/{pid}/task")) for pid in pids)


def measure(n_cameras, more):
    seconds = choose(30, 120)
    with Site(n_cameras, more) as site:
        site.start()
        site.wait_live()
        time.sleep(WARM_S)
        pids, others = site.processes(), {"server": site.kvs, "cameras": site.cameras}
        before, began = cpu_s(pids), time.monotonic()
        others_before = {name: program.cpu_s() for name, program in others.items()}
        frames_before = sum(camera["frames"] for camera in site.status())
        time.sleep(seconds)
        took, status = time.monotonic() - began, site.status()
        used = cpu_s(pids) - before
        figures = {
            "agent_percent": rounded(100 * used / took, 1),
            **{name + "_percent": rounded(100 * (program.cpu_s() - others_before[name]) / took, 1)
               for name, program in others.items()},
            "pss_mb": memory_mb(pids, "Pss"), "rss_mb": memory_mb(pids, "Rss"),
            "processes": len(pids), "threads": threads(pids),
            "supervisor_pss_mb": memory_mb(pids[:1], "Pss"),
            "mbit_per_s": rounded(sum(camera["bitrate_bps"] for camera in status) / 1e6, 1),
            "fps": rounded((sum(camera["frames"] for camera in status) - frames_before) / took / n_cameras, 2),
            "dropped": sum(camera["frames_dropped"] for camera in status),
            "restarts": sum(camera["restarts"] for camera in status),
            "load": rounded(os.getloadavg()[0], 1)}
        same = site.processes() == pids
    # Reports come once a second.
    is_whole = (same and figures["dropped"] == 0 and figures["restarts"] == 0 and
                figures["fps"] * took >= FPS * (took - 1.5))
    return figures, is_whole


def agent_16():
    figures, is_whole = measure(16, "")
    emit("agent-16", figures, "no frame dropped, <= 40 % of one core, <= 128 MB (PSS)",
         is_whole and figures["agent_percent"] <= 40 and figures["pss_mb"] <= 128)


def agent_8():
    figures, is_whole = measure(8, "workers: 1")
    emit("agent-8", figures, "workers: 1; no frame dropped, <= 64 MB (PSS)",
         is_whole and figures["pss_mb"] <= 64)
