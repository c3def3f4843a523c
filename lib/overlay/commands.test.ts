import { expect, test } from "vitest";
import { parseAddress, parsePrefix } from "../ip/address.ts";
import type { Entry } from "../netlink/entries/entry.ts";
import { putCommand, removeCommand } from "./commands.ts";

const host = parseAddress("192.0.2.12");
const dst = parsePrefix("10.244.2.0/24");
if (host === null || dst === null) throw new Error("an address of the test cannot be parsed");
const plain = { dst, link: 7, protocol: 112, priority: 1_234_567_890, gateway: null, onlink: false, tunnel: null };

const ENTRIES: readonly [Entry, string, string][] = [
  [
    { kind: "fdb", mac: "02:00:00:00:00:12", host, permanent: true },
    "bridge fdb replace 02:00:00:00:00:12 dev overlay1 dst 192.0.2.12 self permanent",
    "bridge fdb del 02:00:00:00:00:12 dev overlay1 dst 192.0.2.12 self",
  ],
  [
    { kind: "neighbour", address: dst.address, mac: "02:00:00:00:00:12", permanent: true },
    "ip neighbour replace 10.244.2.0 lladdr 02:00:00:00:00:12 dev overlay1 nud permanent protocol 112",
    "ip neighbour del 10.244.2.0 dev overlay1",
  ],
  [
    { kind: "route", route: { ...plain, gateway: dst.address, onlink: true } },
    "ip route replace 10.244.2.0/24 via 10.244.2.0 dev overlay1 onlink proto 112 metric 1234567890",
    "ip route del 10.244.2.0/24 via 10.244.2.0 dev overlay1 onlink proto 112 metric 1234567890",
  ],
  [
    { kind: "route", route: { ...plain, tunnel: { vni: 1, host } } },
    "ip route replace 10.244.2.0/24 encap ip id 1 dst 192.0.2.12 dev overlay1 proto 112 metric 1234567890",
    "ip route del 10.244.2.0/24 encap ip id 1 dst 192.0.2.12 dev overlay1 proto 112 metric 1234567890",
  ],
];

test.each(ENTRIES)("%j", (entry, put, remove) => {
  expect(putCommand(entry, "overlay1", "overlay1")).toBe(put);
  expect(removeCommand(entry, "overlay1", "overlay1")).toBe(remove);
});

test("a link's name that a shell would read as more than a word", () => {
  const route: Entry = { kind: "route", route: { ...plain, gateway: host } };
  expect(putCommand(route, "a;b'c", "overlay1")).toContain(" dev 'a;b'\\''c' proto");
});
