import { expect, it } from "vitest";
import { formatJson } from "../lib/cni/json.ts";
import { nodeEvent } from "./events.ts";

it("an event is about the node, and no longer than the API takes", () => {
  const event = nodeEvent({
    ...{
      node: "a",
      type: "Warning",
      reason: "NetworkNotReady",
      message: "x".repeat(2000),
      time: "2026-11-30T12:00:00Z",
    },
  });
  const plain = JSON.parse(formatJson(event));
  expect(plain).toMatchObject({
    ...{ kind: "Event", apiVersion: "v1", type: "Warning", reason: "NetworkNotReady" },
    metadata: { generateName: "a.podwire-", namespace: "default" },
    involvedObject: { kind: "Node", name: "a", uid: "a" },
    source: { component: "podwire-agent", host: "a" },
  });
  expect(plain.message).toHaveLength(1024);
});
