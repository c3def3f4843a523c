/**
 * Lease files in every form that has been written: container ID and interface, or the container ID alone, as before CNI 0.7
 * and as some programs write them. Whoever holds the lease by its record, or by the file alone, every verb takes it for its.
 */
import { rm, utimes } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { expectError, expectSuccess } from "../harness.ts";
import { type Network, withNetwork } from "./host-local-harness.ts";

const SUBNET = { subnet: "10.9.0.0/24" };
const ADDRESS = "10.9.0.2";
const GC_ALL = { more: { "cni.dev/valid-attachments": [] } };
const VALID = { more: { "cni.dev/valid-attachments": [{ containerID: "c1", ifname: "eth0" }] } };

const FORMS: readonly (readonly [string, string])[] = [
  ["the container ID", "c1"],
  ["the container ID and a new line", "c1\n"],
  ["the container ID and a new line of DOS", "c1\r\n"],
  ["both", "c1\neth0"],
  ["both, and a new line at the end", "c1\neth0\n"],
  ["both, with a new line of DOS", "c1\r\neth0"],
  ["both, with new lines of DOS", "c1\r\neth0\r\n"],
];

/** What else is known of the lease. */
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
        /* It is free for the next one. */
        expect(await network.addOne("c2", { args: `IP=${ADDRESS}` })).toBe(ADDRESS);
      });

    it("goes with DEL", () => withLease((network) => network.del("c1")));

    it("goes with GC, and stays while its attachment is valid", () =>
      withLease(async (network) => {
        expectSuccess(await network.call("GC", "", VALID));
        expect(await network.addresses()).toEqual([ADDRESS]);
        expectSuccess(await network.call("GC", "", GC_ALL));
      }));

    it("is the attachment's for CHECK, and ADD again gives the same address", () =>
      withLease(async (network) => {
        expectSuccess(await network.call("CHECK", "c1"));
        expect(await network.addOne("c1")).toBe(ADDRESS);
        expect(await network.addresses()).toEqual([ADDRESS]);
        expectSuccess(await network.call("CHECK", "c1"));
        await network.del("c1");
      }));

    it("leaves its attachment when ADD asks for another address", () =>
      withLease(async (network) => {
        expect(await network.addOne("c1", { args: "IP=10.9.0.77" })).toBe("10.9.0.77");
        expect(await network.addresses()).toEqual(["10.9.0.77"]);
        await network.del("c1");
      }));

    it("is of no concern to another container, or to another interface of it that has its own", () =>
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
