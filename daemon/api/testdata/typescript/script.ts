// A script as somebody would write it with the client that is made of
// /openapi.json. It has to pass tsc, and each of its wrong lines must not.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

declare const process: { argv: string[] };

const [, , baseUrl = "", token = ""] = process.argv;
const options = { baseUrl, headers: { Authorization: `Bearer ${token}` } };
const hubpipe = createClient<paths, "application/json" | "application/problem+json">(options);
const lines = createClient<paths, "application/x-ndjson" | "application/problem+json">(options);
const stream = { stream: "contacts" };

// Such as a test of somebody's would have it.
export const example: Partial<components["schemas"]["Record"]> = { id: "1", state: "live", properties: { email: "1@example.com" } };

function no(what: string): never {
  throw new Error(what);
}

const begun = await hubpipe.POST("/v1/streams/{stream}/start", {
  params: { path: stream, header: { "Idempotency-Key": "monday" } },
  body: { interval: "5m" },
});
if (begun.data === undefined) no(`${begun.error.title}: ${begun.error.hint}`);
if ("name" in begun.data && begun.data.state === "stopped") no("it does not run");

// Every page of records, with what HubSpot's properties say.
const emails: string[] = [];
for (let cursor: string | undefined; ; ) {
  const page = await hubpipe.GET("/v1/streams/{stream}/records", {
    params: { path: stream, query: { limit: 2, state: "live,archived", ...(cursor ? { cursor } : {}) } },
  });
  const { records, next } = page.data ?? no(page.error.title);
  for (const r of records) emails.push(`${r.properties["email"]} in ${r.state} at ${r.seq + 1}`);
  if (!next) break;
  cursor = next;
}
if (emails.length !== 3) no(`${emails.length} records came: ${emails.join()}`);

const feed = await lines.GET("/v1/streams/{stream}/changes", { params: { path: stream, query: { since: "0" } }, parseAs: "text" });
const changes = (feed.data ?? "").trim().split("\n").map((line) => JSON.parse(line) as components["schemas"]["Record"]);
if (changes.length !== 3) no(`${changes.length} changes came`);

const wrong = await hubpipe.GET("/v1/runs/{id}", { params: { path: { id: "r1" } } });
if (wrong.error?.status !== 404 || !wrong.error.type.startsWith("unknown-")) no("a run that there is not");

const runs = await hubpipe.GET("/v1/runs", { params: { query: { state: "done" } } });
for (const run of runs.data?.runs ?? []) console.log(run.id, run.report?.["checked"]);

export async function neverCalled() {
  // @ts-expect-error a route that there is not
  await hubpipe.GET("/v1/nothing");
  // @ts-expect-error a stream has to be named
  await hubpipe.POST("/v1/streams/{stream}/stop");
  // @ts-expect-error a state that there is not
  await hubpipe.GET("/v1/runs", { params: { query: { state: "asleep" } } });
  // @ts-expect-error an interval is text
  await hubpipe.POST("/v1/streams/{stream}/start", { params: { path: stream }, body: { interval: 5 } });
  // @ts-expect-error a field that a record has not
  console.log((await hubpipe.GET("/v1/streams/{stream}/records/{id}", { params: { path: { ...stream, id: "1" } } })).data?.nothing);
}

console.log("it works");
