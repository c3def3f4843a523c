import { describe, expect, it } from "vitest";
import { formatJson, type Json, parseJson } from "../lib/cni/json.ts";
import { hasAnnotations, hasTaint, isNetworkUnavailable, networkAvailable, withoutTaint } from "./own-node.ts";

const json = (value: unknown): Json => parseJson(new TextEncoder().encode(JSON.stringify(value)));
const plain = (value: Json): unknown => JSON.parse(formatJson(value));
const withCondition = (status: string): Json =>
  json({
    status: {
      conditions: [
        { type: "Ready", status: "True" },
        { type: "NetworkUnavailable", status },
      ],
    },
  });

describe("the condition NetworkUnavailable", () => {
  it("is changed only where somebody has set it, and it is not False", () => {
    expect(isNetworkUnavailable(json({ status: { conditions: [{ type: "Ready", status: "False" }] } }))).toBe(false);
    expect(isNetworkUnavailable(json({}))).toBe(false);
    expect(["True", "Unknown", "False"].map((status) => isNetworkUnavailable(withCondition(status)))).toEqual([
      ...[true, true, false],
    ]);
  });

  it("is set alone: a strategic merge leaves the others", () => {
    expect(plain(networkAvailable("2026-11-30T12:00:00Z"))).toEqual({
      status: {
        conditions: [
          {
            type: "NetworkUnavailable",
            status: "False",
            reason: "PodwireIsUp",
            message: "Podwire has set up the network of this node",
            lastHeartbeatTime: "2026-11-30T12:00:00Z",
            lastTransitionTime: "2026-11-30T12:00:00Z",
          },
        ],
      },
    });
  });
});

describe("a startup taint", () => {
  const node = json({
    metadata: { resourceVersion: "12" },
    spec: {
      taints: [
        { key: "example.com/not-ready", effect: "NoSchedule" },
        { key: "other", effect: "NoExecute" },
      ],
    },
  });

  it("is removed by its key, and no other, if nobody has changed the node meanwhile", () => {
    expect([hasTaint(node, "example.com/not-ready"), hasTaint(node, "third"), hasTaint(json({}), "other")]).toEqual([
      ...[true, false, false],
    ]);
    expect(plain(withoutTaint(node, "example.com/not-ready"))).toEqual({
      metadata: { resourceVersion: "12" },
      spec: { taints: [{ key: "other", effect: "NoExecute" }] },
    });
  });
});

it("hasAnnotations compares names and values", () => {
  const wanted = json({ a: "1", b: "2" });
  expect(hasAnnotations(json({ metadata: { annotations: { a: "1", b: "2", c: "3" } } }), wanted)).toBe(true);
  expect(hasAnnotations(json({ metadata: { annotations: { a: "1", b: "3" } } }), wanted)).toBe(false);
  expect(hasAnnotations(json({ metadata: {} }), wanted)).toBe(false);
});
