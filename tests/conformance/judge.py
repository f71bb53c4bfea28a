"""Compares what came over the wire with the service's model: no member that the model does not know,
none missing that it requires, every value of its type, and every error one the operation may raise,
with the model's HTTP status."""
import base64
import json
import re
import xml.etree.ElementTree as xml

# On the wire of the real service and in no model.
BEYOND_THE_MODEL = {("DescribeStream", "IngestionConfiguration"),
                    ("ListStreams", "IngestionConfiguration")}
# Errors any operation may raise, of the services' pages on common errors.
COMMON = {"AccessDeniedException": 403, "AccessDenied": 403, "InvalidSignatureException": 403,
          "SignatureDoesNotMatch": 403, "UnrecognizedClientException": 403,
          "InvalidClientTokenId": 403, "ExpiredTokenException": 403, "ExpiredToken": 403,
          "MissingAuthenticationTokenException": 403, "MissingAuthenticationToken": 403,
          "IncompleteSignatureException": 400, "IncompleteSignature": 400, "ValidationError": 400,
          "SerializationException": 400, "InvalidAction": 400, "ServiceFailure": 500}
# The model says 401, the real service answers 403.
DENIALS = {"NotAuthorizedException": 403, "AccessDeniedException": 403}


def from_botocore(shape):
    """A shape of botocore as plain data, as the driver of the JavaScript SDK gives it, with the
    constraints that only botocore knows."""
    kind = shape.type_name
    if kind == "structure":
        return {"type": kind, "required": list(shape.required_members),
                "members": {shape_name(name, member): from_botocore(member)
                            for name, member in shape.members.items()}}
    if kind == "list":
        return {"type": kind, "member": from_botocore(shape.member),
                "flattened": bool(shape.serialization.get("flattened"))}
    if kind == "map":
        return {"type": kind, "value": from_botocore(shape.value)}
    if kind in ("integer", "long", "float", "double"):
        kind = "number"
    return {"type": kind, "enum": list(getattr(shape, "enum", None) or []),
            "min": shape.metadata.get("min"), "max": shape.metadata.get("max"),
            "pattern": shape.metadata.get("pattern")}


def shape_name(name, member):
    return member.serialization.get("name", name)


class Judge:
    def __init__(self, operation, model, errors, protocol):
        self.operation, self.model, self.errors, self.protocol = operation, model, errors, protocol
        self.problems = []

    def complain(self, path, text):
        self.problems.append(f"{path or 'response'}: {text}")

    # ---- success

    def check_output(self, exchange):
        body = base64.b64decode(exchange["body"])
        headers = {name.lower(): value for name, value in exchange["headers"].items()}
        if "x-amzn-requestid" not in headers:
            self.complain("", "no x-amzn-RequestId")
        if exchange["status"] // 100 != 2:
            self.complain("", f"HTTP {exchange['status']}")
        if self.protocol == "query":
            return self.check_xml(body)
        if self.is_stream():
            return None
        if self.model is None or not self.model["members"]:
            if body not in (b"", b"{}"):
                self.complain("", f"a body where none is expected: {body[:80]}")
            return None
        if headers.get("content-type") != "application/json":
            self.complain("", f"Content-Type {headers.get('content-type')}")
        self.check(self.model, json.loads(body), "")

    def is_stream(self):
        members = (self.model or {}).get("members", {})
        return any(member["type"] in ("stream", "blob") and name in ("Payload",)
                   for name, member in members.items())

    def check(self, shape, value, path):
        kind = shape["type"]
        if kind == "structure":
            self.check_structure(shape, value, path)
        elif kind == "list":
            if not isinstance(value, list):
                return self.complain(path, "not a list")
            for i, item in enumerate(value):
                self.check(shape["member"], item, f"{path}[{i}]")
        elif kind == "map":
            if not isinstance(value, dict):
                return self.complain(path, "not a map")
            for key, item in value.items():
                self.check(shape["value"], item, f"{path}.{key}")
        else:
            self.check_scalar(shape, value, path)

    def check_structure(self, shape, value, path):
        if not isinstance(value, dict):
            return self.complain(path, "not an object")
        for name in shape["required"]:
            if value.get(name) is None:
                self.complain(path, f"required member {name} is missing")
        for name, item in value.items():
            member = shape["members"].get(name)
            if member is None:
                if (self.operation, name) not in BEYOND_THE_MODEL:
                    self.complain(path, f"unknown member {name}")
            elif item is not None:
                self.check(member, item, f"{path}.{name}" if path else name)

    def check_scalar(self, shape, value, path):
        types = {"string": str, "boolean": bool, "number": (int, float),
                 "timestamp": (int, float), "blob": str}
        kind = shape["type"]
        wanted = types.get(kind)
        if wanted is None:
            return
        if not isinstance(value, wanted) or (kind != "boolean" and isinstance(value, bool)):
            return self.complain(path, f"{value!r} is not a {kind}")
        if kind == "string":
            if shape.get("enum") and value not in shape["enum"]:
                self.complain(path, f"{value!r} is not one of {shape['enum']}")
            pattern = shape.get("pattern")
            # \p{L} and the like are not known to Python.
            if pattern and "\\p{" not in pattern and not re.fullmatch(pattern, value):
                self.complain(path, f"{value!r} does not match {pattern}")
        size = len(value) if kind == "string" else value
        if kind != "timestamp" and shape.get("min") is not None and size < shape["min"]:
            self.complain(path, f"{value!r} is below {shape['min']}")
        if kind != "timestamp" and shape.get("max") is not None and size > shape["max"]:
            self.complain(path, f"{value!r} is above {shape['max']}")

    # ---- XML of the query services

    def check_xml(self, body):
        root = xml.fromstring(body)
        names = [tag(child) for child in root]
        if tag(root) != self.operation + "Response" or names[-1:] != ["ResponseMetadata"]:
            self.complain("", f"a {tag(root)} with {names}")
        results = [child for child in root if tag(child) == self.operation + "Result"]
        has_members = self.model is not None and bool(self.model["members"])
        if len(results) != has_members or len(root) != has_members + 1:
            self.complain("", f"{names} where {has_members + 1} elements are expected")
        elif has_members:
            self.check(self.model, self.from_xml(results[0], self.model, ""), "")

    def from_xml(self, node, shape, path):
        """The value in @node; numbers, times and booleans as such."""
        kind = shape["type"]
        if kind == "structure":
            value = {}
            for child in node:
                member = shape["members"].get(tag(child))
                value[tag(child)] = None if member is None else self.from_xml(child, member, path)
            for name in [name for name in value if name not in shape["members"]]:
                self.complain(path, f"unknown element {name}")
                del value[name]
            return value
        if kind == "list":
            if any(tag(child) != "member" for child in node):
                self.complain(path, "a list with other elements than member")
            return [self.from_xml(child, shape["member"], path) for child in node]
        text = node.text or ""
        if kind == "number":
            return int(text)
        if kind == "boolean":
            return {"true": True, "false": False}[text]
        if kind == "timestamp":
            if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text):
                self.complain(path, f"{text!r} is not a time")
            return 0
        return text

    # ---- errors

    def check_error(self, exchange, code):
        body = base64.b64decode(exchange["body"])
        headers = {name.lower(): value for name, value in exchange["headers"].items()}
        if "x-amzn-requestid" not in headers:
            self.complain("", "no x-amzn-RequestId")
        expected = DENIALS.get(code) or self.errors.get(code) or COMMON.get(code)
        if code not in self.errors and code not in COMMON:
            self.complain("", f"{code} is no error of {self.operation}")
        elif expected is not None and exchange["status"] != expected:
            self.complain("", f"{code} with HTTP {exchange['status']}, not {expected}")
        if self.protocol == "query":
            error = xml.fromstring(body)
            names = [tag(child) for child in error]
            inner = [tag(child) for child in error[0]] if len(error) else []
            if names != ["Error", "RequestId"] or inner != ["Type", "Code", "Message"]:
                self.complain("", f"error document of {names} {inner}")
        elif list(json.loads(body)) not in (["Message"], ["message"]):
            self.complain("", f"error body {body[:80]}")
        elif headers.get("x-amzn-errortype", "").split(":")[0] != code:
            self.complain("", f"x-amzn-ErrorType {headers.get('x-amzn-errortype')}")


def tag(node):
    return node.tag.split("}")[-1]
