"""A project folder in the layout that AWS Panorama's tools made, with the documents of the sample
kinesis_video_streams: two cameras, an override file, three parameters."""
import copy
import json
import os

OWNER = "123456789012"
CODE = "kinesis_video_streams_code"


def port(name, kind, **more):
    return {"name": name, "type": kind, **more}


def include(owner, name, version="1.0"):
    return {"name": f"{owner}::{name}", "version": version}


def parameter(name, value, kind="string", **more):
    return {"name": name, "interface": kind, "value": value, "overridable": True, "overrideMandatory": False, **more}


def camera(name, **more):
    return {"name": name, "interface": f"{OWNER}::{name}.{name}", "overridable": True,
            "overrideMandatory": False, "launch": "onAppStart", **more}


def graph():
    inputs = ["kvs_region", "kvs_stream_name", "iot_role_alias"]
    return {"nodeGraph": {
        "envelopeVersion": "2021-01-01",
        "packages": [include(OWNER, CODE), include("panorama", "abstract_rtsp_media_source"),
                     include("panorama", "hdmi_data_sink")],
        "nodes": [
            {"name": "camera_node", "interface": "panorama::abstract_rtsp_media_source.rtsp_v1_interface",
             "overridable": True, "overrideMandatory": True, "launch": "onAppStart",
             "decorator": {"title": "Camera", "description": "the cameras"}},
            {"name": "output_node", "interface": "panorama::hdmi_data_sink.hdmi0", "overridable": True,
             "launch": "onAppStart"},
            parameter("kvs_region", "ap-southeast-1"),
            parameter("kvs_stream_name", "PANORAMA_KVS_CAMERA1,PANORAMA_KVS_CAMERA2"),
            parameter("iot_role_alias", "IOT_ROLE_ALIAS"),
            {"name": CODE + "_node", "interface": f"{OWNER}::{CODE}.{CODE}_interface", "overridable": False,
             "launch": "onAppStart"}],
        "edges": [{"producer": "camera_node.video_out", "consumer": f"{CODE}_node.video_in"},
                  {"producer": f"{CODE}_node.video_out", "consumer": "output_node.video_in"}] +
                 [{"producer": name, "consumer": f"{CODE}_node.{name}"} for name in inputs]}}


def package():
    return {"nodePackage": {
        "envelopeVersion": "2021-01-01", "name": CODE, "version": "1.0",
        "assets": [{"name": CODE + "_asset", "implementations": [
            {"type": "container", "assetUri": "5b3a.tar.gz", "descriptorUri": "9c1d.json"}]}],
        "interfaces": [{
            "name": CODE + "_interface", "category": "business_logic", "asset": CODE + "_asset",
            "inputs": [port("video_in", "media"), port("kvs_region", "string"),
                       port("kvs_stream_name", "string"), port("iot_role_alias", "string")],
            "outputs": [port("video_out", "media")]}]}}


def descriptor():
    return {"runtimeDescriptor": {"envelopeVersion": "2021-01-01",
                                  "entry": {"path": "python3", "name": "/panorama/app.py"}}}


def override(cameras, region="us-east-1", alias="Alias", streams=None):
    return {"nodeGraphOverrides": {
        "envelopeVersion": "2021-01-01",
        "packages": [include(OWNER, name) for name in cameras],
        "nodes": [camera(name) for name in cameras] + [
            parameter("override_kvs_region", region),
            parameter("override_kvs_stream_name", ",".join(cameras) if streams is None else streams),
            parameter("override_iot_role_alias", alias)],
        "nodeOverrides": [{"replace": "camera_node", "with": [{"name": name} for name in cameras]}] + [
            {"replace": name, "with": [{"name": "override_" + name}]}
            for name in ("kvs_region", "kvs_stream_name", "iot_role_alias")]}}


def templates(cameras):
    return {name: {"Username": "viewer", "Password": "p$ss word", "StreamUrl": f"rtsp://10.0.0.1/{name}"}
            for name in cameras}


class Project:
    """The documents as Python objects, to be changed, and then written."""

    def __init__(self, folder, cameras=("CAM_1", "CAM-2")):
        self.folder, self.cameras = folder, list(cameras)
        self.graph, self.package, self.descriptor = graph(), package(), descriptor()
        self.overrides = [override(self.cameras)]
        self.templates = templates(self.cameras)
        self.package_folder = f"{OWNER}-{CODE}-1.0"
        self.more = {}  # further files: name -> object, text or bytes

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    @property
    def certs(self):
        return self.path("packages", self.package_folder, "src", "certs")

    def write(self):
        code = f"packages/{self.package_folder}/"
        files = {"graphs/kvs/graph.json": self.graph, code + "package.json": self.package,
                 code + "descriptor.json": self.descriptor, code + "Dockerfile": "FROM public/panorama\n",
                 code + "src/app.py": "import panoramasdk\n", "assets/9c1d.json": self.descriptor,
                 "cameras.json": self.templates}
        for i, document in enumerate(self.overrides):
            files[f"graphs/kvs/override{i or ''}.json"] = document
        files.update(self.more)
        for name, content in files.items():
            path = self.path(name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            text = content if isinstance(content, (str, bytes)) else json.dumps(content, indent=2)
            secret = name == "cameras.json"
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if secret else 0o644), "wb") as out:
                out.write(text if isinstance(text, bytes) else text.encode())
        return self

    def arguments(self):
        words = ["import", "panorama", "--graph", self.path("graphs/kvs/graph.json"),
                 "--cameras", self.path("cameras.json")]
        for i in range(len(self.overrides)):
            words += ["--override", self.path(f"graphs/kvs/override{i or ''}.json")]
        return words


def changed(document, change):
    document = copy.deepcopy(document)
    change(document)
    return document
