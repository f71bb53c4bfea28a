"""Planted mistakes in the documents of a project: each is told with file, JSON path, value and rule, and
nothing is written; what is only odd is told, and imported."""
import json
import os
import shutil
import subprocess
import tempfile

import kvgtest
from panorama_project import CODE, OWNER, Project, camera, include, parameter, port

folder = tempfile.mkdtemp(prefix="kvg-e2e-")
GRAPH, OVERRIDE = "graphs/kvs/graph.json", "graphs/kvs/override.json"
PACKAGE = f"packages/{OWNER}-{CODE}-1.0/package.json"
SECRET = "p$ss word"


def run(project, *more, **environment):
    output = os.path.join(project.folder, "out")
    done = subprocess.run([os.path.join(kvgtest.BUILD, "kvg"), *project.arguments(), "--output", output, *more],
                          capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
                          env=kvgtest.clean_environment(**environment))
    done.stderr = done.stderr.replace(project.folder + "/", "")
    return done, output


rows = []


def mistake(*expected, keep=False):
    """A function that plants one; `keep`: it is only a warning or a note."""
    def register(plant):
        rows.append((plant, expected, keep))
        return plant
    return register


def nodes(p):
    return p.graph["nodeGraph"]["nodes"]


def edges(p):
    return p.graph["nodeGraph"]["edges"]


def site(p):
    return p.overrides[0]["nodeGraphOverrides"]


def interface(p):
    return p.package["nodePackage"]["interfaces"][0]


# ---- the text
@mistake(GRAPH, "invalid JSON at line 3, column")
def syntax(p):
    p.graph = '{\n "nodeGraph": {\n  "envelopeVersion" "2021-01-01"\n }\n}'


@mistake(GRAPH, "invalid JSON at line 2", "duplicate")
def duplicate_member(p):
    p.graph = '{"nodeGraph": {"nodes": 1,\n"nodes": 2}}'


@mistake(GRAPH, "line 1, column 15: unable to decode byte 0xff")
def not_utf8(p):
    p.graph = b'{"nodeGraph": "\xff\xfe"}'


@mistake(GRAPH, "larger than 262144 bytes")
def too_large(p):
    p.graph = " " * 300000 + "{}"


@mistake(GRAPH, "$: a graph file must have the member 'nodeGraph'; is it another kind of file?")
def another_document(p):
    p.graph = {}


@mistake(GRAPH, "$.nodePackage: a graph file has no such member")
def two_documents(p):
    p.graph["nodePackage"] = {}


# ---- graph
@mistake(GRAPH, '$.nodeGraph.envelopeVersion: "2020-01-01": it must be 2021-01-01')
def envelope(p):
    p.graph["nodeGraph"]["envelopeVersion"] = "2020-01-01"


@mistake(GRAPH, "$.nodeGraph: nodeGraph must have the member 'nodes'")
def no_nodes(p):
    del p.graph["nodeGraph"]["nodes"]


@mistake(GRAPH, "$.nodeGraph.packages: a list: at least 1 items")
def no_packages(p):
    p.graph["nodeGraph"]["packages"] = []


@mistake(GRAPH, "$.nodeGraph.description", "from 0 to 255 characters")
def long_description(p):
    p.graph["nodeGraph"]["description"] = "x" * 256


@mistake(GRAPH, '$.nodeGraph.packages[0].name: "12-3::code": it must be OWNER::PACKAGE')
def owner_with_hyphen(p):
    p.graph["nodeGraph"]["packages"][0]["name"] = "12-3::code"


@mistake(GRAPH, '$.nodeGraph.packages[0].version: "1": it must be MAJOR.MINOR in digits')
def version(p):
    p.graph["nodeGraph"]["packages"][0]["version"] = "1"


@mistake(GRAPH, f'$.nodeGraph.packages[3].name: "{OWNER}::{CODE}": it is listed twice')
def package_twice(p):
    p.graph["nodeGraph"]["packages"].append(include(OWNER, CODE))


@mistake(GRAPH, '$.nodeGraph.nodes[0].name: "camera node": it must be 1 to 128 of the characters')
def node_name(p):
    nodes(p)[0]["name"] = "camera node"


@mistake(GRAPH, '$.nodeGraph.nodes[2]: "output_node": there is another node of this name')
def node_twice(p):
    nodes(p)[2]["name"] = "output_node"


@mistake(GRAPH, "$.nodeGraph.nodes[0].lunch: a node of a package has no such member")
def unknown_member(p):
    nodes(p)[0]["lunch"] = "onAppStart"


@mistake(GRAPH, '$.nodeGraph.nodes[0].launch: "later": it must be onAppStart, onDemand, onSignal')
def launch(p):
    nodes(p)[0]["launch"] = "later"


@mistake(GRAPH, "$.nodeGraph.nodes[2].launch: a parameter node of type string has no such member")
def launch_of_a_parameter(p):
    nodes(p)[2]["launch"] = "onSignal"


@mistake(GRAPH, '$.nodeGraph.nodes[0].overridable: "yes": it must be true or false')
def boolean(p):
    nodes(p)[0]["overridable"] = "yes"


@mistake(GRAPH, f'$.nodeGraph.nodes[5].interface: "111111111111::{CODE}.{CODE}_interface": no entry of \'packages\' is '
         f"named '111111111111::{CODE}'")
def other_owner(p):
    nodes(p)[5]["interface"] = f"111111111111::{CODE}.{CODE}_interface"


@mistake(GRAPH, f"package '{CODE}' has no interface 'main'; it has {CODE}_interface")
def unknown_interface(p):
    nodes(p)[5]["interface"] = f"{OWNER}::{CODE}.main"


@mistake(GRAPH, "the service had no package 'panorama::rtsp'")
def unknown_stock(p):
    p.graph["nodeGraph"]["packages"][1]["name"] = "panorama::rtsp"
    nodes(p)[0]["interface"] = "panorama::rtsp.rtsp_v1_interface"


@mistake(GRAPH, f"package '{CODE}' 2.0 is wanted; there is only version 1.0")
def other_version(p):
    p.graph["nodeGraph"]["packages"][0]["version"] = "2.0"


@mistake(GRAPH, f"there is no folder {OWNER}-other-1.0 among the packages")
def missing_package(p):
    p.graph["nodeGraph"]["packages"].append(include(OWNER, "other"))
    nodes(p).append({"name": "other_node", "interface": f"{OWNER}::other.main"})


@mistake(GRAPH, "$.nodeGraph.nodes[2].value: 15: it must be a string")
def parameter_type(p):
    nodes(p)[2]["value"] = 15


@mistake(GRAPH, "$.nodeGraph.nodes[6].value: 1.5: it must be a whole number")
def integer_type(p):
    nodes(p).append(parameter("count", 1.5, "int32"))


@mistake(GRAPH, "$.nodeGraph.nodes[6].value: 3000000000: from -2147483648 to 2147483647")
def integer_range(p):
    nodes(p).append(parameter("count", 3000000000, "int32"))


@mistake(GRAPH, '$.nodeGraph.nodes[2].decorator: constraintRegex \'([\' is no regular expression')
def regex(p):
    nodes(p)[2]["decorator"] = {"constraintRegex": "(["}


@mistake(GRAPH, '$.nodeGraph.edges[0].producer: "$camera.video_out": it must be NODE or NODE.PORT')
def edge_form(p):
    edges(p)[0]["producer"] = "$camera.video_out"


@mistake(GRAPH, '$.nodeGraph.edges[0].producer: "kamera.video_out": there is no node \'kamera\'')
def edge_to_nowhere(p):
    edges(p)[0]["producer"] = "kamera.video_out"


@mistake(GRAPH, "$.nodeGraph.edges[0].producer: node 'camera_node' has no output port 'video_in'; it has video_out")
def edge_port(p):
    edges(p)[0]["producer"] = "camera_node.video_in"


@mistake(GRAPH, "$.nodeGraph.edges[0]: a media goes into a string; both ends must have the same type")
def edge_types(p):
    edges(p)[0]["consumer"] = CODE + "_node.kvs_region"


@mistake(GRAPH, "$.nodeGraph.edges[2].producer: 'kvs_region' is a parameter: write its name alone")
def edge_of_a_parameter(p):
    edges(p)[2]["producer"] = "kvs_region.value"


@mistake(GRAPH, f"$.nodeGraph.edges[5]: '{CODE}_node.kvs_region' already has the parameter 'override_kvs_region'")
def two_parameters(p):
    nodes(p).append(parameter("again", "x"))
    edges(p).append({"producer": "again", "consumer": f"{CODE}_node.kvs_region"})


@mistake(GRAPH, f"more than 1 producers feed '{CODE}_node.video_in' (its maxConnections)")
def max_connections(p):
    interface(p)["inputs"][0]["maxConnections"] = 1


@mistake(GRAPH, "$.nodeGraph.networkRoutingRules[0].containerPort: 70000: from 1 to 65535")
def routing_port(p):
    p.graph["nodeGraph"]["networkRoutingRules"] = [{"node": CODE + "_node", "containerPort": 70000}]


@mistake(GRAPH, "$.nodeGraph.networkRoutingRules[0].containerPort: 8080: the interface of node",
         "declares no such inbound port")
def routing_undeclared(p):
    p.graph["nodeGraph"]["networkRoutingRules"] = [{"node": CODE + "_node", "containerPort": 8080}]


# ---- package and descriptor
@mistake(PACKAGE, '$.nodePackage.interfaces[0].category: "logic": it must be media_source, media_sink')
def category(p):
    interface(p)["category"] = "logic"


@mistake(PACKAGE, '$.nodePackage.interfaces[0].inputs[1].name: "kvs-region": it must be 1 to 50', "no hyphen")
def port_name(p):
    interface(p)["inputs"][1]["name"] = "kvs-region"


@mistake(PACKAGE, '$.nodePackage.interfaces[0].inputs[1].type: "text": it must be boolean, int32, float32')
def port_type(p):
    interface(p)["inputs"][1]["type"] = "text"


@mistake(PACKAGE, "$.nodePackage.interfaces[0].inputs[4]: there is another port 'kvs_region'")
def port_twice(p):
    interface(p)["inputs"].append(port("kvs_region", "string"))


@mistake(PACKAGE, "$.nodePackage.interfaces[0].network.inboundPorts: a list: from 0 to 10 items")
def inbound_ports(p):
    interface(p)["network"] = {"inboundPorts": [{"port": 8000 + i} for i in range(11)]}


@mistake(PACKAGE, '$.nodePackage.name: "code": the package\'s folder says')
def package_name(p):
    p.package["nodePackage"]["name"] = "code"


@mistake(PACKAGE, "$.nodePackage.interfaces: a list: at least 1 items")
def no_interface(p):
    p.package["nodePackage"]["interfaces"] = []


@mistake(PACKAGE, "the type string[] is known to source/video/file alone")
def list_port(p):
    interface(p)["inputs"].append(port("names", "string[]"))


@mistake("descriptor.json", "$.runtimeDescriptor.entry: 'path' needs the member 'name'")
def entry(p):
    del p.descriptor["runtimeDescriptor"]["entry"]["name"]


# ---- overrides
@mistake(OVERRIDE, '$.nodeGraphOverrides.nodeOverrides[0].replace: "camera": the graph has no node of this name')
def replace_unknown(p):
    site(p)["nodeOverrides"][0]["replace"] = "camera"


@mistake(OVERRIDE, f'$.nodeGraphOverrides.nodeOverrides[4].replace: "{CODE}_node": the graph does not allow it')
def replace_forbidden(p):
    site(p)["nodeOverrides"].append({"replace": CODE + "_node", "with": [{"name": "CAM_1"}]})


@mistake(OVERRIDE, "$.nodeGraphOverrides.nodeOverrides[0].with: no camera selected")
def no_camera(p):
    site(p)["nodeOverrides"][0]["with"] = []


@mistake(GRAPH, '$.nodeGraph.nodes[0]: "camera_node": no camera selected')
def no_override(p):
    p.overrides = []


@mistake(OVERRIDE, '$.nodeGraphOverrides.nodeOverrides[0].with[1].name: "CAM_3": there is no node of this name')
def with_unknown(p):
    site(p)["nodeOverrides"][0]["with"][1]["name"] = "CAM_3"


@mistake(OVERRIDE, "$.nodeGraphOverrides.nodeOverrides[1].with: exactly one parameter node replaces the parameter "
         "'kvs_region', not 2")
def two_values(p):
    site(p)["nodeOverrides"][1]["with"].append({"name": "override_iot_role_alias"})


@mistake(OVERRIDE, "'kvs_region' is a parameter of type string", "'number' is none")
def value_of_other_type(p):
    site(p)["nodes"].append(parameter("number", 1, "int32"))
    site(p)["nodeOverrides"][1]["with"] = [{"name": "number"}]


@mistake(OVERRIDE, '"us-east-1": it does not match the constraintRegex \'^eu-\': a region in Europe')
def constraint(p):
    nodes(p)[2]["decorator"] = {"constraintRegex": "^eu-", "constraintText": "a region in Europe"}


@mistake(OVERRIDE, "takes too long on it")
def slow_constraint(p):
    nodes(p)[2]["decorator"] = {"constraintRegex": "^(a|aa)+$"}
    site(p)["nodes"][2]["value"] = "a" * 2000 + "!"


@mistake(GRAPH, '$.nodeGraph.nodes[1]: "output_node": its overrideMandatory is true, and no override replaces it')
def mandatory(p):
    nodes(p)[1]["overrideMandatory"] = True


@mistake(OVERRIDE, "'output_node' is a media_sink, 'CAM_1' is a media_source; one cannot replace the other")
def sink_by_camera(p):
    site(p)["nodeOverrides"].append({"replace": "output_node", "with": [{"name": "CAM_1"}]})


@mistake(OVERRIDE, "it is replaced twice in this file")
def replaced_twice(p):
    site(p)["nodeOverrides"].append({"replace": "kvs_region", "with": [{"name": "override_kvs_region"}]})


@mistake(OVERRIDE, "$.nodeGraphOverrides.nodes[0]: 'CAM_1' has no port 'video_out', so it cannot replace 'camera_node'")
def port_of_camera(p):
    ports = [port(name, "string", default="rtsp://h/x") for name in ("username", "password", "streamUrl")]
    p.more[f"packages/{OWNER}-CAM_1-1.0/package.json"] = {"nodePackage": {
        "envelopeVersion": "2021-01-01", "interfaces": [{
            "name": "CAM_1", "category": "media_source", "inputs": ports, "outputs": [port("picture", "media")]}]}}


@mistake("graphs/kvs/override1.json", "override.json has another value of 'kvs_region'")
def overrides_disagree(p):
    from panorama_project import override
    p.overrides.append(override(["CAM_1"], region="eu-west-1"))


# ---- cameras
@mistake('"CAM_1": this camera has no address', '"CAM-2": this camera has no address')
def no_addresses(p):
    p.templates = {}


@mistake("cameras.json", "$.CAM_1.StreamUrl", "must be rtsp://HOST")
def address(p):
    p.templates["CAM_1"]["StreamUrl"] = "http://u:" + SECRET.replace(" ", "") + "@10.0.0.1/"


@mistake("cameras.json", "$.CAM_1.Url: a camera's template has no such member")
def template_member(p):
    p.templates["CAM_1"]["Url"] = "x"


@mistake("cameras.json", "$.CAM_1.Password: it must be a string")
def template_type(p):
    p.templates["CAM_1"]["Password"] = 87654321


@mistake("cameras.json", "invalid JSON at line 1, column")
def template_syntax(p):
    p.templates = '{"CAM_1": {"Password": "p$ss word" "Username": "x"}}'


@mistake(OVERRIDE, '"gate/1": a camera\'s name is 1 to 128 of the characters A-Z a-z 0-9 _ -')
def stream_name(p):
    site(p)["nodes"][3]["value"] = "CAM_1,CAM-2,gate/1"


# ---- odd, not wrong
@mistake(OVERRIDE, "mismatch: camera 'CAM-2' is not in kvs_stream_name", keep=True)
def mismatch_node(p):
    site(p)["nodes"][3]["value"] = "CAM_1"


@mistake("mismatch: kvs_stream_name lists 'CAM_3', and no camera node has that name", keep=True)
def mismatch_list(p):
    site(p)["nodes"][3]["value"] = "CAM_1,CAM-2,CAM_3"
    p.templates["CAM_3"] = {"StreamUrl": "rtsp://10.0.0.3/"}


@mistake(OVERRIDE, '" CAM-2": warning: blanks beside the name are left out', keep=True)
def blank(p):
    site(p)["nodes"][3]["value"] = "CAM_1, CAM-2"


@mistake("cameras.json", "$.CAM_9: warning: no camera of the application has this name", keep=True)
def superfluous(p):
    p.templates["CAM_9"] = {"StreamUrl": "rtsp://10.0.0.9/"}


@mistake(OVERRIDE, '"CAM_3": warning: it is connected to nothing; no \'with\' names it', keep=True)
def loose(p):
    site(p)["packages"].append(include(OWNER, "CAM_3"))
    site(p)["nodes"].append(camera("CAM_3"))
    p.templates["CAM_3"] = {"StreamUrl": "rtsp://10.0.0.3/"}


def check_row(plant, expected, keep):
    project = Project(os.path.join(folder, plant.__name__))
    plant(project)
    done, output = run(project.write())
    written = os.path.exists(os.path.join(output, "kvg.yaml"))
    for text in expected:
        assert text in done.stderr, f"{plant.__name__}: not told: {text}\n{done.stderr}"
    assert done.returncode == (0 if keep else 1), f"{plant.__name__}: {done.returncode}\n{done.stderr}"
    assert written == keep and os.path.exists(output) == keep, f"{plant.__name__}: written: {written}"
    for secret in (SECRET, SECRET.replace(" ", ""), "87654321"):
        assert secret not in done.stderr + done.stdout, f"{plant.__name__} tells a secret"


failures = []
for row in rows:
    try:
        check_row(*row)
    except AssertionError as error:
        failures.append(str(error))
assert not failures, "\n".join(failures)
print(len(rows), "mistakes")
assert len(rows) >= 60

# ---- all at once, and as JSON
project = Project(os.path.join(folder, "all"))
for plant in (envelope, launch, category, with_unknown, template_type):
    plant(project)
done, output = run(project.write(), "--json")
answer = json.loads(done.stdout)
assert done.returncode == 1 and not answer["ok"] and not os.path.exists(output), answer
paths = {problem["path"] for problem in answer["problems"] if problem["severity"] == "error"}
assert {"$.nodeGraph.envelopeVersion", "$.nodeGraph.nodes[0].launch", "$.nodePackage.interfaces[0].category",
        "$.nodeGraphOverrides.nodeOverrides[0].with[1].name", "$.CAM_1.Password"} <= paths, paths

# ---- written as it should be, again without a change, never over something else
project = Project(os.path.join(folder, "good"))
project.write()
done, output = run(project, "--dry-run")
assert done.returncode == 0 and not os.path.exists(output) and "kvg.yaml" in done.stdout, done
assert SECRET not in done.stdout + done.stderr
assert run(project)[0].returncode == 0
for name, mode in (("secrets/CAM_1", 0o600), ("panorama/kvs.json", 0o600), ("secrets", 0o700)):
    assert os.stat(os.path.join(output, name)).st_mode & 0o777 == mode, name
assert open(os.path.join(output, "secrets/CAM_1")).read() == SECRET + "\n"
times = {name: os.stat(os.path.join(output, name)).st_mtime_ns for name in ("kvg.yaml", "panorama/kvs.json")}
assert run(project)[0].returncode == 0
assert times == {name: os.stat(os.path.join(output, name)).st_mtime_ns for name in times}, "written again"
project.templates["CAM_1"]["Password"] = "another"
done, _ = run(project.write())
assert done.returncode == 1 and "secrets/CAM_1; --force" in done.stderr, done.stderr
assert open(os.path.join(output, "secrets/CAM_1")).read() == SECRET + "\n"
assert run(project, "--force")[0].returncode == 0
assert open(os.path.join(output, "secrets/CAM_1")).read() == "another\n"

# ---- what nobody could ask for is taken from the environment
project = Project(os.path.join(folder, "environment"))
project.templates = {"CAM_1": {"Username": "viewer", "StreamUrl": "rtsp://u:hidden@10.0.0.1/x"}}
done, output = run(project.write(), KVG_CAMERA_CAM_1_PASSWORD="first", KVG_CAMERA_CAM_2_URL="rtsp://a:b%40c@10.0.0.2/y")
assert done.returncode == 0, done.stderr
assert open(os.path.join(output, "secrets/CAM_1")).read() == "first\n"
assert open(os.path.join(output, "secrets/CAM-2")).read() == "b@c\n"
text = open(os.path.join(output, "kvg.yaml")).read()
assert '"rtsp://10.0.0.1/x"' in text and '"rtsp://10.0.0.2/y"' in text and "hidden" not in text, text
shutil.rmtree(folder)
