import { describe, expect, it } from "vitest";
import type { ClusterNode } from "./node.ts";
import { describeChange, Roster } from "./roster.ts";

const node = (name: string, more: Partial<ClusterNode> = {}): ClusterNode => ({
  ...{ name, uid: `uid-of-${name}`, podCidrs: ["10.244.1.0/24"], addresses: ["192.0.2.1"], flannel: null },
  ...more,
});

describe("Roster", () => {
  it("removes what a complete list does not have, and nothing before that", () => {
    const roster = new Roster();
    roster.begin();
    for (const name of ["c", "a", "b"]) roster.put(node(name));
    expect(roster.isComplete).toBe(false);
    expect(roster.complete()).toEqual([]);
    expect(roster.names()).toEqual(["a", "b", "c"]);
    roster.begin();
    roster.put(node("b"));
    expect(roster.names()).toEqual(["a", "b", "c"]);
    expect(roster.isComplete).toBe(true);
    expect(roster.complete().map(describeChange)).toEqual(["node c has gone", "node a has gone"]);
    expect(roster.names()).toEqual(["b"]);
  });

  it("begins a list that was cut off once more", () => {
    const roster = new Roster();
    roster.put(node("a"));
    roster.begin();
    roster.begin();
    roster.put(node("a"));
    expect(roster.complete()).toEqual([]);
  });

  it("tells what has changed of what matters", () => {
    const roster = new Roster();
    expect(roster.put(node("a"))).toMatchObject({ before: null });
    expect(roster.put(node("a"))).toBeNull();
    expect(roster.put(node("a", { addresses: ["192.0.2.9"] }))).toMatchObject({ before: { addresses: ["192.0.2.1"] } });
    expect(roster.put(node("a", { addresses: ["192.0.2.9"], uid: "other" }))).not.toBeNull();
    const flannel = { backend: "vxlan", address: "192.0.2.1", address6: "", vxlan: { vni: 1, mac: "", mac6: "" } };
    expect(roster.put(node("a", { flannel }))).not.toBeNull();
    expect(roster.put(node("a", { flannel: { ...flannel, vxlan: { vni: 2, mac: "", mac6: "" } } }))).not.toBeNull();
  });

  it("does not remove a node for the end of an earlier one of its name", () => {
    const roster = new Roster();
    roster.put(node("a", { uid: "new" }));
    expect(roster.remove("a", "old")).toBeNull();
    expect(roster.remove("b", "new")).toBeNull();
    expect(roster.names()).toEqual(["a"]);
    expect(roster.remove("a", "new")).toMatchObject({ after: null });
  });

  it("says a change in a sentence", () => {
    expect(describeChange({ before: null, after: node("a") })).toBe(
      "node a joined: 192.0.2.1 with pods in 10.244.1.0/24",
    );
    const bare = node("a", { addresses: [], podCidrs: [] });
    expect(describeChange({ before: node("a"), after: bare })).toBe(
      "node a changed: no address yet with no podCIDRs yet",
    );
    expect(describeChange({ before: node("a"), after: node("a", { uid: "x" }) })).toContain(
      "node a is another one by that name",
    );
  });
});
