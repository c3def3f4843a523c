/**
 * Lease files in all existing formats: container ID and interface name, or only the container ID, as before CNI 0.7 and as
 * some programs write them. Every verb finds the owner, by the record or by the lease file.
 */
import { rm, utimes } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { expectError, expectSuccess } from "../../testbed/harness.ts";
import { type Network, withNetwork } from "./host-local-harness.ts";

const SUBNET = { subnet: "10.9.0.0/24" };
const ADDRESS = "10.9.0.2";
const GC_ALL = { more: { "cni.dev/valid-attachments": [] } };
const VALID = { more: { "cni.dev/valid-attachments": [{ containerID: "c1", ifname: "eth0" }] } };

const FORMS: readonly (readonly [string, string])[] = [
  ["the container ID", "c1"],
  ["the container ID and a new line", "c1\n"],
  ["the container ID and CR LF", "c1\r\n"],
  ["both", "c1\neth0"],
  ["both, and a new line at the end", "c1\neth0\n"],
  ["both, separated by CR LF", "c1\r\neth0"],
  ["both, each with CR LF", "c1\r\neth0\r\n"],
];

/** The state of the other files. */
const SITUATIONS = {
  "and its record and the index are as ADD left them": async () => {},
  "and the directory has changed since": async (network: Network) => utimes(network.leases, new Date(), new Date()),
  "and there is no index": async (network: Network) => rm(join(network.own, "index")),
} as const;

describe.each(FORMS)("a lease file that holds %s", (_form, content) => {
  describe.each(Object.entries(SITUATIONS))("%s", (_situation, prepare) => {
    const withLease = (test: (network: Network) => Promise<void>): Promise<void> =>
      withNetwork(SUBNET, async (network) => {
        expect(await network.addOne("c1")).toBe(ADDRESS);
        const before = new Date(Date.now() - 10_000);
        await network.writeLease(ADDRESS, content);
        await utimes(join(network.leases, ADDRESS), before, before);
        await prepare(network);
        await test(network);
        expect(await network.addresses()).toEqual([]);
        expect(await network.records()).toEqual({});
        /* The address is free again. */
        expect(await network.addOne("c2", { args: `IP=${ADDRESS}` })).toBe(ADDRESS);
      });

    it("is removed by DEL", () => withLease((network) => network.del("c1")));

    it("is removed by GC, unless its attachment is valid", () =>
      withLease(async (network) => {
        expectSuccess(await network.call("GC", "", VALID));
        expect(await network.addresses()).toEqual([ADDRESS]);
        expectSuccess(await network.call("GC", "", GC_ALL));
      }));

    it("belongs to the attachment for CHECK, and ADD again returns the same address", () =>
      withLease(async (network) => {
        expectSuccess(await network.call("CHECK", "c1"));
        expect(await network.addOne("c1")).toBe(ADDRESS);
        expect(await network.addresses()).toEqual([ADDRESS]);
        expectSuccess(await network.call("CHECK", "c1"));
        await network.del("c1");
      }));

    it("is removed when ADD requests another address", () =>
      withLease(async (network) => {
        expect(await network.addOne("c1", { args: "IP=10.9.0.77" })).toBe("10.9.0.77");
        expect(await network.addresses()).toEqual(["10.9.0.77"]);
        await network.del("c1");
      }));

    it("is not changed by another container, or by another interface of the container with its own lease", () =>
      withLease(async (network) => {
        const other = await network.addOne("c1", { ifname: "net1" });
        await network.del("c1", { ifname: "net1" });
        await network.del("c2");
        expect(await network.addresses()).toEqual([ADDRESS]);
        expect(other).not.toBe(ADDRESS);
        expectError(await network.call("ADD", "c3", { args: `IP=${ADDRESS}` }), { code: 102 });
        await network.del("c1");
      }));
  });
});
