"""A proxy between kvg and kvg-server that counts the calls, keeps a transcript, can end its client at a
call, and answers in the service's place; and what AWS's SDK has to say about a transcript."""
import http.client
import http.server
import json
import os
import re
import signal
import threading
import urllib.parse


class Call:
    def __init__(self, method, target, headers, body):
        self.method, self.target, self.headers, self.body = method, target, headers, body
        self.path, _, self.query = target.partition("?")
        self.status, self.reply_headers, self.reply = None, {}, b""

    @property
    def service(self):
        return re.search("Credential=[^/]+/[0-9]+/[^/]+/([^/]+)/", self.headers["authorization"]).group(1)

    def reads(self):
        """Whether it changes nothing."""
        if self.service in ("iam", "sts"):
            return urllib.parse.parse_qs(self.body.decode())["Action"][0].startswith(("Get", "List"))
        return self.method == "GET" or self.path.startswith(
            ("/attached-policies/", "/describeStream", "/getDataEndpoint"))

    def __repr__(self):
        action = re.search(rb"Action=\w+", self.body or b"")
        return f"{self.service} {self.method} {self.target} {action.group().decode() if action else ''} {self.status}"


class Proxy:
    def __init__(self, port):
        self.server_port, self.calls, self.lock = port, [], threading.Lock()
        self.kill_at, self.kill_before, self.victim = None, False, None
        self.intercept = None  # (call) -> (status, type, message), or None to let it pass
        self.concurrent = self.most_concurrent = 0
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self):
                length = int(self.headers.get("Content-Length") or 0)
                call = Call(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, self.rfile.read(length))
                proxy.handle(self, call)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = handle_one

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads, request_queue_size = True, 128

            def handle_error(self, *_):
                pass  # of a client that was ended

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def handle(self, handler, call):
        with self.lock:
            self.calls.append(call)
            is_last = len(self.calls) == self.kill_at
            self.concurrent += 1
            self.most_concurrent = max(self.most_concurrent, self.concurrent)
        if is_last and self.kill_before:
            self.kill()
            return
        instead = self.intercept(call) if self.intercept else None
        if instead:
            call.status, call.reply_headers = instead[0], {"x-amzn-ErrorType": instead[1]}
            call.reply = json.dumps({"message": instead[2]}).encode()
        else:
            self.forward(call)
        with self.lock:
            self.concurrent -= 1
        if is_last:
            self.kill()
            return
        handler.send_response(call.status)
        for name, value in call.reply_headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(call.reply)))
        handler.end_headers()
        handler.wfile.write(call.reply)

    def forward(self, call):
        connection = http.client.HTTPConnection("127.0.0.1", self.server_port, timeout=60)
        connection.putrequest(call.method, call.target, skip_host=True, skip_accept_encoding=True)
        for name, value in call.headers.items():
            if name.lower() not in ("connection", "expect"):
                connection.putheader(name, value)
        connection.endheaders(call.body)
        reply = connection.getresponse()
        call.reply, call.status, call.reply_headers = reply.read(), reply.status, dict(reply.getheaders())
        connection.close()

    def kill(self):
        if self.victim:
            os.kill(self.victim, signal.SIGKILL)

    def start(self, kill_at=None, kill_before=False):
        self.calls, self.kill_at, self.kill_before, self.victim = [], kill_at, kill_before, None
        self.concurrent = self.most_concurrent = 0


# ---- the judge

def models():
    import botocore.session
    session = botocore.session.get_session()
    return {name: session.get_service_model(name) for name in ("iot", "iam", "sts", "kinesisvideo", "iot-data")}


def find_operation(model, call, arguments):
    if model.metadata["protocol"] == "query":
        form = dict(urllib.parse.parse_qsl(call.body.decode()))
        operation = model.operation_model(form.pop("Action"))
        assert form.pop("Version") == model.api_version
        for name, value in form.items():
            parts = name.split(".")
            if len(parts) == 1:
                arguments[name] = value
            else:
                entries = arguments.setdefault(parts[0], [])
                if int(parts[2]) > len(entries):
                    entries.append({})
                entries[-1][parts[3]] = value
        return operation
    matches = []
    for name in model.operation_names:
        operation = model.operation_model(name)
        template = operation.http["requestUri"].split("?")[0]
        pattern = "".join("([^/]+)" if part.startswith("{") else re.escape(part)
                          for part in re.split(r"(\{[^}]+\})", template))
        found = re.fullmatch(pattern, call.path)
        if operation.http["method"] == call.method and found:
            matches.append((template.count("{"), operation, template, found))
    assert matches, f"no operation of AWS's model: {call}"
    _, operation, template, found = min(matches, key=lambda match: match[0])
    query = dict(urllib.parse.parse_qsl(call.query, keep_blank_values=True))
    holes = dict(zip(re.findall(r"\{([^}]+)\}", template), found.groups()))
    body = json.loads(call.body) if call.body else {}
    headers = {name.lower(): value for name, value in call.headers.items()}
    for name, shape in (operation.input_shape.members if operation.input_shape else {}).items():
        place, wire = shape.serialization.get("location"), shape.serialization.get("name", name)
        if place == "uri":
            arguments[name] = urllib.parse.unquote(holes[wire])
        elif place == "querystring" and wire in query:
            value = query.pop(wire)
            arguments[name] = {"boolean": value == "true"}.get(shape.type_name) if shape.type_name == "boolean" \
                else int(value) if shape.type_name == "integer" else value
        elif place == "header" and wire.lower() in headers:
            arguments[name] = headers[wire.lower()]
        elif place is None and wire in body:
            arguments[name] = body.pop(wire)
    assert not query and not body, f"not in AWS's model: {query} {body} of {call}"
    return operation


def check_request(model, call):
    from botocore.validate import ParamValidator
    arguments = {}
    operation = find_operation(model, call, arguments)
    if operation.input_shape is not None:
        report = ParamValidator().validate(arguments, operation.input_shape)
        assert not report.has_errors(), (call, report.generate_report())
    return operation


def check_reply(model, operation, call):
    import botocore.parsers
    from botocore.validate import ParamValidator
    parser = botocore.parsers.create_parser(model.metadata["protocol"])
    parsed = parser.parse({"status_code": call.status, "headers": {
        name.lower(): value for name, value in call.reply_headers.items()}, "body": call.reply},
        operation.output_shape)
    parsed.pop("ResponseMetadata", None)
    if call.status >= 300:
        code = parsed["Error"]["Code"]
        known = {shape.name for shape in operation.error_shapes} | {
            shape.metadata.get("error", {}).get("code") for shape in operation.error_shapes}
        assert code in known, (call, code, known)
    elif operation.output_shape is not None:
        report = ParamValidator().validate(parsed, operation.output_shape)
        assert not report.has_errors(), (call, report.generate_report())


def check_signature(call, keys):
    """The same request, signed by AWS's own code at the same second."""
    import datetime
    import botocore.auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials
    sent = {name.lower(): value for name, value in call.headers.items()}
    signed = re.search("SignedHeaders=([^,]+)", sent["authorization"]).group(1).split(";")
    region = re.search("Credential=[^/]+/[0-9]+/([^/]+)/", sent["authorization"]).group(1)
    moment = datetime.datetime.strptime(sent["x-amz-date"], "%Y%m%dT%H%M%SZ")

    class Clock(datetime.datetime):
        @classmethod
        def utcnow(cls):
            return moment

        @classmethod
        def now(cls, tz=None):
            return moment.replace(tzinfo=tz)

    request = AWSRequest(call.method, f"http://{sent['host']}{call.target}", data=call.body, headers={
        name: sent[name] for name in signed if name not in ("host", "x-amz-date")})
    real, botocore.auth.datetime.datetime = botocore.auth.datetime.datetime, Clock
    try:
        signer = botocore.auth.SigV4Auth(Credentials(keys["aws_access_key_id"], keys["aws_secret_access_key"]),
                                         call.service, region)
        signer.add_auth(request)
    finally:
        botocore.auth.datetime.datetime = real
    assert request.headers["Authorization"] == sent["authorization"], (
        call, request.headers["Authorization"], sent["authorization"])


def check_transcript(calls, keys):
    known = models()
    for call in calls:
        model = known["iot-data" if call.service == "iotdata" else call.service]
        operation = check_request(model, call)
        check_reply(model, operation, call)
        check_signature(call, keys)
