/**
 * A clock that jumps: what was written before is then dated in the future, or long ago. The files' times are changed, which
 * is the same to a plugin as a changed clock. No live attachment loses its address by it, and no dead one keeps it for ever.
 */
import { lutimes, readdir } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { expectError, expectSuccess, Netns } from "../../testbed/harness.ts";
import { expectConsistent, type Network, smallRange, withNetwork } from "../plugins/host-local-harness.ts";
import { portsLeft } from "../plugins/node-filter.ts";
import { recordsOf, withNode } from "../plugins/portmap-lab.ts";

const YEAR_MS = 365 * 86_400_000;
const ANOTHER_BOOT = { boot: "00000000-0000-0000-0000-000000000000" };
/** How far what is there lies ahead of the clock. */
const JUMPS = [
  ["back a year", YEAR_MS],
  ["on a year", -YEAR_MS],
] as const;

/** Dates everything below a directory, and itself, as if the clock had been moved since. */
async function shift(directory: string, aheadMs: number): Promise<void> {
  const date = new Date(Date.now() + aheadMs);
  for (const name of await readdir(directory, { recursive: true })) await lutimes(join(directory, name), date, date);
  await lutimes(directory, date, date);
}

/** As long as the answer "exhausted" may hold. */
const pause = () => new Promise((resolve) => setTimeout(resolve, 5_100));

describe.each(JUMPS)("host-local, the clock is set %s", (_name, aheadMs) => {
  test("calls go on as before, and give what is free", () =>
    withNetwork(smallRange(7), async (network) => {
      for (const id of ["c1", "c2"]) await network.add(id);
      await shift(network.dataDir, aheadMs);
      expectSuccess(await network.call("CHECK", "c1"));
      expectSuccess(await network.call("STATUS", ""));
      expect(await network.addOne("c3")).toBe("10.9.0.4");
      await expectConsistent(network);
      await network.del("c1");
      /* And once more, in between the clock was put right. */
      await shift(network.dataDir, -aheadMs);
      await network.del("c3");
      const valid = [{ containerID: "nobody", ifname: "eth0" }];
      expectSuccess(await network.call("GC", "", { more: { "cni.dev/valid-attachments": valid } }));
      expect(await network.addresses()).toEqual([]);
      await expectConsistent(network);
    }));

  test("whoever lives keeps the address in a range that is full, and whoever is of an earlier boot does not", () =>
    withNetwork(smallRange(4), async (network) => {
      const pod = await Netns.create();
      try {
        await network.add("alive", { netns: pod.path });
        await network.add("unknown");
        await network.add("dead", { netns: pod.path });
        await shift(network.dataDir, aheadMs);
        expectError(await network.call("ADD", "c1"), { code: 103, details: /^used 3 of 3, reclaimable 0/ });
        await network.changeRecord("dead", ANOTHER_BOOT);
        await shift(network.dataDir, aheadMs);
        await pause();
        expect(await network.addOne("c1")).toBe("10.9.0.4");
        expect(Object.values(await network.leaseFiles()).sort()).toEqual(
          ["alive", "c1", "unknown"].map((id) => `${id}\r\neth0`),
        );
      } finally {
        await pod.remove();
      }
    }));
});

/** A lease that only the reference plugin has written is known by its file's time alone. */
test("host-local, the clock is set back a year: the reference's leases are kept", () =>
  withNetwork(smallRange(3), async (network: Network) => {
    await network.writeLease("10.9.0.2", "r1\r\neth0");
    await network.writeLease("10.9.0.3", "r2\r\neth0");
    await shift(network.dataDir, YEAR_MS);
    expectError(await network.call("ADD", "c1"), { code: 103, details: /^used 2 of 2, reclaimable 0/ });
    await network.del("r1");
    expect(await network.addOne("c1")).toBe("10.9.0.2");
  }));

test.each(JUMPS)(
  "portmap, the clock is set %s: ports are kept by the living, and come back after a flush",
  (_name, ahead) =>
    withNode({}, async (node) => {
      const port = (hostPort: number) => [{ hostPort, containerPort: 80, protocol: "tcp" }];
      const first = await node.pod({ mappings: port(8081) });
      const second = await node.bridged();
      const records = (await recordsOf(node.host)) ?? "";
      await shift(records, ahead);
      expectError(await node.publish(second, port(8081)), { code: 102 });
      expectSuccess(await node.check(first, port(8081)));
      await node.nft("flush", "ruleset");
      expectSuccess(await node.call("portmap", "STATUS", first, node.portmapConfig(null)));
      expect(await portsLeft(node)).toEqual([8081]);
      await node.unpublish(first, port(8081));
      expectSuccess(await node.publish(second, port(8081)));
      await node.unpublish(second, port(8081));
      expect(await portsLeft(node)).toEqual([]);
    }),
);
