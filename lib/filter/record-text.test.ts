import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Address, parseAddress } from "../ip/address.ts";
import { type FilterOwner, type FilterRecord, isOfContainer, isOfNetwork, ownerComment, ownerHash } from "./record.ts";
import { withoutInvalid } from "./record-check.ts";
import { formatFilterRecord, parseFilterRecord } from "./record-text.ts";

const owner: FilterOwner = { network: "podnet", containerId: "c1", ifname: "eth0", plugin: "portmap" };
const address = (words: string): Address => parseAddress(words) as Address;
const pod = address("10.1.0.5");
const chain = { table: "inet" as const, name: "conditions-podnet", rules: ["meta nfproto ipv4 goto translate"] };
const full: FilterRecord = {
  owner,
  netns: { device: 4, inode: 4026532, path: "/run/netns/a b" },
  timeMs: 17,
  chains: [chain],
  ports: [
    { protocol: "tcp", hostPort: 80, hostIp: null, pod, containerPort: 80 },
    { protocol: "sctp", hostPort: 81, hostIp: address("192.0.2.1"), pod, containerPort: 8081 },
  ],
  elements: [
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
  claims: [{ protocol: "udp", hostPort: 53, hostIp: address("fd77::1"), pod: address("fd00::5"), containerPort: 5353 }],
  claimElements: [
    { table: "inet", set: "hostip_conditional6", key: "fd77::1 . udp . 53", data: "goto conditions-podnet" },
  ],
  waiters: ["0123456789abcdef.portmap"],
};
const text = formatFilterRecord(full);

describe("a record's file", () => {
  test("is read as it was written, and also as versions without sums wrote it", () => {
    const read = { record: full, intact: true, hasChecksum: true, unknownLines: [] };
    expect(parseFilterRecord(text)).toEqual(read);
    expect(parseFilterRecord(text.replace(/ sum .*/, ""))).toEqual({ ...read, hasChecksum: false });
    const invalid: string[] = [];
    expect(withoutInvalid(full, invalid)).toEqual(full);
    expect(invalid).toEqual([]);
  });

  test("has ports as the elements that earlier versions wrote", () => {
    expect(text.split("\n").filter((line) => line.startsWith("element") || line.startsWith("claim"))).toEqual([
      "element inet hostports4 tcp . 80 : 10.1.0.5 . 80",
      "element inet hostip_hostports4 192.0.2.1 . sctp . 81 : 10.1.0.5 . 8081",
      "element inet conditional4 tcp . 80 : goto conditions-podnet",
      "element bridge checked_links veth0 : jump check_mac",
      "claim inet hostip_hostports6 fd77::1 . udp . 53 : fd00::5 . 5353",
      "claim inet hostip_conditional6 fd77::1 . udp . 53 : goto conditions-podnet",
    ]);
  });

  test.each([
    "hostports4 tcp . 99999 : 10.1.0.5 . 80",
    "hostports4 tcp . 080 : 10.1.0.5 . 80",
    "hostports4 8080 : 10.1.0.5 . 80",
    "hostports4 icmp . 80 : 10.1.0.5 . 80",
    "hostports4 tcp . 80",
    "hostports4 tcp . 80 : 10.1.0.5",
    "hostports4 tcp . 80 : fd00::5 . 80",
    "hostports6 tcp . 80 : 10.1.0.5 . 80",
    "hostports4 192.0.2.1 . tcp . 80 : 10.1.0.5 . 80",
    "hostip_hostports4 tcp . 80 : 10.1.0.5 . 80",
    "hostip_hostports4 fd77::1 . tcp . 80 : 10.1.0.5 . 80",
    "hostports5 tcp . 80 : 10.1.0.5 . 80",
  ])("has no port in %j", (port) => {
    for (const word of ["element", "claim"]) {
      const line = `${word} inet ${port}`;
      const read = parseFilterRecord(text.replace(/ sum .*/, "").replace("\nend\n", `\n${line}\nend\n`));
      expect(read?.record).toEqual(full);
      expect(read?.unknownLines).toEqual([line]);
    }
  });

  test("that is cut is not read, and one with any character changed is not relied on", () => {
    for (let end = 0; end < text.length; end += 1) expect(parseFilterRecord(text.slice(0, end))).toBeNull();
    for (let at = 0; at < text.length; at += 1) {
      for (const other of ["0", "x", "\n"]) {
        if (text.charAt(at) === other) continue;
        const read = parseFilterRecord(text.slice(0, at) + other + text.slice(at + 1));
        expect(read === null || !read.intact).toBe(true);
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
        const read = parseFilterRecord(changed);
        if (read === null) return;
        const once = withoutInvalid(read.record, []);
        const again: string[] = [];
        expect(withoutInvalid(once, again)).toEqual(once);
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
