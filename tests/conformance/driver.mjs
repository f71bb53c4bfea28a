// AWS's SDK for JavaScript, driven over stdin and stdout: one call a line in, one answer a line out.
// {"describe": service, "operation": name} answers with the model of its output that the SDK carries.
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { NodeHttpHandler } from "@smithy/node-http-handler";

const packages = {
  kinesisvideo: ["@aws-sdk/client-kinesis-video", "KinesisVideo"],
  "kinesis-video-media": ["@aws-sdk/client-kinesis-video-media", "KinesisVideoMedia"],
  "kinesis-video-archived-media":
    ["@aws-sdk/client-kinesis-video-archived-media", "KinesisVideoArchivedMedia"],
  iam: ["@aws-sdk/client-iam", "IAM"],
  sts: ["@aws-sdk/client-sts", "STS"],
  iot: ["@aws-sdk/client-iot", "IoT"],
};
// GetMedia never ends; so much of it is read.
const mediaBytes = 20000;
const handler = new NodeHttpHandler({ requestTimeout: 60000 });

// Keeps what came over the wire, and hands the same bytes to the SDK.
function recorder(record) {
  return {
    metadata: handler.metadata,
    async handle(request, options) {
      const { response } = await handler.handle(request, options);
      const chunks = [];
      let size = 0;
      for await (const chunk of response.body) {
        chunks.push(chunk);
        size += chunk.length;
        if (request.path === "/getMedia" && size >= mediaBytes) break;
      }
      const body = Buffer.concat(chunks);
      Object.assign(record, { status: response.statusCode, headers: response.headers,
                              body: body.toString("base64") });
      response.body = Readable.from(body.length ? [body] : []);
      return { response };
    },
  };
}

async function plain(value) {
  if (value instanceof Date) return value.getTime() / 1000;
  if (value instanceof Uint8Array) return { bytes: Buffer.from(value).toString("base64") };
  if (value?.transformToByteArray) return plain(await value.transformToByteArray());
  if (Array.isArray(value)) return Promise.all(value.map(plain));
  if (value && typeof value === "object") {
    const out = {};
    for (const [key, member] of Object.entries(value))
      if (key !== "$metadata" && member !== undefined) out[key] = await plain(member);
    return out;
  }
  return value;
}

async function call({ service, operation, input, credentials, endpoint, region }) {
  const sdk = await import(packages[service][0]);
  const record = {};
  const client = new sdk[packages[service][1] + "Client"]({
    endpoint, region, maxAttempts: 1, requestHandler: recorder(record),
    credentials: { accessKeyId: credentials.id, secretAccessKey: credentials.secret,
                   sessionToken: credentials.token ?? undefined } });
  try {
    const output = await client.send(new sdk[operation + "Command"](revive(service, input)));
    return { output: await plain(output), exchange: record };
  } catch (error) {
    const modelled = sdk[error.name];
    return { error: { code: error.Code ?? error.name, name: error.name, message: error.message,
                      status: error.$metadata?.httpStatusCode ?? null,
                      modelled: modelled === undefined ? null : error instanceof modelled },
             exchange: record };
  }
}

// Times are numbers in the tables, and Date for the SDK.
function revive(service, value) {
  if (!value || typeof value !== "object" || !service.startsWith("kinesis-video")) return value;
  const out = Array.isArray(value) ? [] : {};
  for (const [key, member] of Object.entries(value))
    out[key] = /Timestamp$/.test(key) && typeof member === "number" ? new Date(member * 1000)
                                                                     : revive(service, member);
  return out;
}

// ---- the model: arrays of numbers and names in the SDK, words here

const scalars = { 0: "string", 1: "number", 2: "boolean", 4: "timestamp", 5: "timestamp",
                  6: "timestamp", 7: "timestamp", 15: "document", 21: "blob", 42: "stream" };

function shape(schema) {
  if (typeof schema === "function") return shape(schema());
  if (typeof schema === "number") {
    if (schema & 64) return { type: "list", member: shape(schema & ~64) };
    if (schema & 128) return { type: "map", value: shape(schema & ~128) };
    return { type: scalars[schema] };
  }
  if (!Array.isArray(schema)) return { type: "any" };
  if (typeof schema[0] !== "number" || Array.isArray(schema[0])) return shape(schema[0]);
  const [kind, , , traits, fourth, fifth, required] = schema;
  if (kind === 0) return shape(fourth);
  if (kind === 1) return { type: "list", member: shape(fourth) };
  if (kind === 2) return { type: "map", value: shape(fifth) };
  if (kind === 3 || kind === -3 || kind === 4) {
    const members = {};
    fourth.forEach((name, i) => { members[name] = shape(member(fifth[i])); });
    return { type: "structure", members, required: fourth.slice(0, required ?? 0) };
  }
  return { type: "any" };
}

// A member is a schema, or a schema with traits beside it.
function member(schema) {
  return Array.isArray(schema) && schema.length === 2 && typeof schema[0] !== "number"
    ? schema[0]
    : Array.isArray(schema) && schema.length === 2 ? schema[0] : schema;
}

async function describe({ describe: service, operation }) {
  const sdk = await import(packages[service][0]);
  const schema = sdk[operation + "$"];
  return { model: schema === undefined ? null : shape(schema[5]) };
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  const answer = request.describe ? await describe(request) : await call(request);
  process.stdout.write(JSON.stringify(answer) + "\n");
}
