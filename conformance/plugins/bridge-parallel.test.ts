/** Many at once: the first ADDs of a host, all DELs, and a bridge with as many ports as the kernel allows. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { expectError, expectSuccess, type JsonObject, type Netns } from "../../testbed/harness.ts";
import { addressesOf, BRIDGE, hostEnd, type Lab, leftovers, linkOf, NOTHING, withLab } from "./bridge-lab.ts";

const COUNT = 100;

function withHostLocal(lab: Lab): JsonObject {
  return {
    isDefaultGateway: true,
    mtu: 1400,
    ipam: {
      type: "host-local",
      dataDir: lab.sandbox.dataDir,
      ranges: [[{ subnet: "10.77.0.0/24" }], [{ subnet: "fd77::/64" }]],
    },
  };
}

async function pods(lab: Lab, count: number): Promise<Netns[]> {
  const made: Netns[] = [];
  for (let i = 0; i < count; i += 1) made.push(await lab.pod());
  return made;
}

describe(`${COUNT} at once`, () => {
  test(
    "first ADDs make one bridge, one gateway, and an address each; DELs remove it all [LIFE-3]",
    () =>
      withLab(async (lab) => {
        const config = withHostLocal(lab);
        const all = await pods(lab, COUNT);
        const results = await Promise.all(all.map((pod) => lab.run("ADD", pod, config)));
        const made = results.map((result) => expectSuccess(result));
        const addresses = made.flatMap((result) => (result.ips as JsonObject[]).map((ip) => ip.address));
        expect(new Set(addresses).size).toBe(2 * COUNT);
        expect(new Set(made.map(hostEnd)).size).toBe(COUNT);
        const bridges = made.map((result) => (result.interfaces as JsonObject[])[0]);
        expect(new Set(bridges.map((bridge) => JSON.stringify(bridge))).size).toBe(1);
        expect(await addressesOf(lab.host, BRIDGE)).toEqual(["10.77.0.1/24", "fd77::1/64"]);
        expect((await lab.host.links()).length).toBe(COUNT + 2);
        const ports = await lab.host.query("link", "show", "master", BRIDGE);
        expect(ports.filter((port) => port.operstate === "UP")).toHaveLength(COUNT);
        for (const i of [0, COUNT - 1]) {
          const [pod, result] = [all[i], made[i]];
          if (pod === undefined || result === undefined) throw new Error("too few pods");
          expectSuccess(await lab.check(pod, result, config));
          expect(await pod.ping("10.77.0.1")).toBe(true);
          expect(await pod.ping(String(addresses[COUNT]).split("/")[0] ?? "")).toBe(true);
        }
        const deleted = await Promise.all(all.map((pod) => lab.run("DEL", pod, config)));
        for (const result of deleted) expectSuccess(result);
        expect(await leftovers(lab, null)).toEqual(NOTHING);
      }),
    180_000,
  );

  test(
    "ADDs and DELs of different pods do not disturb each other",
    () =>
      withLab(async (lab) => {
        const config = withHostLocal(lab);
        const all = await pods(lab, 20);
        for (let round = 0; round < 3; round += 1) {
          await Promise.all(
            all.map(async (pod) => {
              const result = await lab.add(pod, config);
              expectSuccess(await lab.check(pod, result, config));
              await lab.del(pod, config);
            }),
          );
        }
        expect(await leftovers(lab, null)).toEqual(NOTHING);
      }),
    120_000,
  );
});

describe("a full bridge", () => {
  /** BR_MAX_PORTS in the kernel's net/bridge/br_private.h is 1024, and port numbers begin at 1. */
  const PORTS = 1023;

  test(
    "is reported as what it is, by ADD and STATUS",
    () =>
      withLab(async (lab) => {
        await lab.add(await lab.pod());
        const lines: string[] = [];
        for (let i = 1; i < PORTS; i += 1) {
          lines.push(`link add p${i} master ${BRIDGE} type veth peer name q${i}`);
        }
        const batch = join(lab.sandbox.directory, "ports");
        await writeFile(batch, `${lines.join("\n")}\n`);
        await lab.host.ip("-batch", batch);
        const pod = await lab.pod();
        const lease = { lease: { ips: [{ address: "10.77.0.200/24" }] } };
        const before = await lab.leases();
        expectError(await lab.run("ADD", pod, {}, lease), {
          code: 100,
          msg: `bridge ${BRIDGE} is full`,
          details: /1024 ports/,
        });
        expect(await pod.links()).toEqual(["lo"]);
        expect(await lab.leases()).toEqual(before);
        expectError(await lab.run("STATUS", pod), { code: 50, msg: `bridge ${BRIDGE} is full`, details: /1023/ });
        await lab.host.ip("link", "delete", "p1");
        expectSuccess(await lab.run("STATUS", pod));
        const result = await lab.add(pod, {}, lease);
        expect(await linkOf(lab.host, hostEnd(result))).toMatchObject({ master: BRIDGE });
      }),
    180_000,
  );
});
