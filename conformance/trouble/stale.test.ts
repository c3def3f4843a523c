/** Ten thousand leases whose containers are long gone: ADD is served at once, and one GC removes them all. */
import { mkdir, readdir, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { expectSuccess } from "../../testbed/harness.ts";
import { expectConsistent, type Network, withNetwork } from "../plugins/host-local-harness.ts";

const COUNT = 10_000;
/** A runtime waits for four minutes. */
const LIMIT_MS = 100_000;
const OLD = new Date(Date.now() - 365 * 86_400_000);

/** The addresses behind the gateway, 10.9.0.1. */
const addresses = Array.from({ length: COUNT }, (_, i) => `10.9.${(i + 2) >> 8}.${(i + 2) & 255}`);

/** Just as many addresses as there are leases, and `free` more. */
function ipam(free: number) {
  const last = COUNT + 1 + free;
  return {
    ranges: [[{ subnet: "10.9.0.0/16", rangeStart: "10.9.0.2", rangeEnd: `10.9.${last >> 8}.${last & 255}` }]],
  };
}

/** Writes the leases as the reference does: before this boot, as files are that a reboot has left. */
async function writeLeases(network: Network): Promise<void> {
  await mkdir(network.leases, { recursive: true });
  await Promise.all(
    addresses.map(async (address, i) => {
      const path = join(network.leases, address);
      await writeFile(path, `${`${i}`.padStart(64, "0")}\r\neth0`);
      await utimes(path, OLD, OLD);
    }),
  );
}

async function timed(network: Network, verb: string, id: string, valid: readonly string[] | null = null) {
  const more =
    valid === null
      ? {}
      : { more: { "cni.dev/valid-attachments": valid.map((containerID) => ({ containerID, ifname: "eth0" })) } };
  const result = await network.call(verb, id, { ...more, timeoutMs: LIMIT_MS });
  const json = expectSuccess(result);
  const [first] = (json.ips ?? []) as { address: string }[];
  return { ms: Math.round(result.durationMs), address: first?.address.split("/")[0] ?? "" };
}

test.each([
  ["with room beside them", 10, `10.9.${(COUNT + 2) >> 8}.${(COUNT + 2) & 255}`],
  ["in a range that they fill", 0, ""],
])("%s", { timeout: 300_000 }, (name, free, expected) =>
  withNetwork(ipam(free), async (network) => {
    await writeLeases(network);
    const first = await timed(network, "ADD", "c1");
    if (expected !== "") expect(first.address).toBe(expected);
    const second = await timed(network, "ADD", "c2");
    expect(second.address).not.toBe(first.address);
    await timed(network, "STATUS", "");
    const deleted = await timed(network, "DEL", "c2");
    await expectConsistent(network);
    const collected = await timed(network, "GC", "", ["c1"]);
    expect(await network.leaseFiles()).toEqual({ [first.address]: "c1\r\neth0" });
    expect((await readdir(network.own)).filter((file) => file.length === 32)).toHaveLength(1);
    await expectConsistent(network);
    const third = await timed(network, "ADD", "c3");
    console.info(
      `${COUNT} stale leases ${name}: first ADD ${first.ms} ms, second ${second.ms} ms, DEL ${deleted.ms} ms, ` +
        `GC of all ${collected.ms} ms, ADD then ${third.ms} ms`,
    );
  }),
);
