"""What the benchmarks share: the programs in a private folder, and how a result is said."""
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("KVG_BUILD", os.path.join(ROOT, "build"))
FULL = os.environ.get("BENCH", "short") == "full"
TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE_S = 120

missed = []
met = []


def choose(short, full):
    return full if FULL else short


class Program:
    """A child that speaks JSON lines."""

    def __init__(self, folder, name, /, *arguments, **options):
        self.name = name
        command = [os.path.join(BUILD, name if name.startswith("kvg") else "bench/" + name)]
        for key, value in options.items():
            option = "--" + key.replace("_", "-")
            if value is True:
                command.append(option)
            elif value is not None and value is not False:
                command += [option, str(value)]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        environment.update(folder.environment)
        self.log = open(folder.path(name + ".log"), "ab")
        self.process = subprocess.Popen(command + list(arguments), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.log, env=environment)
        folder.programs.append(self)

    def line(self, patience_s=PATIENCE_S):
        if not select.select([self.process.stdout], [], [], patience_s)[0]:
            raise RuntimeError(self.name + " says nothing")
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended, see its log")
        return json.loads(line)

    def until(self, state):
        while self.line().get("state") != state:
            pass

    def result(self, patience_s=PATIENCE_S):
        while True:
            line = self.line(patience_s)
            if "state" not in line:
                return line

    def cpu_s(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def status(self, name):
        with open(f"/proc/{self.process.pid}/status") as status:
            for line in status:
                if line.startswith(name + ":"):
                    return int(line.split()[1])
        return 0

    def send(self, number):
        self.process.send_signal(number)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.log.close()

    def end(self):
        self.process.wait(PATIENCE_S)


class Folder:
    """A private folder and the programs that work in it."""

    def __init__(self):
        self.root = tempfile.mkdtemp(prefix="kvg-bench-")
        self.memory = tempfile.mkdtemp(prefix="kvg-bench-", dir="/dev/shm")
        self.programs = []
        self.n_spools = 0
        self.environment = {}

    def path(self, name):
        return os.path.join(self.root, name)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        for program in reversed(self.programs):
            program.stop()
        if kind is not None:
            for name in os.listdir(self.root):
                if name.endswith(".log"):
                    with open(self.path(name), errors="replace") as log:
                        sys.stderr.write(f"---- {name}\n{log.read()[-2000:]}")
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.rmtree(self.memory, ignore_errors=True)

    def sink(self, **options):
        self.environment = {"AWS_ACCESS_KEY_ID": "AKIDBENCH", "AWS_SECRET_ACCESS_KEY": "bench"}
        sink = Program(self, "bench-sink", folder=self.root, **options)
        sink.ready = sink.line()
        sink.port, sink.ca = sink.ready["https_port"], sink.ready["ca"]
        return sink

    def server(self, **ports):
        data = self.path("server")
        server = Program(self, "kvg-server", data=data, https_port=ports.get("https_port", 0),
                         mtls_port=0, http_port=0, mqtt_port=ports.get("mqtt_port"))
        server.ready = server.line()
        server.port, server.ca = server.ready["https_port"], os.path.join(data, "ca.pem")
        self.environment = {"AWS_SHARED_CREDENTIALS_FILE": os.path.join(data, "credentials"),
                            "AWS_EC2_METADATA_DISABLED": "true"}
        return server

    def feed(self, service, **options):
        """libkvg, into a spool of its own."""
        self.n_spools += 1
        spool = self.path(f"spool{self.n_spools}")
        feed = Program(self, "bench-feed", spool=spool, memory=self.memory, ca=service.ca,
                       endpoint=f"https://127.0.0.1:{service.port}", **options)
        feed.spool = spool
        return feed

    def load(self, service, **options):
        return Program(self, "bench-load", port=service.port, ca=service.ca, **options)


def emit(bench, figures, target=None, ok=None):
    line = {"bench": bench, **figures}
    if target is not None:
        line.update(target=target, ok=bool(ok))
        (met if ok else missed).append(bench)
    print(json.dumps(line), flush=True)


def per_gb(result, size="sent_bytes"):
    return result["cpu_s"] / (result[size] / 1e9)


def rounded(value, digits=2):
    return round(value, digits)


def finished(program, patience_s=PATIENCE_S):
    result = program.result(patience_s)
    program.end()
    if getattr(program, "spool", None):
        shutil.rmtree(program.spool, ignore_errors=True)
    return result
