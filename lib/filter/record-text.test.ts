import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type FilterOwner, type FilterRecord, isOfContainer, isOfNetwork, ownerComment, ownerHash } from "./record.ts";
import { fitting } from "./record-check.ts";
import { formatRecord, parseRecord } from "./record-text.ts";

const owner: FilterOwner = { network: "podnet", containerId: "c1", ifname: "eth0", plugin: "portmap" };
const chain = { table: "inet" as const, name: "conditions-podnet", rules: ["meta nfproto ipv4 goto translate"] };
const full: FilterRecord = {
  owner,
  netns: { device: 4, inode: 4026532, path: "/run/netns/a b" },
  timeMs: 17,
  chains: [chain],
  elements: [
    { table: "inet", set: "hostports4", key: "tcp . 80", data: "10.1.0.5 . 80" },
    { table: "inet", set: "conditional4", key: "tcp . 80", data: "goto conditions-podnet" },
    { table: "bridge", set: "checked_links", key: "veth0", data: "jump check_mac" },
  ],
  iptables: [
    {
      family: 4,
      chain: "CNI-DN-0123",
      localnetLink: "",
      sharedChains: [{ table: "nat", name: "CNI-HOSTPORT-DNAT" }],
      sharedRules: [{ table: "nat", chain: "OUTPUT", first: false, text: "-j X", marks: ["-j X"] }],
      rules: [{ table: "nat", chain: "CNI-DN-0123", first: true, text: "-p tcp -j DNAT", marks: [] }],
    },
  ],
  claims: [{ table: "inet", set: "hostports6", key: "tcp . 80", data: "fd00::5 . 80" }],
  heirs: ["0123456789abcdef.portmap"],
};
const text = formatRecord(full);

describe("a record's file", () => {
  test("is read as it was written, and also as versions without sums wrote it", () => {
    expect(parseRecord(text)).toEqual({ record: full, sound: true, summed: true, strange: [] });
    expect(parseRecord(text.replace(/ sum .*/, ""))).toEqual({ record: full, sound: true, summed: false, strange: [] });
    const strange: string[] = [];
    expect(fitting(full, strange)).toEqual(full);
    expect(strange).toEqual([]);
  });

  test("that is cut is not read, and one with any character changed is not relied on", () => {
    for (let end = 0; end < text.length; end += 1) expect(parseRecord(text.slice(0, end))).toBeNull();
    for (let at = 0; at < text.length; at += 1) {
      for (const other of ["0", "x", "\n"]) {
        if (text.charAt(at) === other) continue;
        const read = parseRecord(text.slice(0, at) + other + text.slice(at + 1));
        expect(read === null || !read.sound).toBe(true);
      }
    }
  });

  test("of any text gives no error, and nothing that the ruleset cannot hold", () => {
    const words = ["element", "claim", "chain", "rule", "iptables", "iptables-rule", "heir", "inet", "bridge", "nat"];
    const more = [
      "hostports4",
      "conditional4",
      "x",
      ":",
      "goto",
      "translate",
      "tcp",
      ".",
      "80",
      "4",
      "CNI-DN-1",
      "-",
      "",
    ];
    const lines = fc.array(fc.array(fc.constantFrom(...words, ...more)).map((parts) => parts.join(" ")));
    fc.assert(
      fc.property(lines, fc.string(), (added, noise) => {
        const changed = text.replace(/ sum .*/, "").replace("\nend\n", `\n${[...added, noise].join("\n")}\nend\n`);
        const read = parseRecord(changed);
        if (read === null) return;
        const strange: string[] = [];
        const once = fitting(read.record, strange);
        const again: string[] = [];
        expect(fitting(once, again)).toEqual(once);
        expect(again).toEqual([]);
      }),
    );
  });
});

test("comments name their owner's network and container whole or by hash, in any length, and nobody else's", () => {
  const name = fc.stringMatching(/^[a-z0-9][a-zA-Z0-9_.-]{0,199}$/);
  const long = fc.integer({ min: 1, max: 200 }).map((length) => "n".repeat(length));
  const owners = fc.record({
    network: fc.oneof(name, long),
    containerId: fc.oneof(name, long),
    ifname: fc.stringMatching(/^[a-z0-9]{1,15}$/),
    plugin: fc.constant("portmap"),
  });
  fc.assert(
    fc.property(owners, owners, (one, other) => {
      const comment = ownerComment(one);
      expect(comment.length).toBeLessThanOrEqual(128);
      expect(comment.split(" ")).toHaveLength(4);
      expect(comment.startsWith(`${ownerHash(one)} `)).toBe(true);
      expect(comment.endsWith(` ${one.ifname}`)).toBe(true);
      expect(isOfNetwork(comment, one.network)).toBe(true);
      expect(isOfContainer(comment, one.containerId)).toBe(true);
      expect(isOfNetwork(comment, other.network)).toBe(one.network === other.network);
      expect(isOfContainer(comment, other.containerId)).toBe(one.containerId === other.containerId);
    }),
  );
  /* As earlier versions cut it: in the middle of a name nothing is told. */
  const cut = `${ownerHash(owner)} ${"n".repeat(111)}`;
  expect(isOfNetwork(cut, "n".repeat(111))).toBe(false);
});
